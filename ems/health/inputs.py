"""What one snapshot says about the packs, as arrays: unusable values masked, never used."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.prepare import CELL_HIGH_V, CELL_LOW_V, Prepared
from ems.model import BoolArray, Contactor, FloatArray, Quality, Reading, SiteSnapshot

MOST_CURRENT_A: Final = 10_000.0
MOST_VOLTAGE_V: Final = 3_000.0
MOST_SOC_FRAC: Final = 1.5
"""Larger magnitudes are not readings of a pack."""
UNCERTAIN: Final = int(Quality.UNCERTAIN)
_WORST_USABLE: Final = np.uint8(UNCERTAIN)
COLD_UNKNOWN_C: Final = 5.0
"""Temperature assumed for resistance when no sensor of a pack is usable."""
TEMP_LOW_C: Final = -60.0
TEMP_HIGH_C: Final = 150.0


@dataclass(frozen=True, slots=True, eq=False)
class PackInputs:
    """Per pack, arrays of shape ``(n_packs,)``; the values are 0 where unknown."""

    current_a: FloatArray
    current_known: BoolArray
    current_at_s: FloatArray
    """Time stamp of the current; that of the snapshot where an open contactor says 0."""
    voltage_v: FloatArray
    """Pack voltage as the BMS reports it."""
    soc_frac: FloatArray
    soc_known: BoolArray
    soc_at_s: FloatArray


def read_packs(snapshot: SiteSnapshot) -> PackInputs:
    """Currents, voltages and BMS SoC. A pack with its contactor open carries 0 A."""
    flat: list[float] = []
    for pack in snapshot.packs:
        current_a, at_s = _within(pack.current_a, MOST_CURRENT_A), pack.current_a.at_s
        if current_a is None and pack.contactor.good == Contactor.OPEN:
            current_a, at_s = 0.0, snapshot.now_s
        flat += (0.0, 0.0, at_s) if current_a is None else (current_a, 1.0, at_s)
        flat.append(_within(pack.voltage_v, MOST_VOLTAGE_V) or 0.0)
        soc = pack.soc_frac
        soc_frac = _within(soc, MOST_SOC_FRAC)
        flat += (0.0, 0.0, soc.at_s) if soc_frac is None else (soc_frac, 1.0, soc.at_s)
    columns = np.array(flat).reshape(-1, 7).T
    return PackInputs(
        current_a=columns[0],
        current_known=columns[1] > 0.0,
        current_at_s=columns[2],
        voltage_v=columns[3],
        soc_frac=columns[4],
        soc_known=columns[5] > 0.0,
        soc_at_s=columns[6],
    )


def usable_cells(snapshot: SiteSnapshot) -> BoolArray:
    """Which reported cell voltages may be used, shape ``(n_cells,)``."""
    cells = snapshot.cells
    volts = cells.voltage_v
    fit: BoolArray = (volts > CELL_LOW_V) & (volts < CELL_HIGH_V)
    fit &= cells.voltage_quality <= _WORST_USABLE
    return fit


def coldest_c(snapshot: SiteSnapshot, prepared: Prepared) -> FloatArray:
    """Coldest usable cell temperature per pack, degC; ``COLD_UNKNOWN_C`` without one."""
    cells = snapshot.cells
    temps = cells.temp_c
    fit = (temps > TEMP_LOW_C) & (temps < TEMP_HIGH_C)
    fit &= cells.temp_quality <= _WORST_USABLE
    masked = np.where(fit, temps, np.inf)
    coldest: FloatArray = np.minimum.reduceat(masked, prepared.layout.temp_start)
    return np.where(coldest < np.inf, coldest, COLD_UNKNOWN_C)


def _within(reading: Reading, bound: float) -> float | None:
    """The value if it may be used and lies within ±bound (NaN never does)."""
    value = reading.value
    if value is None or reading.quality > UNCERTAIN or not -bound < value < bound:
        return None
    return value
