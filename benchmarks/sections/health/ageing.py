"""Remaining life: forecasts from the first part of a cell's life, against the rest of it.

Laboratory cells at lab speed are not packs in the field; what is tested is whether a
pack's own history corrects a published law, and whether the bounds are honest.
HUST and XJTU are for evaluation only: no coefficient was fitted to them. But the form of the
history model was changed after seeing these errors, so unseen cells may do worse.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path as Folder

import numpy as np
import pandas as pd

from benchmarks.sections import Figure
from ems.health.ageing.forecast import forecast, present
from ems.health.ageing.history import History
from ems.health.ageing.laws import LAWS, Path, Usage
from ems.site import Chemistry

TITLE = "Ageing: remaining life from the first 30 % and 50 % of a cell's history"
SHARES = (0.3, 0.5)
SIGMA_FRAC = 0.01
PER_DAY = 10.0
"""Cycles a day of a laboratory bench that runs without a break; calendar ageing is small."""
FEWEST_CYCLES = 20


@dataclass(frozen=True)
class Cell:
    """One cell: cycles and SoH up to the end of its record."""

    cell_id: str
    cycle: np.ndarray
    soh: np.ndarray


@dataclass(frozen=True)
class Source:
    """A data set, the law it is held against and how its cells were used."""

    name: str
    file: str
    column: str
    counter: str
    chemistry: Chemistry
    rated_ah: float | None
    """``None``: the median of the first ten cycles."""
    usage: Usage


SOURCES = (
    Source("LFP HUST", "ageing/lfp_hust_capacity.csv.gz", "capacity_ah", "cycle", Chemistry.LFP,
           1.1, Usage(PER_DAY, 0.5, 1.0, 30.0, 3.0)),
    Source("NMC XJTU", "ageing/nmc_xjtu_capacity.csv.gz", "capacity_ah", "cycle", Chemistry.NMC,
           2.0, Usage(PER_DAY, 0.5, 1.0, 25.0, 1.5)),
    Source("NASA 24 C", "cells/nasa_capacity.csv.gz", "capacity_ah", "discharge_no",
           Chemistry.NMC, 2.0, Usage(PER_DAY, 0.5, 1.0, 30.0, 0.9)),
    Source("LMO second life", "ageing/secondlife_lmo_cycles.csv.gz", "discharge_ah", "cycle",
           Chemistry.LMO, 33.1, Usage(0.4 * PER_DAY, 0.5, 0.4, 25.0, 0.3)),
)  # fmt: skip


def cells(source: Source, folder: Folder) -> Iterator[Cell]:
    """The cells of a set that age at all and are long enough to look ahead in."""
    table = pd.read_csv(folder / source.file)
    if source.name.startswith("NASA"):
        table = table[table["ambient_c"] == 24]
    for cell_id, rows in table.groupby("cell_id"):
        ah = rows[source.column].to_numpy(float)
        scale = source.rated_ah or float(np.median(ah[:10]))
        kept = np.isfinite(ah) & (ah > 0.4 * np.nanmedian(ah))
        cycle, soh = rows[source.counter].to_numpy(float)[kept], ah[kept] / scale
        if len(soh) >= FEWEST_CYCLES:
            yield Cell(str(cell_id), cycle, soh)


def end_of(cell: Cell) -> float:
    """SoH at the end of the record: the criterion its remaining life is counted to."""
    return float(np.median(cell.soh[-5:]))


def run() -> list[Figure]:
    """Every data set at every share; one figure each for error, worst cell and coverage."""
    if not os.environ.get("SECONDLIFE_EMS_DATA"):
        raise SystemExit("SECONDLIFE_EMS_DATA is not set")
    folder = Folder(os.environ["SECONDLIFE_EMS_DATA"])
    figures: list[Figure] = []
    for source in SOURCES:
        found = list(cells(source, folder))
        ageing = [cell for cell in found if np.median(cell.soh[:5]) - end_of(cell) > 0.05]
        figures.append(Figure(f"{source.name}: cells that lose more than 5 points", len(ageing)))
        figures.append(Figure(f"{source.name}: cells left out", len(found) - len(ageing)))
        for share in SHARES if ageing else ():
            figures += _figures(source, ageing, share)
        if source.chemistry is Chemistry.LMO:
            figures += _second_life(source, found)
    return figures + _cycle_life(folder)


def _second_life(source: Source, found: list[Cell]) -> list[Figure]:
    """Cells too restless to have a remaining life: the loss over their whole record."""
    measured = [np.median(cell.soh[:30]) - np.median(cell.soh[-30:]) for cell in found]
    path = Path(LAWS[source.chemistry], source.usage)
    expected = [float(path.loss_frac(np.array(cell.cycle[-1] / PER_DAY))) for cell in found]
    return [
        Figure(
            f"{source.name}: loss over the record, measured, mean", 100 * np.mean(measured), "%"
        ),
        Figure(
            f"{source.name}: loss over the record, law alone, mean", 100 * np.mean(expected), "%"
        ),
    ]


def _cycle_life(folder: Folder) -> list[Figure]:
    """MIT cells: the law alone, from new to 80 %; their 100 early cycles show no fade yet."""
    parts = [f"ageing/lfp_mit_cycle_life_{part}.csv.gz" for part in ("train", "test1")]
    life = pd.concat([pd.read_csv(folder / part) for part in parts])["cycle_life"].dropna()
    usage = Usage(PER_DAY, 0.5, 1.0, 30.0, 4.0)
    days = forecast(Chemistry.LFP, present(1.07 / 1.1), usage, 0.80)
    low, middle, high = days.life_efc
    error = np.median(np.abs(middle - life) / life)
    inside = np.mean((life >= low) & (life <= high))
    return [
        Figure(
            f"LFP MIT: cycle life, law alone, median error ({len(life)} cells)", 100 * error, "%"
        ),
        Figure("LFP MIT: cycle life, law alone, 90 % bounds cover", 100 * inside, "%"),
    ]


def _figures(source: Source, ageing: list[Cell], share: float) -> list[Figure]:
    errors: dict[str, list[float]] = {"law alone": [], "with history": [], "straight line": []}
    inside = []
    for cell in ageing:
        seen = cell.cycle <= cell.cycle[0] + share * (cell.cycle[-1] - cell.cycle[0])
        end, left = end_of(cell), cell.cycle[-1] - cell.cycle[seen][-1]
        soh = cell.soh[seen]
        if np.median(soh[-5:]) <= end + 0.005:
            continue
        history = History(cell.cycle[seen] / PER_DAY, soh, np.full(len(soh), SIGMA_FRAC))
        alone = forecast(source.chemistry, present(float(np.median(soh[-5:]))), source.usage, end)
        corrected = forecast(source.chemistry, history, source.usage, end)
        slope, level = np.polyfit(cell.cycle[seen], soh, 1)
        line = (end - level) / slope - cell.cycle[seen][-1] if slope < 0 else np.inf
        for name, cycles in (
            ("law alone", alone.life_efc[1]),
            ("with history", corrected.life_efc[1]),
            ("straight line", min(line, 10.0 * left)),
        ):
            errors[name].append(abs(cycles - left) / left)
        inside.append(corrected.life_efc[0] <= left <= corrected.life_efc[2])
    head = f"{source.name}, first {share:.0%}"
    figures = [
        Figure(f"{head}: remaining cycles, {name}, median error", 100 * np.median(values), "%")
        for name, values in errors.items()
    ]
    figures.append(
        Figure(f"{head}: with history, worst cell", 100 * max(errors["with history"]), "%")
    )
    figures.append(
        Figure(f"{head}: 90 % bounds cover ({len(inside)} cells)", 100 * np.mean(inside), "%")
    )
    return figures
