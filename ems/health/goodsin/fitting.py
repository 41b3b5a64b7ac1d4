"""From a training table to coefficients: model, bounds and domain, judged on left-out cells.

Needs scikit-learn only inside the recipes; what comes out predicts with numpy alone.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin import domain as domains
from ems.health.goodsin import models
from ems.health.goodsin.bounds import (
    SIGMAS,
    Bounds,
    calibrate,
    equal_weights,
    weighted_quantile,
)
from ems.health.goodsin.domain import Domain
from ems.health.goodsin.task import Features, Floats, Ints, Task

VERSION = 1
LEAST_CELLS = 4
"""With fewer cells nothing can be left out often enough to say how wrong an answer is."""


@dataclass(frozen=True)
class Answers:
    """Answers for the rows of ``Features``, in the target's unit; shape ``(n,)`` each."""

    mean: Floats
    low: Floats
    high: Floats
    distance: Floats
    """From the training domain; above 1 is outside."""

    @property
    def sigma(self) -> Floats:
        """Standard deviation that a normal error with these bounds would have."""
        return (self.high - self.low) / (2.0 * SIGMAS)


@dataclass(frozen=True)
class Fitted:
    """Everything needed to answer; plain numbers, no training rows."""

    task: str
    names: tuple[str, ...]
    model: models.Model
    bounds: Bounds
    domain: Domain
    about: Mapping[str, Any]
    """Where it comes from: files, hashes, versions, error figures."""
    unsure: float = np.inf
    """Spread of the model that is the edge of the domain by itself; infinite: it has no say."""

    def strange(self, span: Floats, spread: Floats) -> Floats:
        """Distance from the training domain; above 1 is outside. Shapes ``(n, k)``, ``(n,)``."""
        return np.hypot(self.domain.distance(span), spread / self.unsure)

    def dump(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "version": VERSION,
            "task": self.task,
            "about": dict(self.about),
            "features": list(self.names),
            "bounds": models.rounded_tree(self.bounds.dump()),
            "domain": self.domain.dump(),
            **({"unsure": models.rounded(self.unsure)} if np.isfinite(self.unsure) else {}),
            "model": models.dump(self.model),
        }

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Fitted":
        """What ``dump`` wrote.

        Raises:
            ValueError: written by another version.
        """
        if data.get("version") != VERSION:
            raise ValueError(f"coefficients of version {data.get('version')}, not {VERSION}")
        return cls(
            data["task"],
            tuple(data["features"]),
            models.load(data["model"]),
            Bounds.load(data["bounds"]),
            Domain.load(data["domain"]),
            data["about"],
            float(data.get("unsure", np.inf)),
        )


def predict(task: Task, fitted: Fitted, features: Features) -> Answers:
    """Answers with 90 % bounds for every row of the features.

    Raises:
        ValueError: coefficients and features are not of the same make.
    """
    if fitted.names != features.names:
        raise ValueError(f"coefficients of {fitted.task} are for other features than the task's")
    x = features.matrix
    mean, spread = task.finish(features, fitted.model.mean(x), fitted.model.spread(x))
    distance = fitted.strange(x[:, spanned(task, features)], spread)
    mean = np.where(task.known(features), 0.0, mean)
    low, high = (
        np.where(task.known(features), 0.0, bound)
        for bound in fitted.bounds.around(mean, spread, distance, features.strata)
    )
    mean, low, high = (task.decode(each, features) for each in (mean, low, high))
    return Answers(mean, low, high, distance)


def spanned(task: Task, features: Features) -> list[int]:
    """Columns of the features that the domain is drawn in."""
    names = task.domain() or features.names
    return [features.names.index(name) for name in names]


def folds(groups: NDArray[np.str_], count: int, seed: int) -> Iterator[Ints]:
    """Rows to leave out, fold by fold; a cell is never cut."""
    cells = np.unique(groups)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(cells))
    for part in np.array_split(order, min(count, len(cells))):
        yield np.flatnonzero(np.isin(groups, cells[part]))


def fit(task: Task, features: Features, target: Floats, about: Mapping[str, Any]) -> Fitted:
    """Model on all rows; bounds and domain from cells left out in turn.

    Args:
        task: Which assessment.
        features: Of the training table, ``n`` rows, at least ``LEAST_CELLS`` groups.
        target: Truth of each row of the features, in the target's unit, finite.
        about: Goes into the coefficients as it is.

    Raises:
        ValueError: too few cells.
    """
    cells = len(np.unique(features.groups))
    if cells < LEAST_CELLS:
        raise ValueError(
            f"found {cells} cells with a {task.target}; at least {LEAST_CELLS} would be right"
        )
    recipe = task.recipe()
    y = task.encode(target, features)
    x, groups, strata = features.matrix, features.groups, features.strata
    span = x[:, spanned(task, features)]
    weights = equal_weights(groups)
    mean, spread, distance = np.zeros((3, len(y)))
    for out in folds(groups, task.folds, 0):
        kept = np.setdiff1d(np.arange(len(y)), out)
        model = recipe.fit(x[kept], y[kept], groups[kept])
        mean[out], spread[out] = model.mean(x[out]), model.spread(x[out])
        around = domains.enclose(
            span[kept], weights[kept], None if strata is None else strata[kept]
        )
        distance[out] = around.distance(span[out])
    mean, spread = task.finish(features, mean, spread)
    edge, unsure = _edges(task, distance, spread, groups)
    learned = ~task.known(features)
    bounds = calibrate(
        (y - mean)[learned],
        spread[learned],
        np.hypot(distance / edge, spread / unsure)[learned],
        groups[learned],
        None if strata is None else strata[learned],
    )
    whole = replace(domains.enclose(span, weights, strata), edge=edge)
    model = recipe.fit(x, y, groups)
    return Fitted(task.name, features.names, model, bounds, whole, about, unsure)


def _edges(
    task: Task, distance: Floats, spread: Floats, groups: NDArray[np.str_]
) -> tuple[float, float]:
    """Ellipsoid distance and spread that are the edge of the domain, each by itself."""
    if task.ordinary is None:
        return domains.edge(distance, groups, task.strangers), np.inf
    weights = equal_weights(groups)
    usual, usually = (weighted_quantile(each, weights, 0.5) for each in (distance, spread))
    strange = np.hypot(distance / usual, spread / usually)
    edge = weighted_quantile(strange, weights, task.ordinary)
    return usual * edge, usually * edge


def usable(task: Task, table: pd.DataFrame) -> tuple[Features, Floats]:
    """Features and truth of the rows that can be learned from."""
    features = task.lessons(table)
    truth = task.truth(table)[features.rows]
    known = np.isfinite(truth)
    return features.take(known), truth[known]


@dataclass(frozen=True)
class Judged:
    """Answers for cells left out, beside the truth; shape ``(n,)`` each."""

    features: Features
    truth: Floats
    answers: Answers
    refused: NDArray[np.bool_]


def leave_cells_out(task: Task, table: pd.DataFrame, parts: int, seed: int) -> Judged:
    """Every row answered by a fit that never saw its cell, bounds and domain included."""
    features, truth = usable(task, table)
    found = np.zeros((4, len(truth)))
    for out in folds(features.groups, parts, seed):
        kept = np.setdiff1d(np.arange(len(truth)), out)
        fitted = fit(task, features.take(kept), truth[kept], {})
        answers = predict(task, fitted, features.take(out))
        found[:, out] = answers.mean, answers.low, answers.high, answers.distance
    mean, low, high, distance = found
    return Judged(features, truth, Answers(mean, low, high, distance), distance > 1.0)


def covered(judged: Judged, task: Task) -> float:
    """Share of learned, accepted rows whose truth lies within the bounds; cells count alike."""
    rows = ~judged.refused & ~task.known(judged.features)
    inside = (judged.answers.low <= judged.truth) & (judged.truth <= judged.answers.high)
    weights = equal_weights(judged.features.groups[rows])
    return float(np.average(inside[rows], weights=weights))
