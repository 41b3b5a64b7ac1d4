"""One record in, capacity, resistance and SoC path out, each with its source and sigma."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.record import checks, drive, fit, flow, steps
from ems.health.record.checks import Flaw
from ems.health.record.curves import EMPTY_V, NCA_NOTE, ONLINE, Cell, curve
from ems.health.record.flow import Part
from ems.health.record.read import Record
from ems.health.record.steps import Step
from ems.model import FloatArray

GOOD_SIGMA: Final = 0.05
"""A capacity with a relative sigma up to this is good..."""
MOST_SIGMA: Final = 0.14
"""...up to this it is coarse, and beyond it the record says nothing."""
LEAST_SPAN: Final = 0.12
"""SoC that a record must cover for a capacity."""
MOST_MISFIT: Final = 2.0
"""Mean square residual beyond which the model does not hold."""
NEUTRAL: Final = (0.85, 0.10)
"""SoH and its sigma the SoC path begins with where nothing is known."""
INTAKE_SIGMA: Final = 0.02
FULL_FRAC: Final = 0.95
REST_C: Final = 0.05
COUNT_SIGMA: Final = 0.01
"""Current sensor, and where the discharge was broken off (1 sigma)."""
GAIN_SHARE: Final = 0.2
"""Error of a resistance read later than 3 s after the step and scaled back (1 sigma)."""
R0_GOOD_SIGMA: Final = 0.10
DENSE_S: Final = 0.5
"""Rows usually closer than this are taken for seconds only if charge and voltage agree."""


@dataclass(frozen=True, slots=True)
class Value:
    """A figure with its sigma and where it comes from; ``None`` with the reason."""

    value: float | None
    sigma: float | None
    source: str
    """counted, anchors, fit, steps, online or steps-late; empty without a value."""
    quality: str
    """good, coarse or none."""
    reason: str
    """Why it is not good; empty if it is."""


@dataclass(frozen=True, slots=True, eq=False)
class Estimate:
    """Everything found in one record."""

    record: Record
    capacity_ah: Value
    r0_ohm: Value
    """One second after a step, at the temperature of the record."""
    r0_25c_ohm: Value
    """The same brought to 25 degC; none without a temperature."""
    r0_online_ohm: Value
    """By the online estimator alone, to compare."""
    temp_c: float | None
    span_frac: float | None
    largest_swing_ah: float
    """Most charge in one direction within an unbroken stretch."""
    t_s: FloatArray
    soc_frac: FloatArray
    soc_sigma_frac: FloatArray
    used: tuple[Step, ...]
    """Load steps that made R0."""
    flaws: tuple[Flaw, ...]
    notes: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Whether at least capacity or R0 is good."""
        return "good" in (self.capacity_ah.quality, self.r0_ohm.quality)


def estimate(record: Record, cell: Cell, rated_ah: float) -> Estimate:
    """Estimate one record.

    Args:
        record: As read.
        cell: Chemistry.
        rated_ah: Rated capacity, Ah, > 0.

    Raises:
        TableError: the columns cannot be what they say (see :func:`checks.refuse`).
    """
    checks.refuse(record, cell, rated_ah)
    flaws = checks.flaws(record, rated_ah)
    notes = [NCA_NOTE] if cell is Cell.NCA else []
    temp_c = None if record.temp_c is None else float(np.mean(record.temp_c))
    if temp_c is None:
        notes.append("no temperature column: R0 cannot be brought to 25 degC")
    parts = flow.parts(record) if record.t_s.size else []
    swing_ah = max((float(np.ptp(part.charge_ah)) for part in parts), default=0.0)
    fatal = next((flaw for flaw in flaws if flaw.fatal), None)
    if fatal is not None:
        none = Value(None, None, "", "none", fatal.text)
        empty = np.zeros(0)
        return Estimate(
            record, none, none, none, none, temp_c, None, swing_ah,
            empty, empty, empty, (), tuple(flaws), tuple(notes),
        )  # fmt: skip
    used, r0 = resistance(record, parts, rated_ah)
    ohm = None if r0.value is None else ten_s_ohm(r0.value, temp_c)
    posterior = fit.fit(parts, curve(cell), rated_ah, ohm)
    fitted = counted(parts, cell, rated_ah) or _capacity(posterior, rated_ah, swing_ah)
    begin = NEUTRAL
    if fitted.value is not None and fitted.quality == "good":
        begin = (min(fitted.value / rated_ah, 1.2), max(INTAKE_SIGMA, fitted.sigma / rated_ah))  # type: ignore[operator]
    guess_ohm = ohm if ohm is not None else fit.OHM_AH / rated_ah
    site = drive.site_of(ONLINE[cell], rated_ah, *begin, guess_ohm)
    unbroken_s = float(np.diff(record.t_s)[_inside(record)].max(initial=1.0))
    online = drive.run(record, site, unbroken_s)
    if online.r0_ohm is None:
        r0_online = Value(None, None, "", "none", f"{online.steps} load steps, at least 10 needed")
    else:
        r0_online = Value(online.r0_ohm, online.r0_sigma_ohm, "online", "good", "")
    if r0.quality != "good" and r0_online.value is not None:
        r0 = r0_online
    capacity = fitted
    if (
        capacity.source != "counted"
        and online.capacity_ah is not None
        and (fitted.sigma is None or online.capacity_sigma_ah < fitted.sigma)
    ):
        capacity = Value(online.capacity_ah, online.capacity_sigma_ah, "anchors", "good", "")
    gap = next((flaw for flaw in flaws if flaw.kind == "gap"), None)
    if gap is not None:
        capacity = _at_most_coarse(capacity, gap.text)
    if doubt := _time_doubt(record, flaws, posterior, fitted):
        capacity, r0, r0_online = (_at_most_coarse(v, doubt) for v in (capacity, r0, r0_online))
    return Estimate(
        record=record,
        capacity_ah=capacity,
        r0_ohm=r0,
        r0_25c_ohm=_at_25c(r0, temp_c),
        r0_online_ohm=r0_online,
        temp_c=temp_c,
        span_frac=None if capacity.value is None else swing_ah / capacity.value,
        largest_swing_ah=swing_ah,
        t_s=online.t_s,
        soc_frac=online.soc_frac,
        soc_sigma_frac=online.soc_sigma_frac,
        used=tuple(used),
        flaws=tuple(flaws),
        notes=tuple(notes),
    )


def _at_most_coarse(value: Value, reason: str) -> Value:
    if value.quality != "good":
        return value
    return Value(value.value, value.sigma, value.source, "coarse", reason)


def _time_doubt(
    record: Record, flaws: list[Flaw], posterior: fit.Posterior | None, fitted: Value
) -> str:
    """Why ``t_s`` may be in another unit, which turns R0 into that of a minute; else empty."""
    for flaw in flaws:
        if flaw.kind == "time unit":
            return flaw.text
    if fitted.source == "counted":
        return ""
    holds = posterior is not None and not posterior.at_edge and posterior.misfit <= MOST_MISFIT
    if posterior is not None and not holds:
        return "voltage and charge do not fit together: another unit of t_s or current_a?"
    apart_s = float(np.median(np.diff(record.t_s)))
    if not holds and apart_s < DENSE_S:
        return (
            f"rows usually {apart_s:.2g} s apart and too little charge to tell by: minutes"
            " instead of s?"
        )
    return ""


def _inside(record: Record) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    inside = np.ones(max(record.t_s.size - 1, 0), np.bool_)
    inside[flow.gaps(record)] = False
    return inside


def counted(parts: list[Part], cell: Cell, rated_ah: float) -> Value | None:
    """Median charge of the whole discharges: from rest when full to empty under load."""
    drawn: list[float] = []
    blur_ah = 0.0
    for part in parts:
        rest = np.abs(part.current_a) < REST_C * rated_ah
        full = rest & (part.voltage_v > curve(cell).ocv(np.array([FULL_FRAC]))[0])
        empty = ~rest & (part.current_a > 0.0) & (part.voltage_v <= EMPTY_V[cell])
        fulls = np.flatnonzero(full)
        for reached in np.flatnonzero(np.diff(empty.astype(int), prepend=0) > 0).tolist():
            stopped = rest[reached:]
            end = reached + int(stopped.argmax()) if stopped.any() else rest.size
            last = reached + int(part.voltage_v[reached:end].argmin())
            emptied = np.flatnonzero(empty[:reached])
            since = int(emptied[-1]) if emptied.size else -1
            before = fulls[(fulls < reached) & (fulls > since)]
            if not before.size:
                continue
            # The fullest moment, the last of those.
            charge_ah = part.charge_ah[before]
            first = int(before[np.flatnonzero(charge_ah <= charge_ah.min() + 1e-6)[-1]])
            drawn.append(float(part.charge_ah[last] - part.charge_ah[first]))
            blur_ah = max(blur_ah, part.blur_ah)
    if not drawn:
        return None
    middle_ah = float(np.median(drawn))
    if middle_ah < fit.LOWEST_FRAC * rated_ah:
        text = (
            f"a whole discharge of {middle_ah:.3g} Ah is no plausible capacity: another rated"
            " capacity, unit of t_s or current_a?"
        )
        return Value(None, None, "", "none", text)
    return Value(
        middle_ah, float(np.hypot(COUNT_SIGMA * middle_ah, blur_ah)), "counted", "good", ""
    )


def _capacity(posterior: fit.Posterior | None, rated_ah: float, swing_ah: float) -> Value:
    if posterior is None:
        text = f"only {swing_ah:.3g} Ah flowed: too little of {rated_ah:g} Ah to tell capacity"
        return Value(None, None, "", "none", text)
    relative = posterior.sigma_ah / posterior.capacity_ah
    if posterior.at_edge or posterior.misfit > MOST_MISFIT:
        text = (
            f"voltage and charge do not fit together ({swing_ah:.3g} Ah over this voltage range"
            " is no plausible capacity): another chemistry, rated capacity, unit of t_s or"
            " current_a?"
        )
        return Value(None, None, "", "none", text)
    if relative > MOST_SIGMA or posterior.span_frac < LEAST_SPAN:
        text = (
            f"too narrow a window: {swing_ah:.3g} Ah of one stretch leave ±{100 * relative:.0f} %;"
            " rests at both ends or a wider range would help"
        )
        return Value(None, None, "", "none", text)
    if relative > GOOD_SIGMA:
        text = f"±{100 * relative:.0f} %: rests at both ends or a wider range would help"
        return Value(posterior.capacity_ah, posterior.sigma_ah, "fit", "coarse", text)
    return Value(posterior.capacity_ah, posterior.sigma_ah, "fit", "good", "")


def resistance(record: Record, parts: list[Part], rated_ah: float) -> tuple[list[Step], Value]:
    """Load steps used and R0 of them, at the temperature of the record."""
    found = [
        step
        for part in parts
        for step in steps.find(part, record.lines[part.first :].tolist(), rated_ah)
    ]
    if not found:
        return [], Value(None, None, "", "none", "no load step of 0.05 C or more in the record")
    quick = steps.sharp(found)
    if quick:
        ohm, sigma = steps.middle(quick)
        if ohm <= 0.0:
            return quick, Value(None, None, "", "none", "voltage does not answer load steps")
        fine = sigma <= R0_GOOD_SIGMA * ohm
        text = "" if fine else "the steps contradict each other"
        return quick, Value(ohm, sigma, "steps", "good" if fine else "coarse", text)
    most = max(abs(step.to_a - step.from_a) for step in found)
    late = [s for s in found if abs(s.to_a - s.from_a) >= steps.LARGE * most and s.after_s < 60.0]
    # From rest the voltage has nothing else to recover from.
    late = [s for s in late if abs(s.from_a) < REST_C * rated_ah] or late
    if not late:
        return [], Value(None, None, "", "none", "no row within a minute after a load step")
    ohm, sigma = steps.middle(late)
    after_s = float(np.median([step.after_s for step in late]))
    share = float(_grown(1.0) / _grown(after_s))
    if ohm <= 0.0:
        return late, Value(None, None, "", "none", "voltage does not answer load steps")
    text = f"first row {after_s:.0f} s after the step: {ohm * 1e3:.4g} mohm then, scaled back"
    sigma_ohm = float(np.hypot(sigma * share, GAIN_SHARE * ohm * share))
    return late, Value(ohm * share, sigma_ohm, "steps-late", "coarse", text)


def _grown(after_s: float) -> float:
    """Resistance so long after a step, over the 10 s one before normalising."""
    lagging = 1.0 - np.exp(-after_s / fit.TAUS_S)
    return float(fit.SHARES[0] + fit.SHARES[1:] @ lagging)


def ten_s_ohm(r0_ohm: float, temp_c: float | None) -> float:
    """10 s resistance at 25 degC that goes with R0."""
    warm = 1.0 if temp_c is None else float(fit.warmth(np.array([temp_c]), 1)[0])
    return r0_ohm / warm * _grown(10.0) / _grown(1.0) / _grown(10.0)


def _at_25c(r0: Value, temp_c: float | None) -> Value:
    if r0.value is None or r0.sigma is None:
        return r0
    if temp_c is None:
        return Value(None, None, "", "none", "no temperature in the record")
    warm = float(fit.warmth(np.array([temp_c]), 1)[0])
    # The activation temperature of a cell lies within 400 K of the usual 2400 K.
    doubt = abs(float(np.log(warm))) / 6.0
    sigma = float(np.hypot(r0.sigma / warm, doubt * r0.value / warm))
    return Value(r0.value / warm, sigma, r0.source, r0.quality, r0.reason)
