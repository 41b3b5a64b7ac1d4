"""One table assessed: figure, bounds and, where there is none, the reason."""

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

from ems.health.goodsin import fitting, tables
from ems.health.goodsin.fitting import Fitted
from ems.health.goodsin.task import Task
from ems.health.goodsin.tasks import TASKS

OUTSIDE = "outside the training domain (distance {:.2f}, edge 1)"


def task_named(name: str) -> Task:
    """The task of that name.

    Raises:
        tables.TableError: there is none.
    """
    if name not in TASKS:
        raise tables.TableError(
            f"--task: found {name!r}, would be right one of {', '.join(sorted(TASKS))}"
        )
    return TASKS[name]


def shipped(task: Task) -> Fitted:
    """Coefficients that come with the program.

    Raises:
        tables.TableError: the task has none and must be fitted on the spot.
    """
    if not task.shipped:
        raise tables.TableError(
            f"--task {task.name}: found no --fit, would be right --fit TRAIN.csv with "
            f"{task.target}: no coefficients are shipped for it"
        )
    file = resources.files("ems.health.goodsin") / "coefficients" / f"{task.name}.json"
    return Fitted.load(json.loads(file.read_text(encoding="utf-8")))


def fitted_on(task: Task, path: Path) -> Fitted:
    """Coefficients fitted on the user's own table.

    Raises:
        tables.TableError: the table cannot be used, or holds too few cells.
    """
    given = tables.read(path, task, with_target=True)
    table = given.table.drop(index=list(given.notes)).reset_index(drop=True)
    features, truth = fitting.usable(task, table)
    try:
        return fitting.fit(task, features, truth, {"fitted_on": path.name})
    except ValueError as error:
        raise tables.TableError(f"{path}: {error}") from None


def assess(task: Task, given: tables.Read, fitted: Fitted) -> pd.DataFrame:
    """Key columns with target, bounds and note; rows in the order of the input."""
    features = task.features(given.table)
    answers = fitting.predict(task, fitted, features)
    out = task.output(given.table)
    values = np.full((3, len(out)), np.nan)
    notes = np.full(len(out), "", dtype=object)
    if len(out) == len(given.table):
        for row, note in given.notes.items():
            notes[row] = note
    for row, note in features.refused.items():
        notes[row] = notes[row] or note
    known = task.known(features)
    for at, row in enumerate(features.rows):
        if answers.distance[at] > 1.0 and not known[at]:
            notes[row] = notes[row] or OUTSIDE.format(answers.distance[at])
        elif not notes[row]:
            values[:, row] = answers.mean[at], answers.low[at], answers.high[at]
    unsaid = np.isnan(values[0]) & (notes == "")
    notes[unsaid] = "no features could be formed"
    for name, column in zip(("", "_low", "_high"), values, strict=True):
        out[f"{task.target}{name}"] = column
    out["note"] = notes
    return out


def run(name: str, source: Path, out: Path, train: Path | None) -> tuple[pd.DataFrame, str]:
    """Read, fit if asked, assess, write; nothing is written after an error.

    Returns:
        What was written, and the name of its target column.

    Raises:
        tables.TableError: which says what is wrong.
    """
    task = task_named(name)
    given = tables.read(source, task, with_target=False)
    fitted = shipped(task) if train is None else fitted_on(task, train)
    table = assess(task, given, fitted)
    tables.write(table, out)
    return table, task.target
