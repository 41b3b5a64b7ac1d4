"""Conversions at the edge of the program; inside, one unit per quantity.

Inside ``ems``: W, Wh, V, A, ohm, degC, s, Hz, fraction. kW, kWh, %, mV and hours
live in YAML, in device profiles and on screens, and are converted where they
enter or leave.
"""

from typing import Final

W_PER_KW: Final = 1_000.0
S_PER_MIN: Final = 60.0
S_PER_H: Final = 3_600.0
S_PER_DAY: Final = 86_400.0
FRAC_PER_PCT: Final = 0.01


def w_from_kw(power_kw: float) -> float:
    """Power in W."""
    return power_kw * W_PER_KW


def kw_from_w(power_w: float) -> float:
    """Power in kW, for optimisers, screens and files."""
    return power_w / W_PER_KW


def wh_from_kwh(energy_kwh: float) -> float:
    """Energy in Wh."""
    return energy_kwh * W_PER_KW


def kwh_from_wh(energy_wh: float) -> float:
    """Energy in kWh, for optimisers, screens and files."""
    return energy_wh / W_PER_KW
