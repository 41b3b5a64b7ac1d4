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
from dataclasses import replace
from pathlib import Path
from typing import Any

from ems import SOFTWARE, handover, memory, sdnotify, status, store
from ems.audit import Audit
from ems.clock import SystemClock
from ems.commission.admission import admitted, uncommissioned
from ems.daemon import CycleStats, Daemon, Sink
from ems.door import Door
from ems.drivers.field import FieldIO
from ems.history import WindowHistory
from ems.journal.writer import Journal
from ems.model import CycleRecord
from ems.planning import PlanKeeper
from ems.restore import restore
from ems.safety import gate
from ems.safety.table import table_sha256
from ems.sinks import JournalSink, StateSink, TelemetrySink, WatchdogSink, Writer
from ems.supervise import PlannerProcess
from ems.telemetry.metrics import Metrics
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import Uplink

log = logging.getLogger(__name__)

DRAIN_S = 5.0
"""At the end the uplink gets this long to deliver what is queued."""
SETTLE_AT_CYCLE = 15
"""By then every device has connected and every module is loaded; the site is not yet armed."""


class Service:
    """A running controller.

    Args:
        given: Site, tariff and devices; ``site.data_dir`` is where everything is kept.
        site_file: Its file, handed to the planner.
        socket: Path of the operator door.
    """

    def __init__(self, given: handover.Handover, site_file: Path, socket: Path) -> None:
        self.site = site = given.site
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
        restored = restore(site, data / "state.json", ran_before=self.journal.head[0] >= 0)
        safety, unfit = admitted(given, restored.state.safety)
        if unfit:
            log.error("armed by the run before, now starting disarmed: %s", unfit)
            self._note("STARTED_DISARMED", f"armed by the run before, now disarmed: {unfit}")
        history = WindowHistory.open(site.grid.demand_window_s, data / "history.csv")
        field = FieldIO(site, given.devices)
        self.daemon = Daemon(
            site,
            given.tariff,
            field,
            self.clock,
            PlanKeeper(self.planner, history),
            (),
            replace(restored.state, safety=safety),
        )
        self.metrics = Metrics(site, field.certificates)
        self.audit = Audit(
            self.journal,
            self.daemon,
            self.clock,
            self._latched,
            self._report(restored.lost),
            lambda: uncommissioned(given),
        )
        self.state = StateSink(
            data / "state.json",
            site,
            lambda: self.daemon.state,
            self.writer,
            lambda: self.audit.lost,
        )
        self.plan_levels: dict[int, int] = {}
        self._last_plan = ""
        self.daemon.sinks = (*sinks, self.state, self)
        self.door = Door(socket, self.status, self.audit.ask, self.boot)

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

    def _latched(self) -> bool:
        return bool(gate.save(self.daemon.state.safety)["latches"])

    def _report(self, lost: str) -> str:
        """Put into the log that the interlock state is not known; returns the reason again."""
        if lost:
            self._note("STATE_LOST", f"{lost}; unarmed until an operator has reset all")
        return lost

    def _note(self, kind: str, text: str) -> None:
        """Put into the log what was found at the start; a full disk does not keep it from it."""
        now_s, now_utc = self.clock.monotonic_s(), self.clock.now_utc()
        try:
            self.journal.append(kind, {"text": text}, now_s, now_utc)
            self.journal.commit()
        except OSError as error:
            log.error("interlock log: %s lost: %s", kind, error)

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a site's controller until a clean stop; started by ``ems run``, never by hand."""
    parser = argparse.ArgumentParser(prog="ems run", description="Run a site's controller.")
    parser.add_argument("handover", type=int, help="descriptor of the compiled site")
    parser.add_argument("site", type=Path, help="its file, for the planner")
    parser.add_argument("--socket", type=Path, required=True, help="operator door")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    service = Service(handover.read(options.handover), options.site, options.socket)
    asyncio.run(service.run())
    return 0


if __name__ == "__main__":
    sys.exit(main())
