"""What happens with a finished cycle: log, state file, telemetry, metrics, watchdog.

Each runs after the commands have gone out and none may wait for a disk or a
network in the control loop: slow work goes to one writer thread.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ems import cycle, sdnotify, store
from ems.daemon import CycleStats
from ems.journal import records
from ems.journal.writer import Journal
from ems.model import CycleRecord, Mode
from ems.site import Site
from ems.telemetry import messages
from ems.telemetry.outbox import Outbox

log = logging.getLogger(__name__)

COMMIT_S = 1.0
"""A log record is on the medium within this time; urgent ones at once."""
STATE_PERIOD_S = 60.0
STOP_LEVEL = 3
WATCHDOG_PERIOD_S = 1.0


class Writer:
    """One thread for everything that waits for a disk."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="disk")
        self._last: Future[None] | None = None

    def do(self, work: Callable[[], None]) -> None:
        """Queue work; a failure is logged, never raised into the loop."""
        self._last = self._pool.submit(_guarded, work)

    def close(self) -> None:
        """Finish what is queued."""
        self._pool.shutdown(wait=True)


def _guarded(work: Callable[[], None]) -> None:
    try:
        work()
    except (OSError, ValueError, TypeError) as error:
        log.error("not written: %r", error)


class JournalSink:
    """Feeds the interlock log from the differences between records.

    Args:
        journal: The open log.
        site: For names.
        writer: Thread that commits; ``None`` commits in place.
    """

    def __init__(self, journal: Journal, site: Site, writer: Writer | None = None) -> None:
        self._journal = journal
        self._site = site
        self._writer = writer
        self._previous: CycleRecord | None = None
        self._committed_s = float("-inf")
        self._dirty = False

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        snapshot = record.snapshot
        urgent = False
        for kind, data, now in records.entries(self._previous, record, self._site):
            try:
                self._journal.append(
                    kind, data, snapshot.now_s, snapshot.now_utc, clock_ok=snapshot.clock_ok
                )
            except OSError as error:
                # A full disk costs records, never control; arming needs the log and is refused.
                log.error("interlock log: %s lost: %s", kind, error)
                continue
            self._dirty = True
            urgent |= now
        self._previous = record
        if self._dirty and (urgent or snapshot.now_s - self._committed_s >= COMMIT_S):
            self._committed_s = snapshot.now_s
            self._dirty = False
            if self._writer is None:
                self._journal.commit()
            else:
                self._writer.do(self._journal.commit)


class StateSink:
    """Keeps what must survive a restart: latches, peaks, estimates.

    Written each minute, and at once when the mode or a latch changes.

    Args:
        path: The state file.
        site: Whose state it is.
        state: The present state.
        writer: Thread that writes it.
        lost: Why the interlock state before this run is not known; empty when it is.
    """

    def __init__(
        self,
        path: Path,
        site: Site,
        state: Callable[[], cycle.CycleState],
        writer: Writer,
        lost: Callable[[], str] = str,
    ) -> None:
        self._path = path
        self._lost = lost
        self._site = site
        self._state = state
        self._writer = writer
        self._written_s = float("-inf")
        self._key: tuple[Any, ...] = ()

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        decision = record.decision
        key: tuple[Any, ...] = (
            decision.mode,
            # A cause of level 3 or more latches while it still acts: on disk before it clears.
            tuple(
                (c.cause, c.pack, c.level, c.latched)
                for c in decision.causes
                if c.latched or c.level >= STOP_LEVEL
            ),
            decision.granted,
            self._lost(),
        )
        now_s = record.snapshot.now_s
        if key != self._key or now_s - self._written_s >= STATE_PERIOD_S:
            self._key = key
            self._written_s = now_s
            data = self.data()
            self._writer.do(lambda: store.write(self._path, data))

    def data(self) -> dict[str, Any]:
        """What is written: the cycle's own state and which site file it belongs to."""
        data = {"site": self._site.id, "cycle": cycle.save(self._state())}
        # Until somebody has looked: the next start must not take this state for the whole one.
        return data | ({"lost": lost} if (lost := self._lost()) else {})


class TelemetrySink:
    """Offers what the platform should know to the outbox; never blocks."""

    def __init__(self, outbox: Outbox, site: Site, boot: str) -> None:
        self._outbox = outbox
        self._site = site
        self._boot = boot
        self._previous: CycleRecord | None = None

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        due = messages.from_record(record, self._previous, self._site, self._boot)
        self._previous = record
        if due:
            self._outbox.offer(due)


class WatchdogSink:
    """Tells systemd that a control cycle completed: READY once, then WATCHDOG."""

    def __init__(self) -> None:
        self._fed_s = float("-inf")
        self._mode: Mode | None = None

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        now_s, mode = record.snapshot.now_s, record.decision.mode
        if stats.cycles == 1:
            sdnotify.notify("READY=1")
        if mode is not self._mode:
            self._mode = mode
            sdnotify.notify(f"STATUS={mode.value}")
        if now_s - self._fed_s >= WATCHDOG_PERIOD_S:
            self._fed_s = now_s
            sdnotify.notify("WATCHDOG=1")
