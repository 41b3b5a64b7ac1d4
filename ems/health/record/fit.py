"""Capacity of a record by one fit of all its voltages, with what is not known integrated out.

    v = OCV(s) + g(s) - f(T) * sum_j w_j * (1 + a + b_j + h_j(s)) * x_j + e(t),   s = s0 - q / C

``x_j`` are the current and the current behind four time constants. The error of the curve
``g``, the departures of resistance from its prior (as a whole ``a``, per part ``b_j``, along
SoC ``h_j``), unfinished relaxation at the start and the error of the model are Gaussian,
so for given capacity C and start s0 the voltages are one Gaussian vector, and the fit is
generalised least squares in two numbers: s0 is optimised, C walked through. The width of
what is left is the sigma, honest where the record says little, because a curve that bends
elsewhere and a resistance that grows along the way are both allowed for.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ems.health.prepare import ARRHENIUS_K, ROOM_K
from ems.health.record.curves import Curve
from ems.health.record.flow import Part, lagged, thinned
from ems.model import FloatArray

TAUS_S: Final = np.array((4.0, 50.0, 600.0, 3000.0))
SHARES: Final = np.array((0.75, 0.12, 0.75, 0.45, 0.25))
"""Parts of the resistance over the 10 s one: HPPC of a used Nissan Leaf cell."""
SHARE_SIGMA: Final = np.array((0.15, 0.12, 0.25, 0.20, 0.20))
ALONG_SIGMA: Final = 0.15
"""How a part of the resistance changes along SoC, relative (1 sigma)..."""
ALONG_FRAC: Final = 0.20
"""...over this much SoC."""
SCALE_SIGMA: Final = 1.0
OHM_AH: Final = 0.07
"""10 s resistance times rated capacity before anything is known, ohm Ah."""
CURVE_FRAC: Final = 0.08
NOISE_V: Final = 0.002
MODEL_SIGMA: Final = 0.06
MODEL_S: Final = 300.0
"""Error of the model as a share of the drop, and how long it stays the same."""
START_V: Final = (0.005, 0.008, 0.010)
"""What may still relax at the first row behind the time constants of 50 s and more, V."""
GAIN_SIGMA: Final = 0.01
"""Current sensor and shape of the curve: no capacity is fitted better."""
PRIOR: Final = (0.85, 0.20)
"""Capacity over rated before the record speaks: mean and 1 sigma."""
LOWEST_FRAC, HIGHEST_FRAC = 0.15, 1.25
COARSE, FINE = 41, 41
PASSES: Final = 2
POINTS: Final = 140
KELVIN: Final = 273.15


@dataclass(frozen=True, slots=True, eq=False)
class Posterior:
    """What the voltages say about capacity."""

    capacity_ah: float
    """Median."""
    sigma_ah: float
    """Half the width that holds 68 %, error of the charge included."""
    span_frac: float
    """SoC covered by the longest stretch."""
    at_edge: bool
    """The most likely capacity lies at the end of what is looked at."""
    misfit: float
    """Mean square of the standardised residuals; about 1 when the model holds."""
    start_frac: tuple[float, ...]
    """SoC at the first row of each part."""


def warmth(temp_c: FloatArray | None, n: int) -> FloatArray:
    """Resistance over that at 25 degC; 1 without a temperature."""
    if temp_c is None:
        return np.ones(n)
    return np.asarray(np.exp(ARRHENIUS_K * (1.0 / (temp_c + KELVIN) - 1.0 / ROOM_K)))


class _Voltages:
    """One part, thinned, with the covariance that does not depend on SoC."""

    def __init__(self, part: Part, curve: Curve, rated_ah: float, scale_ohm: float) -> None:
        rows = thinned(part, POINTS)
        self.curve = curve
        self.q: FloatArray = part.charge_ah[rows]
        self.v: FloatArray = part.voltage_v[rows]
        f = warmth(part.temp_c, part.t_s.size)
        x = f * np.vstack((part.current_a, lagged(part, TAUS_S)))
        self.drops = (SHARES * scale_ohm)[:, None] * x[:, rows]
        self.drop: FloatArray = self.drops.sum(axis=0)
        t_s = part.t_s[rows]
        n = rows.size
        fixed = SCALE_SIGMA**2 * np.outer(self.drop, self.drop) + np.eye(n) * NOISE_V**2
        apart_s = np.abs(t_s[:, None] - t_s)
        fixed += MODEL_SIGMA**2 * np.outer(self.drop, self.drop) * np.exp(-apart_s / MODEL_S)
        for part_drop, share, sigma in zip(self.drops, SHARES, SHARE_SIGMA, strict=True):
            fixed += (sigma / share) ** 2 * np.outer(part_drop, part_drop)
        before_v = 0.5 * scale_ohm * abs(float(part.current_a[0]))
        for tau_s, sigma_v in zip(TAUS_S[1:], START_V, strict=True):
            left = np.exp((t_s[0] - t_s) / tau_s)
            fixed += (sigma_v**2 + before_v**2) * np.outer(left, left)
        self.fixed = fixed
        self.rated_ah = rated_ah

    def start(self) -> float:
        """First guess of SoC at the first row."""
        return self.curve.soc(float(self.v[0] + self.drop[0]))

    def refer(self, capacity_ah: float, start_frac: float) -> None:
        """Take the covariance as of this capacity and start.

        It is held while others are tried: else capacities at which a loose prior would
        be a tight one win for that alone.
        """
        soc = start_frac - self.q / capacity_ah
        away = np.abs(soc[:, None] - soc)
        shifted = self.curve.stretch_frac * self.curve.slope(soc)
        cov = self.fixed + _matern(away / CURVE_FRAC) * (
            self.curve.sigma_v**2 + np.outer(shifted, shifted)
        )
        cov += (ALONG_SIGMA**2 * _matern(away / ALONG_FRAC)) * (self.drops.T @ self.drops)
        self.factor = cho_factor(cov, lower=True, check_finite=False)

    def judge(self, capacity_ah: float, start_frac: float) -> tuple[float, float, float, float]:
        """(log likelihood, its slope and curvature along s0, mean square residual)."""
        soc = start_frac - self.q / capacity_ah
        error = self.v - self.curve.ocv(soc) + self.drop
        slope = self.curve.slope(soc)
        solved = cho_solve(self.factor, np.column_stack((error, slope)), check_finite=False)
        fit = float(error @ solved[:, 0])
        pull, hold = float(slope @ solved[:, 0]), float(slope @ solved[:, 1])
        return -0.5 * fit, pull, hold, fit / soc.size

    def profile(self, capacity_ah: float, start_frac: float) -> tuple[float, float, float]:
        """(log likelihood with s0 integrated out, best s0, mean square residual)."""
        best = (-np.inf, start_frac, 1.0, np.inf)
        for _ in range(10):
            value, pull, hold, misfit = self.judge(capacity_ah, start_frac)
            if value > best[0]:
                best = (value, start_frac, hold, misfit)
            stride = float(np.clip(pull / max(hold, 1e-9), -0.1, 0.1))
            if abs(stride) < 2e-4:
                break
            start_frac = float(np.clip(start_frac + stride, -0.05, 1.08))
        return best[0] - 0.5 * float(np.log(max(best[2], 1e-9))), best[1], best[3]


def _matern(x: FloatArray) -> FloatArray:
    """Matern kernel 3/2: smooth once, not endlessly as a Gaussian one, which would be sure
    of too much."""
    y = np.sqrt(3.0) * x
    return np.asarray((1.0 + y) * np.exp(-y))


def fit(parts: list[Part], curve: Curve, rated_ah: float, ohm: float | None) -> Posterior | None:
    """Capacity of one record, or None where no charge flowed.

    Args:
        parts: Unbroken stretches; each has a start of its own, all share the capacity.
        curve: OCV.
        rated_ah: Rated capacity.
        ohm: 10 s resistance at 25 degC if known, to start from.
    """
    scale_ohm = ohm if ohm is not None else OHM_AH / rated_ah
    used = [part for part in parts if np.ptp(part.charge_ah) > 0.005 * rated_ah]
    if not used:
        return None
    voltages = [_Voltages(part, curve, rated_ah, scale_ohm) for part in used]
    starts = [v.start() for v in voltages]
    coarse = rated_ah * np.geomspace(LOWEST_FRAC, HIGHEST_FRAC, COARSE)
    for part, start_frac in zip(voltages, starts, strict=True):
        part.refer(PRIOR[0] * rated_ah, start_frac)
    for _ in range(PASSES):
        value, starts_at, _ = _walk(voltages, coarse, starts, rated_ah)
        top = int(value.argmax())
        for part, start_frac in zip(voltages, starts_at[top], strict=True):
            part.refer(float(coarse[top]), float(start_frac))
    value, _, _ = _walk(voltages, coarse, starts, rated_ah)
    top = int(value.argmax())
    near = np.flatnonzero(value > value[top] - 8.0)
    low, high = coarse[max(near[0] - 1, 0)], coarse[min(near[-1] + 1, COARSE - 1)]
    fine = np.linspace(low, high, FINE)
    value, starts_at, misfit = _walk(voltages, fine, starts, rated_ah)
    weight = np.exp(value - value.max())
    share = np.concatenate(([0.0], np.cumsum(0.5 * (weight[1:] + weight[:-1]))))
    share /= share[-1]
    low16, median, high84 = np.interp((0.16, 0.5, 0.84), share, fine)
    longest = max(float(np.ptp(part.charge_ah)) for part in used)
    blur = np.hypot(max(part.blur_ah for part in used) / longest, GAIN_SIGMA)
    best = int(value.argmax())
    # Where the model does not hold, it does not know how wrong it is.
    doubt = np.sqrt(max(float(misfit[best]), 1.0))
    return Posterior(
        capacity_ah=float(median),
        sigma_ah=float(np.hypot(doubt * (high84 - low16) / 2.0, blur * median)),
        span_frac=longest / float(median),
        at_edge=fine[best] <= coarse[0] * 1.02 or fine[best] >= coarse[-1] * 0.98,
        misfit=float(misfit[best]),
        start_frac=tuple(starts_at[best].tolist()),
    )


def _walk(
    voltages: list[_Voltages], capacities: FloatArray, starts: list[float], rated_ah: float
) -> tuple[FloatArray, NDArray[np.float64], FloatArray]:
    """Log posterior, starts and misfit at each capacity."""
    mean, sigma = PRIOR
    value = -0.5 * ((capacities / rated_ah - mean) / sigma) ** 2
    starts_at = np.empty((capacities.size, len(voltages)))
    misfit = np.zeros(capacities.size)
    for column, part in enumerate(voltages):
        at = starts[column]
        for row, capacity_ah in enumerate(capacities):
            found, at, away = part.profile(float(capacity_ah), at)
            value[row] += found
            starts_at[row, column] = at
            misfit[row] = max(misfit[row], away)
    return value, starts_at, misfit
