"""One record of the log: its canonical bytes and its place in the hash chain.

A record is one line of canonical JSON (sorted keys, no spaces, UTF-8, no NaN). Its
``hash`` is the SHA-256 of the same line without the ``hash`` key, and ``prev`` is the
hash of the record before it, over boots and segments.
"""

import hashlib
import json
import math
from datetime import datetime
from typing import Any, Final

GENESIS: Final = "0" * 64
"""``prev`` of the very first record."""


def canonical(record: dict[str, Any]) -> bytes:
    """Canonical bytes of a record, without a line end.

    Raises:
        ValueError: a number is NaN or infinite; absence is ``null``.
    """
    text = json.dumps(
        record, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def finite(data: Any) -> Any:
    """The same data with NaN and infinities replaced by ``None``.

    A log that refuses to write because a sensor said NaN would lose the one record
    that a reviewer asks for.
    """
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [finite(value) for value in data]
    return data


def sealed(
    seq: int,
    boot_id: str,
    mono_ns: int,
    at_utc: datetime,
    utc_q: str,
    kind: str,
    data: dict[str, Any],
    prev: str,
) -> tuple[bytes, str]:
    """The line of a record, with its line end, and its hash."""
    record: dict[str, Any] = {
        "seq": seq,
        "boot_id": boot_id,
        "mono_ns": mono_ns,
        "utc": at_utc.isoformat(timespec="milliseconds"),
        "utc_q": utc_q,
        "kind": kind,
        "data": data,
        "prev": prev,
    }
    try:
        body = canonical(record)
    except ValueError:
        record["data"] = finite(data)
        body = canonical(record)
    digest = hashlib.sha256(body).hexdigest()
    record["hash"] = digest
    return canonical(record) + b"\n", digest
