"""State of health from pulses, beside a plain ridge and forest on the same cells left out.

Plain models see each row's raw numbers, one model per lot, and are averaged over the rows of
a test too, so that what differs is the model and not the averaging.
"""

import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.goodsin import COVERED_HIGH, COVERED_LOW, REFUSED_MOST, data
from benchmarks.sections import Figure
from ems.health.goodsin import fitting
from ems.health.goodsin.bounds import equal_weights
from ems.health.goodsin.tasks import pulse
from ems.health.goodsin.tasks.pulse import TASK, WAYS

TITLE = "pulse: 150 retired cells of 4 lots, cells left out in 6 parts, 2 times"
PARTS, SEEDS = 6, (0, 1)
GOALS = {
    pulse.KNOWN_WHOLE: ("SoC known, whole tests", 1.5),
    pulse.UNKNOWN_WHOLE: ("SoC unknown, whole tests", 2.5),
    pulse.KNOWN_ROW: ("SoC known, rows alone", None),
    pulse.UNKNOWN_ROW: ("SoC unknown, rows alone", None),
}


def _rmse(apart: fitting.Floats) -> float:
    return float(100.0 * np.sqrt((apart**2).mean()))


def _plain(judged: fitting.Judged, rows: fitting.Ints, seed: int) -> fitting.Floats:
    """Ridge and forest answers for rows of one lot and way, shape ``(2, n)``."""
    part = judged.features.take(rows)
    columns = (*(() if part.matrix[0, pulse.WAY] > pulse.KNOWN_ROW else (pulse.SOC,)), *pulse.SEEN)
    x, y = part.matrix[:, columns], judged.truth[rows]
    found = np.zeros((2, len(y)))
    cells = judged.features.groups
    for out in fitting.folds(cells, PARTS, seed):
        gone = np.isin(part.groups, np.unique(cells[out]))
        for number, model in enumerate(
            (
                make_pipeline(StandardScaler(), Ridge(1.0)),
                RandomForestRegressor(60, min_samples_leaf=2, max_features=0.5, random_state=0),
            )
        ):
            if gone.any():
                found[number, gone] = model.fit(x[~gone], y[~gone]).predict(x[gone])
    assert part.base is not None
    test = np.unique(part.base[:, 0], return_inverse=True)[1]
    return np.array([np.bincount(test, row)[test] / np.bincount(test)[test] for row in found])


def _of_way(rounds: list[fitting.Judged], way: int, name: str, goal: float | None) -> list[Figure]:
    ours: dict[str, list[float]] = {}
    plain: list[list[float]] = [[], []]
    covered, refused, worst = [], [], 0.0
    for seed, judged in zip(SEEDS, rounds, strict=True):
        assert judged.features.strata is not None
        mine = judged.features.matrix[:, pulse.WAY] == way
        lots = np.array([kind.split(",")[0] for kind in judged.features.strata])
        refused.append(float(judged.refused[mine].mean()))
        for lot in np.unique(lots):
            rows = np.flatnonzero(mine & (lots == lot))
            kept = rows[~judged.refused[rows]]
            apart = (judged.answers.mean - judged.truth)[kept]
            ours.setdefault(str(lot), []).append(_rmse(apart))
            cells = judged.features.groups[kept]
            worst = max(worst, *(_rmse(apart[cells == cell]) for cell in np.unique(cells)))
            inside = (judged.answers.low <= judged.truth) & (judged.truth <= judged.answers.high)
            covered.append(float(np.average(inside[kept], weights=equal_weights(cells))))
            for number, answers in enumerate(_plain(judged, rows, seed)):
                plain[number].append(_rmse(answers - judged.truth[rows]))
    by_lot = {lot: float(np.mean(each)) for lot, each in ours.items()}
    return [
        Figure(f"{name}: RMSE, mean over lots", float(np.mean([*by_lot.values()])), "points", goal),
        *(Figure(f"{name}: RMSE of {lot}", value, "points") for lot, value in by_lot.items()),
        Figure(f"{name}: RMSE, worst cell", worst, "points"),
        Figure(f"{name}: RMSE, plain ridge", float(np.mean(plain[0])), "points"),
        Figure(f"{name}: RMSE, plain forest", float(np.mean(plain[1])), "points"),
        Figure(
            f"{name}: inside 90 % bounds",
            float(np.mean(covered)),
            "share",
            COVERED_HIGH,
            COVERED_LOW,
        ),
        Figure(f"{name}: refused", float(np.mean(refused)), "share", REFUSED_MOST),
    ]


def run() -> list[Figure]:
    """Every way a row may arrive: in a whole test or alone, with its state of charge or without."""
    table = TASK.training(data())
    rounds = [fitting.leave_cells_out(TASK, table, PARTS, seed) for seed in SEEDS]
    return [
        figure
        for way, (name, goal) in sorted(GOALS.items(), key=lambda item: WAYS[item[0]][0] != "w")
        for figure in _of_way(rounds, way, name, goal)
    ]
