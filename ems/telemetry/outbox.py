"""The durable queue between the control loop and the broker.

``offer`` only appends to a list in memory. One thread owns the database: it
commits events at once and samples in batches, hands rows to the uplink, and
deletes them after the broker's word. A record therefore leaves the disk only
when somebody else has it; after a crash what was not acknowledged is sent again.
"""

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from ems.clock import Clock
from ems.telemetry.messages import Kind, Message
from ems.telemetry.store import Gap, Row, Store

log = logging.getLogger(__name__)

MAX_BYTES: Final = 2 * 1024**3
"""Default bound of the queue on disk: 30 days of an 8-pack site at 10 s."""
MAX_QUEUED: Final = 20_000
"""Default bound of samples waiting in memory for a disk that does not answer."""
SAMPLE_DELAY_S: Final = 1.0
"""Samples wait this long for company before a commit."""
ACK_DELAY_S: Final = 1.0
"""Deliveries are noted with the next commit, or after this long."""
RETRY_S: Final = 1.0
CALL_TIMEOUT_S: Final = 30.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """Counters of one outbox since it was opened, and what it holds."""

    rows: int = 0
    """Records on disk, those on the wire included."""
    size_b: int = 0
    """Estimate of what they occupy, bytes."""
    held: int = 0
    """Records handed to the uplink and not yet deleted."""
    oldest_ms: int | None = None
    """UTC time of the oldest record on disk, ms."""
    waiting: int = 0
    """Messages in memory, not yet committed."""
    quarantined: int = 0
    committed: int = 0
    delivered: int = 0
    dropped: int = 0
    """Samples given up for want of space, in memory or on disk; gap records name them."""
    unusable: int = 0
    """Messages that could not be put into JSON: a programming error."""
    commits: int = 0
    write_errors: int = 0
    error: str = ""
    """Why the last commit failed; empty once one succeeded."""


@dataclass(slots=True)
class _Batch:
    """Work collected for one commit."""

    events: list[Message] = field(default_factory=list)
    samples: deque[Message] = field(default_factory=deque)
    gaps: dict[str, tuple[Gap, Message]] = field(default_factory=dict)
    acked: list[int] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    calls: list[tuple[Callable[[], None], Callable[[BaseException], None]]] = field(
        default_factory=list
    )

    @property
    def messages(self) -> int:
        return len(self.events) + len(self.samples)

    @property
    def dirty(self) -> bool:
        return bool(self.events or self.samples or self.acked or self.refused)


class Outbox:
    """Durable, bounded, ordered queue of messages.

    ``offer`` may be called from any thread; ``take``, ``acknowledge``,
    ``quarantine`` and ``give_back`` belong to one consumer.

    Args:
        path: SQLite file; its directory is made when missing.
        clock: Source of monotonic and wall time.
        max_bytes: Bound on disk. Beyond it the oldest samples go, events never.
        max_queued: Bound of samples in memory. Beyond it the oldest go, events never.

    Raises:
        sqlite3.OperationalError: the file cannot be opened, or another process has it.
    """

    def __init__(
        self, path: Path, clock: Clock, *, max_bytes: int = MAX_BYTES, max_queued: int = MAX_QUEUED
    ) -> None:
        self._path = path
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_queued = max_queued
        self._wake = threading.Condition()
        self._next = _Batch()
        self._due_s: float | None = None
        self._closing = False
        self._held: dict[int, Row] = {}
        self._in_hand = 0
        self._dropped_waiting = 0
        self._stats = OutboxStats()
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run, args=(opened,), name="outbox", daemon=True
        )
        self._thread.start()
        opened.result()

    def offer(self, messages: Sequence[Message]) -> None:
        """Queue messages; returns at once and never waits for the disk."""
        if not messages:
            return
        with self._wake:
            batch = self._next
            urgent = False
            for message in messages:
                if message.kind is Kind.TELEMETRY:
                    if len(batch.samples) >= self._max_queued:
                        self._give_up(batch)
                    batch.samples.append(message)
                else:
                    batch.events.append(message)
                    urgent = True
            self._due_in(0.0 if urgent else SAMPLE_DELAY_S)

    def take(self, limit: int) -> list[Row]:
        """Rows to publish next, so that at most ``limit`` are out at any time.

        A row counts as out from here until its deletion is durable: after a crash
        at most ``limit`` records are sent twice.
        """
        return self._call(lambda store: self._hand_out(store, limit))

    def acknowledge(self, row_id: int) -> None:
        """The broker has this row: delete it with one of the next commits."""
        with self._wake:
            self._next.acked.append(row_id)
            self._due_in(ACK_DELAY_S)

    def quarantine(self, row_id: int, reason: str) -> None:
        """The broker will never take this row: set it aside with the reason."""
        with self._wake:
            self._next.refused.append((row_id, reason))
            self._due_in(ACK_DELAY_S)

    def give_back(self) -> None:
        """The connection is gone: rows without an answer are handed out again, in order."""
        self._call(lambda _: self._held.clear())

    def release(self) -> int:
        """Put quarantined rows back in the queue (after the broker's rights were mended)."""

        def work(store: Store) -> int:
            with store.transaction():
                return store.release()

        return self._call(work)

    @property
    def ready(self) -> int:
        """Rows on disk that nobody has taken yet."""
        stats = self._stats
        return stats.rows - stats.held

    def stats(self) -> OutboxStats:
        """The counters as of the last commit; cheap, from any thread."""
        with self._wake:
            waiting, dropped = self._next.messages + self._in_hand, self._dropped_waiting
            stats = self._stats
        return replace(stats, waiting=waiting, dropped=stats.dropped + dropped)

    def oldest_age_s(self) -> float:
        """Age of the oldest record on disk by the wall clock, s; 0 when empty."""
        oldest_ms = self._stats.oldest_ms
        if oldest_ms is None:
            return 0.0
        return max(0.0, self._clock.now_utc().timestamp() - oldest_ms / 1e3)

    def close(self) -> None:
        """Commit what is queued and close the file."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(CALL_TIMEOUT_S)

    def _due_in(self, delay_s: float) -> None:
        due_s = self._clock.monotonic_s() + delay_s
        if self._due_s is None or due_s < self._due_s:
            self._due_s = due_s
            self._wake.notify()

    def _give_up(self, batch: _Batch) -> None:
        oldest = batch.samples.popleft()
        gap = Gap(oldest.topic, oldest.boot, 1, None, None, oldest.ts_ms, oldest.ts_ms)
        known = batch.gaps.get(oldest.stream)
        batch.gaps[oldest.stream] = (known[0].grown(gap) if known else gap, oldest)
        self._dropped_waiting += 1

    def _call(self, work: Callable[[Store], T]) -> T:
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                result = work(self._store)
                # Before the caller goes on, so that it finds the counters up to date.
                self._note_contents()
                future.set_result(result)

        with self._wake:
            if self._closing:
                raise RuntimeError("the outbox is closed")
            self._next.calls.append((run, future.set_exception))
            self._due_in(0.0)
        try:
            return future.result(CALL_TIMEOUT_S)
        except TimeoutError:
            future.cancel()
            raise

    def _run(self, opened: Future[None]) -> None:
        try:
            self._store = Store(self._path, self._max_bytes)
        except BaseException as error:
            opened.set_exception(error)
            return
        self._note_contents()
        opened.set_result(None)
        closing = False
        while not closing:
            batch, closing = self._collect()
            while batch.dirty and not self._commit(batch):
                with self._wake:
                    self._wake.wait_for(lambda: self._closing, RETRY_S)
                    if self._closing:
                        break
            self._note_contents()
            for run, fail in batch.calls:
                try:
                    run()
                except sqlite3.Error as error:
                    fail(error)
        self._store.close()

    def _collect(self) -> tuple[_Batch, bool]:
        with self._wake:
            while not self._closing:
                if self._due_s is None:
                    self._wake.wait()
                    continue
                wait_s = self._due_s - self._clock.monotonic_s()
                if wait_s <= 0.0:
                    break
                self._wake.wait(wait_s)
            batch, self._next, self._due_s = self._next, _Batch(), None
            self._in_hand = batch.messages
            return batch, self._closing

    def _commit(self, batch: _Batch) -> bool:
        store, stats = self._store, self._stats
        at_ms = round(self._clock.now_utc().timestamp() * 1e3)
        dropped = 0
        try:
            with store.transaction():
                delivered = store.delete(batch.acked)
                for row_id, reason in batch.refused:
                    dropped += store.quarantine(row_id, reason, at_ms)
                for gap, stamp in batch.gaps.values():
                    store.append_gap(gap, stamp)
                unusable = store.append([*batch.events, *batch.samples])
                if batch.events or batch.samples:
                    stamp = (batch.samples or batch.events)[-1]
                    dropped += store.prune(self._held, stamp)
        except sqlite3.Error as error:
            if stats.error != str(error):
                log.error("%s: cannot commit, will try again: %s", self._path, error)
            self._stats = replace(stats, write_errors=stats.write_errors + 1, error=str(error))
            return False
        if stats.error:
            log.info("%s: commits again", self._path)
        for row_id in [*batch.acked, *(row_id for row_id, _ in batch.refused)]:
            self._held.pop(row_id, None)
        self._stats = replace(
            stats,
            committed=stats.committed + len(batch.events) + len(batch.samples) - unusable,
            delivered=stats.delivered + delivered,
            dropped=stats.dropped + dropped,
            unusable=stats.unusable + unusable,
            commits=stats.commits + 1,
            error="",
        )
        return True

    def _hand_out(self, store: Store, limit: int) -> list[Row]:
        room = limit - len(self._held)
        rows = store.pending(room, self._held) if room > 0 else []
        self._held.update((row.id, row) for row in rows)
        return rows

    def _note_contents(self) -> None:
        store = self._store
        oldest_ms = store.oldest_ms()
        with self._wake:
            self._in_hand = 0
            self._stats = replace(
                self._stats,
                rows=store.rows,
                size_b=store.size_b,
                held=len(self._held),
                oldest_ms=oldest_ms,
                quarantined=store.quarantined,
            )
