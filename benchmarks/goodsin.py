"""Goods-in tasks judged on cells left out, beside a plain ridge and a plain forest."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.sections import Figure
from ems.health.goodsin import fitting
from ems.health.goodsin.task import Task

Floats = NDArray[np.float64]
Score = Callable[[Floats, Floats], float]
COVERED_LOW, COVERED_HIGH, REFUSED_MOST = 0.85, 0.95, 0.10
PLAIN_ROWS = 4000
"""The plain models learn from at most so many rows; more changed nothing but the time."""


def data() -> Path:
    """Folder of the shared measurements.

    Raises:
        SystemExit: not set.
    """
    if not os.environ.get("SECONDLIFE_EMS_DATA"):
        raise SystemExit("SECONDLIFE_EMS_DATA is not set")
    return Path(os.environ["SECONDLIFE_EMS_DATA"])


def mape_pct(truth: Floats, answer: Floats) -> float:
    """Mean absolute error in percent of the truth."""
    return float(100.0 * np.abs(answer / truth - 1.0).mean())


def rmse_pct_of(rated: float) -> Score:
    """Root mean square error in percent of a rating."""
    return lambda truth, answer: float(100.0 * np.sqrt(((answer - truth) ** 2).mean()) / rated)


@dataclass(frozen=True)
class Round:
    """One leave-cells-out round, every figure by cell."""

    ours: Mapping[str, float]
    ridge: Mapping[str, float]
    forest: Mapping[str, float]
    pooled: float
    covered: float
    refused: float


def _by_cell(
    score: Score, judged: fitting.Judged, answer: Floats, rows: Floats
) -> dict[str, float]:
    groups = judged.features.groups
    return {
        str(cell): score(judged.truth[mine], answer[mine])
        for cell in np.unique(groups[rows])
        for mine in (rows & (groups == cell),)
    }


def once(task: Task, table: pd.DataFrame, parts: int, seed: int, score: Score) -> Round:
    """Every cell answered by fits that never saw it; the plain models on the same parts."""
    judged = fitting.leave_cells_out(task, table, parts, seed)
    features, truth = judged.features, judged.truth
    rows = ~judged.refused & ~task.known(features)
    x = task.plain(table)[features.rows]
    x = np.nan_to_num(x)
    log = task.target == "cycle_life"
    y = np.log(truth) if log else truth
    plain = np.zeros((2, len(y)))
    for out in fitting.folds(features.groups, parts, seed):
        kept = np.setdiff1d(np.arange(len(y)), out)
        kept = kept[:: max(1, len(kept) // PLAIN_ROWS)]
        for number, model in enumerate(
            (
                make_pipeline(StandardScaler(), Ridge(1.0)),
                RandomForestRegressor(100, min_samples_leaf=2, max_features=0.5, random_state=0),
            )
        ):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                plain[number, out] = model.fit(x[kept], y[kept]).predict(x[out])
    plain = np.exp(plain) if log else plain
    return Round(
        _by_cell(score, judged, judged.answers.mean, rows),
        _by_cell(score, judged, plain[0], rows),
        _by_cell(score, judged, plain[1], rows),
        score(truth[rows], judged.answers.mean[rows]),
        fitting.covered(judged, task),
        float(judged.refused.mean()),
    )


def figures(name: str, unit: str, goal: float, rounds: list[Round]) -> list[Figure]:
    """Means over rounds, and the worst cell."""

    def mean(of: Callable[[Round], float]) -> float:
        return float(np.mean([of(each) for each in rounds]))

    def cells(of: Callable[[Round], Mapping[str, float]]) -> float:
        return mean(lambda each: float(np.mean(list(of(each).values()))))

    return [
        Figure(f"{name}, mean over cells", cells(lambda r: r.ours), unit, at_most=goal),
        Figure(f"{name}, all rows alike", mean(lambda r: r.pooled), unit),
        Figure(f"{name}, worst cell", max(max(r.ours.values()) for r in rounds), unit),
        Figure(f"{name}, plain ridge", cells(lambda r: r.ridge), unit),
        Figure(f"{name}, plain forest", cells(lambda r: r.forest), unit),
        Figure(
            f"{name}, inside 90 % bounds",
            mean(lambda r: r.covered),
            "share",
            COVERED_HIGH,
            COVERED_LOW,
        ),
        Figure(f"{name}, refused", mean(lambda r: r.refused), "share", at_most=REFUSED_MOST),
    ]
