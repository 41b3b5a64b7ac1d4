"""Current ratings of each pack that the signals are measured against."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.model import FloatArray
from ems.safety.table import BACKUP_C_RATE, CHARGE_C_RATE, DISCHARGE_C_RATE
from ems.site import Chemistry, Site, SiteKind

SEEN_RESISTANCE: Final = 0.5
"""Share of a new group's 10 s resistance at 25 degC that shows at once, even when hot."""
SEEN_SLOPE_V: Final = dict(zip(Chemistry, (0.03, 0.10, 0.10, 0.10), strict=True))
"""Slope of the OCV curve at its flattest, V per 100 % of SoC. On the LFP plateau 10 % of
SoC moves 3 mV: at constant current a sound pack may repeat its millivolts that long."""


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """Constants per pack, shape ``(n_packs,)``."""

    charge_c: FloatArray
    discharge_c: FloatArray
    """On a direct bus the same as ``backup_c``: there the rectifier and the mains decide
    what flows, and the packs take the load over before anyone can know of an outage."""
    backup_c: FloatArray
    charge_tolerance_a: FloatArray
    discharge_tolerance_a: FloatArray
    small_a: FloatArray
    """C/50: below this the pack counts as resting."""
    moving_a: FloatArray
    """C/20: above this the readings must change."""
    seen_ohm: tuple[float, ...]
    """Rise of a group's voltage per current that its cells must show, ohm (cause C32c)."""
    seen_v_per_ah: tuple[float, ...]
    """The same per charge at constant current, V/Ah."""

    @classmethod
    def of(cls, site: Site) -> "Ratings":
        rated_ah = np.array([p.rated_ah for p in site.packs])
        charge_c = np.array([CHARGE_C_RATE[p.chemistry] for p in site.packs])
        backup_c = np.array([BACKUP_C_RATE[p.chemistry] for p in site.packs])
        discharge_c = np.array([DISCHARGE_C_RATE[p.chemistry] for p in site.packs])
        if site.kind is SiteKind.DIRECT_BUS:
            discharge_c = backup_c
        return cls(
            charge_c=charge_c,
            discharge_c=discharge_c,
            backup_c=backup_c,
            charge_tolerance_a=np.maximum(2.0, 0.02 * charge_c * rated_ah),
            discharge_tolerance_a=np.maximum(2.0, 0.02 * discharge_c * rated_ah),
            small_a=rated_ah / 50,
            moving_a=rated_ah / 20,
            seen_ohm=tuple(SEEN_RESISTANCE * p.group_resistance_ohm for p in site.packs),
            seen_v_per_ah=tuple(SEEN_SLOPE_V[p.chemistry] / p.rated_ah for p in site.packs),
        )
