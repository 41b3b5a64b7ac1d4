"""``second-life-cycles``: capacity along storage cycles from two figures of each cycle.

Energy efficiency falls with resistance; mid voltage falls with resistance and with lost
charge. Capacity relative to the first cycle follows both. Cells take on capacity in
their first hundred to two hundred cycles at an unchanged mid voltage, which a step
describes; later resistance grows with the root of the cycles and lowers the mid voltage
without a loss of charge. Few cells exist to learn from, so low-dimensional forms that
look at a cell in different ways are averaged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin import frozen
from ems.health.goodsin.models import Recipe
from ems.health.goodsin.recipes import Blended, OnColumns, Ridge
from ems.health.goodsin.task import Column, Features, Floats, Task

EFFICIENCY, MID = "energy_efficiency_frac", "mid_voltage_v"
MEAN_V, MEAN_FRAC, MEAN_AH = 3.58, 0.93, 12.0
"""Where the features are centred; any value would do."""
AROUND: Final = 31
"""Cycles of the running median that a jump is judged by."""
JUMP: Final[Mapping[str, float]] = {MID: 0.030, EFFICIENCY: 0.012}
"""A cycle farther from the running median was disturbed."""
SMOOTH: Final[Mapping[str, int]] = {MID: 7, EFFICIENCY: 21}
"""Cycles over which each figure is smoothed."""
MOST_ALIKE: Final = 4
"""Cycles in a row that may agree in both figures to the last digit."""
LOWEST_V: Final = 3.42
"""Below, discharges were cut short in the cells that were learned from."""
CROWDED: Final = 0.25
"""With more than this share of disturbed cycles around, none of them is believed."""
TAKEN_ON, TAKING_ON = 130.0, 30.0
"""Cycle in the middle of the take-on of capacity, and its width: 100 to 190 in five cells."""
NAMES: Final = ("rise_v", "gain_frac", "take_on", "mid_v", "first_log", "first_v", "take_on_v",
                "efficiency_frac", "root_cycle")  # fmt: skip
AGED: Final = ("take_on", "root_cycle")
FORMS: Final = (
    ("rise_v", "gain_frac", *AGED),
    ("mid_v", "first_log", "first_v", *AGED),
    ("mid_v", "first_log", "first_v", "efficiency_frac", *AGED),
    ("rise_v", "take_on_v", *AGED),
    # Where efficiency stands and one constant of the cell, each in turn.
    *(
        ("rise_v", "efficiency_frac", constant, *AGED)
        for constant in ("first_v", "first_log", "take_on_v", "mid_v")
    ),
)
PENALTY: Final = 0.01


def _smoothed(values: "pd.Series[float]", cycles: int) -> "pd.Series[float]":
    median = values.rolling(cycles, center=True, min_periods=1).median()
    return median.rolling(cycles, center=True, min_periods=1).mean()


class Cycles(Task):
    """Discharge capacity at each cycle."""

    name: ClassVar[str] = "second-life-cycles"
    target: ClassVar[str] = "discharge_ah"
    keys: ClassVar[tuple[str, ...]] = ("cell_id", "cycle")
    columns: ClassVar[Mapping[str, Column]] = {
        "cell_id": Column(text=True),
        "cycle": Column(low=0, high=1e5),
        EFFICIENCY: Column("fraction", 0.5, 1.05),
        MID: Column("V", 3.0, 4.0),
        "discharge_ah": Column("Ah", 0.1, 60.0, may_be_empty=True),
    }
    answer: ClassVar[Column] = Column("Ah", 0.1, 60.0)
    folds: ClassVar[int] = 5
    strangers: ClassVar[float] = 4.0

    def features(self, table: pd.DataFrame) -> Features:
        """Smoothed along the cycles of each cell; disturbed cycles are refused."""
        refused: dict[int, str] = {}
        parts: list[tuple[NDArray[np.int64], Floats, Floats]] = []
        for _, cell in table.groupby("cell_id", sort=False):
            cell = cell.sort_values("cycle")
            part = _cell(cell, refused)
            if part is not None:
                parts.append(part)
        empty = (np.zeros(0, np.int64), np.zeros((0, len(NAMES))), np.zeros(0))
        rows, matrix, base = (np.concatenate(each) for each in zip(empty, *parts, strict=True))
        order = np.argsort(rows)
        cells = table["cell_id"].to_numpy(dtype=np.str_)[rows]
        cycles = table["cycle"].to_numpy(dtype=np.float64)[rows]
        whole = Features(rows, matrix, NAMES, cells, refused, base, cycles)
        return Features(
            *(whole.rows[order], matrix[order], NAMES, cells[order], refused, base[order]),
            order=cycles[order],
        )

    def known(self, features: Features) -> NDArray[np.bool_]:
        """The first cycle of each cell, whose capacity is given."""
        assert features.order is not None
        first = pd.Series(features.order).groupby(features.groups).transform("min")
        return np.asarray(features.order == first.to_numpy())

    def domain(self) -> tuple[str, ...]:
        """What changes from row to row; single figures of few cells span no domain."""
        return ("rise_v", "gain_frac", "mid_v", "efficiency_frac", "root_cycle")

    def recipe(self) -> Recipe:
        """Short weighted sums, each too simple to follow the peculiarities of one cell."""
        parts = [
            OnColumns([NAMES.index(name) for name in form], Ridge(PENALTY, robust=0.01))
            for form in FORMS
        ]
        return Blended(parts, [1.0] * len(parts))

    def encode(self, target: Floats, features: Features) -> Floats:
        """Logarithm relative to the first cycle."""
        assert features.base is not None
        return np.log(target / features.base)

    def decode(self, learned: Floats, features: Features) -> Floats:
        """The inverse."""
        assert features.base is not None
        return np.asarray(np.exp(learned) * features.base)

    def training(self, folder: Path) -> pd.DataFrame:
        """Rows that the source calls outliers stay as inputs but are not learned from."""
        table = pd.read_csv(folder / self.files()[0])
        table.loc[table["outlier_flag"] == 1, "discharge_ah"] = np.nan
        return table

    def files(self) -> tuple[str, ...]:
        """One table."""
        return ("ageing/secondlife_lmo_cycles.csv.gz",)

    def plain(self, table: pd.DataFrame) -> Floats:
        """Cycle, both figures and those of the first cycle with its capacity."""
        given = [*self.columns][1:]
        now = table[given[:-1]].to_numpy(dtype=np.float64)
        first = table.groupby("cell_id")[given[1:]].transform("first").to_numpy(dtype=np.float64)
        return np.hstack([now, first])


def _cell(
    cell: pd.DataFrame, refused: dict[int, str]
) -> tuple[NDArray[np.int64], Floats, Floats] | None:
    """Rows, features and first capacity of one cell in the order of its cycles."""
    rows = cell.index.to_numpy(dtype=np.int64)
    first = cell.iloc[0]
    if not np.isfinite(float(first["discharge_ah"])) or not cell[[EFFICIENCY, MID]].any().all():
        reason = (
            "the first cycle of this cell lacks discharge_ah, or no cycle has the other figures"
        )
        refused.update(dict.fromkeys(rows.tolist(), reason))
        return None
    stuck = frozen.repeats(cell, "cell_id", (EFFICIENCY, MID), MOST_ALIKE)
    refused.update(dict.fromkeys(rows[stuck].tolist(), "efficiency and mid voltage do not move"))
    bad = pd.Series(stuck, index=cell.index)
    smooth = {}
    for name, jump in JUMP.items():
        usual = cell[name].rolling(AROUND, center=True, min_periods=3).median()
        off = (cell[name] - usual).abs() > jump
        whole = cell[name].mask(off).interpolate(limit_direction="both")
        smooth[name] = _smoothed(whole, SMOOTH[name])
        bad |= cell[name].isna() | (off if name == MID else False)
    bad |= cell[MID] < LOWEST_V
    bad |= bad.astype(float).rolling(AROUND, center=True, min_periods=1).mean() > CROWDED
    bad.iloc[0] = False
    for row in rows[bad.to_numpy()].tolist():
        refused.setdefault(row, "a disturbed cycle, or near some")
    mid, efficiency = smooth[MID].to_numpy(), smooth[EFFICIENCY].to_numpy()
    # The first cycle is one noisy sample: half of the reference is its smoothed neighbourhood.
    given_v, given_frac = (
        smoothed[0] if np.isnan(float(first[name])) else float(first[name])
        for name, smoothed in ((MID, mid), (EFFICIENCY, efficiency))
    )
    first_v = (given_v + mid[0]) / 2.0
    ones = np.ones(len(rows))
    cycle = cell["cycle"].to_numpy(np.float64)
    take_on = 1.0 / (1.0 + np.exp((TAKEN_ON - cycle) / TAKING_ON))
    matrix = np.column_stack([
        mid - first_v,
        efficiency - given_frac,
        take_on,
        mid - MEAN_V,
        ones * np.log(float(first["discharge_ah"]) / MEAN_AH),
        ones * (given_v - MEAN_V),
        take_on * (given_v - MEAN_V),
        efficiency - MEAN_FRAC,
        np.sqrt(cycle / 1000.0),
    ])  # fmt: skip
    good = (~bad).to_numpy()
    return rows[good], matrix[good], ones[good] * float(first["discharge_ah"])


TASK = Cycles()
