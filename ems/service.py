"""``ems run``: one site's controller in service, wired from its parts.

This is systemd's main process. It owns the devices, the door and the log, and
supervises the planner; it goes on controlling when any of them is gone.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ems import cycle, memory, sdnotify, status, store
from ems.clock import SystemClock
from ems.config import load_site
from ems.daemon import CycleStats, Daemon, Sink
from ems.dispatch.tariff import load_tariff
from ems.door import Door
from ems.drivers.field import FieldIO
from ems.history import WindowHistory
from ems.journal.writer import Journal
from ems.model import CycleRecord, OperatorRequest
from ems.planning import PlanKeeper
from ems.safety.table import table_sha256
from ems.sinks import JournalSink, StateSink, TelemetrySink, WatchdogSink, Writer
from ems.site import Site
from ems.supervise import PlannerProcess
from ems.telemetry.metrics import Metrics
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import Uplink
from ems.yamltext import FileErrors

log = logging.getLogger(__name__)

SOFTWARE = "secondlife-ems 0.1.0"
DRAIN_S = 5.0
"""At the end the uplink gets this long to deliver what is queued."""
SETTLE_AT_CYCLE = 15
"""By then every device has connected and every module is loaded; the site is not yet armed."""


class Service:
    """A running controller.

    Args:
        site: The compiled site; ``data_dir`` is where everything is kept.
        site_file: Its file, handed to the planner.
        socket: Path of the operator door.
    """

    def __init__(self, site: Site, site_file: Path, socket: Path) -> None:
        self.site = site
        self.boot = uuid.uuid4().hex[:12]
        self.clock = SystemClock()
        self.writer = Writer()
        data = site.data_dir
        data.mkdir(parents=True, exist_ok=True)
        self.journal = Journal(
            data / "log", site.id, SOFTWARE, site.source_sha256, table_sha256(), self.boot
        )
        self.planner = PlannerProcess(site_file, self.clock)
        self.outbox: Outbox | None = None
        self.uplink: Uplink | None = None
        sinks: list[Sink] = [WatchdogSink(), JournalSink(self.journal, site, self.writer)]
        if site.uplink is not None:
            self.outbox = Outbox(data / "outbox.sqlite", self.clock)
            self.uplink = Uplink(
                self.outbox,
                site.uplink,
                site.id,
                self.boot,
                self.clock,
                hold_unheard=site.uplink.hold_unheard,
            )
            sinks.append(TelemetrySink(self.outbox, site, self.boot))
        history = WindowHistory.open(site.grid.demand_window_s, data / "history.csv")
        tariff = load_tariff(site.grid.tariff)
        self.daemon = Daemon(
            site,
            tariff,
            FieldIO(site),
            self.clock,
            PlanKeeper(self.planner, history),
            (),
            restore(site, data / "state.json"),
        )
        self.metrics = Metrics(site)
        self.state = StateSink(data / "state.json", site, lambda: self.daemon.state, self.writer)
        self.plan_levels: dict[int, int] = {}
        self._last_plan = ""
        self.daemon.sinks = (*sinks, self.state, self)
        self.door = Door(socket, self.status, self.ask)

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        """Count plans and hand the record to the metrics."""
        if stats.cycles == SETTLE_AT_CYCLE:
            memory.settle()
        plan = self.daemon.plan
        if plan is not None and plan.id != self._last_plan:
            self._last_plan = plan.id
            self.plan_levels[plan.level] = self.plan_levels.get(plan.level, 0) + 1
        self.metrics.update(record, stats, plan, self.outbox, self.uplink)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, then leave devices safe and data on disk."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        planner = asyncio.create_task(self.planner.run())
        if self.uplink is not None:
            self.uplink.start()
        if self.site.metrics_port:
            self.metrics.serve(self.site.metrics_port)
        await self.door.start()
        try:
            await self.daemon.run(stop)
        finally:
            sdnotify.notify("STOPPING=1")
            await self.door.stop()
            planner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await planner
            await self._finish()

    async def ask(self, request: OperatorRequest) -> str:
        """Log the request durably, then put it before the gate (log before arm)."""
        now_s, now_utc = self.clock.monotonic_s(), self.clock.now_utc()
        try:
            self.journal.append("operator_request", asdict(request), now_s, now_utc)
            await asyncio.get_running_loop().run_in_executor(None, self.journal.commit)
        except OSError as error:
            return f"the log cannot be written ({error}); nothing is armed or reset without it"
        return await self.daemon.operator(request)

    def status(self) -> dict[str, Any]:
        """Everything the door shows."""
        daemon = self.daemon
        answer = status.of(self.site, daemon.record, daemon.plan, daemon.stats)
        answer["planner"] = {
            "pid": self.planner.pid,
            "restarts": self.planner.restarts,
            "last_error": self.planner.last_error,
        }
        answer["uplink"] = self._uplink_status()
        return answer

    def _uplink_status(self) -> dict[str, Any] | None:
        if self.uplink is None or self.outbox is None:
            return None
        state, queue = self.uplink.status(), self.outbox.stats()
        return {
            "connected": state.state == "online",
            "state": state.state,
            "error": state.error,
            "acked": queue.delivered,
            "refused": state.refused,
            "queued": queue.rows + queue.waiting,
            "dropped": queue.dropped,
        }

    async def _finish(self) -> None:
        stats = self.daemon.stats
        store.write(self.site.data_dir / "state.json", self.state.data())
        loop = asyncio.get_running_loop()
        if self.uplink is not None and self.outbox is not None:
            deadline_s = self.clock.monotonic_s() + DRAIN_S
            while self._queued() and self.clock.monotonic_s() < deadline_s:
                await asyncio.sleep(0.05)
            await loop.run_in_executor(None, self.uplink.stop)
            await loop.run_in_executor(None, self.outbox.close)
        self.writer.close()
        self.journal.close()
        summary = {
            "cycles": stats.cycles,
            "missed": stats.missed,
            "overruns": stats.overruns,
            "p50_ms": round(1e3 * stats.percentile_s(0.50), 2),
            "p99_ms": round(1e3 * stats.percentile_s(0.99), 2),
            "plans": self.plan_levels,
            "planner_restarts": self.planner.restarts,
            "uplink": self._uplink_status(),
        }
        (self.site.data_dir / "run.json").write_text(json.dumps(summary), encoding="utf-8")

    def _queued(self) -> int:
        assert self.outbox is not None
        stats = self.outbox.stats()
        return stats.rows + stats.waiting


def restore(site: Site, path: Path) -> cycle.CycleState:
    """State of the last run, or a fresh, unarmed one when it is absent or does not fit."""
    data = store.read(path)
    if data is None or data.get("site") != site.id:
        return cycle.initial(site)
    try:
        return cycle.load(data["cycle"], site)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        log.error("state file %s does not fit this site (%r); starting unarmed", path, error)
        return cycle.initial(site)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a site's controller; 0 after a clean stop, 1 when the site file is no good."""
    parser = argparse.ArgumentParser(prog="ems run", description="Run a site's controller.")
    parser.add_argument("site", type=Path, help="site file")
    parser.add_argument("--socket", type=Path, required=True, help="operator door")
    parser.add_argument("--data-dir", type=Path, help="instead of the site file's")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        site = load_site(options.site)
        if options.data_dir is not None:
            site = replace(site, data_dir=options.data_dir)
        service = Service(site, options.site, options.socket)
    except FileErrors as errors:
        sys.stderr.write(f"{errors}\n")
        return 1
    asyncio.run(service.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
