"""Quadratic surface and small forest: recipes whose coefficients stay small."""

from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.models import Floats, Model, Recipe
from ems.health.goodsin.recipes import forest

BEYOND = 0.05
"""A surface may pass the training range by this share of it."""
REACH = 4.0
"""Standard deviations at which a column is held; a square grows without end."""


@dataclass(frozen=True)
class Quadratic:
    """Weighted sum of columns and of products of any two, in standard deviations."""

    centre: Floats
    width: Floats
    weights: Floats
    """Of the columns, then of the products in order of the upper triangle."""
    bias: float
    low: float
    high: float

    def mean(self, x: Floats) -> Floats:
        """Central answer, held near the training range."""
        found = products((x - self.centre) / self.width) @ self.weights + self.bias
        return cast(Floats, np.clip(found, self.low, self.high))

    def spread(self, x: Floats) -> Floats:
        """A surface does not know how unsure it is."""
        return np.zeros(len(x))


models.KINDS[Quadratic.__name__.lower()] = Quadratic


def products(z: Floats) -> Floats:
    """Columns and products of any two of them, shape ``(n, k + k (k + 1) / 2)``."""
    held = np.clip(z, -REACH, REACH)
    one, other = np.triu_indices(z.shape[1])
    return np.hstack([held, held[:, one] * held[:, other]])


@dataclass(frozen=True)
class Surface:
    """Recipe of a ``Quadratic``; the penalty is per row, for terms of unit spread."""

    penalty: float

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Ridge in closed form."""
        spread = x.std(axis=0)
        centre, width = x.mean(axis=0), np.where(spread > 0.0, spread, 1.0)
        terms = products((x - centre) / width)
        middle, size = terms.mean(axis=0), terms.std(axis=0)
        size = np.where(size > 0.0, size, 1.0)
        z, usual = (terms - middle) / size, float(y.mean())
        gram = z.T @ z / len(y) + self.penalty * np.eye(z.shape[1])
        weights = np.linalg.solve(gram, z.T @ (y - usual) / len(y)) / size
        margin = BEYOND * float(np.ptp(y))
        return Quadratic(
            centre,
            width,
            weights,
            usual - float(middle @ weights),
            float(y.min()) - margin,
            float(y.max()) + margin,
        )


@dataclass(frozen=True)
class SmallTrees:
    """Extremely randomised trees with few leaves."""

    count: int
    leaves: int
    least: int = 3
    features: float = 0.5
    seed: int = 0

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Trees laid end to end."""
        from sklearn.ensemble import ExtraTreesRegressor  # type: ignore  # noqa: PLC0415

        grown = ExtraTreesRegressor(
            self.count,
            min_samples_leaf=self.least,
            max_leaf_nodes=self.leaves,
            max_features=self.features,
            random_state=self.seed,
        )
        return forest(grown.fit(x, y))


@dataclass(frozen=True)
class Thinned:
    """A recipe shown at most ``most`` rows of each cell, evenly chosen."""

    most: int
    part: Recipe

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """The part on what is left."""
        kept = thin(groups, self.most)
        return self.part.fit(x[kept], y[kept], groups[kept])


def thin(groups: NDArray[np.str_], most: int) -> NDArray[np.int64]:
    """Positions of at most ``most`` rows of each group, evenly chosen, ascending."""
    chosen = []
    for name in np.unique(groups):
        mine = np.flatnonzero(groups == name)
        chosen.append(mine[np.unique(np.linspace(0, len(mine) - 1, most).astype(int))])
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
