"""A disk that takes nothing more: control goes on, and what is lost is said."""

import asyncio
import errno
import logging
from datetime import UTC, datetime
from pathlib import Path

from ems import cycle
from ems.config import load_site
from ems.daemon import Daemon
from ems.dispatch.tariff_file import load_tariff
from ems.history import WindowHistory
from ems.planning import PlanKeeper
from ems.sinks import JournalSink
from sim.io import SimIO
from sim.plant import Plant
from sim.vloop import VirtualClock, VirtualLoop, run
from tests.integration import runs

START = datetime(2026, 11, 2, 4, 0, tzinfo=UTC)
CYCLES = 1000
"""More than one demand window."""


class FullJournal:
    """An interlock log on a full disk."""

    def append(self, kind, data, now_s, now_utc, clock_ok=True):
        raise OSError(errno.ENOSPC, "No space left on device")

    def commit(self):
        raise AssertionError("nothing was written that could be committed")


class NoPlanner:
    windows_sent = 0
    restarts = 0

    def ready(self):
        return False

    def newest(self, now_s):
        return None


def test_full_disk_costs_records_and_never_control(caplog):
    site = load_site(runs.DEMO)
    loop = VirtualLoop()
    clock = VirtualClock(loop, START)
    keeper = PlanKeeper(NoPlanner(), WindowHistory(900.0, Path("/dev/full")))
    tariff = load_tariff(site.grid.tariff)
    sink = JournalSink(FullJournal(), site)
    io = SimIO(Plant(site, seed=1))
    daemon = Daemon(site, tariff, io, clock, keeper, [sink], cycle.initial(site))

    async def main():
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(float(CYCLES), stop.set)
        await daemon.run(stop)

    with caplog.at_level(logging.ERROR):
        run(loop, main())
    assert daemon.stats.cycles == CYCLES + 1
    assert len(keeper.history.windows) == 1, "what the disk refuses stays in memory"
    assert "interlock log: START lost" in caplog.text
    assert "window not kept" in caplog.text
