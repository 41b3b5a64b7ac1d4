"""Outages of a base station: when they come, how one is simulated, and what became of it."""

import csv
import gzip
import hashlib
import json
import os
import random
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ems.config import load_site
from ems.safety.table import ROW_OF_ID
from ems.units import S_PER_H
from tests.integration import runs

FIRST = date(2026, 11, 2)
HISTORY_DAYS = 14
DAYS = 14
DAY_S = 86_400
SETTLE_S = 600
"""An outage comes to a station that is in service: armed and settled."""
STOP_LEVEL = 3
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Case:
    """One outage."""

    seed: int
    """Of the plant: cell scatter, sensor errors, noise."""
    day: int
    """Day of the load trace."""
    second: int
    """Start of the outage after local midnight, s."""


def cases(count: int, seed: int, latest_s: int = DAY_S) -> tuple[Case, ...]:
    """Seeded start times, each on a random day of the trace."""
    rng = random.Random(seed)
    return tuple(
        Case(rng.randrange(1, 2**31), rng.randrange(DAYS), rng.randrange(SETTLE_S, latest_s))
        for _ in range(count)
    )


def write_trace(path: Path) -> Path:
    """Load of the station by the hour: the measured shape, else the same all day.

    The measured one is scaled so that its highest hour is the load of the site file: the
    promise is made for that.
    """
    top_kw = load_site(runs.BASE_STATION).sim.load_w / 1000.0
    shape = [1.0]
    if os.environ.get("SECONDLIFE_EMS_DATA"):
        with gzip.open(runs.data("telecom/macro_site_load_60min.csv.gz"), "rt") as file:
            shape = [float(row["load_kw"]) for row in csv.DictReader(file)]
    scale = top_kw / max(shape)
    first = FIRST - timedelta(days=HISTORY_DAYS)
    return runs.write_load(
        path,
        lambda hour: scale * shape[int(hour) % len(shape)],
        first,
        HISTORY_DAYS + DAYS + 2,
        step_s=S_PER_H,
    )


def outcome(case: Case) -> dict[str, Any]:
    """Simulate the day up to the end of the outage; what became of load and cells."""
    site = load_site(runs.BASE_STATION)
    day = FIRST + timedelta(days=case.day)
    outage_s = site.backup.hours * S_PER_H
    at = timedelta(seconds=case.second)
    with tempfile.TemporaryDirectory(prefix="ems-outage-") as name:
        folder = Path(name)
        events = runs.write_events(
            folder / "events.csv", f"{day.isoformat()} {at!s:0>8},grid_outage,*,{outage_s},"
        )
        summary = runs.simulate(
            runs.BASE_STATION,
            folder / "out",
            load_csv=write_trace(folder / "load.csv"),
            events_csv=events,
            start=day,
            days=(case.second + outage_s) / DAY_S,
            protection=False,
            seed=case.seed,
        )
        table = list(runs.rows(folder / "out"))
    carried = [row for row in table if row["mode"] == "backup"]
    return asdict(case) | {
        "backup_shortfall_s": summary["backup_shortfall_s"],
        "reserve_shortfall_s": summary["reserve_shortfall_s"],
        "limit_violations": summary["limit_violations"],
        "hours_in_backup": len(carried) * 60.0 / S_PER_H,
        "energy_left_wh": carried[-1]["backup_energy_wh"] if carried else None,
        "cell_voltage_min_v": min(row["cell_voltage_min_v"] for row in table),
    }


def floor_v() -> float:
    """STOP threshold of under-voltage for the station's chemistry, V."""
    chemistry = load_site(runs.BASE_STATION).packs[0].chemistry
    limit = ROW_OF_ID["C02"].limit[chemistry][STOP_LEVEL - 1]
    assert limit is not None
    return limit


def faults(result: dict[str, Any]) -> list[str]:
    """What went wrong in one outage; empty when the promise was kept."""
    hours = load_site(runs.BASE_STATION).backup.hours
    found = []
    if result["hours_in_backup"] < hours - 0.1:
        found.append(f"in backup for {result['hours_in_backup']:.2f} h of {hours} h only")
    if result["backup_shortfall_s"] > 0.0:
        found.append(f"critical load dark for {result['backup_shortfall_s']:.0f} s")
    if result["cell_voltage_min_v"] <= floor_v():
        found.append(f"weakest cell at {result['cell_voltage_min_v']:.3f} V")
    return [f"{case_of(result)}: {fault}" for fault in found]


def case_of(result: dict[str, Any]) -> Case:
    """The case a result belongs to."""
    return Case(result["seed"], result["day"], result["second"])


def run_all(wanted: Iterable[Case]) -> Iterator[dict[str, Any]]:
    """Results of all cases as they come, two at a time."""
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        yield from pool.map(outcome, wanted)


def code_hash() -> str:
    """Hash over the program and its site file: what results are valid for."""
    digest = hashlib.sha256(runs.BASE_STATION.read_bytes())
    for package in ("ems", "sim"):
        for path in sorted((runs.ROOT / package).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.relative_to(runs.ROOT).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def results_file(name: str) -> Path:
    """Where the results for the present code are kept."""
    folder = runs.ROOT / "build" / "campaign"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{code_hash()}.jsonl"


def known(path: Path) -> dict[Case, dict[str, Any]]:
    """Results of an earlier, perhaps interrupted run."""
    if not path.exists():
        return {}
    results = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {case_of(result): result for result in results}
