"""Self-discharge of every series group against the median of its pack.

All groups of a pack carry the same current, so an error of the current sensor drops out
of the comparison. The drift over all anchors comes with the capacity fit. A short that
began lately is not a drift over all anchors: the best of a few breaks in time is
tried on top, and taken when it explains far more than chance does.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.learning.capacity import INFLATE, Fit
from ems.model import BoolArray, FloatArray

SINCE_H: Final = (8.0, 24.0, 48.0, 96.0, 168.0)
"""How long ago a break may have been, h."""
BREAK_SIGMAS: Final = 6.0
OUTLIER_PER_H: Final = 1.0 / 5000.0
"""Excess over the median of the pack from which a group is flagged, 1/h: 14 % of capacity
a month, level 2 of cause C20 of the safety concept."""
SURE_SIGMAS: Final = 4.0


@dataclass(frozen=True, slots=True, eq=False)
class Leak:
    """Of the groups of one pack, arrays of shape ``(n,)``."""

    excess_per_h: FloatArray
    """SoC lost per hour beyond the median group of the pack, 1/h."""
    sigma_per_h: FloatArray
    outlier: BoolArray
    k_shift: FloatArray
    """What the break changes in the capacity ratio ``k``."""


def find(fit: Fit) -> Leak:
    """Leaks of one pack as of its newest anchor."""
    drift = fit.drift_per_h.copy()
    sigma = fit.drift_sigma_per_h.copy()
    k_shift = np.zeros(drift.size)
    worst = np.zeros(drift.size)
    age_h = fit.now_h - fit.at_h
    common = np.median(fit.error_frac, axis=1)[:, None]
    error = fit.error_frac - common
    spread = np.sqrt(
        np.median((error**2 * fit.weight)[:, fit.weight.sum(axis=0) > 0], axis=None) / 0.455
    )
    for since_h in SINCE_H:
        if age_h.max() < 1.5 * since_h:
            break
        hinge = np.maximum(since_h - age_h, 0.0)[:, None] * np.ones(drift.size)
        for one in np.unique(fit.epoch):
            own = fit.epoch == one
            total = fit.weight[own].sum(axis=0) + 1e-9
            hinge[own] -= (fit.weight[own] * hinge[own]).sum(axis=0) / total
        cross = np.einsum("arn,rn,rn->an", fit.design, fit.weight, hinge)
        share = np.einsum("abn,bn->an", fit.covariance, cross)
        rest = hinge - np.einsum("arn,an->rn", fit.design, share)
        power = (rest * fit.weight * hinge).sum(axis=0)
        enough = power > 0.0
        power = np.where(enough, power, 1.0)
        bend = np.where(enough, (rest * fit.weight * error).sum(axis=0) / power, 0.0)
        bend_sigma = INFLATE * max(float(spread), 1.0) / np.sqrt(power)
        ratio = np.abs(bend) / bend_sigma
        better = enough & (ratio > BREAK_SIGMAS) & (ratio > worst)
        worst = np.where(better, ratio, worst)
        drift = np.where(better, fit.drift_per_h - bend - share[1] * bend, drift)
        sigma = np.where(
            better, np.hypot(fit.drift_sigma_per_h, bend_sigma * np.abs(1.0 + share[1])), sigma
        )
        k_shift = np.where(better, -share[0] * bend, k_shift)
    excess = drift - np.median(drift)
    outlier = (excess > OUTLIER_PER_H) & (excess > SURE_SIGMAS * sigma)
    return Leak(excess, sigma, outlier, k_shift)
