"""When the planner is asked: on schedule, at once when the site changes, never in an outage."""

from dataclasses import replace

from ems import cycle
from ems.history import WindowHistory
from ems.model import CycleRecord, Mode, Plan, PlanRequest
from ems.planning import PLAN_PERIOD_S, PlanKeeper
from tests.builders import make_snapshot
from tests.dispatch import worlds

SITE = worlds.site()


class Link:
    """A planner that only notes what it is asked."""

    windows_sent = 0
    restarts = 0

    def __init__(self) -> None:
        self.asked: list[PlanRequest] = []

    def ask(self, request: PlanRequest) -> None:
        self.asked.append(request)

    def newest(self, now_s: float) -> Plan | None:
        return None

    def ready(self) -> bool:
        return True


def asked_at(modes: dict[int, Mode], seconds: int) -> list[int]:
    """Seconds at which a plan was asked for, with the modes that begin at some of them."""
    link = Link()
    keeper = PlanKeeper(link, WindowHistory(900.0))
    state, mode = cycle.initial(SITE), Mode.RUN
    record = _record(state)
    out = []
    for second in range(seconds):
        mode = modes.get(second, mode)
        now = make_snapshot(SITE, float(second), now_utc=worlds.FLAT_UTC)
        seen = replace(record, snapshot=now, decision=replace(record.decision, mode=mode))
        before = len(link.asked)
        keeper.after(seen, state.dispatch, SITE)
        if len(link.asked) > before:
            out.append(second)
    return out


def _record(state: cycle.CycleState) -> CycleRecord:
    _, record = cycle.step(state, make_snapshot(SITE), None, SITE, worlds.BEIJING)
    return record


def test_a_plan_is_asked_for_on_schedule() -> None:
    assert asked_at({}, 700) == [0, int(PLAN_PERIOD_S), 2 * int(PLAN_PERIOD_S)]


def test_in_an_outage_nothing_is_planned_and_after_it_at_once() -> None:
    assert asked_at({100: Mode.BACKUP, 650: Mode.RUN}, 700) == [0, 650]


def test_a_short_outage_has_the_plan_made_anew_too() -> None:
    assert asked_at({100: Mode.BACKUP, 110: Mode.RUN}, 200) == [0, 110]
