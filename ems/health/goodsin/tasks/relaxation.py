"""Capacity of an NCA cell from half an hour of rest voltage after a full charge."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.models import Floats, Model, Recipe
from ems.health.goodsin.quadratic import SmallTrees, Thinned, thin
from ems.health.goodsin.recipes import Blended, InducingGp, OnColumns
from ems.health.goodsin.task import Column, Features, Task

SAMPLES = tuple(f"v_rest_{number:02d}_v" for number in range(14))
LEAST_DROP_V = 2e-5
"""Resolution of the instrument; smaller drops have no logarithm worth having."""
RISE_V = 2e-3
"""More rise than this during a rest is no relaxation after a charge."""
DISCHARGE_C = (0.9, 1.1)
"""All cells were discharged at 1 C between charges."""
AMBIENT_C = (20.0, 50.0)
CHARGE_C = (0.2, 1.1)
"""Five conditions between 25 and 45 °C, 0.25 and 1 C were measured; no sample tells beyond."""
MEDIAN_ROWS = 3
"""Neighbouring rows whose median is taken first, against single outliers."""
LINE_ROWS, LINE_CYCLES = 15, 15.0
"""Rows, and cycles to either side, that a straight line is drawn through: at the ends of a
series a mean or median would lag behind what is changing."""
LEAST_LINE = 4
"""With fewer rows near by, each stands for itself."""
START_ROWS = 8
"""First rows of a series, whose median is the cell's own start."""
SERIES_ROWS = 12
"""Fewer rows of a cell are assessed one by one."""
START_CYCLE = 40
"""A series that begins later has no start to be compared with."""
REHEARSED = 30
"""Rows of each cell that are learned from as if they had come alone."""

ROW, SERIES = 0.0, 1.0
DROPS = tuple(f"log_drop_{number:02d}" for number in range(1, 14))
NOW = ("v_first_v", "v_last_v", *DROPS)
NAMES = ("way", "ambient_c", "log_charge_c_rate", "log_cycles", *NOW,
         *(f"{name}_since_start" for name in NOW))  # fmt: skip
CYCLES, FIRST, CHANGE = 3, 4, 4 + len(NOW)
LEVELS = (1, 2, CYCLES, *range(FIRST, CHANGE))
"""Conditions, cycles and voltages as they are now."""


@dataclass(frozen=True)
class PerWay:
    """Cells that come as a series are compared with their own start; single rows cannot be."""

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """One model for each way that occurs."""
        ways = np.unique(x[:, 0])
        parts = []
        for way in ways:
            mine = x[:, 0] == way
            recipe = SERIES_RECIPE if way == SERIES else ROW_RECIPE
            parts.append(recipe.fit(x[mine], y[mine], groups[mine]))
        return models.Switch(0, ways, tuple(parts))


ROW_RECIPE = OnColumns(LEVELS, Blended((SmallTrees(10, 70), InducingGp(100, 1.0, 0.1)), (1.0, 1.0)))
SERIES_RECIPE = Thinned(
    60,
    Blended(
        (
            OnColumns(range(1, len(NAMES)), SmallTrees(15, 100)),
            OnColumns(LEVELS, InducingGp(140, 1.0, 0.03)),
        ),
        (1.0, 1.0),
    ),
)
"""Chosen on cells left out in 8 parts, 6 times: where trees lag at fast ageing, the process
runs ahead, and the mean of both errs less than either."""


class Relaxation(Task):
    """Rest voltages of one charge, or of a cell's whole life from its start.

    With the series at hand voltages are smoothed along the life and are seen beside their
    change since the cell's own start, which takes away most of what differs from cell to
    cell. A row alone is assessed from its own voltages and its cycle number.
    """

    name: ClassVar[str] = "relaxation"
    target: ClassVar[str] = "capacity_ah"
    keys: ClassVar[tuple[str, ...]] = ("cell_id", "cycle")
    columns: ClassVar[Mapping[str, Column]] = {
        "cell_id": Column(text=True),
        "cycle": Column(low=0.0),
        "ambient_c": Column("°C", -40.0, 80.0),
        "charge_c_rate": Column("1/h", 0.01, 10.0),
        "discharge_c_rate": Column("1/h", 0.01, 10.0),
        **{name: Column("V", 2.0, 5.0) for name in SAMPLES},
    }
    answer: ClassVar[Column] = Column("Ah", 0.5, 5.0)
    folds: ClassVar[int] = 6

    def features(self, table: pd.DataFrame) -> Features:
        """Voltages, drops and their change, of each row in the way it arrives."""
        return self._read(table, rehearse=False)

    def lessons(self, table: pd.DataFrame) -> Features:
        """The same, and rows of series alone too."""
        return self._read(table, rehearse=True)

    def _read(self, table: pd.DataFrame, *, rehearse: bool) -> Features:
        refused = dict(_refused(table))
        usable = np.array([row for row in range(len(table)) if row not in refused], dtype=np.int64)
        cells = table["cell_id"].astype(str).to_numpy().astype(np.str_)
        cycle = table["cycle"].to_numpy(dtype=np.float64)
        now = _now(table)
        parts, rows = [], []
        for cell in np.unique(cells[usable]):
            mine = usable[cells[usable] == cell]
            mine = mine[np.argsort(cycle[mine], kind="stable")]
            series = len(mine) >= SERIES_ROWS and cycle[mine[0]] <= START_CYCLE
            if series:
                parts.append(_series(now[mine], cycle[mine]))
                rows.append(mine)
            if not series or rehearse:
                alone = mine[thin(cells[mine], REHEARSED)] if series else mine
                parts.append(_alone(now[alone], cycle[alone]))
                rows.append(alone)
        if not rows:
            empty = np.zeros(0, np.int64)
            return Features(empty, np.zeros((0, len(NAMES))), NAMES, cells[empty], refused)
        at, x = np.concatenate(rows), np.vstack(parts)
        x[:, 1] = table["ambient_c"].to_numpy(dtype=np.float64)[at]
        x[:, 2] = np.log(table["charge_c_rate"].to_numpy(dtype=np.float64)[at])
        strata = np.where(x[:, 0] == SERIES, "series", "row")
        return Features(at, x, NAMES, cells[at], refused, None, cycle[at], strata)

    def recipe(self) -> Recipe:
        """One model for each way of arriving."""
        return PerWay()

    def training(self, folder: Path) -> pd.DataFrame:
        """44 cells, every cycle."""
        return pd.read_csv(folder / self.files()[0])

    def files(self) -> tuple[str, ...]:
        """The one file."""
        return ("ageing/nca_relaxation.csv.gz",)


def _now(table: pd.DataFrame) -> Floats:
    """First and last voltage, V, and the logarithms of the drops between samples."""
    volts = table[list(SAMPLES)].to_numpy(dtype=np.float64)
    drops = np.log(np.fmax(-np.diff(volts, axis=1), LEAST_DROP_V))
    return np.column_stack([volts[:, 0], volts[:, -1], drops])


def _series(now: Floats, cycle: Floats) -> Floats:
    """Rows of one cell in order of cycles."""
    calm = _calm(now, cycle)
    x = np.zeros((len(now), len(NAMES)))
    x[:, 0] = SERIES
    x[:, CYCLES] = np.log1p(cycle)
    x[:, FIRST:CHANGE] = calm
    x[:, CHANGE:] = calm - np.median(calm[:START_ROWS], axis=0)
    return x


def _calm(now: Floats, cycle: Floats) -> Floats:
    """Medians of three, then the straight line through the neighbours at each row."""
    near = pd.DataFrame(now).rolling(MEDIAN_ROWS, center=True).median().fillna(pd.DataFrame(now))
    single, calm = near.to_numpy(), now.copy()
    count = min(LINE_ROWS, len(now))
    for row in range(len(now)):
        first = min(max(row - count // 2, 0), len(now) - count)
        at = np.arange(first, first + count)
        at = at[np.abs(cycle[at] - cycle[row]) <= LINE_CYCLES]
        if len(at) >= LEAST_LINE:
            away = cycle[at] - cycle[row]
            line = np.column_stack([np.ones(len(at)), away])
            calm[row] = np.linalg.lstsq(line, single[at], rcond=None)[0][0]
    return calm


def _alone(now: Floats, cycle: Floats) -> Floats:
    x = np.zeros((len(now), len(NAMES)))
    x[:, 0] = ROW
    x[:, CYCLES] = np.log1p(cycle)
    x[:, FIRST:CHANGE] = now
    return x


def _refused(table: pd.DataFrame) -> Iterator[tuple[int, str]]:
    numbers = table[["cycle", "ambient_c", "charge_c_rate", "discharge_c_rate", *SAMPLES]]
    missing = set(np.flatnonzero(np.asarray(numbers.isna()).any(axis=1)))
    volts = table[list(SAMPLES)].to_numpy(dtype=np.float64)
    rate = table["discharge_c_rate"].to_numpy(dtype=np.float64)
    ambient = table["ambient_c"].to_numpy(dtype=np.float64)
    charge = table["charge_c_rate"].to_numpy(dtype=np.float64)
    for row in range(len(table)):
        if row in missing:
            yield row, "a value is missing"
        elif not DISCHARGE_C[0] <= rate[row] <= DISCHARGE_C[1]:
            yield row, f"discharged at {rate[row]:g} C; the models are for 1 C"
        elif not AMBIENT_C[0] <= ambient[row] <= AMBIENT_C[1]:
            yield row, f"at {ambient[row]:g} °C; the models are for 25 to 45 °C"
        elif not CHARGE_C[0] <= charge[row] <= CHARGE_C[1]:
            yield row, f"charged at {charge[row]:g} C; the models are for 0.25 to 1 C"
        elif np.ptp(volts[row]) == 0.0:
            yield row, "rest voltage is frozen"
        elif np.diff(volts[row]).max() > RISE_V or volts[row, -1] >= volts[row, 0]:
            yield row, "rest voltage rises: no rest after a full charge"


TASK = Relaxation()
