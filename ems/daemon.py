"""The shell around the pure cycle: the only place with a loop, devices and files.

Each cycle: freeze a snapshot, step, act, then record. Acting never waits for the
log; an operator request waits for its durable record before a cycle sees it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from ems import cycle
from ems.clock import Clock, wall_step_s
from ems.dispatch.tariff import Tariff
from ems.model import Command, CycleRecord, OperatorRequest, Plan, SiteSnapshot
from ems.planning import PlanKeeper
from ems.site import Site

log = logging.getLogger(__name__)

CLOCK_FREEZE_STEP_S = 60.0
"""A wall clock that stepped more than this, or back, is not trusted (cause C42)."""
CLOCK_TRUST_AGAIN_S = 600.0
CLOCK_TOLERANCE_S = 2.0


class SiteIO(Protocol):
    """The site's devices: real sockets in service, memory under virtual time."""

    async def start(self) -> None:
        """Connect; returns at once, devices may come up later."""
        ...

    def snapshot(
        self,
        now_s: float,
        now_utc: datetime,
        clock_ok: bool,
        lateness_s: float,
        requests: tuple[OperatorRequest, ...],
    ) -> SiteSnapshot:
        """Freeze what is known now; never blocks."""
        ...

    def send(self, commands: tuple[Command, ...]) -> None:
        """Hand over commands; never blocks, outcomes come with a later snapshot."""
        ...

    async def stop(self) -> None:
        """Bring every device to its safe state, then disconnect."""
        ...


class Sink(Protocol):
    """Someone who is told about each finished cycle and may not hold it up."""

    def on_cycle(self, record: CycleRecord, stats: "CycleStats") -> None: ...


@dataclass(slots=True)
class CycleStats:
    """How the loop itself is doing; read by the screen, metrics and the log."""

    cycles: int = 0
    overruns: int = 0
    """Cycles that started more than half a period late."""
    missed: int = 0
    """Whole periods in which no cycle ran."""
    last_compute_s: float = 0.0
    compute_s: deque[float] = field(default_factory=lambda: deque(maxlen=3600))
    """Recent compute times, s, for percentiles."""

    def percentile_s(self, fraction: float) -> float:
        """Compute time not exceeded by this fraction of the recent cycles, s."""
        if not self.compute_s:
            return 0.0
        ordered = sorted(self.compute_s)
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class Daemon:
    """One controller for one site.

    Args:
        site: The compiled site.
        tariff: Its tariff.
        io: Its devices.
        clock: Where time comes from.
        keeper: Asks the planner and hands out the plan in force.
        sinks: Told of each record, in order.
        state: State of an earlier run, or ``cycle.initial(site)``.
    """

    def __init__(
        self,
        site: Site,
        tariff: Tariff,
        io: SiteIO,
        clock: Clock,
        keeper: PlanKeeper,
        sinks: Sequence[Sink],
        state: cycle.CycleState,
    ) -> None:
        self.site = site
        self.tariff = tariff
        self.io = io
        self.clock = clock
        self.keeper = keeper
        self.sinks = tuple(sinks)
        self.state = state
        self.stats = CycleStats()
        self.record: CycleRecord | None = None
        self.plan: Plan | None = None
        self._requests: list[OperatorRequest] = []
        self._verdicts: dict[str, asyncio.Future[str]] = {}
        self._wall: tuple[datetime, float] | None = None
        self._clock_ok_at_s = float("-inf")

    @property
    def clock_ok(self) -> bool:
        """Whether the wall clock may be trusted, as the last cycle saw it."""
        return self.clock.monotonic_s() >= self._clock_ok_at_s

    async def run(self, stop: asyncio.Event) -> None:
        """Run cycles on the period until ``stop`` is set, then leave devices safe.

        The schedule is absolute on monotonic time, so it does not drift. A cycle
        that overran is followed at once; whole periods lost are counted and left out,
        and the next cycle is told of them in its lateness.
        """
        period_s = self.site.cycle_s
        lost_s = 0.0
        await self.io.start()
        try:
            due_s = self.clock.monotonic_s()
            while not stop.is_set():
                await self.clock.sleep_until_s(due_s)
                lateness_s = max(0.0, self.clock.monotonic_s() - due_s)
                self.once(lateness_s + lost_s)
                due_s += period_s
                behind = max(0, int((self.clock.monotonic_s() - due_s) // period_s))
                lost_s = behind * period_s
                if behind > 0:
                    self.stats.missed += behind
                    log.warning("cycle overran: %d periods of %.2f s lost", behind, period_s)
                    due_s += lost_s
        finally:
            await self.io.stop()

    def once(self, lateness_s: float) -> CycleRecord:
        """One cycle: snapshot, step, act, record."""
        now_s, now_utc = self.clock.monotonic_s(), self.clock.now_utc()
        requests, self._requests = tuple(self._requests), []
        snapshot = self.io.snapshot(
            now_s, now_utc, self._clock_ok(now_utc, now_s), lateness_s, requests
        )
        self.plan = self.keeper.plan(now_s)
        self.state, record = cycle.step(self.state, snapshot, self.plan, self.site, self.tariff)
        self.io.send(record.commands)
        self.record = record
        self._count(lateness_s, self.clock.monotonic_s() - now_s)
        for sink in self.sinks:
            sink.on_cycle(record, self.stats)
        self.keeper.after(record, self.state.dispatch, self.site)
        if requests:
            self._answer(record)
        return record

    async def operator(self, request: OperatorRequest, timeout_s: float = 10.0) -> str:
        """Put a request before the gate; empty when granted, else the reason.

        The caller has made the request's log record durable already.
        """
        verdict: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._verdicts[request.id] = verdict
        self._requests.append(request)
        try:
            return await asyncio.wait_for(verdict, timeout_s)
        except TimeoutError:
            if request in self._requests:
                self._requests.remove(request)
                return "no control cycle ran in time; the request is withdrawn"
            return "no answer in time; it may have been carried out"
        finally:
            self._verdicts.pop(request.id, None)

    def submit(self, request: OperatorRequest) -> None:
        """Put a request before the next cycle without waiting for the answer."""
        self._requests.append(request)

    def _answer(self, record: CycleRecord) -> None:
        refusals = dict(record.decision.refusals)
        for request in record.snapshot.requests:
            verdict = self._verdicts.get(request.id)
            if verdict is not None and not verdict.done():
                verdict.set_result(refusals.get(request.id, ""))

    def _count(self, lateness_s: float, compute_s: float) -> None:
        stats = self.stats
        stats.cycles += 1
        stats.last_compute_s = compute_s
        stats.compute_s.append(compute_s)
        if lateness_s > 0.5 * self.site.cycle_s:
            stats.overruns += 1
            log.warning("cycle started %.3f s late", lateness_s)

    def _clock_ok(self, now_utc: datetime, now_s: float) -> bool:
        if self._wall is not None:
            step_s = wall_step_s(*self._wall, now_utc, now_s)
            if abs(step_s) > CLOCK_TOLERANCE_S:
                log.warning("wall clock stepped by %.1f s", step_s)
            if step_s > CLOCK_FREEZE_STEP_S or step_s < -CLOCK_TOLERANCE_S:
                self._clock_ok_at_s = now_s + CLOCK_TRUST_AGAIN_S
        self._wall = (now_utc, now_s)
        return now_s >= self._clock_ok_at_s
