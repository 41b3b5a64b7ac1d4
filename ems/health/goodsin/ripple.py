"""What changes from one cycle to the next, learned beside what changes over a life."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.models import Floats, Model, Recipe

ROWS = 11
"""Rows of a cell whose middle is its slow course; more than two rounds of a test of five."""


@dataclass(frozen=True)
class Together:
    """Sum of two models; as unsure as the first."""

    course: Model
    ripple: Model

    def mean(self, x: Floats) -> Floats:
        """Central answer."""
        return self.course.mean(x) + self.ripple.mean(x)

    def spread(self, x: Floats) -> Floats:
        """As the slow course says."""
        return self.course.spread(x)


models.KINDS[Together.__name__.lower()] = Together


@dataclass(frozen=True)
class Rippled:
    """One recipe for the slow course of each cell, one for what lies above and below it.

    Errors of the slow course last for many cycles and would drown what repeats every few,
    such as a test that goes round several currents.
    """

    course: Recipe
    ripple: Recipe
    along: int = -1
    """Column that says where in its life a row is."""

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Both on their part of the truth; a cell's slow course is its running median."""
        order = np.lexsort((x[:, self.along], groups))
        slow = np.zeros(len(y))
        ordered = pd.Series(y[order]).groupby(groups[order])
        slow[order] = ordered.transform(
            lambda one: one.rolling(ROWS, center=True, min_periods=1).median()
        ).to_numpy()
        return Together(self.course.fit(x, slow, groups), self.ripple.fit(x, y - slow, groups))
