"""Capacity of every series group from partial cycles between anchor points.

For one group, with the charge drawn ``q`` and the hours ``t`` at its anchors,

    v = OCV(s),    s = s0 - k * q / C0 - d * t

``k`` is the capacity expected over the true one, ``d`` the drift: self-discharge and the
offset of the current sensor. All three are fitted at once, by Gauss-Newton, in the
voltage, so that a plateau weighs as little as it says and a knee as much. Both sides
carry an error (effective variance: that of the voltage plus that of the charge times the
slope of the curve), which makes it a total least-squares fit; the groups of a pack
share the regressors, so one call fits them all.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health import ocv
from ems.health.learning import segments
from ems.health.learning.segments import Anchors
from ems.model import BoolArray, FloatArray
from ems.site import Chemistry

PRIOR_MEAN: Final = 1.04
PRIOR_SPREAD: Final = 0.06
"""Groups over the one value of intake, which is the weakest group's: mean and 1 sigma."""
DRIFT_SIGMA_PER_H: Final = 0.01
"""Before anything is known, 1/h: an internal short drains a group in days."""
SOC_SIGMA: Final = 0.5
"""SoC at the newest anchor before the fit: the filter's estimate helps it to begin, and
hardly weighs, because it comes from the same voltages."""
CHARGE_SIGMA: Final = 0.002
"""Error of the charge between anchors apart from gain and offset (1 sigma), of capacity."""
GAIN_SIGMA: Final = 0.005
"""Gain of the current sensor (1 sigma): no capacity can be known better."""
EPOCHS: Final = 4
"""Stretches of unbroken counting that are used, the newest."""
ITERATIONS: Final = 8
STRIDE_FRAC: Final = 0.10
"""Largest correction of a SoC in one iteration: far from the truth the curve misleads."""
LEAST_SLOPE_V: Final = 0.02
HUBER: Final = 2.5
INFLATE: Final = 1.2
"""Anchors err alike where the curve is off; sigma of the drift is that much larger than
white errors say."""
LEAST_CURVE_V: Final = 0.0003
MOST_CURVE_V: Final = 0.05

LEAST_ANCHORS: Final = 8
LEAST_SPAN_FRAC: Final = 0.20
"""Least range of SoC the anchors of a group cover."""
LEAST_TOLD: Final = 0.5
"""Share of a capacity that the anchors say, the rest being what was expected."""
DOUBT_V: Final = 0.003
"""Error of the curve (1 sigma) that no fit shows: a plateau fits any capacity as soon as
its few millivolts are those of hysteresis."""
LEAST_SEGMENTS: Final = 3
"""In either direction."""
CI_FRAC: Final = 0.15
"""The 90 % interval, with such an error of the curve, must be within this of the value, on
either side."""
AGREE_FRAC: Final = 0.15
"""Theil-Sen must give the same within this."""
SHARP_FRAC: Final = 0.02
"""An anchor is sharp enough for Theil-Sen when it tells SoC this well (1 sigma)."""
LEAST_PAIRS: Final = 4
PLAUSIBLE: Final = (0.15, 1.10)
"""Capacity over rated that is believed."""
Z90: Final = 1.645
LENGTH_FRAC: Final = 0.10
"""SoC over which the error of a curve is the same error, as in ``soc.curve``."""
BIN_FRAC: Final = 0.025
LEAST_LEFT: Final = 0.25
"""What the fit takes up of such an error cannot be seen: the rest is taken for at least
this share of its variance."""
LEAST_NOISE: Final = 0.25
"""Disturbance of an anchor is never taken for less than this share of its variance."""


def _kernel() -> FloatArray:
    """Correlation of the error of the curve between bins of SoC."""
    at = BIN_FRAC * np.arange(round((ocv.SOC_HIGH_FRAC - ocv.SOC_LOW_FRAC) / BIN_FRAC) + 1)
    return np.asarray(np.exp(-np.abs(at[:, None] - at) / LENGTH_FRAC))


_KERNEL: Final = _kernel()


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What is believed before the anchors speak."""

    capacity_ah: float
    """Weakest group by intake."""
    soh_sigma_frac: float
    """Relative."""
    soc_frac: FloatArray
    """Of each group at the newest anchor, or about it."""
    curve_v: float
    """How far the cells lie from the OCV curve (1 sigma), as the last fit found."""
    rated_ah: float


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """Of the groups of one pack, arrays of shape ``(n,)`` or ``(rows, n)``."""

    capacity_ah: FloatArray
    sigma_ah: FloatArray
    drift_per_h: FloatArray
    """SoC lost per hour beyond what was counted, sensor offset included."""
    drift_sigma_per_h: FloatArray
    good: BoolArray
    """Whether all the gates are passed."""
    doubt_frac: FloatArray
    """Relative error (1 sigma) of the capacity if the curve is off by ``DOUBT_V``."""
    rms_v: float
    """Distance of the anchors from the fitted curve, quiet ones counting most."""
    curve_v: float
    now_h: float
    at_h: FloatArray
    soc_frac: FloatArray
    """Of the anchors used, ``(rows, n)``."""
    weight: FloatArray
    """Of these anchors in SoC, 1/sigma^2."""
    error_frac: FloatArray
    """SoC by voltage minus fitted SoC."""
    design: FloatArray
    """Charge and time about the mean of each epoch, ``(2, rows, n)``."""
    covariance: FloatArray
    """Of (k, d), ``(2, 2, n)``."""
    epoch: NDArray[np.int64]


def fit(chemistry: Chemistry, anchors: Anchors, prior: Prior) -> Fit | None:
    """Capacities of one pack, or ``None`` while there are too few anchors.

    Args:
        chemistry: Whose OCV curve holds.
        anchors: Of this pack.
        prior: What to start from.
    """
    rows = _rows(anchors)
    if rows.size < LEAST_ANCHORS:
        return None
    chem = np.intp(ocv.chem_index(chemistry))
    epoch = anchors.epoch[rows]
    ah, at_h = anchors.ah[rows], anchors.at_h[rows]
    expected_ah = prior.capacity_ah * PRIOR_MEAN
    last_h = float(at_h[-1])
    charge = -(ah - ah[-1]) / expected_ah
    hours = last_h - at_h
    volts = anchors.volts[rows]
    known = np.isfinite(volts)
    volts = np.where(known, volts, 3.0)
    sigma_v = anchors.sigma_v[rows][:, None]
    base_v2 = known / (sigma_v**2 + prior.curve_v**2)
    k_sigma = math.hypot(prior.soh_sigma_frac, PRIOR_SPREAD)
    ridge = np.array((1.0 / k_sigma**2, 1.0 / DRIFT_SIGMA_PER_H**2))

    k, d = np.ones(volts.shape[1]), np.zeros(volts.shape[1])
    soc = _start(chem, volts, charge, epoch, prior)
    for _ in range(ITERATIONS):
        slope_v = np.maximum(ocv.slope_v_of(chem, soc), LEAST_SLOPE_V)
        away_v = volts - ocv.ocv_v_of(chem, soc)
        sigma2_v = 1.0 / np.maximum(base_v2, 1e-12) + (slope_v * CHARGE_SIGMA) ** 2
        huber = np.minimum(1.0, HUBER * np.sqrt(sigma2_v) / np.maximum(np.abs(away_v), 1e-9))
        weight = known * huber * slope_v**2 / sigma2_v
        step = np.minimum(np.maximum(away_v / slope_v, -STRIDE_FRAC), STRIDE_FRAC)
        target = soc + step
        design, mean_soc, mean_x = _centred(charge, hours, target, weight, epoch, prior.soc_frac)
        x, y = design[:2], design[2]
        normal = np.einsum("arn,rn,brn->abn", x, weight, x)
        normal[0, 0] += ridge[0]
        normal[1, 1] += ridge[1]
        pull = np.einsum("arn,rn,rn->an", x, weight, y)
        pull[0] += ridge[0]
        covariance = _inverse(normal)
        k, d = np.einsum("abn,bn->an", covariance, pull)
        k = np.minimum(np.maximum(k, 0.4), 4.0)
        before = soc
        soc = mean_soc + k * (charge[:, None] - mean_x[0]) + d * (hours[:, None] - mean_x[1])
        np.minimum(np.maximum(soc, ocv.SOC_LOW_FRAC), ocv.SOC_HIGH_FRAC, out=soc)
        if np.abs(soc - before).max() < 1e-4:
            break

    error = (volts - ocv.ocv_v_of(chem, soc)) / slope_v
    rms_v, curve_v, noise = _misfit(np.where(known, error * slope_v, np.nan), sigma_v[:, 0])
    capacity_ah = expected_ah / k
    errors = _Errors(x, weight, covariance, soc, slope_v, epoch)
    k_var = errors.own(noise * (sigma_v**2 + (slope_v * CHARGE_SIGMA) ** 2))
    k_var += covariance[0, 0] ** 2 * ridge[0] + covariance[0, 1] ** 2 * ridge[1]
    common = errors.common()
    if curve_v > LEAST_CURVE_V:
        k_var += curve_v**2 / errors.left() * common
    relative = np.hypot(np.sqrt(k_var) / k, GAIN_SIGMA)
    # The prior hides an error of the curve from k as far as it holds k itself.
    told = 1.0 - np.minimum(covariance[0, 0] * ridge[0], 1.0)
    doubt = np.hypot(relative, DOUBT_V * np.sqrt(common) / (k * np.maximum(told, 1e-6)))
    high, low = np.where(known, soc, -np.inf).max(axis=0), np.where(known, soc, np.inf).min(axis=0)
    good = (
        (high - low >= LEAST_SPAN_FRAC)
        & (told >= LEAST_TOLD)
        & (Z90 * doubt <= CI_FRAC)
        & (min(anchors.discharges, anchors.charges) >= LEAST_SEGMENTS)
        & (capacity_ah > PLAUSIBLE[0] * prior.rated_ah)
        & (capacity_ah < PLAUSIBLE[1] * prior.rated_ah)
        & _agrees(soc + error, charge, hours, weight, epoch, k, d)
    )
    return Fit(
        capacity_ah=capacity_ah,
        sigma_ah=relative * capacity_ah,
        drift_per_h=d,
        drift_sigma_per_h=INFLATE * np.sqrt(covariance[1, 1]),
        good=good,
        doubt_frac=doubt,
        rms_v=rms_v,
        curve_v=min(max(curve_v, LEAST_CURVE_V), MOST_CURVE_V),
        now_h=last_h,
        at_h=at_h,
        soc_frac=soc,
        weight=weight,
        error_frac=error,
        design=x,
        covariance=covariance,
        epoch=epoch,
    )


def _misfit(away_v: FloatArray, sigma_v: FloatArray) -> tuple[float, float, float]:
    """(distance of the anchors from the fit, share of it by the curve, both V; variance of
    their disturbance over what it was taken for, at most 1).

    What all groups of a pack have in common at an anchor counts, so that one bad group
    does not; quiet anchors count most. Anchors that lie closer to the fit than their own
    error allows show that it was overstated.
    """
    shown_v2 = np.nanmedian(away_v * away_v, axis=1)
    weight = np.isfinite(shown_v2) / (sigma_v**2 + segments.NOISE_V**2)
    total = max(float(weight.sum()), 1e-9)
    rms_v2 = float((weight * np.nan_to_num(shown_v2)).sum()) / total
    noise_v2 = float((weight * sigma_v**2).sum()) / total
    curve_v = math.sqrt(max(rms_v2 - LEAST_NOISE * noise_v2, 0.0))
    return math.sqrt(rms_v2), curve_v, min(max(rms_v2 / noise_v2, LEAST_NOISE), 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Errors:
    """What an error of the voltages does to the fitted ``k``; arguments of the fit."""

    x: FloatArray
    weight: FloatArray
    covariance: FloatArray
    soc: FloatArray
    slope_v: FloatArray
    epoch: NDArray[np.int64]

    def _gain(self) -> FloatArray:
        """Change of ``k`` per volt at each anchor, 1/V."""
        share = np.einsum("an,arn->rn", self.covariance[0], self.x)
        return np.asarray(share * self.weight / self.slope_v)

    def own(self, error_v2: FloatArray) -> FloatArray:
        """Variance of ``k`` by errors that each anchor has for itself.

        Args:
            error_v2: Their variance, V^2, ``(rows, n)``.
        """
        return np.asarray((self._gain() ** 2 * error_v2).sum(axis=0))

    def common(self) -> FloatArray:
        """Variance of ``k`` per V^2 of an error of the curve, which anchors at one SoC share."""
        n = self.soc.shape[1]
        place = ((self.soc - ocv.SOC_LOW_FRAC) / BIN_FRAC).astype(np.intp)
        flat = (place * n + np.arange(n)).ravel()
        size = _KERNEL.shape[0] * n
        summed = np.bincount(flat, self._gain().ravel(), size).reshape(-1, n)
        return np.asarray((summed * (_KERNEL @ summed)).sum(axis=0))

    def left(self) -> float:
        """Share of the variance of such an error that the fit leaves to be seen."""
        j = int(np.argsort(self.covariance[0, 0])[self.soc.shape[1] // 2])
        x, w, slope = self.x[:, :, j], self.weight[:, j], self.slope_v[:, j]
        hat = (x.T @ self.covariance[:, :, j] @ x) * w
        same = self.epoch[:, None] == self.epoch
        hat += same * w / np.maximum((same * w).sum(axis=1), 1e-9)[:, None]
        rest = (np.eye(w.size) - hat) * slope[:, None] / slope
        place = ((self.soc[:, j] - ocv.SOC_LOW_FRAC) / BIN_FRAC).astype(np.intp)
        shown = np.einsum("ij,jk,ik->i", rest, _KERNEL[np.ix_(place, place)], rest, optimize=True)
        return max(float(np.median(shown)), LEAST_LEFT)


def _rows(anchors: Anchors) -> NDArray[np.intp]:
    """Anchors used, in order of time."""
    newest = int(anchors.epoch[segments.filled(anchors)].max(initial=0))
    used = np.flatnonzero(segments.filled(anchors) & (anchors.epoch > newest - EPOCHS))
    return used[np.argsort(anchors.at_h[used], kind="stable")]


def _start(
    chem: np.intp, volts: FloatArray, charge: FloatArray, epoch: NDArray[np.int64], prior: Prior
) -> FloatArray:
    """First guess of SoC: counted, hung up where the curve is steepest."""
    shown = ocv.soc_from_ocv_of(chem, volts)
    steep = ocv.slope_v_of(chem, shown)
    soc = np.empty(volts.shape)
    for one in np.unique(epoch):
        own = epoch == one
        weight = steep[own] ** 2
        weight = np.minimum(weight, 4.0)
        apart = shown[own] - charge[own][:, None]
        # The filter's SoC decides while nothing but a plateau has been seen.
        anchor = np.full(volts.shape[1], 0.0)
        held = 0.0
        if one == epoch[-1]:
            anchor, held = prior.soc_frac, 0.05
        middle = ((weight * apart).sum(axis=0) + held * anchor) / (weight.sum(axis=0) + held)
        soc[own] = middle + charge[own][:, None]
    return np.clip(soc, ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC)


def _centred(
    charge: FloatArray,
    hours: FloatArray,
    target: FloatArray,
    weight: FloatArray,
    epoch: NDArray[np.int64],
    soc_frac: FloatArray,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(charge, hours, SoC) about their weighted mean per epoch, ``(3, rows, n)``; that mean
    of SoC ``(rows, n)`` and of charge and hours ``(2, rows, n)``: the epochs' unknown s0
    is out of the way."""
    values = np.empty((3, *target.shape))
    values[0] = charge[:, None]
    values[1] = hours[:, None]
    values[2] = target
    mean = np.empty_like(values)
    for one in np.unique(epoch):
        own = epoch == one
        held = 1.0 / SOC_SIGMA**2 if one == epoch[-1] else 0.0
        total = weight[own].sum(axis=0) + held + 1e-9
        sums = np.einsum("arn,rn->an", values[:, own], weight[own])
        # The newest anchor, at charge 0 and hour 0, is where soc_frac is expected.
        sums[2] += held * soc_frac
        mean[:, own] = (sums / total)[:, None, :]
    return values - mean, mean[2], mean[:2]


def _inverse(normal: FloatArray) -> FloatArray:
    """Inverse of 2 x 2 matrices along the last axis."""
    a, b, c = normal[0, 0], normal[0, 1], normal[1, 1]
    det = np.maximum(a * c - b * b, 1e-12 * a * c)
    inverse: FloatArray = np.array(((c, -b), (-b, a))) / det
    return inverse


def _agrees(
    shown: FloatArray,
    charge: FloatArray,
    hours: FloatArray,
    weight: FloatArray,
    epoch: NDArray[np.int64],
    k: FloatArray,
    d: FloatArray,
) -> BoolArray:
    """Whether the median slope of pairs of sharp anchors gives the same capacity.

    Pairs are each anchor with the one half the list further by charge (an incomplete
    Theil-Sen, which keeps its resistance to outliers and costs n, not n squared). Groups
    with too few pairs, all those on a plateau, have nothing to disagree with.
    """
    order = np.argsort(charge, kind="stable")
    half = (order.size + 1) // 2
    first, second = order[: order.size - half], order[half:]
    run = charge[second] - charge[first]
    rise = shown[second] - shown[first] - d * (hours[second] - hours[first])[:, None]
    sharp = weight > 1.0 / SHARP_FRAC**2
    use = sharp[first] & sharp[second]
    use &= ((run > segments.FLIP_FRAC) & (epoch[first] == epoch[second]))[:, None]
    enough = use.sum(axis=0) >= LEAST_PAIRS
    ratio = np.where(use, rise / np.where(run > 0.0, run, 1.0)[:, None], np.nan)
    ratio[:, ~enough] = k[~enough]
    slope = np.nanmedian(ratio, axis=0) if ratio.size else k
    return np.asarray(np.abs(slope - k) <= AGREE_FRAC * k)
