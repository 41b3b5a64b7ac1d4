"""Capacity along second-life cycles, each cell in turn left out."""

from benchmarks.goodsin import data, figures, mape_pct, once
from benchmarks.sections import Figure
from ems.health.goodsin.tasks import TASKS

TITLE = "second-life-cycles: 5 retired LMO cells, each left out in turn"
GOAL_PCT = 2.3
CELLS = 5


def run() -> list[Figure]:
    """MAPE of the cycles after the first; flagged outliers are not in the truth."""
    task = TASKS["second-life-cycles"]
    table = task.training(data())
    judged = once(task, table, CELLS, 0, mape_pct)
    early = float(len(task.features(table).refused)) / len(table)
    return [
        *figures("MAPE", "%", GOAL_PCT, [judged]),
        *(Figure(f"MAPE of {cell}", value, "%") for cell, value in judged.ours.items()),
        Figure("refused as disturbed cycles, before the domain", early, "share", at_most=0.10),
    ]
