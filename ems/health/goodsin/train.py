"""Shipped coefficients from the shared data.

``python -m ems.health.goodsin.train --date YYYY-MM-DD [TASK...]``

The same data and libraries give the same file, and then the day it bears stays too.
Files marked evaluation only are not among the sources of any task here.
"""

import argparse
import hashlib
import json
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ems.health.goodsin import fitting
from ems.health.goodsin.models import rounded
from ems.health.goodsin.task import Task
from ems.health.goodsin.tasks import TASKS

FOLDER = Path(__file__).parent / "coefficients"
DATA = "SECONDLIFE_EMS_DATA"
HASH_DIGITS = 16
MOST_BYTES = 300_000


def sources(task: Task, data: Path) -> dict[str, str]:
    """Files of the task with the first digits of their SHA-256."""
    return {
        name: hashlib.sha256((data / name).read_bytes()).hexdigest()[:HASH_DIGITS]
        for name in task.files()
    }


def dated(data: dict[str, Any], file: Path, today: str) -> str:
    """Text of a coefficient file; it keeps its day if nothing else changed."""
    for day in [json.loads(file.read_text())["about"]["trained"]] if file.exists() else []:
        text = _text({**data, "about": {**data["about"], "trained": day}})
        if text == file.read_text(encoding="utf-8"):
            return text
    return _text({**data, "about": {**data["about"], "trained": today}})


def _text(data: dict[str, Any]) -> str:
    return json.dumps(data, separators=(",", ":"), sort_keys=True) + "\n"


def trained(task: Task, data: Path) -> dict[str, Any]:
    """Coefficients as plain data, with where they come from and how wrong they are."""
    table = task.training(data)
    features, truth = fitting.usable(task, table)
    judged = fitting.leave_cells_out(task, table, task.folds, seed=1)
    kept = ~judged.refused & ~task.known(judged.features)
    apart = (judged.answers.mean - judged.truth)[kept]
    kinds = judged.features.strata
    ways = {}
    if kinds is not None:
        wrong = judged.answers.mean - judged.truth
        for kind in np.unique(kinds).tolist():
            mine = kept & (kinds == kind)
            ways[kind] = rounded(float(np.sqrt((wrong[mine] ** 2).mean())))
    about = {
        "target": task.target,
        "sources": sources(task, data),
        "libraries": {name: version(name) for name in ("numpy", "pandas", "scikit-learn")},
        "rows": len(truth),
        "cells": len(np.unique(features.groups)),
        "left_out": {
            "of": "every row in every way it may arrive",
            "rmse_by_way": ways,
            "rmse": rounded(float(np.sqrt((apart**2).mean()))),
            "mape_pct": rounded(float(100.0 * np.abs(apart / judged.truth[kept]).mean())),
            "coverage_frac": rounded(fitting.covered(judged, task)),
            "refused_frac": rounded(float(judged.refused.mean())),
        },
    }
    return fitting.fit(task, features, truth, about).dump()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("task", nargs="*", help="tasks to train; all when left out")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--date", required=True, help="today, for files that change")
    options = parser.parse_args()
    if not os.environ.get(DATA):
        parser.error(f"{DATA} is not set")
    for name in options.task or sorted(TASKS):
        task = TASKS[name]
        if not task.shipped:
            continue
        data = trained(task, Path(os.environ[DATA]))
        file = options.out / f"{name}.json"
        text = dated(data, file, options.date)
        if len(text) > MOST_BYTES:
            sys.exit(f"{name}: {len(text)} bytes are more than {MOST_BYTES}")
        file.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}: {len(text)} bytes, left out: {data['about']['left_out']}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
