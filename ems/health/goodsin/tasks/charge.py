"""``charge-features``: capacity from statistics of the tail of a charge, fitted on the spot.

The features are those of Wang et al., Nature Communications 15 (2024): voltage near the
end of the constant-current part and current near the end of the constant-voltage part.
Their files are for evaluation only, so no coefficients are shipped.

Only a cell's past helps: how it was when first seen and how far its features have come
since. Scaling by the whole of a cell's record would tell the model how near the record's
end is, and a laboratory's records end at end of life; a pack that arrives is not so kind.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd

from ems.health.goodsin import frozen
from ems.health.goodsin.kernels import Kernels
from ems.health.goodsin.models import Recipe
from ems.health.goodsin.recipes import OnColumns, Thinned, Trees
from ems.health.goodsin.ripple import Rippled
from ems.health.goodsin.task import Column, Features, Floats, Task

SMOOTH: Final = 5
"""Rows a figure is smoothed over, twice; all of them before or at the row itself."""
FIRST: Final = 9
"""Rows that say how a cell was when first seen."""
WITHIN: Final = 20.0
"""Cycles that the rows of either may span; a sparse table is smoothed less."""
LATEST_START: Final = 50.0
"""Cycle by which a cell's table must start: the course since new is what is learned from."""
AGES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
"""Shares of the cycles so far at which the past is looked up."""
QUICK: Final = ("cc_q_ah", "cv_q_ah", "v_mean_v", "v_slope_v_per_s", "i_mean_a")
"""Figures that also tell one cycle from the next."""
RELATIVE: Final = ("cc_q_ah", "cc_time_s", "v_slope_v_per_s", "i_mean_a", "cv_q_ah", "cv_time_s")
"""Figures whose ratio counts, not their difference; told as logarithms."""
TURNS: Final = 6
"""Cycles back that are compared with their running mean."""
TURN_ROWS: Final = 11
SENSORS: Final = (("v_mean_v", "v_std_v", "v_kurt"), ("i_mean_a", "i_std_a", "i_kurt"))
MOST_ALIKE: Final = 4
"""Rows in a row that may agree in all figures of one sensor to the last digit."""
POINTS: Final = 45
"""Of each cell that are learned from; neighbours tell nothing new."""
EACH: Final = 2
"""Rows that a point is the mean of."""
TRIAL: Final = 14
"""Points of each cell that settle the shape of the surface."""
RIPPLE_ROWS: Final = 120
"""Of each cell that the change from cycle to cycle is learned from."""


class Charge(Task):
    """Capacity of a cell at one cycle."""

    name: ClassVar[str] = "charge-features"
    target: ClassVar[str] = "capacity_ah"
    keys: ClassVar[tuple[str, ...]] = ("cell_id", "cycle")
    columns: ClassVar[Mapping[str, Column]] = {
        "cell_id": Column(text=True),
        "cycle": Column(low=0, high=1e5),
        "v_mean_v": Column("V", 2.0, 4.6),
        "v_std_v": Column("V", 0.001, 0.5),
        "v_kurt": Column(low=-2.1, high=50.0),
        "v_skew": Column(low=-10.0, high=10.0),
        "cc_q_ah": Column("Ah", 0.001, 100.0),
        "cc_time_s": Column("s", 20.0, 36000.0),
        "v_slope_v_per_s": Column("V/s", 1e-6, 0.1),
        "v_entropy": Column(low=0.0, high=20.0, may_be_empty=True),
        "i_mean_a": Column("A", 0.01, 20.0),
        "i_std_a": Column("A", 0.001, 20.0),
        "i_kurt": Column(low=-2.1, high=50.0),
        "i_skew": Column(low=-10.0, high=10.0),
        "cv_q_ah": Column("Ah", 1e-4, 50.0),
        "cv_time_s": Column("s", 20.0, 36000.0),
        "i_slope_a_per_s": Column("A/s", -1.0, 0.0),
        "i_entropy": Column(low=0.0, high=20.0, may_be_empty=True),
    }
    answer: ClassVar[Column] = Column("Ah", 0.05, 1000.0)
    shipped: ClassVar[bool] = False
    folds: ClassVar[int] = 4
    ordinary: ClassVar[float | None] = 0.90
    """One row in ten may be refused, and the edge is where the tenth strangest stands."""

    def features(self, table: pd.DataFrame) -> Features:
        """Smoothed figures, how the cell was at first and at shares of its age since."""
        names = self.told()
        whole = np.isfinite(table[[*names, "cycle"]].to_numpy(dtype=np.float64)).all(axis=1)
        ordered = table.loc[whole].sort_values(["cell_id", "cycle"], kind="stable")
        stuck = np.zeros(len(ordered), dtype=np.bool_)
        for names_of in SENSORS:
            stuck |= frozen.repeats(ordered, "cell_id", names_of, MOST_ALIKE)
        refused = dict.fromkeys(ordered.index[stuck].tolist(), "figures that do not move: frozen")
        ordered = ordered.loc[~stuck]
        start = ordered.groupby("cell_id")["cycle"].transform("min")
        late = start > LATEST_START
        for row, cycle_of in start[late].items():
            refused[row] = (
                f"the cell's table starts at cycle {cycle_of:g}, too late to know its past"
            )
        ordered = ordered.loc[~late]
        groups = ordered["cell_id"].to_numpy(dtype=np.str_)
        cycle = ordered["cycle"].to_numpy(dtype=np.float64)
        values = ordered[names].to_numpy(dtype=np.float64, copy=True)
        relative = [names.index(name) for name in RELATIVE]
        values[:, relative] = np.log(values[:, relative])
        quick = [names.index(name) for name in QUICK]
        parts = [
            np.hstack([_turns(values[mine][:, quick]), _course(values[mine], cycle[mine])])
            for cell in pd.unique(groups)
            for mine in (np.flatnonzero(groups == cell),)
        ]
        width = len(QUICK) * TURNS + 1 + len(KINDS) * len(names) + len(AGE)
        matrix = np.vstack(parts) if parts else np.zeros((0, width))
        labels = [f"{name}_{back}_ago" for back in range(TURNS) for name in QUICK] + ["swing"]
        labels += [f"{kind}{name}" for kind in KINDS for name in names]
        rows = ordered.index.to_numpy(dtype=np.int64)
        back = np.argsort(rows)
        return Features(
            rows[back],
            matrix[back],
            (*labels, *AGE),
            groups[back],
            refused,
            order=cycle[back],
        )

    def domain(self) -> tuple[str, ...]:
        """What was measured, how far it has risen, and the cycle."""
        told = self.told()
        return (*told, *(f"risen_{name}" for name in told), "cycle")

    def told(self) -> list[str]:
        """Figures that are learned from; an entropy says what the time of its part says."""
        return [
            name
            for name, column in self.columns.items()
            if name not in self.keys and not column.may_be_empty
        ]

    def recipe(self) -> Recipe:
        """A smooth surface for the course of a life, trees for the turn of the cycles."""
        turns = len(QUICK) * TURNS + 1
        told = len(self.told())
        count = turns + len(KINDS) * told + len(AGE)
        views = [
            [view.get(kind, 1.0) for kind in KINDS for _ in range(told)]
            + [view.get("cycle", 1.0)] * len(AGE)
            for view in VIEWS
        ]
        return Rippled(
            OnColumns(range(turns, count), Kernels(POINTS, EACH, TRIAL, views=views)),
            OnColumns(range(turns), Thinned(RIPPLE_ROWS, Trees(40, leaf=3))),
        )

    def training(self, folder: Path) -> pd.DataFrame:
        """Nothing: there are no data that coefficients may be shipped from."""
        raise FileNotFoundError("charge-features is fitted with --fit only")

    def files(self) -> tuple[str, ...]:
        """None."""
        return ()


KINDS: Final = (
    "",
    "first_",
    "fallen_",
    "risen_",
    "mean_",
    *(f"since_{round(100 * age)}_percent_" for age in AGES),
)
"""What is told of every figure."""
AGE: Final = ("log_cycle", "root_cycle", "cycle")
"""The age of a cell; early cycles differ more than late ones."""
SETTLING: Final = 50.0
"""Cycles that count as much as the first in the logarithm."""
VIEWS: Final[tuple[Mapping[str, float], ...]] = (
    {},
    {"fallen_": 0.1, "cycle": 2.0},
    {"": 2.0, "first_": 0.5, "fallen_": 0.1, "mean_": 3.0, "cycle": 2.0},
)
"""How much more or less a kind counts when rows are compared; the training cells choose."""


def _course(values: Floats, cycle: Floats) -> Floats:
    """Of one cell in order: what ``KINDS`` says of every figure, then ``AGE``.

    A row sees itself and earlier rows only. Shape ``(n, k)`` to ``(n, 15 k + 3)``.
    """
    now = np.nanmean(_lately(np.nanmedian(_lately(values, cycle), axis=0), cycle), axis=0)
    early = int(np.sum(cycle[:FIRST] - cycle[0] <= WITHIN))
    first = pd.DataFrame(values[:early]).expanding().median().to_numpy(dtype=np.float64)
    first = first[np.minimum(np.arange(len(now)), early - 1)]
    mean = now.cumsum(axis=0) / np.arange(1, len(now) + 1)[:, None]
    fallen = np.maximum.accumulate(now) - now
    risen = now - np.minimum.accumulate(now)
    since = [
        now - now[np.searchsorted(cycle, cycle[0] + age * (cycle - cycle[0]), side="right") - 1]
        for age in AGES
    ]
    age = np.column_stack([np.log(cycle + SETTLING), np.sqrt(cycle), cycle])
    return np.hstack([now, first, fallen, risen, mean, *since, age])


def _lately(values: Floats, cycle: Floats) -> Floats:
    """Each row and those shortly before it, NaN where there are none: ``(SMOOTH, n, k)``."""
    at = np.arange(len(cycle))
    found = np.stack([values[np.maximum(at - back, 0)] for back in range(SMOOTH)])
    for back in range(1, SMOOTH):
        then = np.maximum(at - back, 0)
        found[back, (at < back) | (cycle - cycle[then] > WITHIN)] = np.nan
    return found


def _turns(values: Floats) -> Floats:
    """Of one cell in order: this cycle and the last against their mean, and how much they swing.

    Shape ``(n, k)`` to ``(n, TURNS k + 1)``.
    """
    frame = pd.DataFrame(values)
    mean = frame.rolling(TURN_ROWS, min_periods=1).mean().to_numpy(dtype=np.float64)
    swing = frame.iloc[:, :1].rolling(2 * TURN_ROWS, min_periods=2).std().fillna(0.0)
    at = np.arange(len(values))
    ago = [values[np.maximum(at - back, 0)] - mean for back in range(TURNS)]
    return np.hstack([*ago, swing.to_numpy(dtype=np.float64)])


TASK = Charge()
