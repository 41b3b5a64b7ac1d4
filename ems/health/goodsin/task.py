"""What a goods-in task is: a table of measurements in, one figure a row with bounds out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin.models import Recipe

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Column:
    """One column of an input table and what may stand in it."""

    unit: str = ""
    """As in the column's name: V, Ah, s, frac, percent; empty for text and counts."""
    low: float = -np.inf
    """Smallest value that is physically possible."""
    high: float = np.inf
    """Largest value that is physically possible."""
    optional: bool = False
    """The whole column may be left out; it then reads as empty."""
    may_be_empty: bool = False
    """A row without this value is not refused for it; the task copes."""
    text: bool = False
    """Names rather than numbers."""


@dataclass(frozen=True, slots=True)
class Features:
    """What a model sees of a table: ``n`` rows of ``k`` numbers."""

    rows: Ints
    """Position of each row in the output table, shape ``(n,)``."""
    matrix: Floats
    """Shape ``(n, k)``, finite."""
    names: tuple[str, ...]
    """Of the ``k`` columns."""
    groups: NDArray[np.str_]
    """Physical cell of each row, shape ``(n,)``."""
    refused: Mapping[int, str] = field(default_factory=dict)
    """Output rows that cannot be assessed, with the reason."""
    base: Floats | None = None
    """What ``encode`` and ``decode`` refer to, shape ``(n,)`` or ``(n, m)``."""
    order: Floats | None = None
    """Place of each row along the life of its cell, shape ``(n,)``, for smoothing."""
    strata: NDArray[np.str_] | None = None
    """Kind of each row (a lot, a chemistry): own domain, own width of bounds, shape ``(n,)``."""

    def take(self, which: NDArray[np.bool_] | Ints) -> "Features":
        """Only these rows; what was refused stays with the whole."""

        def part(array: Floats | None) -> Floats | None:
            return None if array is None else array[which]

        return Features(
            self.rows[which],
            self.matrix[which],
            self.names,
            self.groups[which],
            {},
            part(self.base),
            part(self.order),
            None if self.strata is None else self.strata[which],
        )


class Task(ABC):
    """One kind of assessment. Splits never cut a group; bounds and domain come with the fit."""

    name: ClassVar[str]
    """As given to ``--task``."""
    target: ClassVar[str]
    """Column to be found; its unit is in the name."""
    keys: ClassVar[tuple[str, ...]]
    """Columns kept in the output, in this order."""
    unique: ClassVar[tuple[str, ...]] = ()
    """Columns that name one row of the input, if not ``keys``."""
    columns: ClassVar[Mapping[str, Column]]
    """Every input column, keys included; further columns of a table are passed over."""
    answer: ClassVar[Column]
    """The target's physical range; a training table is held to it."""
    group: ClassVar[str] = "cell_id"
    """Column that names the physical cell."""
    scale: ClassVar[str | None] = None
    """Column that scales error figures, if any."""
    folds: ClassVar[int] = 10
    """Leave-cells-out parts that bounds and domain are calibrated on."""
    shipped: ClassVar[bool] = True
    """Whether coefficients come with the program; else ``--fit`` is needed."""
    strangers: ClassVar[float] = 1.5
    """A sample this many times farther out than calibration cells were is outside the domain."""
    ordinary: ClassVar[float | None] = None
    """Share of rows of left-out cells that is inside the domain, in place of ``strangers``.

    What the model says of its own spread then counts as distance, beside the ellipsoid's.
    """

    def output(self, table: pd.DataFrame) -> pd.DataFrame:
        """Key columns of the output, one row per answer; by default one per input row."""
        return table[list(self.keys)].reset_index(drop=True)

    def truth(self, table: pd.DataFrame) -> Floats:
        """Target of each output row, NaN where unknown."""
        return table[self.target].to_numpy(dtype=np.float64)

    def inspect(self, table: pd.DataFrame) -> Iterator[tuple[int, str, str, str]]:
        """Mistakes that ranges cannot show: (row, column, found, would be right)."""
        yield from ()

    @abstractmethod
    def features(self, table: pd.DataFrame) -> Features:
        """What the model sees, and which rows are refused before it looks.

        Rows that the frame refused already (empty or impossible values) arrive
        as NaN in the column concerned.
        """

    def lessons(self, table: pd.DataFrame) -> Features:
        """What a model learns from: rows in every way that they may arrive."""
        return self.features(table)

    @abstractmethod
    def recipe(self) -> Recipe:
        """How a model is made from features, encoded target and groups."""

    def encode(self, target: Floats, features: Features) -> Floats:
        """Target as the model learns it; must be increasing in the target."""
        return target

    def decode(self, learned: Floats, features: Features) -> Floats:
        """Target from what the model says; the inverse of ``encode``."""
        return learned

    def finish(self, features: Features, mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
        """Last word on encoded answers, for smoothing along the life of a cell."""
        return mean, spread

    def domain(self) -> tuple[str, ...]:
        """Features that the training domain is drawn in; all of them when empty."""
        return ()

    def known(self, features: Features) -> NDArray[np.bool_]:
        """Rows whose answer is given with the input; its encoded value is 0 and is repeated."""
        return np.zeros(len(features.rows), dtype=np.bool_)

    @abstractmethod
    def training(self, folder: Path) -> pd.DataFrame:
        """Table with target that shipped coefficients are fitted on, from the data folder."""

    @abstractmethod
    def files(self) -> tuple[str, ...]:
        """Files below the data folder that ``training`` reads."""

    def plain(self, table: pd.DataFrame) -> Floats:
        """Raw numbers of each output row, for the plain ridge and forest it is compared with."""
        names = [
            name
            for name, column in self.columns.items()
            if not column.text and name != self.target and name in table
        ]
        return table[names].to_numpy(dtype=np.float64)
