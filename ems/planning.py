"""When to ask the planner, what to tell it, and which plan is in force."""

from typing import Protocol

import numpy as np

from ems.dispatch import track
from ems.history import WindowHistory
from ems.model import BoolArray, CycleRecord, FloatArray, Mode, Plan, PlanRequest
from ems.site import Site

PLAN_PERIOD_S = 300.0
"""A plan is asked for at least this often."""
PLAN_SOONER_S = 20.0
"""Never more often than this, however much the site changes."""


class PlannerLink(Protocol):
    """The way to the planner: its own process, or lockstep under virtual time."""

    windows_sent: int
    """History windows that the running planner has; 0 after each of its starts."""
    restarts: int
    """How often it was started again; what it was asked before that is lost."""

    def ask(self, request: PlanRequest) -> None:
        """Send a request; a request still unanswered is superseded."""
        ...

    def newest(self, now_s: float) -> Plan | None:
        """The latest plan answered so far."""
        ...

    def ready(self) -> bool:
        """Whether a request could be answered now."""
        ...


class PlanKeeper:
    """Asks for plans on schedule and at once when the site changes."""

    def __init__(self, link: PlannerLink, history: WindowHistory) -> None:
        self.link = link
        self.history = history
        self._asked_s = float("-inf")
        self._asked = 0
        self._situation: tuple[object, ...] = ()
        self._charge = Capability()
        self._discharge = Capability()

    def plan(self, now_s: float) -> Plan | None:
        """The plan in force; its age is judged by whoever follows it."""
        return self.link.newest(now_s)

    def after(self, record: CycleRecord, state: track.DispatchState, site: Site) -> None:
        """Take a finished cycle in and ask for a new plan when one is due."""
        window_done = self.history.add(record.snapshot)
        limits = record.limits
        self._charge.observe(limits.charge_w, limits.charge_reason)
        self._discharge.observe(limits.discharge_w, limits.discharge_reason)
        if record.decision.mode is Mode.BACKUP:
            # Nothing is planned in an outage; the return of the grid asks at once.
            self._situation = ()
            return
        now_s = record.snapshot.now_s
        since_s = now_s - self._asked_s
        if since_s < PLAN_SOONER_S or not self.link.ready():
            return
        situation = (*_situation(record), self.link.restarts)
        if window_done or since_s >= PLAN_PERIOD_S or situation != self._situation:
            self._situation = situation
            self._asked_s = now_s
            self._asked += 1
            self.link.ask(self._request(record, state, site))

    def _request(self, record: CycleRecord, state: track.DispatchState, site: Site) -> PlanRequest:
        backup = record.backup
        snapshot, request, limits = record.snapshot, record.request, record.limits
        low_w, high_w = record.decision.pack_low_w, record.decision.pack_high_w
        blocked = (low_w == 0.0) & (high_w == 0.0)
        window_s = site.grid.demand_window_s
        second = (
            snapshot.now_utc.minute * 60
            + snapshot.now_utc.second
            + snapshot.now_utc.microsecond / 1e6
        )
        return PlanRequest(
            id=f"plan-{self._asked}",
            now_utc=snapshot.now_utc,
            energy_wh=backup.pack_energy_wh,
            headroom_wh=track.planning_headroom_wh(state, record.estimate, limits, backup),
            charge_w=self._charge.now_w(limits.charge_w, blocked),
            discharge_w=self._discharge.now_w(limits.discharge_w, blocked),
            # The tracker guards the lower bound of the energy, the plan counts on the
            # central value: what lies between is not the plan's to sell.
            reserve_wh=backup.required_wh + max(0.0, backup.energy_wh - backup.energy_low_wh),
            incurred_peak_w=request.incurred_peak_w,
            window_w=request.demand_window_w,
            window_elapsed_frac=second % window_s / window_s,
            converter_power_w=record.decision.power_w,
            history=tuple(self.history.windows[self.link.windows_sent :]),
        )


STATE_TERMS = ("soc_", "cell_voltage", "bms_limit")
"""Limit terms that follow the state of charge: they say nothing about tomorrow."""


class Capability:
    """Power a pack has when its state of charge does not stand in the way.

    A full pack may not be charged now, but the plan must count on charging it
    after tonight's discharge. So the planner gets the last limit that was set by
    something other than the state of charge, and 0 only for packs that are out.
    """

    def __init__(self) -> None:
        self._seen_w: FloatArray | None = None
        self._reasons: tuple[str, ...] = ()
        self._tells: BoolArray = np.zeros(0, np.bool_)

    def observe(self, limit_w: FloatArray, reasons: tuple[str, ...]) -> None:
        """Remember limits that the state of charge did not set."""
        if self._seen_w is None:
            self._seen_w = np.zeros(len(limit_w))
        if reasons != self._reasons:
            self._reasons = reasons
            self._tells = np.array([not reason.startswith(STATE_TERMS) for reason in reasons])
        np.copyto(self._seen_w, limit_w, where=self._tells)

    def now_w(self, limit_w: FloatArray, blocked: BoolArray) -> FloatArray:
        """Power to plan with, W, shape ``(n_packs,)``."""
        seen_w = limit_w if self._seen_w is None else np.maximum(self._seen_w, limit_w)
        return np.where(blocked, 0.0, seen_w)


def _situation(record: CycleRecord) -> tuple[object, ...]:
    """What makes the plan in force obsolete when it changes."""
    decision = record.decision
    usable = ((decision.pack_high_w > 0.0) | (decision.pack_low_w < 0.0)).tolist()
    return usable, round(record.backup.required_wh, -2)
