"""Two RC pairs for the resistance of a cell, and what is expected of them before learning.

Unknowns are ``N`` parts at 25 degC: R0, the fast and the slow pair, the departure of R0
from the usual temperature, and by how much the fall of the OCV differs from the counted one.
"""

import math
from typing import Final

import numpy as np

from ems.health.prepare import ARRHENIUS_K, ROOM_K
from ems.model import FloatArray

KELVIN: Final = 273.15
FAST_S: Final = 4.0
SLOW_S: Final = 50.0
"""Time constants of the two RC pairs. Cells have a spectrum; between 1 s and 2 min two
pairs describe it to some percent."""
N: Final = 5
"""Unknowns per cell: three parts at 25 degC, the departure from ``ARRHENIUS_K``, and by how
much the fall of the OCV differs from what counting says."""
SHARES: Final = (0.75, 0.12, 0.75)
"""R0, fast and slow pair over the 10 s resistance before anything is learned: fit of
30 A pulses of a used Nissan Leaf cell (R0 1.53, 0.24 at 3 s, 1.53 mohm at 50 s). Scaled
to give 1 after 10 s, see ``PRIOR``."""
SCALE_SIGMA: Final = 0.5
"""Relative error (1 sigma) of the intake resistance as a whole..."""
SHARE_SIGMA: Final = (0.15, 0.15, 0.35)
"""...and of each part of it by itself."""
BLUR_S: Final = 2.0
"""By so much longer an interval the fast pair is told that much worse. Its share then is the
one that is usual, for what looks like a fast pair in samples 5 s apart is the error of
the slow one."""
LEAST_FAST_SIGMA: Final = 0.02
"""How far it may lie from the usual one then (1 sigma), of the 10 s resistance."""
MOVED_SIGMA: Final = 0.4
"""Error of what counting says the OCV fell, as a share of it (1 sigma): capacity, slope."""
TEN_S: Final = 10.0


def arrhenius(temp_c: FloatArray) -> FloatArray:
    """Resistance at a temperature over that at 25 degC, > 0, 1 at 25 degC."""
    return np.asarray(np.exp(ARRHENIUS_K * (1.0 / (temp_c + KELVIN) - 1.0 / ROOM_K)))


def grown(after_s: float) -> FloatArray:
    """Share of each part that a step of current has called up by then."""
    fast, slow = -math.expm1(-after_s / FAST_S), -math.expm1(-after_s / SLOW_S)
    return np.array((1.0, fast, slow, 0.0, 0.0))


PART0: Final = grown(0.0)
PART10: Final = grown(TEN_S)
PART60: Final = grown(60.0)
PRIOR: Final[FloatArray] = np.array((*(np.array(SHARES) / (PART10[:3] @ SHARES)), 0.0, 1.0))


def relative_sigma(
    part: FloatArray, covariance: FloatArray, middle: FloatArray, floor: float = 0.0
) -> float:
    """1 sigma of a combination of parts over its value, at least ``floor``, at most 1."""
    value = float(part @ middle)
    if value <= 0.0:
        return 1.0
    return min(math.hypot(math.sqrt(float(part @ covariance @ part)) / value, floor), 1.0)


def covariance(spacing_s: float) -> FloatArray:
    """Of the prior in units of the intake resistance, ``(N, N)``, for samples this far apart, s."""
    whole, fast, slow = SHARE_SIGMA
    fast = max(fast * math.exp((1.0 - spacing_s) / BLUR_S), LEAST_FAST_SIGMA)
    spread = np.array((whole, fast, slow, SHARES[0], MOVED_SIGMA))
    scaled = np.where(np.arange(N) < N - 1, PRIOR, 0.0)
    return np.asarray(SCALE_SIGMA**2 * np.outer(scaled, scaled) + np.diag(spread**2))


def precision(spacing_s: float) -> FloatArray:
    """Inverse of it."""
    return np.asarray(np.linalg.inv(covariance(spacing_s)), np.float64)


COVARIANCE: Final = covariance(1.0)
