"""Linear models whose weights glide along one driving column, and how they are fitted.

A pulse answer means something else at 5 % charge than at 50 %, so every weight is a
smooth function of a driver (the state of charge, or the rest voltage where that is not
known). A model may be learned on the mean over the rows of a test: its answer for one
row alone then means nothing, only the mean over all rows does. Prediction needs numpy only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.models import Floats, Model

LEAST_STEP_V = 1e-4
"""Resolution of the instruments; smaller steps have no logarithm worth having."""
PENALTIES = np.logspace(-5.0, 1.0, 19)
INNER_PARTS = 10
BEYOND = 0.1
"""Answers for single rows may pass the training range by this share of it."""
FAR = 1e6
"""Stands for no end where JSON knows no infinity."""


@dataclass(frozen=True)
class Gated:
    """Sum over knots of ``share · ((x - centre) / width @ weights + offset)``."""

    driver: int
    """Column that drives the shares."""
    columns: NDArray[np.int64]
    """Columns the weights see: a voltage first, then the steps that followed, signed."""
    view: str
    """Steps as they are (``steps``), added up (``volts``) or as logarithms (``logs``)."""
    smooth: bool
    """Bell-shaped shares, else straight ones between neighbouring knots."""
    knots: Floats
    """Ascending, evenly spaced, shape ``(m,)``."""
    centre: Floats
    """Usual values at each knot, shape ``(m, k)``."""
    width: Floats
    weights: Floats
    """Shape ``(m, k)``."""
    offset: Floats
    """Shape ``(m,)``."""
    bias: float

    def seen(self, x: Floats) -> Floats:
        """What the weights are applied to, still in V or log V."""
        part = x[:, self.columns]
        if self.view == "volts":
            return np.cumsum(part, axis=1)
        if self.view == "logs":
            sizes = np.maximum(np.abs(part[:, 1:]), LEAST_STEP_V)
            return np.hstack([part[:, :1], np.log(sizes)])
        return part

    def shares(self, x: Floats) -> Floats:
        """Say of each knot for each row, shape ``(n, m)``; nothing beyond the last knots."""
        at = np.clip(x[:, self.driver], self.knots[0], self.knots[-1])
        step = self.knots[1] - self.knots[0]
        apart = (at[:, None] - self.knots) / step
        bell = np.exp(-0.5 * apart**2)
        return cast(Floats, bell if self.smooth else np.maximum(1.0 - np.abs(apart), 0.0))

    def terms(self, x: Floats) -> Floats:
        """Everything that is weighted, offsets first, shape ``(n, m + m k)``."""
        shares = self.shares(x)
        usual = shares / shares.sum(axis=1, keepdims=True) @ self.centre
        z = (self.seen(x) - usual) / self.width
        return np.hstack([shares, (shares[:, :, None] * z[:, None, :]).reshape(len(x), -1)])

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        found = self.terms(x) @ np.concatenate([self.offset, self.weights.ravel()]) + self.bias
        return cast(Floats, found)

    def spread(self, x: Floats) -> Floats:
        """A weighted sum does not know how unsure it is."""
        return np.zeros(len(x))


@dataclass(frozen=True)
class Rated:
    """Mean of several models with the error they showed on cells left out."""

    parts: tuple[Model, ...]
    driver: int
    knots: Floats
    noise: Floats
    """Error at each knot of the driver, shape ``(m,)``."""
    low: float
    high: float
    """Answers are held within; a weighted sum has no ends of its own."""

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        found = np.mean([np.clip(part.mean(x), self.low, self.high) for part in self.parts], axis=0)
        return cast(Floats, found)

    def spread(self, x: Floats) -> Floats:
        """Error seen near this value of the driver."""
        return cast(Floats, np.interp(x[:, self.driver], self.knots, self.noise))


models.KINDS.update({kind.__name__.lower(): kind for kind in (Gated, Rated)})


def per_test(
    values: Floats, groups: NDArray[np.str_], y: Floats
) -> tuple[Floats, NDArray[np.int64]]:
    """Mean over the rows of each test, and the test of each row.

    Rows of one cell with the very same truth are one test.
    """
    names = np.array([f"{cell} {truth!r}" for cell, truth in zip(groups, y, strict=True)])
    _, test, counts = np.unique(names, return_inverse=True, return_counts=True)
    total = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(total, test, values)
    return total / counts.reshape(-1, *([1] * (values.ndim - 1))), test


@dataclass(frozen=True)
class Gate:
    """Recipe of one ``Gated``; the penalty is the one best on cells left out."""

    driver: int
    columns: Sequence[int]
    knots: int
    view: str = "steps"
    smooth: bool = False
    whole: bool = False
    """Learn the mean over the rows of a test."""
    even: bool = False
    """One width for all columns instead of each its own."""

    def _frame(self, x: Floats) -> Gated:
        at = x[:, self.driver]
        low, high = float(at.min()), float(at.max())
        count = self.knots if high > low else 2
        knots = np.linspace(low, high if high > low else low + 1.0, count)
        none = np.zeros((count, len(self.columns)))
        columns = np.asarray(self.columns, dtype=np.int64)
        ones = np.ones(len(columns))
        empty = Gated(
            self.driver, columns, self.view, self.smooth, knots, none, ones, none, none[:, 0], 0.0
        )
        shares = empty.shares(x)
        shares = shares / shares.sum(axis=1, keepdims=True)
        centre = np.linalg.lstsq(shares, empty.seen(x), rcond=None)[0]
        left = empty.seen(x) - shares @ centre
        width = np.full(len(columns), left.std()) if self.even else left.std(axis=0)
        return replace(empty, centre=centre, width=np.where(width > 0.0, width, 1.0))

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> tuple[Gated, Floats]:
        """The model, and its answer for every row from a fit without that row's cell."""
        frame = self._frame(x)
        terms = frame.terms(x)
        if self.whole and not self.smooth:
            # Straight shares of a whole test are the same for all tests.
            terms[:, : len(frame.knots)] = 0.0
        rows, truth, cells = terms, y, groups
        if self.whole:
            rows, test = per_test(terms, groups, y)
            truth, _ = per_test(y, groups, y)
            cells = np.array([groups[np.argmax(test == each)] for each in range(len(rows))])
        scale = np.sqrt(((rows - rows.mean(axis=0)) ** 2).sum(axis=1).mean())
        found = np.zeros((len(PENALTIES), len(y)))
        cost = np.zeros(len(PENALTIES))
        names = np.unique(cells)
        order = np.random.Generator(np.random.PCG64(0)).permutation(len(names))
        for part in np.array_split(names[order], min(INNER_PARTS, len(names))):
            out, gone = np.isin(cells, part), np.isin(groups, part)
            weights, bias = _ridge(rows[~out] / scale, truth[~out])
            found[:, gone] = (terms[gone] / scale @ weights + bias).T
            cost += ((rows[out] / scale @ weights + bias - truth[out, None]) ** 2).sum(axis=0)
        best = int(cost.argmin())
        weights, bias = _ridge(rows / scale, truth)
        solved, count = weights[:, best] / scale, len(frame.knots)
        offset = solved[:count] * (0.0 if self.whole and not self.smooth else 1.0)
        made = replace(
            frame,
            offset=offset,
            weights=solved[count:].reshape(count, -1),
            bias=float(bias[best]),
        )
        return made, found[best]


def _ridge(rows: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Weights, shape ``(k, penalties)``, and biases of a ridge at every penalty."""
    middle, usual = rows.mean(axis=0), y.mean()
    apart, along = rows - middle, y - usual
    penalties = PENALTIES * len(y) / 100.0
    if len(y) > rows.shape[1]:
        sizes, axes = np.linalg.eigh(apart.T @ apart)
        shrunk = (axes.T @ (apart.T @ along))[:, None] / (sizes[:, None] + penalties)
        weights = axes @ shrunk
    else:
        sizes, axes = np.linalg.eigh(apart @ apart.T)
        weights = apart.T @ (axes @ ((axes.T @ along)[:, None] / (sizes[:, None] + penalties)))
    return weights, usual - middle @ weights


@dataclass(frozen=True)
class RatedGates:
    """Recipe of a mean of gates with the error seen on cells left out."""

    gates: Sequence[Gate]
    whole: bool
    """The answer is the mean over the rows of a test, and so is the error."""
    noise_knots: int = 6

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Every gate on all rows."""
        fitted = [gate.fit(x, y, groups) for gate in self.gates]
        margin = FAR if self.whole else BEYOND * float(np.ptp(y))
        low, high = float(y.min()) - margin, float(y.max()) + margin
        found = np.mean([np.clip(answers, low, high) for _, answers in fitted], axis=0)
        driver = self.gates[0].driver
        first, last = float(x[:, driver].min()), float(x[:, driver].max())
        knots = np.linspace(first, last if last > first else first + 1.0, self.noise_knots)
        if self.whole:
            tests, _ = per_test(found - y, groups, y)
            noise = np.full(len(knots), np.sqrt((tests**2).mean()))
        else:
            apart = np.abs(x[:, driver, None] - knots) / (knots[1] - knots[0])
            shares = np.exp(-0.5 * apart**2)
            noise = np.sqrt(shares.T @ (found - y) ** 2 / shares.sum(axis=0))
        return Rated(tuple(model for model, _ in fitted), driver, knots, noise, low, high)
