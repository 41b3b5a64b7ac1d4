"""How models are made: scikit-learn fits, and only its numbers are kept."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.bounds import equal_weights
from ems.health.goodsin.models import Floats, Model, Recipe


def _standard(x: Floats) -> tuple[Floats, Floats]:
    spread = x.std(axis=0)
    return x.mean(axis=0), np.where(spread > 0.0, spread, 1.0)


def _nobody(rows: Floats, labels: NDArray[np.int64]) -> Floats:
    """Means of the clusters; of a single row, half way to the next mean.

    A coefficient file must not hold rows of a data set.
    """
    found, labels, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    means = np.zeros((len(found), rows.shape[1]))
    np.add.at(means, labels, rows)
    means /= sizes[:, None]
    apart = ((means[:, None] - means) ** 2).sum(axis=-1)
    np.fill_diagonal(apart, np.inf)
    between = (means + means[apart.argmin(axis=1)]) / 2.0
    return np.where(sizes[:, None] < 2, between, means)


REWEIGHTED = 8
"""Rounds of reweighting; the weights have settled by then."""


@dataclass(frozen=True)
class Ridge:
    """Ridge regression in standardised space; ``balanced`` lets every cell count alike."""

    penalty: float
    balanced: bool = True
    robust: float = 0.0
    """Residuals beyond this count less and less (Huber); 0 trusts every row."""

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Weights in closed form, reweighted if robust; penalty is per effective row."""
        centre, width = _standard(x)
        z = (x - centre) / width
        given = equal_weights(groups) if self.balanced else np.ones(len(y))
        found, bias, trust = np.zeros(z.shape[1]), 0.0, np.ones(len(y))
        for _ in range(REWEIGHTED if self.robust else 1):
            weights = given * trust / (given * trust).sum()
            mean_z, mean_y = weights @ z, float(weights @ y)
            apart = (z - mean_z) * weights[:, None]
            gram = apart.T @ (z - mean_z) + self.penalty * np.eye(z.shape[1])
            found = np.linalg.solve(gram, apart.T @ (y - mean_y))
            bias = mean_y - float(mean_z @ found)
            if self.robust:
                trust = self.robust / np.maximum(np.abs(y - z @ found - bias), self.robust)
        return models.Linear(centre, width, found, bias)


@dataclass(frozen=True)
class InducingGp:
    """Gaussian process with ``points`` cluster centres and a linear trend.

    ``length`` is in standard deviations per root of the feature count; ``noise`` is the
    ratio of noise to signal variance.
    """

    points: int = 200
    length: float = 1.0
    noise: float = 0.05
    trend_penalty: float = 1e-2
    balanced: bool = True
    seed: int = 0

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Subset-of-regressors posterior around a ridge trend."""
        from sklearn.cluster import MiniBatchKMeans  # type: ignore  # noqa: PLC0415

        trend = cast(models.Linear, Ridge(self.trend_penalty, self.balanced).fit(x, y, groups))
        left = y - trend.mean(x)
        stretch = self.length * np.sqrt(x.shape[1])
        width = trend.width * stretch
        z = (x - trend.centre) / width
        count = min(self.points, len(z) // 2)
        clusters = MiniBatchKMeans(
            count, random_state=self.seed, n_init=1, batch_size=2048, max_iter=30
        ).fit(z)
        at = _nobody(z, np.asarray(clusters.labels_, dtype=np.int64))
        count = len(at)
        empty = np.zeros((count, 0))
        probe = models.Kernel(
            trend.centre, width, at, np.zeros(count), 0.0, np.zeros(x.shape[1]), empty, 0.0
        )
        kernel, among = probe._kernel(x), probe._kernel(at * width + trend.centre)
        weights = equal_weights(groups) if self.balanced else np.ones(len(y))
        weights = weights / weights.mean()
        signal = float(np.average(left**2, weights=weights)) or 1e-12
        system = (kernel * weights[:, None]).T @ kernel + self.noise * (
            among + 1e-6 * np.eye(count)
        )
        found = np.linalg.solve(system, kernel.T @ (weights * left))
        # Variance the inducing points explain; small eigenvalues are noise of the arithmetic.
        values, vectors = np.linalg.eigh(among + 1e-6 * np.eye(count))
        keep = values > 1e-5 * values[-1]
        root = np.sqrt(signal) * vectors[:, keep] / np.sqrt(values[keep])
        if root.shape[1] > MOST_AXES:
            root = root[:, -MOST_AXES:]
        return models.Kernel(
            trend.centre, width, at, found, trend.bias, trend.weights * stretch, root, signal
        )


MOST_AXES = 24
"""Columns kept of the variance root, the largest; more would swell the file."""


@dataclass(frozen=True)
class Trees:
    """Extremely randomised trees, kept small enough for a file."""

    count: int = 60
    leaf: int = 3
    features: float = 0.5
    seed: int = 0

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Trees laid end to end."""
        from sklearn.ensemble import ExtraTreesRegressor  # type: ignore  # noqa: PLC0415

        grown = ExtraTreesRegressor(
            self.count,
            min_samples_leaf=self.leaf,
            max_features=self.features,
            random_state=self.seed,
        ).fit(x, y, sample_weight=equal_weights(groups))
        return forest(grown)


def forest(grown: Any) -> models.Forest:
    """The numbers of a fitted scikit-learn forest."""
    feature, threshold, left, right, value, roots = [], [], [], [], [], []
    start, depth = 0, 0
    for tree in (each.tree_ for each in grown.estimators_):
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        roots.append(start)
        feature.append(np.where(leaf, 0, tree.feature))
        threshold.append(np.where(leaf, 0.0, tree.threshold))
        left.append(np.where(leaf, own, tree.children_left) + start)
        right.append(np.where(leaf, own, tree.children_right) + start)
        value.append(tree.value[:, 0, 0])
        start, depth = start + tree.node_count, max(depth, tree.max_depth)
    return models.Forest(
        np.concatenate(feature).astype(np.int64),
        np.concatenate(threshold).astype(np.float64),
        np.concatenate(left).astype(np.int64),
        np.concatenate(right).astype(np.int64),
        np.concatenate(value).astype(np.float64),
        np.asarray(roots, dtype=np.int64),
        depth,
    )


@dataclass(frozen=True)
class Networks:
    """Several small neural networks that differ in their start, blended."""

    hidden: tuple[int, ...] = (32, 16)
    count: int = 4
    penalty: float = 1e-3
    epochs: int = 300
    seed: int = 0

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Networks from as many seeds."""
        from sklearn.exceptions import ConvergenceWarning  # type: ignore  # noqa: PLC0415
        from sklearn.neural_network import MLPRegressor  # type: ignore  # noqa: PLC0415

        centre, width = _standard(x)
        z, middle, gain = (x - centre) / width, float(y.mean()), float(y.std()) or 1.0
        parts = []
        for number in range(self.count):
            net = MLPRegressor(
                hidden_layer_sizes=self.hidden,
                activation="tanh",
                alpha=self.penalty,
                max_iter=self.epochs,
                early_stopping=False,
                random_state=self.seed + number,
                learning_rate_init=3e-3,
                n_iter_no_change=self.epochs,
            )
            with warnings.catch_warnings():
                # Stopping before the last digit of the training error is meant.
                warnings.simplefilter("ignore", ConvergenceWarning)
                net.fit(z, (y - middle) / gain)
            parts.append(
                models.Mlp(centre, width, tuple(net.coefs_), tuple(net.intercepts_), middle, gain)
            )
        return models.Blend(tuple(parts), np.full(self.count, 1.0 / self.count))


@dataclass(frozen=True)
class Blended:
    """Several recipes, weighted."""

    parts: Sequence[Recipe]
    shares: Sequence[float]

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Every part on all rows."""
        shares = np.asarray(self.shares, dtype=np.float64)
        fitted = tuple(part.fit(x, y, groups) for part in self.parts)
        return models.Blend(fitted, shares / shares.sum())


@dataclass(frozen=True)
class OnColumns:
    """A recipe that sees only some columns."""

    columns: Sequence[int]
    part: Recipe

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """The part on those columns."""
        return models.Only(
            np.asarray(self.columns, dtype=np.int64), self.part.fit(x[:, self.columns], y, groups)
        )


@dataclass(frozen=True)
class PerValue:
    """One model per value of a column; the column itself is shown to none of them."""

    column: int
    part: Recipe

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """The part on the rows of each value."""
        values = np.unique(x[:, self.column])
        others = [at for at in range(x.shape[1]) if at != self.column]
        parts = []
        for value in values:
            mine = x[:, self.column] == value
            parts.append(OnColumns(others, self.part).fit(x[mine], y[mine], groups[mine]))
        return models.Switch(self.column, values, tuple(parts))


@dataclass(frozen=True)
class PrincipalAxes:
    """A recipe behind a principal component projection of the standardised columns."""

    axes: int
    part: Recipe

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """The part on the leading components."""
        centre, width = _standard(x)
        z = (x - centre) / width
        _, vectors = np.linalg.eigh(z.T @ z)
        axes = vectors[:, ::-1][:, : self.axes]
        # An eigenvector's sign is arbitrary; fixed here so that files do not flip.
        axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        return models.Projected(centre, width, axes, self.part.fit(z @ axes, y, groups))


@dataclass(frozen=True)
class Thinned:
    """A recipe that sees at most so many rows of each cell, evenly spread."""

    most: int
    part: Recipe

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """The part on the rows that are kept."""
        kept = np.concatenate([
            mine[np.unique(np.linspace(0, len(mine) - 1, min(len(mine), self.most)).astype(int))]
            for mine in (np.flatnonzero(groups == cell) for cell in np.unique(groups))
        ])  # fmt: skip
        return self.part.fit(x[kept], y[kept], groups[kept])
