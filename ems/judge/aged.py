"""A pack as it must be judged today: intake test, aged, at its pessimistic bound."""

from dataclasses import dataclass
from datetime import date
from typing import Final

import numpy as np

from ems.health.ocv import ocv_v
from ems.safety.envelope import health_index
from ems.safety.socwindow import SOC_LOW
from ems.safety.table import (
    DISCHARGE_C_RATE,
    SOC_HIGH,
    SOH_END_OF_LIFE,
)
from ems.site import Chemistry, PackSpec

DAYS_PER_MONTH: Final = 30.44
SIGMA_GROWTH_FRAC: Final = 0.005
"""Growth of the standard deviation of SoH per month since the last capacity test [E]."""
TEST_VALID_MONTHS: Final = 12.0
"""A capacity test older than this caps h at ``H_CAPPED`` (after UL 1974 ed. 2)."""
H_CAPPED: Final = 0.5
SOC_SIGMA: Final = 0.02
"""Standard deviation of the running SoC estimate that ``ems check`` assumes."""
STANDBY_CEILING: Final = {
    Chemistry.LFP: 0.90,
    Chemistry.NMC: 0.80,
    Chemistry.LMO: 0.80,
    Chemistry.LTO: 0.90,
}
"""SoC at which a pack may stand by for months (cause C12)."""
COLD_C: Final = -10.0
COLD_CAPACITY: Final = {
    Chemistry.LFP: 0.75,
    Chemistry.NMC: 0.80,
    Chemistry.LMO: 0.80,
    Chemistry.LTO: 0.90,
}
"""Usable capacity at ``COLD_C`` / at 25 degC for discharges of some hours [E]."""
_SOC_STEPS: Final = 51


@dataclass(frozen=True, slots=True)
class AgedPack:
    """What a pack may be counted on for, before any converter."""

    months: float
    """Since the intake test, >= 0."""
    soh_low_frac: float
    """SoH minus two standard deviations."""
    health: float
    """Health index h, 0..1."""
    soc_low_frac: float
    soc_high_frac: float
    """SoC window between the floor and the standby ceiling; may be empty."""
    energy_wh: float
    """Between floor and ceiling at 25 degC, Wh at the terminals."""
    cold_energy_wh: float
    power_w: float
    """Discharge power the weakest group allows for hours, W at the terminals."""


def aged(pack: PackSpec, ceiling_frac: float | None, today: date) -> AgedPack:
    """The pack today, at its pessimistic bound.

    Args:
        pack: The pack with its intake test.
        ceiling_frac: Standby ceiling of the site; ``None`` takes the chemistry's.
        today: Date the judgement is made for.

    Source:
        Health index, SoC window and current limit: rules b1, b3 and b6 of the
        tightening with health; growth of sigma and the 12 months: their preamble.
    """
    chemistry = pack.chemistry
    months = max(0.0, (today - pack.intake_date).days / DAYS_PER_MONTH)
    sigma = pack.soh_sigma_frac + SIGMA_GROWTH_FRAC * months
    soh_low = max(0.0, pack.soh_frac - 2.0 * sigma)
    health = _health(pack, soh_low, months)
    gap = 1.0 - health
    low = SOC_LOW + 0.10 * gap + 2.0 * SOC_SIGMA
    ceiling = STANDBY_CEILING[chemistry] if ceiling_frac is None else ceiling_frac
    high = min(ceiling, SOC_HIGH[chemistry] - 0.10 * gap - 2.0 * SOC_SIGMA)
    capacity_ah = pack.rated_ah * soh_low
    mean_v = float(np.mean(ocv_v(chemistry, np.linspace(low, max(low, high), _SOC_STEPS))))
    energy_wh = capacity_ah * max(0.0, high - low) * mean_v * pack.series_cells
    current_a = DISCHARGE_C_RATE[chemistry] * capacity_ah * (0.5 + 0.5 * health)
    return AgedPack(
        months=months,
        soh_low_frac=soh_low,
        health=health,
        soc_low_frac=low,
        soc_high_frac=high,
        energy_wh=energy_wh,
        cold_energy_wh=energy_wh * COLD_CAPACITY[chemistry],
        power_w=current_a * float(ocv_v(chemistry, low)) * pack.series_cells,
    )


def _health(pack: PackSpec, soh_low: float, months: float) -> float:
    """The envelope's own index, and not above ``H_CAPPED`` once the test has expired."""
    index = health_index(
        np.array([soh_low]),
        np.zeros(1),  # already two sigma below
        np.array([pack.resistance_ratio or 0.0]),
        np.array([SOH_END_OF_LIFE[pack.chemistry]]),
    )
    health = min(1.0, float(index[0]))
    return min(health, H_CAPPED) if months > TEST_VALID_MONTHS else health
