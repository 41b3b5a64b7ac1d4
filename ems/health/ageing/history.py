"""What a pack's own history says about how fast it ages.

The law of its chemistry is a guess about another cell. Dated SoH measurements of the
pack itself correct two things: the *pace*, the law's remaining life over the pack's,
and the *bend*, whether it speeds up on the way. Both have a prior and get the posterior
that the measurements leave, on a plain grid: no sampler, no iteration, the same
history always gives the same answer.

The prior lies on the length of life, not on the speed of today. So a pack that has
lost nothing yet is first of all taken for one that will bend later, and does not look
immortal.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health.ageing.laws import Path

Floats = NDArray[np.float64]

BEND_MEAN: Final = 1.0
BEND_SIGMA: Final = 2.0
"""Prior of the bend: judgement. Cells followed past 80 % speed up more often than they
slow down. At 0 a pack follows the law, at 1 it ends 2.7 times as fast as it began."""
DISCREPANCY_FRAC: Final = 0.012
"""What no law of this form explains in a SoH curve: formation, recovery after rest,
the season. Keeps many readings from looking like certainty. Judgement."""
DEFAULT_SIGMA_FRAC: Final = 0.01
BINS: Final = 10
MOST_LIVES: Final = 1.5
"""A pack measured later than this many of its lives is ruled out just as well there."""
LEAST_WEIGHT: Final = 1e-9
_PACES: Final = np.linspace(-4.0, 4.0, 97)
_BENDS: Final = np.linspace(-3.0, 7.0, 61)
_STARTS: Final = np.linspace(-3.0, 3.0, 13)


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Measurements of one pack, oldest first."""

    day: Floats
    """Days, any origin, shape ``(n,)``, n >= 1, not falling."""
    soh_frac: Floats
    sigma_frac: Floats
    """One standard deviation of each."""

    def __post_init__(self) -> None:
        if not len(self.day) or not np.all(np.diff(self.day) >= 0.0):
            raise ValueError("a history needs at least one measurement, oldest first")
        if not np.all(np.isfinite(self.soh_frac)) or not np.all(self.sigma_frac > 0.0):
            raise ValueError("every SoH needs a finite value and a sigma above 0")


@dataclass(frozen=True, slots=True, eq=False)
class Pace:
    """Weighted grid of what the pack may be; arrays of shape ``(m,)``."""

    ln_pace: Floats
    left_days: Floats
    """Days of the usage left to the criterion; 0 when it is passed."""
    weight: Floats
    """Sums to 1."""

    @property
    def pace(self) -> float:
        """Law's life over the pack's, geometric mean; 1 as published, above 1 faster."""
        return float(np.exp(self.weight @ self.ln_pace))

    @property
    def ln_sigma(self) -> float:
        mean = self.weight @ self.ln_pace
        return float(np.sqrt(self.weight @ (self.ln_pace - mean) ** 2))


def entry_soh(path: Path, history: History) -> float:
    """SoH from which the law counts: 1, or that of the first measurement."""
    return float(history.soh_frac[0]) if path.law.restarts else 1.0


def pace(path: Path, history: History, end_soh_frac: float) -> Pace:
    """How fast the pack goes and what is left, after its history.

    From the first measurement to the criterion the law takes ``whole_days``, the pack
    ``whole_days / pace``. At a share ``y`` of its time it has gone the share
    ``(exp(bend * y) - 1) / (exp(bend) - 1)`` of the law's path.
    """
    day, soh, sigma = binned(history)
    entry = entry_soh(path, history)
    # Axes: pace, bend, start.
    ln_pace, bend, off = np.meshgrid(_PACES * path.law.ln_sigma, _BENDS, _STARTS, indexing="ij")
    start_soh = soh[0] + off * sigma[0]
    start_days = path.days(entry - start_soh)
    end_days = float(path.days(np.array(entry - end_soh_frac)))
    whole_days = np.maximum(end_days - start_days, 1e-9)
    life_days = whole_days * np.exp(-ln_pace)
    ln_weight = -0.5 * ((ln_pace / path.law.ln_sigma) ** 2 + off**2)
    ln_weight -= 0.5 * ((bend - BEND_MEAN) / BEND_SIGMA) ** 2
    # What lies above the entry has no place on a path that only falls: kept beside it.
    above = np.maximum(start_soh - entry, 0.0)
    for at_day, at_soh, at_sigma in zip(day[1:], soh[1:], sigma[1:], strict=True):
        share = np.minimum((at_day - day[0]) / life_days, MOST_LIVES)
        expected = entry + above - path.loss_frac(start_days + whole_days * _gone(share, bend))
        ln_weight -= 0.5 * ((at_soh - expected) / at_sigma) ** 2
    weight = np.exp(ln_weight - ln_weight.max())
    weight /= weight.sum()
    left = np.maximum(life_days - (history.day[-1] - day[0]), 0.0)
    left = np.where(start_soh <= end_soh_frac, 0.0, left)
    keep = weight.ravel() > LEAST_WEIGHT
    kept = weight.ravel()[keep]
    return Pace(ln_pace.ravel()[keep], left.ravel()[keep], kept / kept.sum())


def binned(history: History) -> tuple[Floats, Floats, Floats]:
    """The history in at most ``BINS`` pieces: mean day, mean SoH, sigma of the mean.

    Sigma never falls below what the law cannot explain.
    """
    parts = np.array_split(np.arange(len(history.day)), min(BINS, len(history.day)))
    day = np.array([history.day[part].mean() for part in parts])
    soh = np.array([history.soh_frac[part].mean() for part in parts])
    variance = [np.mean(history.sigma_frac[part] ** 2) / len(part) for part in parts]
    return day, soh, np.sqrt(np.array(variance) + DISCREPANCY_FRAC**2)


def _gone(share: Floats, bend: Floats) -> Floats:
    """Share of the law's path gone at a share of the pack's time; 0 to 0 and 1 to 1."""
    straight = np.abs(bend) < 1e-6
    safe = np.where(straight, 1.0, bend)
    return np.where(straight, share, np.expm1(safe * share) / np.expm1(safe))
