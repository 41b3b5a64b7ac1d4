"""SQLite side of the outbox: what is on disk, and in which order it leaves.

One connection, used by one thread: SQLite before 3.51.3 can corrupt a WAL with
two writing connections. ``locking_mode=EXCLUSIVE`` keeps a second process out.
Every method that writes must run inside ``transaction()``.
"""

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ems.telemetry.messages import SCHEMA_VERSION, Kind, Message

log = logging.getLogger(__name__)

ROW_OVERHEAD_B: Final = 160
"""Bytes a row costs on disk beside its payload and topic: columns and its index entry."""
QUARANTINE_ROWS: Final = 10_000
"""Refused samples kept for inspection; refused events are all kept."""
_PRUNE_ROWS: Final = 200
_FORMAT: Final = 1
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS outbox(
    id INTEGER PRIMARY KEY, priority INTEGER NOT NULL, droppable INTEGER NOT NULL,
    stream TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
    topic TEXT NOT NULL, payload BLOB NOT NULL, size_b INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS outbox_order ON outbox(priority, id, droppable, size_b);
CREATE TABLE IF NOT EXISTS counter(
    stream TEXT NOT NULL, boot TEXT NOT NULL, next_seq INTEGER NOT NULL,
    PRIMARY KEY(stream, boot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS gap(
    stream TEXT NOT NULL, boot TEXT NOT NULL, row_id INTEGER NOT NULL, dropped INTEGER NOT NULL,
    first_seq INTEGER, last_seq INTEGER, from_ms INTEGER NOT NULL, to_ms INTEGER NOT NULL,
    PRIMARY KEY(stream, boot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS quarantine(
    id INTEGER PRIMARY KEY, priority INTEGER NOT NULL, droppable INTEGER NOT NULL,
    stream TEXT NOT NULL, boot TEXT NOT NULL, seq INTEGER NOT NULL, ts_ms INTEGER NOT NULL,
    topic TEXT NOT NULL, payload BLOB NOT NULL, size_b INTEGER NOT NULL,
    reason TEXT NOT NULL, refused_ms INTEGER NOT NULL);
"""
_ROW_COLUMNS: Final = "id, priority, droppable, stream, boot, seq, ts_ms, topic, payload, size_b"


@dataclass(frozen=True, slots=True)
class Row:
    """One committed record, ready to be published."""

    id: int
    stream: str
    seq: int
    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """Samples of one stream that were given up for want of space."""

    topic: str
    boot: str
    """Boot whose samples are missing."""
    dropped: int
    first_seq: int | None
    """``None`` when they were dropped before they had a number."""
    last_seq: int | None
    from_ms: int
    to_ms: int

    def grown(self, other: "Gap") -> "Gap":
        """This gap extended by a later one of the same stream and boot."""
        return replace(
            self,
            dropped=self.dropped + other.dropped,
            last_seq=other.last_seq,
            to_ms=max(self.to_ms, other.to_ms),
        )

    def values(self) -> Mapping[str, object]:
        """Body of the gap record."""
        return {
            "gap": {
                "boot": self.boot,
                "dropped": self.dropped,
                "first_seq": self.first_seq,
                "last_seq": self.last_seq,
                "from_ts": self.from_ms,
                "to_ts": self.to_ms,
            }
        }


class Store:
    """The outbox file. All methods belong to the thread that made the object.

    Raises:
        sqlite3.OperationalError: the file cannot be opened, or another process has it.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._db = _open(path)
        self._next_seq: dict[tuple[str, str], int] = {}
        one = self._db.execute
        self.rows, self.size_b = one(
            "SELECT count(*), coalesce(sum(size_b), 0) FROM outbox"
        ).fetchone()
        self.quarantined: int = one("SELECT count(*) FROM quarantine").fetchone()[0]
        self._next_id: int = (
            1
            + one(
                "SELECT max((SELECT coalesce(max(id), 0) FROM outbox),"
                " (SELECT coalesce(max(id), 0) FROM quarantine))"
            ).fetchone()[0]
        )

    def close(self) -> None:
        """Close the file; what was committed stays."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One durable commit, or nothing at all."""
        before = (self.rows, self.size_b, self.quarantined, self._next_id)
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self.rows, self.size_b, self.quarantined, self._next_id = before
            self._next_seq.clear()
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def append(self, messages: Sequence[Message]) -> int:
        """Number and store messages; returns how many could not be put into JSON."""
        unusable = 0
        for message in messages:
            if not self._add(message, message.values, droppable=message.kind is Kind.TELEMETRY):
                unusable += 1
        return unusable

    def append_gap(self, gap: Gap, stamp: Message) -> None:
        """Record samples lost before they reached the disk, in the stream of ``stamp``."""
        self._add(stamp, gap.values(), droppable=False)

    def prune(self, held: Mapping[int, Row], stamp: Message) -> int:
        """Drop the oldest samples until the file's content fits; returns how many.

        Rows in ``held`` are on the wire and stay. Each affected stream gets one gap
        record; one that has not left yet is extended in place, so that gap records
        cannot fill the file themselves.
        """
        dropped = 0
        while self.size_b > self._max_bytes:
            rows = [
                row
                for row in self._db.execute(
                    "SELECT id, stream, boot, seq, ts_ms, topic, size_b FROM outbox"
                    " WHERE priority = ? AND droppable = 1 ORDER BY id LIMIT ?",
                    (Kind.TELEMETRY, _PRUNE_ROWS + len(held)),
                )
                if row[0] not in held
            ]
            if not rows:
                break
            dropped += len(rows)
            self._forget([row[0] for row in rows], sum(row[6] for row in rows))
            gaps: dict[tuple[str, str], Gap] = {}
            for _, stream, boot, seq, ts_ms, topic, _ in rows:
                gap = Gap(topic, boot, 1, seq, seq, ts_ms, ts_ms)
                key = (stream, boot)
                gaps[key] = gaps[key].grown(gap) if key in gaps else gap
            for (stream, boot), gap in gaps.items():
                self._note_gap(stream, boot, gap, held, stamp)
        return dropped

    def delete(self, ids: Iterable[int]) -> int:
        """Forget delivered rows; returns how many there were."""
        count = 0
        for row_id in ids:
            found = self._db.execute("SELECT size_b FROM outbox WHERE id = ?", (row_id,)).fetchone()
            if found is not None:
                self._forget([row_id], found[0])
                count += 1
        return count

    def quarantine(self, row_id: int, reason: str, at_ms: int) -> int:
        """Set a refused row aside; returns how many older refused samples made room."""
        moved = self._db.execute(
            f"INSERT OR REPLACE INTO quarantine SELECT {_ROW_COLUMNS}, ?, ? FROM outbox"
            " WHERE id = ?",
            (reason, at_ms, row_id),
        ).rowcount
        self.delete([row_id])
        self.quarantined += moved
        surplus = max(0, self.quarantined - QUARANTINE_ROWS)
        if surplus:
            surplus = self._db.execute(
                "DELETE FROM quarantine WHERE id IN"
                " (SELECT id FROM quarantine WHERE droppable = 1 ORDER BY id LIMIT ?)",
                (surplus,),
            ).rowcount
            self.quarantined -= surplus
        return surplus

    def release(self) -> int:
        """Put every quarantined row back in its old place; returns how many."""
        count, size_b = self._db.execute(
            "SELECT count(*), coalesce(sum(size_b), 0) FROM quarantine"
        ).fetchone()
        self._db.execute(f"INSERT INTO outbox SELECT {_ROW_COLUMNS} FROM quarantine")
        self._db.execute("DELETE FROM quarantine")
        self.rows += count
        self.size_b += size_b
        self.quarantined = 0
        return int(count)

    def pending(self, limit: int, held: Mapping[int, Row]) -> list[Row]:
        """The next rows to publish: interlocks, then events, then samples, oldest first."""
        rows = self._db.execute(
            "SELECT id, stream, seq, topic, payload FROM outbox ORDER BY priority, id LIMIT ?",
            (limit + len(held),),
        )
        return [Row(*row) for row in rows if row[0] not in held][:limit]

    def oldest_ms(self) -> int | None:
        """UTC time of the oldest row, ms; ``None`` when empty."""
        found = self._db.execute("SELECT ts_ms FROM outbox ORDER BY id LIMIT 1").fetchone()
        return None if found is None else int(found[0])

    def _add(self, message: Message, values: Mapping[str, object], *, droppable: bool) -> bool:
        stream, boot = message.stream, message.boot
        seq = self._seq(stream, boot)
        try:
            payload = _encode(message, seq, values)
        except (TypeError, ValueError) as error:
            log.error("%s: a message cannot be put into JSON and is left out: %s", stream, error)
            return False
        self._insert(message, seq, payload, droppable=droppable)
        self._next_seq[stream, boot] = seq + 1
        self._db.execute("INSERT OR REPLACE INTO counter VALUES (?, ?, ?)", (stream, boot, seq + 1))
        return True

    def _insert(self, message: Message, seq: int, payload: bytes, *, droppable: bool) -> None:
        size_b = len(payload) + len(message.topic) + ROW_OVERHEAD_B
        self._db.execute(
            f"INSERT INTO outbox({_ROW_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._next_id,
                message.kind,
                droppable,
                message.stream,
                message.boot,
                seq,
                message.ts_ms,
                message.topic,
                payload,
                size_b,
            ),
        )
        self._next_id += 1
        self.rows += 1
        self.size_b += size_b

    def _seq(self, stream: str, boot: str) -> int:
        key = (stream, boot)
        if key not in self._next_seq:
            found = self._db.execute(
                "SELECT next_seq FROM counter WHERE stream = ? AND boot = ?", key
            ).fetchone()
            if found is None:
                # A boot that has ended never comes back: its counter is of no more use.
                self._db.execute("DELETE FROM counter WHERE stream = ?", (stream,))
            self._next_seq[key] = 0 if found is None else int(found[0])
        return self._next_seq[key]

    def _forget(self, ids: Sequence[int], size_b: int) -> None:
        self._db.executemany("DELETE FROM outbox WHERE id = ?", [(i,) for i in ids])
        self.rows -= len(ids)
        self.size_b -= size_b

    def _note_gap(
        self, stream: str, boot: str, gap: Gap, held: Mapping[int, Row], stamp: Message
    ) -> None:
        carrier = replace(stamp, topic=gap.topic, subject=stream.split("/")[0], kind=Kind.TELEMETRY)
        found = self._db.execute(
            "SELECT g.row_id, o.seq, g.dropped, g.first_seq, g.last_seq, g.from_ms, g.to_ms"
            " FROM gap g JOIN outbox o ON o.id = g.row_id AND o.boot = ?"
            " WHERE g.stream = ? AND g.boot = ?",
            (stamp.boot, stream, boot),
        ).fetchone()
        if found is not None and found[0] not in held:
            row_id, seq = found[:2]
            gap = Gap(gap.topic, boot, *found[2:]).grown(gap)
            payload = _encode(carrier, seq, gap.values())
            self._db.execute("UPDATE outbox SET payload = ? WHERE id = ?", (payload, row_id))
        else:
            row_id = self._next_id
            self._add(carrier, gap.values(), droppable=False)
        self._db.execute(
            "INSERT OR REPLACE INTO gap VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                stream,
                boot,
                row_id,
                gap.dropped,
                gap.first_seq,
                gap.last_seq,
                gap.from_ms,
                gap.to_ms,
            ),
        )


def _encode(message: Message, seq: int, values: Mapping[str, object]) -> bytes:
    record = {
        "v": SCHEMA_VERSION,
        "stream": message.stream,
        "boot": message.boot,
        "seq": seq,
        "ts": message.ts_ms,
        "mono_ns": message.mono_ns,
        "clock_ok": message.clock_ok,
        "q": message.q,
        "values": values,
    }
    return json.dumps(record, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _open(path: Path) -> sqlite3.Connection:
    """The database, created when absent; a damaged one is moved aside, not repaired."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _connect(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(path.name + ".damaged")
        log.error("%s is damaged (%s): moved to %s, starting empty", path, error, aside)
        os.replace(path, aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        run: Callable[[str], sqlite3.Cursor] = db.execute
        run("PRAGMA locking_mode = EXCLUSIVE")
        run("PRAGMA journal_mode = WAL")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA journal_size_limit = 8388608")
        version = run("PRAGMA user_version").fetchone()[0]
        if version > _FORMAT:
            raise sqlite3.OperationalError(f"{path} was written by a newer version ({version})")
        db.executescript(_TABLES)
        run(f"PRAGMA user_version = {_FORMAT}")
    except BaseException:
        db.close()
        raise
    return db
