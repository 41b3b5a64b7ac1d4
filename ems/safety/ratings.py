"""Current ratings of each pack that the signals are measured against."""

from dataclasses import dataclass

import numpy as np

from ems.model import FloatArray
from ems.safety.table import BACKUP_C_RATE, CHARGE_C_RATE, DISCHARGE_C_RATE
from ems.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class Ratings:
    """Constants per pack, shape ``(n_packs,)``."""

    charge_c: FloatArray
    discharge_c: FloatArray
    backup_c: FloatArray
    charge_tolerance_a: FloatArray
    discharge_tolerance_a: FloatArray
    small_a: FloatArray
    """C/50: below this the pack counts as resting."""
    moving_a: FloatArray
    """C/20: above this the readings must change."""

    @classmethod
    def of(cls, site: Site) -> "Ratings":
        rated_ah = np.array([p.rated_ah for p in site.packs])
        charge_c = np.array([CHARGE_C_RATE[p.chemistry] for p in site.packs])
        discharge_c = np.array([DISCHARGE_C_RATE[p.chemistry] for p in site.packs])
        return cls(
            charge_c=charge_c,
            discharge_c=discharge_c,
            backup_c=np.array([BACKUP_C_RATE[p.chemistry] for p in site.packs]),
            charge_tolerance_a=np.maximum(2.0, 0.02 * charge_c * rated_ah),
            discharge_tolerance_a=np.maximum(2.0, 0.02 * discharge_c * rated_ah),
            small_a=rated_ah / 50,
            moving_a=rated_ah / 20,
        )
