"""The interlock log: append-only, hash-chained lines of JSON, one writer.

``append`` hands bytes to the operating system and never waits for the disk, not even
where one segment ends and the next begins; ``commit`` does, and may run in a thread.
What the log promises and what it does not is written in
``docs/explanation/safety-concept.md``.
"""

import fcntl
import hashlib
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ems.journal.chain import sealed
from ems.journal.tail import read_tail

log = logging.getLogger(__name__)

SEGMENT_BYTES = 16 * 1024 * 1024


class JournalInUseError(RuntimeError):
    """Another process writes this log; two writers would break the chain."""


class Journal:
    """Writer of one site's log.

    Args:
        directory: Where the segments lie; created if missing.
        site_id: Named in the boot record.
        software: Version of the program.
        config_sha256: Hash of the site file in force.
        table_sha256: Hash of the interlock table in force.
        boot_id: Id of this run; a random one when not given (simulation gives one).

    Raises:
        JournalInUseError: another writer holds the lock.
        OSError: the directory cannot be written.

    The first ``append`` also writes what this run found: ``LOG_RECOVERED`` for a torn
    tail, ``TAMPER`` for anything else malformed, and the ``BOOT`` record.
    """

    def __init__(
        self,
        directory: Path,
        site_id: str,
        software: str,
        config_sha256: str,
        table_sha256: str = "",
        boot_id: str | None = None,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._lock_fd = _locked(directory / "journal.lock")
        self._segment_bytes = segment_bytes
        self._mutex = threading.Lock()
        self._commits = threading.Lock()
        self._retired: list[int] = []
        """Descriptors of full segments that are not on the disk yet."""
        self._stuck = False
        """The next segment could not be opened; the old one grows."""
        self.boot_id = boot_id or uuid.uuid4().hex
        tail = read_tail(directory)
        self._seq, self._hash, self._number = tail.seq, tail.hash, tail.number
        self.tampered = tail.tamper
        """What was found malformed at the start; empty when nothing was."""
        last = tail.last or {}
        boot = {
            "site": site_id,
            "software": software,
            "config_sha256": config_sha256,
            "table_sha256": table_sha256,
            "previous_hash": tail.hash,
            "previous_boot_id": last.get("boot_id"),
            "last_alive_utc": last.get("utc"),
            "last_alive_mono_ns": last.get("mono_ns"),
        }
        self._opening: list[tuple[str, dict[str, Any]]] = [("BOOT", boot)]
        if tail.segment is None:
            self._first_segment(1)
        elif tail.tamper:
            # Evidence is never touched: the malformed segment stays as it was found.
            self._opening.append(("TAMPER", _evidence(tail.segment, tail.tamper)))
            self._first_segment(tail.number + 1)
        else:
            if tail.torn:
                self._opening.append(
                    ("LOG_RECOVERED", _quarantine(tail.segment, tail.good_bytes, tail.torn))
                )
            self._fd = os.open(tail.segment, os.O_WRONLY | os.O_APPEND)
            self._size = tail.good_bytes

    @property
    def head(self) -> tuple[int, str]:
        """Sequence number and hash of the newest record; keep it outside the box."""
        return self._seq, self._hash

    def append(
        self,
        kind: str,
        data: dict[str, Any],
        now_s: float,
        now_utc: datetime,
        clock_ok: bool = True,
    ) -> int:
        """Write one record without waiting for the disk.

        Args:
            kind: Upper-case kind, such as ``MODE``.
            data: JSON-able; NaN and infinities become ``null``.
            now_s: Monotonic time, s.
            now_utc: Wall-clock time.
            clock_ok: False marks ``utc`` as not to be trusted.

        Returns:
            Sequence number of the record.

        Raises:
            OSError: nothing was written (disk full, read-only); the chain is intact.
        """
        while self._opening:
            first_kind, first_data = self._opening[0]
            self._write(first_kind, first_data, now_s, now_utc, clock_ok)
            del self._opening[0]
        return self._write(kind, data, now_s, now_utc, clock_ok)

    def commit(self) -> None:
        """Return when everything appended so far is on the disk.

        Raises:
            OSError: the disk reported an error; what it holds is unknown.
        """
        # One at a time: who comes second must not return before what the first took is safe.
        with self._commits:
            with self._mutex:
                fd = os.dup(self._fd)
                retired, self._retired = self._retired, []
            try:
                new_name = bool(retired)
                while retired:
                    full = retired.pop(0)
                    try:
                        os.fsync(full)
                    finally:
                        os.close(full)
                if new_name:
                    _sync_directory(self._directory)
                os.fsync(fd)
            finally:
                os.close(fd)
                with self._mutex:
                    self._retired[:0] = retired

    def close(self) -> None:
        """Commit and let go of the lock."""
        self.commit()
        os.close(self._fd)
        os.close(self._lock_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(
        self, kind: str, data: dict[str, Any], now_s: float, now_utc: datetime, clock_ok: bool
    ) -> int:
        quality = "ok" if clock_ok else "unsynchronised"
        line, digest = sealed(
            self._seq + 1,
            self.boot_id,
            round(now_s * 1e9),
            now_utc,
            quality,
            kind,
            data,
            self._hash,
        )
        if self._size and self._size + len(line) > self._segment_bytes:
            self._rotate()
        written = 0
        try:
            while written < len(line):
                written += os.write(self._fd, line[written:])
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        self._seq, self._hash = self._seq + 1, digest
        return self._seq

    def _first_segment(self, number: int) -> None:
        """The segment that this run begins with."""
        self._fd, self._number, self._size = self._new(number), number, 0
        _sync_directory(self._directory)

    def _rotate(self) -> None:
        """Go on in a new segment, or in the old one while there can be none.

        The old one is left to the next ``commit``: to wait for the disk is its business.
        """
        try:
            fd = self._new(self._number + 1)
        except OSError as error:
            if not self._stuck:
                log.error("no new segment of the interlock log (%s); the old one goes on", error)
            self._stuck = True
            return
        with self._mutex:
            self._retired.append(self._fd)
            self._fd, self._number, self._size = fd, self._number + 1, 0
        self._stuck = False

    def _new(self, number: int) -> int:
        path = self._directory / f"interlock-{number:06d}.jsonl"
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640)


def in_use(directory: Path) -> bool:
    """Whether some process writes the log there at this moment."""
    try:
        fd = os.open(directory / "journal.lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def kept_free(directory: Path) -> Iterator[None]:
    """Keep every writer of the log out, without writing it.

    Raises:
        JournalInUseError: one is there already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    fd = _locked(directory / "journal.lock")
    try:
        yield
    finally:
        os.close(fd)


def _locked(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise JournalInUseError(
            f"{path.parent} is being written by another process; stop it first"
        ) from None
    return fd


def _quarantine(segment: Path, offset: int, torn: bytes) -> dict[str, Any]:
    """Put a torn tail aside, byte for byte, and only then cut it off."""
    aside = segment.with_name(f"{segment.stem}.torn-{offset}.bin")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.write(fd, torn)
        os.fsync(fd)
    finally:
        os.close(fd)
    _sync_directory(segment.parent)
    with segment.open("r+b") as file:
        file.truncate(offset)
        os.fsync(file.fileno())
    return {
        "segment": segment.name,
        "offset": offset,
        "length": len(torn),
        "sha256": hashlib.sha256(torn).hexdigest(),
        "kept_as": aside.name,
    }


def _evidence(segment: Path, what: str) -> dict[str, Any]:
    return {
        "segment": segment.name,
        "sha256": hashlib.sha256(segment.read_bytes()).hexdigest(),
        "found": what,
    }


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
