"""What one simulated day costs, by component, and against an empty cycle of the same loop.

``python benchmarks/cycle.py [--hours 24] [--site SITE] [--load CSV --start DATE] [--json FILE]``

The run is ``ems simulate`` itself; the clock around each call is only added here.
"""

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ems import cycle, health, planning, sinks
from ems.config import load_site
from ems.dispatch import track
from ems.safety import envelope, gate
from sim import io as sim_io
from sim import lockstep, plant, recorder, runner, settle
from sim.vloop import VirtualClock, VirtualLoop, run

SITE = Path("configs/sites/peak-shaving.yaml")
BUDGET_S_PER_DAY = 120.0
REFERENCE_CYCLES = 100_000

PARTS: tuple[tuple[str, tuple[tuple[Any, str], ...]], ...] = (
    ("plant", ((plant.Plant, "advance"),)),
    ("devices in memory", ((sim_io.SimIO, "snapshot"), (sim_io.SimIO, "send"))),
    ("health", ((health, "update"),)),
    ("envelope", ((envelope, "limits"),)),
    ("deliverable energy", ((health, "backup_now"),)),
    ("dispatch: track", ((track, "track"),)),
    ("gate", ((gate, "decide"),)),
    ("commands", ((cycle, "commands"),)),
    ("waiting for the planner", ((planning.PlanKeeper, "plan"),)),
    ("asking the planner", ((planning.PlanKeeper, "after"),)),
    ("recorder", ((recorder.Recorder, "on_cycle"),)),
    ("account", ((settle.Account, "on_cycle"),)),
    ("log", ((sinks.JournalSink, "on_cycle"),)),
)
"""Component and the calls that make it up; a call inside another counts for itself only."""
ONCE: tuple[tuple[str, tuple[tuple[Any, str], ...]], ...] = (
    ("start of the planner", ((lockstep.LockstepPlanner, "__init__"),)),
    ("settling, with perfect foresight", ((settle.Account, "summary"),)),
)
"""What a run costs once, however long it is."""


class Meter:
    """Adds up the time spent in wrapped calls, less what they spend in other wrapped calls."""

    def __init__(self) -> None:
        self.spent_s = {name: 0.0 for name, _ in PARTS + ONCE}
        self._inner_s = [0.0]

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` with its time booked under ``name``."""
        generator = call is cycle.commands

        def timed(*args: Any, **kwargs: Any) -> Any:
            self._inner_s.append(0.0)
            began_s = time.perf_counter()
            result = call(*args, **kwargs)
            if generator:
                result = tuple(result)
            took_s = time.perf_counter() - began_s
            self.spent_s[name] += took_s - self._inner_s.pop()
            self._inner_s[-1] += took_s
            return result

        return timed

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Every part of the cycle wrapped for the time being."""
        before = []
        for name, calls in PARTS + ONCE:
            for owner, call in calls:
                original = getattr(owner, call)
                before.append((owner, call, original))
                setattr(owner, call, self.wrap(name, original))
        try:
            yield
        finally:
            for owner, call, original in before:
                setattr(owner, call, original)


def empty_cycle_us() -> float:
    """The reference: a cycle of the virtual loop in which nothing is done, in µs."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, datetime(2026, 1, 1, tzinfo=UTC))

    async def main() -> None:
        for second in range(REFERENCE_CYCLES):
            await clock.sleep_until_s(float(second))

    asyncio.set_event_loop(loop)
    began_s = time.perf_counter()
    run(loop, main())
    return 1e6 * (time.perf_counter() - began_s) / REFERENCE_CYCLES


def measure(site_file: Path, hours: float, load: Path | None, start: date) -> dict[str, Any]:
    """Figures of one simulation of ``hours``."""
    site = load_site(site_file)
    meter = Meter()
    with tempfile.TemporaryDirectory(prefix="ems-bench-") as out, meter.installed():
        job = runner.Job(
            site_file=site_file,
            site=site,
            load_csv=load,
            pv_csv=None,
            events_csv=None,
            start=start,
            days=hours / 24.0,
            record_s=60.0,
            protection=True,
            seed=1,
            out=Path(out),
        )
        began_s = time.process_time()
        summary = runner.simulate(job)
        cpu_s = time.process_time() - began_s
    cycles, wall_s = summary["cycles"], summary["wall_s"]
    reference_us = empty_cycle_us()
    parts_us = {name: 1e6 * meter.spent_s[name] / cycles for name, _ in PARTS}
    once_s = {name: meter.spent_s[name] for name, _ in ONCE}
    whole_us = 1e6 * (wall_s - sum(once_s.values())) / cycles
    parts_us["loop and the rest"] = whole_us - sum(parts_us.values())
    cycles_a_day = 86_400.0 / site.cycle_s
    return {
        "site": site.id,
        "packs": site.n_packs,
        "reported_cells": site.layout.n_cells,
        "cycles": cycles,
        "wall_s": wall_s,
        "wall_s_per_simulated_day": 1e-6 * whole_us * cycles_a_day + sum(once_s.values()),
        "us_per_cycle": whole_us,
        "cpu_us_per_cycle": 1e6 * cpu_s / cycles,
        "us_per_cycle_by_part": parts_us,
        "once_s": once_s,
        "reference_us_per_cycle": reference_us,
        "reference": "empty cycle of the virtual loop, same process",
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def show(found: dict[str, Any]) -> None:
    """The figures as a table."""
    reference_us = found["reference_us_per_cycle"]
    table = Table(
        title=f"{found['site']}: {found['packs']} packs, {found['reported_cells']} cells,"
        f" {found['cycles']} cycles"
    )
    for heading in ("part of a cycle", "µs", "share", "× empty cycle"):
        table.add_column(heading, justify="left" if heading.startswith("part") else "right")
    rows = sorted(found["us_per_cycle_by_part"].items(), key=lambda item: -item[1])
    for name, us in [*rows, ("whole cycle", found["us_per_cycle"])]:
        share = f"{100.0 * us / found['us_per_cycle']:.1f} %"
        table.add_row(name, f"{us:.1f}", share, f"{us / reference_us:.1f}")
    table.add_row("empty cycle (reference)", f"{reference_us:.1f}", "", "1.0")
    console = Console()
    console.print(table)
    for name, seconds in found["once_s"].items():
        console.print(f"{name}: {seconds:.1f} s once")
    console.print(
        f"{found['cpu_us_per_cycle']:.0f} µs of CPU a cycle, the planner's own process left out"
    )
    day_s = found["wall_s_per_simulated_day"]
    console.print(f"{day_s:.0f} s for a simulated day; the budget is {BUDGET_S_PER_DAY:.0f} s")


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24.0, help="simulated time")
    parser.add_argument("--site", type=Path, default=SITE)
    parser.add_argument("--load", type=Path, help="load CSV; without it the load is constant")
    parser.add_argument("--start", type=date.fromisoformat, default=date(2026, 11, 2))
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    found = measure(options.site, options.hours, options.load, options.start)
    show(found)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
