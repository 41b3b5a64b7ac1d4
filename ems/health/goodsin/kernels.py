"""Kernel regression on means of neighbouring rows, its shape chosen on cells left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.models import Floats, Model

REACH = 3.0
"""Standard deviations at which a column is held; one odd column must not carry a row away."""
AT_ONCE = 2048
"""Rows answered at once, to bound memory."""


@dataclass(frozen=True)
class Shape:
    """``gauss exp(-d²/2 length²) + edge exp(-d/reach) + slope z·z'/k + 1``.

    ``d`` is the root of the mean square over the ``k`` standardised columns. The Gaussian
    part is smooth, the exponential one bends anywhere, the last is a straight line.
    """

    gauss: float
    length: float
    edge: float
    reach: float
    slope: float = 1.0

    def between(self, one: Floats, other: Floats) -> Floats:
        """Covariance of standardised rows, shape ``(n, m)``."""
        count = one.shape[1]
        product = one @ other.T / count
        apart = (one**2).mean(axis=1)[:, None] + (other**2).mean(axis=1) - 2.0 * product
        apart = np.maximum(apart, 0.0)
        found = self.gauss * np.exp(-0.5 * apart / self.length**2) + self.slope * product + 1.0
        if self.edge:
            found += self.edge * np.exp(-np.sqrt(apart) / self.reach)
        return cast(Floats, found)


SHAPES = (
    Shape(1.0, 0.7, 0.0, 1.0),
    Shape(1.0, 1.0, 0.0, 1.0),
    Shape(2.0, 1.0, 1.0, 2.0),
    Shape(1.0, 0.7, 3.0, 2.0),
)
NOISE = 0.02
"""Variance of what the features cannot tell, against the prior's."""


@dataclass(frozen=True)
class Field:
    """Kernel regression on ``share (x - centre) / width``, columns held at ``REACH`` widths."""

    centre: Floats
    width: Floats
    share: Floats
    """How far a column tells rows apart, mean of the squares 1; shape ``(k,)``."""
    points: Floats
    """Means of neighbouring rows, never rows of the training table."""
    weights: Floats
    middle: float
    gauss: float
    length: float
    edge: float
    reach: float
    slope: float

    def _answers(self, x: Floats) -> tuple[Floats, Floats]:
        shape = Shape(self.gauss, self.length, self.edge, self.reach, self.slope)
        near = Shape(0.0, 1.0, 1.0, 1.0, 0.0)
        mean, apart = np.zeros(len(x)), np.zeros(len(x))
        for start in range(0, len(x), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            z = held(x[part], self.centre, self.width) * self.share
            mean[part] = shape.between(z, self.points) @ self.weights + self.middle
            alike = near.between(z, self.points).max(axis=1) - 1.0
            apart[part] = -np.log(np.maximum(alike, np.exp(-REACH)))
        return mean, apart

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return self._answers(x)[0]

    def spread(self, x: Floats) -> Floats:
        """Distance to the nearest point learned from: the farther, the less is known."""
        return self._answers(x)[1]


models.KINDS[Field.__name__.lower()] = Field


def held(x: Floats, centre: Floats, width: Floats) -> Floats:
    """Standardised rows, no column beyond ``REACH``."""
    return np.clip((x - centre) / width, -REACH, REACH)


@dataclass(frozen=True)
class Kernels:
    """Recipe of a ``Field``: of shapes and views those that err least on cells left out."""

    points: int
    """Of each cell, evenly spread along its life."""
    each: int
    """Rows in a row that a point is the mean of."""
    trial: int
    """Points of each cell that the shapes are compared on."""
    along: int = -1
    """Column that says where in its life a row is."""
    views: Sequence[Sequence[float]] = ()
    """Weights of the columns to choose among; all alike when empty."""

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Exact solution on the points; every cell counts alike."""
        spread = x.std(axis=0)
        centre, width = x.mean(axis=0), np.where(spread > 0.0, spread, 1.0)
        z = held(x, centre, width)

        def means(count: int) -> tuple[Floats, Floats, list[NDArray[np.int64]]]:
            runs: list[NDArray[np.int64]] = []
            cells = []
            for cell in np.unique(groups):
                mine = np.flatnonzero(groups == cell)
                mine = mine[np.argsort(x[mine, self.along], kind="stable")]
                near = min(self.each, len(mine))
                first = np.unique(np.linspace(0, len(mine) - near, count).astype(int))
                found = [mine[at : at + near] for at in first]
                cells.append(np.arange(len(runs), len(runs) + len(found)))
                runs += found
            at = np.stack([z[run].mean(axis=0) for run in runs])
            return at, np.array([y[run].mean() for run in runs]), cells

        at, truth, cells = means(self.trial)
        views = [np.asarray(view, dtype=np.float64) for view in self.views or [[1.0] * z.shape[1]]]
        shares = [np.sqrt(view / view.mean()) for view in views]
        shape, share = min(
            ((shape, share) for share in shares for shape in SHAPES),
            key=lambda pair: left_out(pair[0], at * pair[1], truth, cells),
        )
        at, truth, _ = means(self.points)
        at = at * share
        middle, gain = float(truth.mean()), float(truth.std()) or 1.0
        system = shape.between(at, at) + NOISE * np.eye(len(at))
        weights = np.asarray(np.linalg.solve(system, (truth - middle) / gain)) * gain
        return Field(
            centre,
            width,
            share,
            at,
            weights.astype(np.float64),
            middle,
            shape.gauss,
            shape.length,
            shape.edge,
            shape.reach,
            shape.slope,
        )


def left_out(shape: Shape, at: Floats, y: Floats, cells: list[NDArray[np.int64]]) -> float:
    """Root mean square error on a cell the fit never saw, mean over all cells.

    Closed form: residuals of rows left out of a linear smoother follow from the inverse
    of the whole system (Rasmussen and Williams, Gaussian Processes for Machine Learning,
    section 5.4.2, for groups instead of single rows).
    """
    inverse = np.linalg.inv(shape.between(at, at) + NOISE * np.eye(len(at)))
    scaled = inverse @ (y - y.mean())
    errors = [np.linalg.solve(inverse[np.ix_(cell, cell)], scaled[cell]) for cell in cells]
    return float(np.mean([np.sqrt((error**2).mean()) for error in errors]))
