"""A planner that never answers again: the last plan is followed until it is too old, then rules."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np

from ems import cycle
from ems.config import load_site
from ems.daemon import Daemon
from ems.dispatch.tariff_file import load_tariff
from ems.dispatch.track import PLAN_MAX_AGE_S
from ems.history import WindowHistory
from ems.model import Mode, OperatorRequest, Plan, RequestKind, Source
from ems.planning import PlanKeeper
from sim.io import SimIO
from sim.plant import Plant
from sim.vloop import VirtualClock, VirtualLoop, run
from tests.integration import runs

START = datetime(2026, 11, 2, 4, 0, tzinfo=UTC)
AGE_AT_START_S = PLAN_MAX_AGE_S - 60.0
STEPS = 96


class LostPlanner:
    """Answered once, long ago."""

    windows_sent = 0
    restarts = 0

    def __init__(self, plan):
        self._plan = plan

    def ready(self):
        return False

    def ask(self, request):
        raise AssertionError("nobody is there to be asked")

    def newest(self, now_s):
        return self._plan


def last_plan(site):
    made = START - timedelta(seconds=AGE_AT_START_S)
    flat_w = np.full(STEPS, site.sim.load_w)
    return Plan(
        id="plan-1",
        made_at_utc=made,
        start_utc=START - timedelta(hours=2),
        step_s=900.0,
        level=1,
        solver="piqp",
        peak_target_w=site.sim.load_w,
        converter_power_w=np.zeros((STEPS, len(site.converters))),
        grid_power_w=flat_w,
        load_power_w=flat_w,
        pv_power_w=np.zeros(STEPS),
        reserve_slack_wh=0.0,
        solve_s=0.5,
    )


class Watch:
    """Arms the site and notes who set the power in each cycle."""

    def __init__(self):
        self.seen = []
        self.daemon = None

    def on_cycle(self, record, stats):
        if stats.cycles == 20:
            arm = OperatorRequest("1", RequestKind.ARM, "test", "start of test")
            self.daemon.submit(arm)
        self.seen.append((record.decision.mode, record.request))


def test_plan_ages_in_sight_and_rules_take_over_at_its_limit():
    site = load_site(runs.DEMO)
    loop, watch = VirtualLoop(), Watch()
    clock = VirtualClock(loop, START)
    keeper = PlanKeeper(LostPlanner(last_plan(site)), WindowHistory(900.0))
    tariff = load_tariff(site.grid.tariff)
    io = SimIO(Plant(site, seed=1))
    daemon = Daemon(site, tariff, io, clock, keeper, [watch], cycle.initial(site))
    watch.daemon = daemon

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(120.0, stop.set)
        await daemon.run(stop)

    run(loop, main())
    running = [request for mode, request in watch.seen if mode is Mode.RUN]
    young = [r for r in running if r.plan_age_s <= PLAN_MAX_AGE_S]
    old = [r for r in running if r.plan_age_s > PLAN_MAX_AGE_S]
    assert len(young) >= 20
    assert len(old) >= 50
    assert {(r.source, r.plan_level) for r in young} == {(Source.PLAN, 1)}
    assert {(r.source, r.plan_level) for r in old} == {(Source.RULES, 5)}
    assert all(b.plan_age_s > a.plan_age_s for a, b in pairwise(running))
    assert [mode for mode, _ in watch.seen][-1] is Mode.RUN
