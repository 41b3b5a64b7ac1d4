"""Made-up packs whose anchor points are exact but for noise: truth for the slow estimators."""

from dataclasses import replace

import numpy as np

from ems.health import ocv
from ems.health.learning import segments
from ems.health.learning.segments import Anchors
from ems.model import FloatArray
from ems.site import Chemistry

RATED_AH = 100.0


def anchors(
    chemistry: Chemistry,
    capacity_ah: FloatArray,
    days: float = 14.0,
    low: float = 0.15,
    high: float = 0.9,
    leak_per_h: FloatArray | None = None,
    leak_from_h: float = 0.0,
    noise_v: float = 0.0005,
    offset_a: float = 0.0,
    gain: float = 1.0,
    seed: int = 1,
) -> tuple[Anchors, FloatArray]:
    """Anchors of a pack cycled once a day, and the SoC of its groups at the last one.

    Args:
        chemistry: Whose OCV curve its cells follow.
        capacity_ah: Of each group.
        days: How long.
        low: SoC of the weakest group at the end of a discharge.
        high: SoC of the fullest at the end of a charge.
        leak_per_h: Self-discharge of each group, 1/h.
        leak_from_h: When it begins.
        noise_v: Of the voltages (1 sigma).
        offset_a: Of the current sensor.
        gain: Of the current sensor.
        seed: Of the noise.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    n = capacity_ah.size
    leak = np.zeros(n) if leak_per_h is None else leak_per_h
    made = segments.empty(n)
    soc, seen_ah, sign = np.full(n, high), 0.0, 1.0
    step_h = 0.5
    step_ah = 0.04 * float(capacity_ah.min())
    for k in range(round(days * 24.0 / step_h)):
        at_h = k * step_h
        soc = soc - leak * step_h * (at_h >= leak_from_h)
        if soc.min() < low:
            sign = -1.0
        elif soc.max() > high:
            sign = 1.0
        moved_ah = sign * step_ah
        soc = soc - moved_ah / capacity_ah
        seen_ah += gain * moved_ah + offset_a * step_h
        shown_v = ocv.ocv_v(chemistry, soc) + noise_v * rng.standard_normal(n)
        made = segments.look(made, look(shown_v, seen_ah, at_h, float(soc.min())))
    return made, soc


def look(volts: FloatArray, ah: float, at_h: float, soc_frac: float = 0.5) -> segments.Look:
    """A look at a pack that is hardly disturbed."""
    return segments.Look(
        volts=volts,
        sigma_v=0.0005,
        ah=ah,
        at_h=at_h,
        epoch=0,
        soc_frac=soc_frac,
        capacity_ah=0.8 * RATED_AH,
        day=700_000,
    )


def without(made: Anchors, *groups: int) -> Anchors:
    """The anchors with these groups never seen."""
    volts = made.volts.copy()
    volts[:, list(groups)] = np.nan
    return replace(made, volts=volts)
