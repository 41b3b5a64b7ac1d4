"""Figures that repeat to the last digit: a frozen sensor or a copied row, not a measurement."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray


def repeats(table: pd.DataFrame, group: str, names: Sequence[str], most: int) -> NDArray[np.bool_]:
    """Rows in a run of more than ``most`` rows of a group that agree in all of these columns.

    Args:
        table: In the order of measurement within each group.
        group: Column a run does not reach across.
        names: Columns that would all have to repeat.
        most: Longest run that chance and rounding explain.
    """
    seen = [table[group].to_numpy(), *(table[name].to_numpy(dtype=np.float64) for name in names)]
    new = np.ones(len(table), dtype=np.bool_)
    if len(table) > 1:
        new[1:] = np.any([each[1:] != each[:-1] for each in seen], axis=0)
    run = np.cumsum(new) - 1
    return np.asarray(np.bincount(run)[run] > most) if len(run) else new
