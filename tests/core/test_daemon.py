"""The loop around the cycle: schedule without drift, overruns counted, safe at the end."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ems import cycle
from ems.daemon import Daemon
from ems.dispatch.tariff import load_tariff
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
        self.requests: list[OperatorRequest] = []
        self.sent = []
        self.stopped = False

    async def start(self):
        pass

    def snapshot(self, now_s, now_utc, clock_ok, lateness_s, requests):
        self.asked_s.append(now_s)
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


def test_overrun_is_counted_and_the_schedule_kept():
    class Slow:
        """Holds up cycle 3 for 2.6 s of virtual time."""

        def __init__(self, daemon, loop):
            self.loop = loop

        def on_cycle(self, record, stats):
            if stats.cycles == 3:
                self.loop._jumping.now_s += 2.6

    daemon, io = run_for(10.0, hook=Slow)
    assert daemon.stats.missed == 1
    assert daemon.stats.overruns == 1
    assert io.asked_s[:6] == [0.0, 1.0, 2.0, pytest.approx(4.6), 5.0, 6.0]


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
