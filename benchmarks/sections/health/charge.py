"""Capacity from charge features, fitted on other cells of the same laboratory.

The last figure of each set shows what a record's end gives away: a straight line in
``cycle / last cycle of the record`` alone. The tables end at end of life, so where a row
stands in its table tells its capacity; nothing in the product uses that.
"""

import numpy as np

from benchmarks.goodsin import data, figures, once, rmse_pct_of
from benchmarks.sections import Figure
from ems.health.goodsin import fitting, tables
from ems.health.goodsin.tasks import TASKS

TITLE = "charge-features with --fit: 57 LFP cells (HUST) and 42 NMC cells (XJTU), parts of ten"
SETS = (("HUST", "lfp_hust_features", 1.1, 0.87), ("XJTU", "nmc_xjtu_features", 2.0, 0.94))
PARTS = 10
POWERS = (0, 1, 2, 3)


def run() -> list[Figure]:
    """RMSE in percent of the rating."""
    task, found = TASKS["charge-features"], []
    for name, file, rated_ah, goal_pct in SETS:
        table = tables.read(data() / f"ageing/{file}.csv.gz", task, with_target=True).table
        score = rmse_pct_of(rated_ah)
        rounds = [once(task, table, PARTS, 0, score)]
        found += figures(f"{name} RMSE", "% of rated", goal_pct, rounds)
        place = (table["cycle"] / table.groupby("cell_id")["cycle"].transform("max")).to_numpy()
        x, y = np.stack([place**power for power in POWERS], axis=1), task.truth(table)
        answer = np.zeros(len(y))
        for out in fitting.folds(table["cell_id"].to_numpy(dtype=np.str_), PARTS, 0):
            kept = np.setdiff1d(np.arange(len(y)), out)
            answer[out] = x[out] @ np.linalg.lstsq(x[kept], y[kept], rcond=None)[0]
        found.append(Figure(f"{name} RMSE by place in the record", score(y, answer), "% of rated"))
    return found
