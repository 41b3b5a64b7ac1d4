"""Where the log ends: the last good record, a torn tail, or evidence of tampering.

A power cut may leave the last line incomplete; that is *torn*, and its bytes are put
aside. A complete line that is not a valid record cannot come from a power cut; that is
*tamper*, and nothing is removed.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ems.journal.chain import GENESIS, canonical

SEGMENT_PATTERN = "interlock-*.jsonl"


@dataclass(frozen=True, slots=True)
class Tail:
    """What the writer needs to know to continue."""

    segment: Path | None
    """Last segment, ``None`` in an empty directory."""
    number: int
    """Number of that segment, 0 if none."""
    seq: int
    """Sequence number of the last good record, −1 if none."""
    hash: str
    last: dict[str, Any] | None
    """The last good record."""
    good_bytes: int
    """Length of the segment up to and with that record's line end."""
    torn: bytes
    """Bytes after it that lack a line end."""
    tamper: str
    """What is wrong with a complete line; empty when nothing is."""


def segments(directory: Path) -> list[Path]:
    """Segments of a log in order."""
    return sorted(directory.glob(SEGMENT_PATTERN))


def read_tail(directory: Path) -> Tail:
    """Check the last segment record by record and say where the log ends.

    Earlier segments are not read: ``verify`` is for that, and a start must not take
    longer with every year of service.
    """
    paths = segments(directory)
    if not paths:
        return Tail(None, 0, -1, GENESIS, None, 0, b"", "")
    path = paths[-1]
    number = int(path.stem.partition("-")[2])
    body = path.read_bytes()
    lines = body.split(b"\n")
    torn = lines.pop()
    seq, digest, last, good_bytes = -1, GENESIS, None, 0
    if len(paths) > 1:
        before = _last_record(paths[-2])
        if before is not None:
            seq, digest, last = before["seq"], before["hash"], before
    for index, line in enumerate(lines):
        record = parse(line)
        problem = ""
        if record is None:
            problem = "is not a record"
        elif record["prev"] != digest or record["seq"] != seq + 1:
            problem = "does not follow the record before it"
        if record is None or problem:
            tamper = f"{path.name} line {index + 1} (byte {good_bytes}) {problem}"
            return Tail(path, number, seq, digest, last, good_bytes, torn, tamper)
        seq, digest, last = record["seq"], record["hash"], record
        good_bytes += len(line) + 1
    return Tail(path, number, seq, digest, last, good_bytes, torn, "")


def parse(line: bytes) -> dict[str, Any] | None:
    """A record whose bytes are canonical and whose hash is right, else ``None``."""
    try:
        record = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict) or not {"seq", "prev", "hash"} <= record.keys():
        return None
    digest = record["hash"]
    body = {key: value for key, value in record.items() if key != "hash"}
    try:
        right = canonical(record) == line and digest == hashlib.sha256(canonical(body)).hexdigest()
    except ValueError:
        return None
    return record if right else None


def _last_record(path: Path) -> dict[str, Any] | None:
    lines = path.read_bytes().splitlines()
    return parse(lines[-1]) if lines else None
