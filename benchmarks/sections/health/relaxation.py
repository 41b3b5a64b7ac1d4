"""Capacity from rest voltages, beside a plain ridge and forest on the same cells left out."""

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.goodsin import COVERED_HIGH, COVERED_LOW, PLAIN_ROWS, REFUSED_MOST, data
from benchmarks.sections import Figure
from ems.health.goodsin import fitting
from ems.health.goodsin.bounds import equal_weights
from ems.health.goodsin.tasks.relaxation import SERIES, TASK

TITLE = "relaxation: 44 NCA cells at 25, 35 and 45 °C, cells left out in 8 parts, 2 times"
PARTS, SEEDS = 8, (0, 1)
RATED_AH = 3.5
GOAL_PCT = 1.0


def _rmse(apart: fitting.Floats) -> float:
    return float(100.0 / RATED_AH * np.sqrt((apart**2).mean()))


def _as_it_comes(judged: fitting.Judged) -> fitting.Floats:
    """Rows of the table as they stand: a series where a cell has one, else its rows alone."""
    series = judged.features.matrix[:, 0] == SERIES
    whole = np.unique(judged.features.groups[series])
    return series | ~np.isin(judged.features.groups, whole)


def _plain(table: pd.DataFrame, judged: fitting.Judged, seed: int) -> fitting.Floats:
    """Ridge and forest answers for every row of the features, shape ``(2, n)``."""
    x, y = TASK.plain(table)[judged.features.rows], judged.truth
    found = np.zeros((2, len(y)))
    for out in fitting.folds(judged.features.groups, PARTS, seed):
        kept = np.setdiff1d(np.arange(len(y)), out)
        kept = kept[:: max(1, len(kept) // PLAIN_ROWS)]
        for number, model in enumerate(
            (
                make_pipeline(StandardScaler(), Ridge(1.0)),
                RandomForestRegressor(60, min_samples_leaf=2, max_features=0.5, random_state=0),
            )
        ):
            found[number, out] = model.fit(x[kept], y[kept]).predict(x[out])
    return found


def run() -> list[Figure]:
    """Root mean square error in percent of the rated capacity."""
    table = TASK.training(data())
    whole: dict[str, list[float]] = {}
    cells: dict[str, list[float]] = {}
    by_kind: dict[str, list[float]] = {}
    covered, refused, alone = [], [], []
    for seed in SEEDS:
        judged = fitting.leave_cells_out(TASK, table, PARTS, seed)
        groups, every = judged.features.groups, _as_it_comes(judged)
        refused.append(float(judged.refused[every].mean()))
        kept = every & ~judged.refused
        answers = dict(
            zip(
                ("", ", plain ridge", ", plain forest"),
                (judged.answers.mean, *_plain(table, judged, seed)),
                strict=True,
            )
        )
        for name, answer in answers.items():
            apart = answer - judged.truth
            whole.setdefault(name, []).append(_rmse(apart[kept]))
            each = {cell: _rmse(apart[kept & (groups == cell)]) for cell in np.unique(groups[kept])}
            cells.setdefault(name, []).append(float(np.mean([*each.values()])))
            cells.setdefault(f"{name}, worst", []).append(max(each.values()))
        apart = judged.answers.mean - judged.truth
        kinds = table[["ambient_c", "charge_c_rate"]].to_numpy()[judged.features.rows]
        for ambient, rate in np.unique(kinds, axis=0):
            mine = kept & (kinds == (ambient, rate)).all(axis=1)
            by_kind.setdefault(f"{ambient:g} °C, {rate:g} C", []).append(_rmse(apart[mine]))
        rows = (judged.features.matrix[:, 0] != SERIES) & ~judged.refused
        alone.append(_rmse(apart[rows]))
        inside = (judged.answers.low <= judged.truth) & (judged.truth <= judged.answers.high)
        covered.append(float(np.average(inside[kept], weights=equal_weights(groups[kept]))))
    worst = max(cells[", worst"])
    return [
        Figure("RMSE, all rows", float(np.mean(whole[""])), "% of rated", GOAL_PCT),
        Figure("RMSE, mean over cells", float(np.mean(cells[""])), "% of rated", GOAL_PCT),
        Figure("RMSE, worst cell", worst, "% of rated"),
        *(
            Figure(f"RMSE at {kind}", float(np.mean(e)), "% of rated")
            for kind, e in by_kind.items()
        ),
        Figure("RMSE of rows that come alone", float(np.mean(alone)), "% of rated"),
        *(
            Figure(f"RMSE, {which}{name}", float(np.mean(of[name])), "% of rated")
            for name in (", plain ridge", ", plain forest")
            for which, of in (("all rows", whole), ("mean over cells", cells))
        ),
        Figure("inside 90 % bounds", float(np.mean(covered)), "share", COVERED_HIGH, COVERED_LOW),
        Figure("refused", float(np.mean(refused)), "share", REFUSED_MOST),
    ]
