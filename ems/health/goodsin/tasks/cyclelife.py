"""``cycle-life``: cycles to 80 % from discharge curves of the first hundred cycles.

How the capacity-against-voltage curve Q(V) moves between early and late cycles tells
how fast a cell will age long before its capacity does (Severson et al., Nature Energy
2019). The figure is learned as a logarithm.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
import pandas as pd

from ems.health.goodsin.models import Recipe
from ems.health.goodsin.recipes import Blended, InducingGp, OnColumns, Ridge
from ems.health.goodsin.task import Column, Features, Floats, Task

VOLTS: Final = np.linspace(3.6, 2.0, 1000)[::10]
CURVE: Final = tuple(f"q_{volt:.3f}v_ah" for volt in VOLTS)
WINDOWS: Final[Mapping[str, tuple[int, int]]] = {
    "first": (2, 4),
    "early": (8, 10),
    "middle": (50, 60),
    "late": (95, 100),
}
"""Cycles over which curves are averaged; each needs at least one curve."""
BACKWARDS_AH: Final = 0.004
"""A curve may fall by this much from one voltage to the next; quantisation and noise."""
FROZEN_AH: Final = 2e-4
"""Curves that moved by less between early and late are copies of each other."""
SHAPE: Final = ("moved_var", "moved_min", "moved_skew", "moved_kurt", "first_ah", "rise_ah")
EVENTS: Final = (3.3, 3.2, 3.1, 3.0, 2.8)


def _at(curve: Floats, volt: float) -> float:
    return float(curve[np.argmin(np.abs(VOLTS - volt))])


def _log_var(moved: Floats) -> float:
    return float(np.log10(max(moved.var(), 1e-12)))


def _log_size(value: float) -> float:
    return float(np.log10(max(abs(value), 1e-6)))


def described(cycles: Floats, curves: Floats) -> dict[str, float]:
    """Features of one cell.

    Args:
        cycles: Shape ``(n,)``, ascending.
        curves: Discharged Ah at ``VOLTS``, shape ``(n, 100)``, finite.
    """
    mean = {
        name: curves[(cycles >= low) & (cycles <= high)].mean(axis=0)
        for name, (low, high) in WINDOWS.items()
    }
    moved = mean["late"] - mean["early"]
    then, since = mean["middle"] - mean["early"], mean["late"] - mean["middle"]
    apart = moved - moved.mean()
    last = curves[cycles >= WINDOWS["late"][0]][-1] - curves[cycles <= WINDOWS["early"][1]][-1]
    capacity = curves[:, -1]
    settled = cycles >= WINDOWS["early"][1]
    peak = float(np.gradient(mean["late"]).max())
    found = {
        "moved_var": _log_var(moved),
        "moved_min": _log_size(float(moved.min())),
        "moved_skew": float((apart**3).mean() / moved.std() ** 3),
        "moved_kurt": float((apart**4).mean() / moved.var() ** 2),
        "first_ah": float(capacity[0]),
        "rise_ah": float(capacity.max() - capacity[0]),
        "last_var": _log_var(last),
        "moved_mean_log": _log_size(float(moved.mean())),
        "moved_mean": float(moved.mean()),
        "since_var": _log_var(since),
        "then_var": _log_var(then),
        "settling_var": _log_var(mean["early"] - mean["first"]),
        "settling_min": float((mean["early"] - mean["first"]).min()),
        "late_ah": float(mean["late"][-1]),
        "gain_ah": float(mean["late"][-1] - capacity[0]),
        "slope_ah": float(np.polyfit(cycles[settled], capacity[settled], 1)[0]),
        "moved_3.0v_log": _log_size(_at(moved, 3.0)),
        "lowest_v": float(VOLTS[moved.argmin()]),
        "pace": _log_var(since) - _log_var(then),
        "inner_var": _log_var(moved[(VOLTS < 3.3) & (VOLTS > 2.9)]),
        "peak_ah": peak,
        "peak_moved_ah": peak - float(np.gradient(mean["early"]).max()),
        "early_3.2v": _at(mean["early"], 3.2),
    }
    found |= {f"moved_{volt}v": _at(moved, volt) for volt in EVENTS[1:]}
    return found | {f"late_{volt}v": _at(mean["late"], volt) for volt in (3.3, 3.2, 3.0)}


class CycleLife(Task):
    """Cycle life of a cell."""

    name: ClassVar[str] = "cycle-life"
    target: ClassVar[str] = "cycle_life"
    keys: ClassVar[tuple[str, ...]] = ("cell_id",)
    unique: ClassVar[tuple[str, ...]] = ("cell_id", "cycle")
    columns: ClassVar[Mapping[str, Column]] = {
        "cell_id": Column(text=True),
        "cycle": Column(low=1, high=1000),
        **dict.fromkeys(CURVE, Column("Ah", -0.05, 5.0)),
    }
    answer: ClassVar[Column] = Column("", 1, 1e5)

    def output(self, table: pd.DataFrame) -> pd.DataFrame:
        """One row a cell, in the order of first appearance."""
        return table[["cell_id"]].drop_duplicates().reset_index(drop=True)

    def truth(self, table: pd.DataFrame) -> Floats:
        """Cycle life stands in every row of a cell."""
        cells = table.groupby("cell_id", sort=False)[self.target].first()
        return cells.to_numpy(dtype=np.float64)

    def inspect(self, table: pd.DataFrame) -> Iterator[tuple[int, str, str, str]]:
        """Ah can only grow while the voltage falls."""
        step = np.diff(table[list(CURVE)].to_numpy(dtype=np.float64), axis=1)
        falls = (step < -BACKWARDS_AH).mean(axis=0)
        if falls.max() > 0.5:
            at = int(falls.argmax())
            row = int(np.flatnonzero(step[:, at] < -BACKWARDS_AH)[0])
            found = f"{abs(step[row, at]):.4f} Ah less than at the higher voltage before (swapped?)"
            yield row, CURVE[at + 1], found, "Ah that grow as the voltage falls"

    def features(self, table: pd.DataFrame) -> Features:
        """One row a cell with enough whole curves."""
        curves = table[list(CURVE)].to_numpy(dtype=np.float64)
        whole = np.isfinite(curves).all(axis=1) & np.isfinite(table["cycle"].to_numpy(np.float64))
        whole &= ~(np.diff(np.nan_to_num(curves), axis=1) < -BACKWARDS_AH).any(axis=1)
        cells = table["cell_id"].to_numpy(dtype=np.str_)
        found: list[dict[str, float]] = []
        rows: list[int] = []
        refused: dict[int, str] = {}
        for number, cell in enumerate(self.output(table)["cell_id"]):
            mine = np.flatnonzero(whole & (cells == cell))
            cycles = table["cycle"].to_numpy(dtype=np.float64)[mine]
            order = np.argsort(cycles)
            reason = _unusable(cycles[order], curves[mine][order])
            if reason:
                refused[number] = reason
            else:
                rows.append(number)
                found.append(described(cycles[order], curves[mine][order]))
        names = tuple(described(np.arange(2.0, 101.0), _example()))
        matrix = np.array([[each[name] for name in names] for each in found])
        groups = self.output(table)["cell_id"].to_numpy(dtype=np.str_)[rows]
        return Features(
            np.array(rows, dtype=np.int64), matrix.reshape(-1, len(names)), names, groups, refused
        )

    def recipe(self) -> Recipe:
        """A line and two smooth surfaces in log space; none of them is best everywhere."""
        names = list(described(np.arange(2.0, 101.0), _example()))
        shape = OnColumns(
            [names.index(name) for name in SHAPE],
            InducingGp(40, length=0.7, noise=0.2, trend_penalty=0.03),
        )
        every = InducingGp(40, length=1.0, noise=0.3, trend_penalty=0.03)
        return Blended((Ridge(0.05), shape, every), (1.0, 1.0, 1.0))

    def encode(self, target: Floats, features: Features) -> Floats:
        """Lives differ by factors."""
        return np.log(target)

    def decode(self, learned: Floats, features: Features) -> Floats:
        """The inverse."""
        return np.exp(np.minimum(learned, 20.0))

    def training(self, folder: Path) -> pd.DataFrame:
        """Both published parts that are free to learn from."""
        parts = []
        for part in ("train", "test1"):
            curves = pd.read_csv(folder / f"ageing/lfp_mit_early_qv_{part}.csv.gz")
            lives = pd.read_csv(folder / f"ageing/lfp_mit_cycle_life_{part}.csv.gz")
            parts.append(curves.merge(lives[["cell_id", "cycle_life"]], on="cell_id"))
        return pd.concat(parts, ignore_index=True)

    def files(self) -> tuple[str, ...]:
        """Curves and lives of both parts."""
        return tuple(
            f"ageing/lfp_mit_{what}_{part}.csv.gz"
            for part in ("train", "test1")
            for what in ("early_qv", "cycle_life")
        )

    def plain(self, table: pd.DataFrame) -> Floats:
        """Last curve less the tenth, or nearest, voltage by voltage: what anyone would take."""
        features = self.features(table)
        cells = table["cell_id"].to_numpy(dtype=np.str_)
        cycles = table["cycle"].to_numpy(dtype=np.float64)
        curves = table[list(CURVE)].to_numpy(dtype=np.float64)
        rows = np.full((len(self.output(table)), len(CURVE)), np.nan)
        for row, cell in zip(features.rows, features.groups, strict=True):
            mine = np.flatnonzero(cells == cell)
            early = mine[np.abs(cycles[mine] - WINDOWS["early"][1]).argmin()]
            rows[row] = curves[mine[cycles[mine].argmax()]] - curves[early]
        return rows


def _example() -> Floats:
    """Any curves, to learn the names of the features from."""
    return np.linspace(0.0, 1.0, len(VOLTS)) ** np.linspace(1.0, 1.1, 99)[:, None]


def _unusable(cycles: Floats, curves: Floats) -> str:
    for low, high in WINDOWS.values():
        if not ((cycles >= low) & (cycles <= high)).any():
            return f"no whole discharge curve of a cycle from {low} to {high}"
    late, early = curves[cycles >= WINDOWS["late"][0]], curves[cycles <= WINDOWS["early"][1]]
    if np.abs(late.mean(axis=0) - early.mean(axis=0)).max() < FROZEN_AH:
        return "early and late curves are the same: a frozen or copied record"
    return ""


TASK = CycleLife()
