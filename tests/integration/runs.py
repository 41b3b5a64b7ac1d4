"""Short simulations for tests: sites, load files and the job that runs them."""

import csv
import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from math import cos, pi
from pathlib import Path
from typing import Any

import pytest

from ems.config import load_site
from sim import runner

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "configs" / "sites" / "demo.yaml"
PEAK_SHAVING = ROOT / "configs" / "sites" / "peak-shaving.yaml"
BASE_STATION = ROOT / "configs" / "sites" / "base-station-48v.yaml"
START = date(2026, 11, 2)
WINDOW_S = 900.0

needs_data = pytest.mark.skipif(
    not os.environ.get("SECONDLIFE_EMS_DATA"), reason="SECONDLIFE_EMS_DATA is not set"
)


def data(name: str) -> Path:
    """A file of the shared measurement data."""
    return Path(os.environ["SECONDLIFE_EMS_DATA"]) / name


def write_load(
    path: Path,
    load_kw: Callable[[float], float],
    first: date,
    days: int,
    step_s: float = WINDOW_S,
) -> Path:
    """A load CSV in the site's wall clock; ``load_kw`` takes the hour since ``first``."""
    begin = datetime(first.year, first.month, first.day, tzinfo=UTC)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["local_time", "load_kw"])
        for step in range(round(days * 86_400 / step_s)):
            local = begin + timedelta(seconds=step * step_s)
            hour = step * step_s / 3600.0
            writer.writerow([local.replace(tzinfo=None).isoformat(), f"{load_kw(hour):.3f}"])
    return path


def workshop_kw(hour: float) -> float:
    """A working day: 8 kW at night, 18 kW around 14 h, a half-hour peak of 24 kW at 10 h."""
    of_day = hour % 24.0
    base = 13.0 - 5.0 * cos(2.0 * pi * (of_day - 2.0) / 24.0)
    return base + (8.0 if 10.0 <= of_day < 10.5 else 0.0)


def write_events(path: Path, *lines: str) -> Path:
    """An events CSV from lines without header."""
    header = "local_time,event,target,duration_s,value"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def simulate(site_file: Path, out: Path, **changes: Any) -> dict[str, Any]:
    """Summary of one simulation in this process."""
    job: dict[str, Any] = {
        "site_file": site_file,
        "site": load_site(site_file),
        "load_csv": None,
        "pv_csv": None,
        "events_csv": None,
        "start": START,
        "days": 0.01,
        "record_s": 60.0,
        "protection": True,
        "seed": 1,
        "out": out,
    }
    return runner.simulate(runner.Job(**(job | changes)))


def schema(name: str) -> dict[str, Any]:
    """A published JSON Schema."""
    text = (ROOT / "docs" / "reference" / f"{name}.schema.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


def rows(out: Path) -> Iterator[dict[str, Any]]:
    """Rows of ``timeseries.csv`` with numbers as numbers."""
    with (out / "timeseries.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {name: _cell(name, text) for name, text in row.items()}


def _cell(name: str, text: str) -> float | str:
    if name in ("timestamp_utc", "mode") or name.endswith("_limit_reason"):
        return text
    return float(text)
