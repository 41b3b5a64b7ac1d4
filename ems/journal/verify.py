"""Independent check of an interlock log: standard library only, no code of the writer.

Every record must be canonical, carry its own hash, follow the one before it without a
gap, and belong to a boot that began with a ``BOOT`` record. A log that was cut off at
the end of a record looks whole; only a head kept outside the box shows that.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Problem:
    """The place and nature of one finding."""

    file: str
    line: int
    """1-based."""
    byte: int
    """Offset of the line in its file."""
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} (byte {self.byte}): {self.what}"


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found."""

    records: int
    boots: tuple[str, ...]
    """Boot ids in order."""
    first_seq: int
    last_seq: int
    head: str
    """Hash of the last good record."""
    problems: tuple[Problem, ...]
    torn: Problem | None
    """An incomplete last line: a power cut, not tampering."""

    @property
    def ok(self) -> bool:
        """Nothing was edited, removed, inserted or reordered."""
        return not self.problems

    def __str__(self) -> str:
        verdict = "OK" if self.ok else f"TAMPERED: {self.problems[0]}"
        torn = f"; torn tail {self.torn}" if self.torn else ""
        return (
            f"{verdict}; {self.records} records {self.first_seq}..{self.last_seq}, "
            f"{len(self.boots)} boots, head {self.head}{torn}"
        )


def verify(path: Path, expect: tuple[int, str] | None = None) -> Report:
    """Check a log directory, or one exported segment.

    Args:
        path: Directory with ``interlock-*.jsonl``, or such a file.
        expect: ``(seq, hash)`` of a record noted outside the box; the log must contain
            it. This is what reveals a log cut off at the end of a record.

    Returns:
        The report; checking stops at the first problem, because nothing after a
        broken link can be trusted.

    Raises:
        OSError: the path cannot be read.
    """
    files = sorted(path.glob("interlock-*.jsonl")) if path.is_dir() else [path]
    walk = _Walk(whole=path.is_dir())
    for index, file in enumerate(files):
        walk.file(file, last=index == len(files) - 1)
        if walk.problems:
            break
    if not files:
        walk.problems.append(Problem(str(path), 0, 0, "no log segment found"))
    elif not (walk.hashes or walk.problems or walk.torn):
        walk.problems.append(Problem(str(path), 0, 0, "holds no record"))
    if expect is not None and not walk.problems and walk.hashes.get(expect[0]) != expect[1]:
        walk.problems.append(
            Problem(
                str(path), 0, 0, f"record {expect[0]} with the noted hash is missing: log cut off"
            )
        )
    return Report(
        records=len(walk.hashes),
        boots=tuple(walk.boots),
        first_seq=min(walk.hashes, default=-1),
        last_seq=max(walk.hashes, default=-1),
        head=walk.prev or "",
        problems=tuple(walk.problems),
        torn=walk.torn,
    )


class _Walk:
    """State of a walk along the chain."""

    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.prev: str | None = "0" * 64 if whole else None
        self.seq: int | None = -1 if whole else None
        self.boot = ""
        self.mono_ns = 0
        self.boots: list[str] = []
        self.hashes: dict[int, str] = {}
        self.problems: list[Problem] = []
        self.torn: Problem | None = None

    def file(self, path: Path, last: bool) -> None:
        lines = path.read_bytes().split(b"\n")
        rest = lines.pop()
        offset = 0
        for number, line in enumerate(lines, start=1):
            what = self._line(line, path.parent)
            if what:
                self.problems.append(Problem(path.name, number, offset, what))
                return
            offset += len(line) + 1
        if rest:
            found = Problem(path.name, len(lines) + 1, offset, f"{len(rest)} bytes, no line end")
            if last:
                self.torn = found
            else:
                self.problems.append(found)

    def _line(self, line: bytes, directory: Path) -> str:
        """What is wrong with a line; empty when nothing is, and the walk moves on."""
        try:
            record = json.loads(line)
            canonical = _dump(record)
        except (ValueError, RecursionError):
            return "is not JSON"
        if not isinstance(record, dict) or not isinstance(record.get("hash"), str):
            return "is not a record"
        if canonical != line:
            return "is not in canonical form"
        if not isinstance(record.get("data"), dict):
            return "has no data"
        digest = record.pop("hash")
        if hashlib.sha256(_dump(record)).hexdigest() != digest:
            return f"record {record.get('seq')}: contents do not match the hash"
        what = self._place(record) or self._aside(record, directory)
        if not what:
            self.prev, self.seq = digest, record["seq"]
            self.hashes[record["seq"]] = digest
        return what

    def _place(self, record: dict[str, Any]) -> str:
        seq, boot = record.get("seq"), record.get("boot_id")
        if not isinstance(seq, int) or not isinstance(record.get("mono_ns"), int):
            return "has no sequence number or monotonic time"
        if self.seq is not None and seq != self.seq + 1:
            return f"sequence jumps from {self.seq} to {seq}"
        if self.prev is not None and record.get("prev") != self.prev:
            return f"record {seq}: does not follow the record before it"
        if boot != self.boot:
            # An exported segment may begin in the middle of a boot.
            begins = record.get("kind") == "BOOT" or (not self.whole and not self.boots)
            if not begins:
                return f"record {seq}: boot {boot} has no BOOT record"
            self.boot = str(boot)
            self.boots.append(self.boot)
        elif record["mono_ns"] < self.mono_ns:
            return f"record {seq}: monotonic time runs backwards"
        self.mono_ns = record["mono_ns"]
        return ""

    def _aside(self, record: dict[str, Any], directory: Path) -> str:
        """A quarantined tail must still be there, byte for byte."""
        if record.get("kind") != "LOG_RECOVERED" or not self.whole:
            return ""
        data = record["data"]
        kept = directory / str(data.get("kept_as"))
        if not kept.is_file() or hashlib.sha256(kept.read_bytes()).hexdigest() != data.get(
            "sha256"
        ):
            return f"record {record['seq']}: quarantined tail {kept.name} is missing or changed"
        return ""


def _dump(record: dict[str, Any]) -> bytes:
    return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
