"""90 % bounds from residuals of cells that a model had not seen (numpy only).

A residual is divided by the difficulty of its sample: one, plus how unsure the model
is and how far out the sample lies, each against what is usual. Quantiles of that
ratio, every cell counting alike, are the bounds of a sample of difficulty one
(normalised split-conformal prediction; Papadopoulos et al. 2011, Lei et al. 2018).
Few cells have no tails: their bounds are Student's t of the ratio's deviation.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
INSIDE = 0.90
FEW_CELLS = 1.44
"""With n cells the tails are drawn at 1 - 1.44/n of their share: a new cell may lie beyond all."""
LEAST_TAIL = 0.2
SHARES = (0.0, 0.3, 1.0, 3.0)
"""Weights of spread and distance that are tried."""
ENOUGH_CELLS = 12
"""A stratum with fewer cells takes the common quantiles."""
QUANTILE_CELLS = 20
"""Fewer cells in all have no tails to draw quantiles from, only a deviation."""
ALL = "*"
SIGMAS = 1.6449
"""Half width of 90 % in standard deviations of a normal error."""


def student(cells: int) -> float:
    """Half width of 90 % with a deviation estimated from so many cells, against a known one.

    Quantile of Student's t for as many degrees of freedom by its expansion in their inverse
    (Abramowitz and Stegun 26.7.5, two terms), over that of the normal distribution. The mean
    is not estimated, so no degree is lost; 1 % low at four degrees.
    """
    free, z = cells, SIGMAS
    first = (z**2 + 1.0) / (4.0 * free)
    return 1.0 + first + (5.0 * z**4 + 16.0 * z**2 + 3.0) / (96.0 * free**2)


@dataclass(frozen=True)
class Bounds:
    """Width of the bounds of an encoded answer."""

    spread_usual: float
    distance_usual: float
    spread_share: float
    distance_share: float
    below: Mapping[str, float]
    """Quantile of (truth - answer) / difficulty at the lower end by stratum; negative."""
    above: Mapping[str, float]
    """The same at the upper end; positive."""

    def difficulty(self, spread: Floats, distance: Floats) -> Floats:
        """How hard each sample is; 1 for the easiest."""
        return (
            1.0
            + self.spread_share * spread / self.spread_usual
            + self.distance_share * distance / self.distance_usual
        )

    def around(
        self, mean: Floats, spread: Floats, distance: Floats, strata: NDArray[np.str_] | None
    ) -> tuple[Floats, Floats]:
        """Lower and upper bound of each encoded answer."""
        hard = self.difficulty(spread, distance)
        kinds = np.full(len(mean), ALL) if strata is None else strata
        low = np.array([self.below.get(str(kind), self.below[ALL]) for kind in kinds])
        high = np.array([self.above.get(str(kind), self.above[ALL]) for kind in kinds])
        return mean + low * hard, mean + high * hard

    def dump(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> "Bounds":
        """What ``dump`` wrote."""
        return cls(**data)


def weighted_quantile(values: Floats, weights: Floats, share: float) -> float:
    """Smallest value with at least this share of all weight at or below it."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    at = min(int(np.searchsorted(reached, share)), len(values) - 1)
    return float(values[order][at])


def equal_weights(groups: NDArray[np.str_]) -> Floats:
    """Weight of each row so that every cell counts alike."""
    _, index, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return np.asarray(1.0 / counts[index], dtype=np.float64)


def calibrate(
    residual: Floats,
    spread: Floats,
    distance: Floats,
    groups: NDArray[np.str_],
    strata: NDArray[np.str_] | None = None,
) -> Bounds:
    """Bounds from truth minus answer (encoded) of cells left out, shape ``(n,)`` each."""
    weights = equal_weights(groups)
    usual_spread, usual_distance = (float(np.median(each)) or 1.0 for each in (spread, distance))
    best, best_cost = Bounds(usual_spread, usual_distance, 0.0, 0.0, {}, {}), np.inf
    for spread_share in SHARES if spread.any() else (0.0,):
        for distance_share in SHARES if distance.any() else (0.0,):
            tried = replace(best, spread_share=spread_share, distance_share=distance_share)
            hard = tried.difficulty(spread, distance)
            ratio = np.abs(residual) / hard
            # Laplace likelihood: what is farther out should be said to be wider.
            scale = float(np.average(ratio, weights=weights))
            cost = np.log(max(scale, 1e-300)) + float(np.average(np.log(hard), weights=weights))
            if cost < best_cost - 1e-3:
                best, best_cost = tried, cost
    ratio = residual / best.difficulty(spread, distance)
    kinds = np.full(len(ratio), ALL) if strata is None else strata
    if (few := len(np.unique(groups))) < QUANTILE_CELLS:
        # A cell's error is mostly its own constant offset, so cells count, not rows.
        half = SIGMAS * student(few) * float(np.sqrt(np.average(ratio**2, weights=weights)))
        return replace(best, below={ALL: -half}, above={ALL: half})
    below, above = {}, {}
    for kind in (ALL, *sorted(set(kinds.tolist()) - {ALL})):
        mine = np.full(len(ratio), True) if kind == ALL else kinds == kind
        cells = len(np.unique(groups[mine]))
        if kind == ALL or cells >= ENOUGH_CELLS:
            tail = (1.0 - INSIDE) / 2.0 * max(1.0 - FEW_CELLS / cells, LEAST_TAIL)
            below[kind] = min(weighted_quantile(ratio[mine], weights[mine], tail), 0.0)
            above[kind] = max(weighted_quantile(ratio[mine], weights[mine], 1.0 - tail), 0.0)
    return replace(best, below=below, above=above)
