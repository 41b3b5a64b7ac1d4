"""Cycle life from early discharge curves, on cells that were left out."""

import numpy as np

from benchmarks.goodsin import data, figures, mape_pct, once
from benchmarks.sections import Figure
from ems.health.goodsin import fitting
from ems.health.goodsin.tasks import TASKS

TITLE = "cycle-life: 84 LFP cells (MIT), parts of ten, three draws; then train on test1"
GOAL_PCT = 9.1
PARTS, DRAWS = 10, 3


def run() -> list[Figure]:
    """MAPE over both published parts, and of one part by the other."""
    task = TASKS["cycle-life"]
    table = task.training(data())
    rounds = [once(task, table, PARTS, seed, mape_pct) for seed in range(DRAWS)]
    features, truth = fitting.usable(task, table)
    first = np.char.startswith(features.groups, "train")
    fitted = fitting.fit(task, features.take(first), truth[first], {})
    answers = fitting.predict(task, fitted, features.take(~first))
    kept = answers.distance <= 1.0
    across = mape_pct(truth[~first][kept], answers.mean[kept])
    every = mape_pct(truth[~first], answers.mean)
    return [
        *figures("MAPE", "%", GOAL_PCT, rounds),
        Figure("MAPE of test1 by train", across, "%", at_most=GOAL_PCT),
        Figure("MAPE of test1 by train, refused ones too", every, "%"),
    ]
