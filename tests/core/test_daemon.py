"""The loop around the cycle: schedule without drift, overruns counted, safe at the end."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ems import cycle
from ems.daemon import Daemon
from ems.dispatch.tariff_file import load_tariff
from ems.model import OperatorRequest, RequestKind
from sim.vloop import VirtualClock, VirtualLoop, run
from tests.builders import make_site, make_snapshot

SITE = make_site()
TARIFF = load_tariff(Path("configs/tariffs/beijing-two-part-10kv.yaml"))
START = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


class SteadyIO:
    """Devices that always answer alike; remembers when it was asked and what it was sent."""

    def __init__(self, site):
        self.site = site
        self.asked_s: list[float] = []
        self.lateness_s: list[float] = []
        self.requests: list[OperatorRequest] = []
        self.sent = []
        self.stopped = False

    async def start(self):
        pass

    def snapshot(self, now_s, now_utc, clock_ok, lateness_s, requests):
        self.asked_s.append(now_s)
        self.lateness_s.append(lateness_s)
        self.requests += requests
        self.clock_ok = clock_ok
        snapshot = make_snapshot(self.site, now_s, now_utc=now_utc)
        from dataclasses import replace

        return replace(snapshot, clock_ok=clock_ok, lateness_s=lateness_s, requests=requests)

    def send(self, commands):
        self.sent.append(commands)

    async def stop(self):
        self.stopped = True


class NoPlanner:
    windows_sent = 0

    def plan(self, now_s):
        return None

    def after(self, record, state, site):
        pass


def run_for(seconds, site=SITE, hook=None):
    loop = VirtualLoop()
    clock = VirtualClock(loop, START)
    io = SteadyIO(site)
    daemon = Daemon(site, TARIFF, io, clock, NoPlanner(), [], cycle.initial(site))
    if hook is not None:
        daemon.sinks = (hook(daemon, loop),)

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(seconds, stop.set)
        await daemon.run(stop)

    run(loop, main())
    return daemon, io


def test_cycles_keep_their_schedule_without_drift():
    _, io = run_for(100.0)
    assert io.asked_s == [float(s) for s in range(101)]


def test_period_is_the_site_files():
    _, io = run_for(10.0, make_site(cycle_s=0.25))
    assert len(io.asked_s) == 41


def test_every_cycle_renews_the_lease_of_every_converter():
    _, io = run_for(5.0)
    for commands in io.sent:
        assert {c.converter for c in commands if hasattr(c, "power_w")} == {0, 1, 2}


def test_devices_are_left_safe_at_the_end():
    _, io = run_for(3.0)
    assert io.stopped


def slow(duration_s, cycle_number=3):
    """A sink that holds up one cycle, the third starting at 2 s, for a virtual duration."""

    class Slow:
        def __init__(self, daemon, loop):
            self.loop = loop

        def on_cycle(self, record, stats):
            if stats.cycles == cycle_number:
                self.loop._jumping.now_s += duration_s

    return Slow


@pytest.mark.parametrize(
    ("duration_s", "missed", "overruns"),
    [
        pytest.param(0.9, 0, 0, id="within its period: nobody is late"),
        pytest.param(1.4, 0, 0, id="the next is 0.4 s late: not yet an overrun"),
        pytest.param(1.6, 0, 1, id="the next is 0.6 s late"),
        pytest.param(2.6, 1, 1, id="one period lost: 1.6 s late"),
        pytest.param(3.5, 2, 1, id="two periods lost: 2.5 s late"),
    ],
)
def test_overrun_is_counted_and_the_schedule_kept(duration_s, missed, overruns):
    daemon, io = run_for(10.0, hook=slow(duration_s))
    assert (daemon.stats.missed, daemon.stats.overruns) == (missed, overruns)
    next_s = max(3.0, 2.0 + duration_s)
    assert io.asked_s[:4] == [0.0, 1.0, 2.0, pytest.approx(next_s)]
    assert io.asked_s[4:6] == [4.0 + missed, 5.0 + missed]


@pytest.mark.parametrize("duration_s", [1.0, 1.6, 2.6, 3.5])
def test_the_cycle_after_an_overrun_is_told_how_late_it_is_against_when_it_was_due(duration_s):
    """It was due at 3 s: the periods that were lost on the way are not forgiven."""
    _, io = run_for(10.0, hook=slow(duration_s))
    assert io.lateness_s[3] == pytest.approx(2.0 + duration_s - 3.0)
    assert io.lateness_s[4] == 0.0, "and the one after it is on time again"


@pytest.mark.parametrize(
    ("duration_s", "level"),
    [
        pytest.param(1.4, 0, id="1.4 periods: not yet"),
        pytest.param(1.6, 1, id="1.6 periods: warn"),
        pytest.param(2.1, 2, id="2.1 periods: derate"),
        pytest.param(2.9, 2, id="2.9 periods, one lost on the way: still derate"),
        pytest.param(3.1, 3, id="3.1 periods, two lost: stop"),
    ],
)
def test_an_overrun_of_the_loop_itself_raises_its_cause(duration_s, level):
    """Cycle 30 runs after the self-test, from whose end the cause is judged."""
    daemon, _ = run_for(36.0, hook=slow(duration_s, 30))
    levels = {c.cause: c.level for c in daemon.record.decision.causes}
    assert levels.get("C44", 0) == level


def test_a_failing_cycle_is_not_swallowed_and_devices_are_left_safe():
    class Broken:
        def __init__(self, daemon, loop):
            pass

        def on_cycle(self, record, stats):
            raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        run_for(5.0, hook=Broken)


def test_request_reaches_exactly_one_cycle():
    class Asks:
        def __init__(self, daemon, loop):
            self.daemon = daemon

        def on_cycle(self, record, stats):
            if stats.cycles == 2:
                self.daemon.submit(OperatorRequest("1", RequestKind.DISARM, "lin", "rack work"))

    _, io = run_for(10.0, hook=Asks)
    assert [r.id for r in io.requests] == ["1"]
