"""Per-chemistry parameters of the simulated cells and of the simulated BMS.

``WINDOW`` is the yardstick of the whole bench: outside it a cell is being damaged
whatever any program thinks. It is wider than every L4 of the interlock table, so an
EMS that does its work never comes near it.

Sources and confidence: docs/explanation/plant-model.md.
"""

from dataclasses import dataclass
from typing import Final

from ems.site import Chemistry


@dataclass(frozen=True, slots=True)
class CellModel:
    """Electrical and thermal shape of one series group, relative to its nameplate."""

    r0_share: float
    """R0 / 10 s resistance, both at 25 degC."""
    r1_share: float
    r2_share: float
    tau1_s: float
    tau2_s: float
    activation_k: float
    """Ea / R of the resistance, K: R(T) = R25 exp(activation (1/T - 1/298.15))."""
    heat_capacity_j_per_k_ah: float
    self_discharge_frac_per_month: float


@dataclass(frozen=True, slots=True)
class Window:
    """Absolute limits of a cell, from data sheets."""

    voltage_low_v: float
    voltage_high_v: float
    charge_temp_low_c: float
    temp_low_c: float
    temp_high_c: float


@dataclass(frozen=True, slots=True)
class BmsLimits:
    """What the simulated BMS thinks of its cells: (notify, reduce, protect) each."""

    over_voltage_v: tuple[float, float, float]
    under_voltage_v: tuple[float, float, float]
    over_temp_c: tuple[float, float, float]
    charge_under_temp_c: tuple[float, float, float]
    charge_c_rate: float
    discharge_c_rate: float


CELL: Final = {
    Chemistry.LFP: CellModel(0.700, 0.200, 0.700, 4.0, 60.0, 2900.0, 23.0, 0.020),
    Chemistry.NMC: CellModel(0.740, 0.150, 0.700, 3.0, 55.0, 2600.0, 18.0, 0.020),
    # Measured: R0 1.525, R1 0.237 / 3 s, R2 1.528 mohm / 50 s; 10 s resistance 2.03 mohm.
    Chemistry.LMO: CellModel(0.751, 0.117, 0.753, 3.0, 50.0, 2400.0, 24.0, 0.030),
    Chemistry.LTO: CellModel(0.800, 0.120, 0.500, 3.0, 40.0, 2200.0, 38.0, 0.015),
}

WINDOW: Final = {
    Chemistry.LFP: Window(2.00, 3.80, -5.0, -30.0, 65.0),
    Chemistry.NMC: Window(2.50, 4.25, -5.0, -30.0, 60.0),
    Chemistry.LMO: Window(2.50, 4.25, -5.0, -30.0, 60.0),
    Chemistry.LTO: Window(1.50, 2.90, -30.0, -40.0, 70.0),
}

BMS: Final = {
    Chemistry.LFP: BmsLimits(
        (3.55, 3.62, 3.68), (2.90, 2.75, 2.55), (48.0, 56.0, 61.0), (5.0, 1.0, -2.0), 0.5, 1.0
    ),
    Chemistry.NMC: BmsLimits(
        (4.10, 4.17, 4.22), (3.25, 3.15, 2.95), (48.0, 52.0, 59.0), (5.0, 3.0, -2.0), 0.5, 1.0
    ),
    Chemistry.LMO: BmsLimits(
        (4.08, 4.14, 4.20), (3.30, 3.15, 2.95), (45.0, 51.0, 56.0), (5.0, 3.0, -2.0), 0.3, 1.0
    ),
    Chemistry.LTO: BmsLimits(
        (2.67, 2.72, 2.82), (1.95, 1.80, 1.65), (52.0, 58.0, 66.0), (-15.0, -22.0, -27.0), 1.0, 2.0
    ),
}
"""Thresholds a little outside L2/L3/L4 of the interlock table: the EMS acts first."""

NEW_SOH_R_SLOPE: Final = 1.25
"""Resistance growth per unit of capacity lost: R/R_new = 1 + slope (1 - SoH). [E]"""
SELF_DISCHARGE_SPREAD: Final = 0.5
"""Log-normal sigma of self-discharge between neighbours. [E]"""
COOLING_TAU_S: Final = 7200.0
"""Thermal time constant of a cell to the cabinet air, s. [E]"""
WIRING_SHARE: Final = 0.05
"""Busbars, contactor and cable / sum of new group resistances. [E]"""
SOC_SHIFT_SIGMA_FRAC: Final = 0.004
"""Stoichiometric shift between a cell's OCV curve and the table. [E]"""
SOC_IMBALANCE_SIGMA_FRAC: Final = 0.004
"""Scatter of cell SoC around top balance at the start. [E]"""
