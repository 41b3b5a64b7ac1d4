"""``ems simulate``: the daemon's own code over a simulated plant on virtual time."""

import asyncio
import hashlib
import json
import shutil
import time
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from datetime import time as day_time
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ems import cycle
from ems.daemon import CycleStats, Daemon
from ems.dispatch.tariff_file import load_tariff
from ems.history import WindowHistory
from ems.journal.writer import Journal
from ems.model import CycleRecord, OperatorRequest, RequestKind
from ems.planning import PlanKeeper
from ems.safety.table import table_sha256
from ems.sinks import JournalSink, Writer
from ems.site import Site
from sim import events as event_files
from sim import settle
from sim.csvfile import InputError
from sim.io import SimIO
from sim.lockstep import LockstepPlanner
from sim.plant import Plant
from sim.recorder import Recorder
from sim.traces import Traces
from sim.vloop import VirtualClock, VirtualLoop
from sim.vloop import run as run_virtual

HISTORY_DAYS = 62
"""The two months before the start are known to the planner, as on a metered site."""
ARM_AT_CYCLE = 20
SOFTWARE = "simulation"
"""Name under which a simulation signs its log."""


@dataclass(frozen=True, slots=True)
class Job:
    """One simulation as asked for on the command line."""

    site_file: Path
    site: Site
    load_csv: Path | None
    pv_csv: Path | None
    events_csv: Path | None
    start: date
    days: float
    record_s: float
    protection: bool
    seed: int
    out: Path


def simulate(job: Job, progress: bool = False) -> dict[str, Any]:
    """Run the job; returns the summary that is also written to ``summary.json``.

    Raises:
        InputError: an input is unusable, each problem with file and line; nothing is written.
        FileErrors: the tariff of the site is unusable; nothing is written.
        OSError: a result cannot be written.
    """
    started_s = time.perf_counter()
    site = job.site
    zone = ZoneInfo(site.timezone)
    start_utc = datetime.combine(job.start, day_time(), zone).astimezone(ZoneInfo("UTC"))
    length_s = job.days * 86_400.0
    traces = None
    if job.load_csv is not None:
        traces = Traces.read(job.load_csv, job.pv_csv, site, job.start, job.days)
    elif job.pv_csv is not None:
        raise InputError(f"{job.pv_csv}: --pv needs --load; the load file sets the time span")
    plant_events: tuple[event_files.Event, ...] = ()
    if job.events_csv is not None:
        plant_events = event_files.read(job.events_csv, start_utc, length_s, site)
    tariff = load_tariff(site.grid.tariff)
    _make_room(job.out)

    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    clock = VirtualClock(loop, start_utc)
    plant = Plant(site, job.seed, traces, job.protection)
    recorder = Recorder(site, plant, job.out / "timeseries.csv", job.record_s)
    account = settle.Account(site, plant)
    journal = Journal(
        job.out / "log",
        site.id,
        SOFTWARE,
        site.source_sha256,
        table_sha256(),
        boot_id=f"sim-{job.seed}",
    )
    disk = Writer()
    noise = _noise_arguments(plant_events, start_utc, length_s, job.seed)
    planner = LockstepPlanner(job.site_file, job.seed, noise)
    windows = traces.history(HISTORY_DAYS) if traces is not None else []
    keeper = PlanKeeper(planner, WindowHistory(site.grid.demand_window_s, windows=windows))
    daemon = Daemon(
        site,
        tariff,
        SimIO(plant),
        clock,
        keeper,
        (recorder, account, JournalSink(journal, site, disk)),
        cycle.initial(site),
    )
    schedule = _Schedule(daemon, plant, plant_events, length_s)
    try:
        run_virtual(loop, _main(daemon, schedule, progress))
    finally:
        recorder.close()
        disk.close()
        journal.close()
        planner.close()
    summary = account.summary(tariff) | {
        "planner": {"levels": planner.levels, "solvers": planner.solvers},
        "cycles": daemon.stats.cycles,
        "final_mode": daemon.record.decision.mode.value if daemon.record else None,
        "trace_sha256": recorder.trace_sha256,
        "seed": job.seed,
        "days": job.days,
        "protection": "on" if job.protection else "off",
        "trace_gaps": list(traces.gaps) if traces is not None else [],
        "timeseries_sha256": _sha256(job.out / "timeseries.csv"),
        "wall_s": round(time.perf_counter() - started_s, 2),
    }
    (job.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


def _make_room(out: Path) -> None:
    """A folder without the log of an earlier simulation; anything else in its place is refused.

    Raises:
        InputError: no folder can be had there, or it holds what a simulation did not write.
    """
    folder = out / "log"
    if folder.exists() and not _is_ours(folder):
        raise InputError(f"{folder} is not the log of a simulation; choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"--out {out}: cannot be written: {reason}") from None


def _is_ours(folder: Path) -> bool:
    try:
        with (folder / "interlock-000001.jsonl").open(encoding="utf-8") as file:
            record = json.loads(file.readline())
        return bool(record["data"]["software"] == SOFTWARE)
    except (OSError, ValueError, KeyError, TypeError):
        return False


class _Schedule:
    """Injects events and the operator's first ARM at their virtual times."""

    def __init__(
        self,
        daemon: Daemon,
        plant: Plant,
        events: tuple[event_files.Event, ...],
        duration_s: float,
    ) -> None:
        self._daemon = daemon
        self._plant = plant
        self._events = list(events)
        self.duration_s = duration_s
        self.now_s = 0.0
        self.stop = asyncio.Event()
        daemon.sinks = (self, *daemon.sinks)

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        now_s = self.now_s = record.snapshot.now_s
        if stats.cycles == ARM_AT_CYCLE:
            self._daemon.submit(
                OperatorRequest("sim-arm", RequestKind.ARM, "simulation", "start of simulation")
            )
        while self._events and self._events[0].at_s <= now_s:
            event = self._events.pop(0)
            self._plant.inject(event.name, event.target, event.duration_s, event.value)
        if now_s + self._daemon.site.cycle_s >= self.duration_s:
            self.stop.set()


async def _main(daemon: Daemon, schedule: _Schedule, progress: bool) -> None:
    if not progress:
        await daemon.run(schedule.stop)
        return
    from rich.progress import Progress  # noqa: PLC0415 - only where a screen is drawn

    with Progress() as bar:
        shown = bar.add_task("simulating", total=schedule.duration_s)

        async def show() -> None:
            while True:
                bar.update(shown, completed=schedule.now_s)
                await asyncio.sleep(900.0)

        watcher = asyncio.create_task(show())
        await daemon.run(schedule.stop)
        watcher.cancel()
        bar.update(shown, completed=schedule.duration_s)


def _noise_arguments(
    events: tuple[event_files.Event, ...], start_utc: datetime, length_s: float, seed: int
) -> tuple[str, ...]:
    """What tells the planner process when its prices are wrong, and by how much."""
    arguments: list[str] = []
    for event in events:
        if event.name == "price_noise":
            end_s = event.at_s + event.duration_s if event.duration_s > 0.0 else length_s
            bounds = (start_utc + timedelta(seconds=at_s) for at_s in (event.at_s, end_s))
            arguments += ["--price-noise", str(event.value), *(at.isoformat() for at in bounds)]
    return (*arguments, "--seed", str(seed)) if arguments else ()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def in_words(summary: dict[str, Any]) -> str:
    """The summary as an operator would read it."""
    if "bill_without" not in summary:
        return f"shorter than one demand window: nothing to settle; {summary['cycles']} cycles run"
    lines = []
    for name in ("bill_without", "bill_with", "bill_bound"):
        bill = summary[name]
        parts = ", ".join(f"{part} {bill[part]:.0f}" for part in ("energy", "demand", "wear"))
        lines.append(f"{name:14} {bill['total']:10.0f}  ({parts})")
    capture = summary["capture_frac"]
    lines.append(
        "savings captured: "
        + (
            "nothing to capture"
            if capture is None
            else f"{100 * capture:.1f} % of perfect foresight"
        )
    )
    lines.append(
        f"peak {summary['peak_without_w'] / 1000:.1f} kW without,"
        f" {summary['peak_with_w'] / 1000:.1f} kW with the battery"
    )
    lines.append(
        f"reserve shortfall {summary['reserve_shortfall_s']:.0f} s, backup shortfall"
        f" {summary['backup_shortfall_s']:.0f} s, limit violations {summary['limit_violations']}"
    )
    lines.append(f"plans {summary['planner']}, {summary['wall_s']:.1f} s of computing")
    return "\n".join(lines)
