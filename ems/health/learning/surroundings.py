"""Temperature of a pack and where it stands on its curve: what scales its resistance."""

import numpy as np

from ems.health import ocv
from ems.health.inputs import TEMP_HIGH_C, TEMP_LOW_C, UNCERTAIN
from ems.health.learning.resistance import ResistanceState
from ems.health.prepare import Prepared
from ems.model import FloatArray, SiteSnapshot


def mean_c(snapshot: SiteSnapshot, prepared: Prepared) -> FloatArray:
    """Mean usable temperature per pack, degC; 25 without one, where nothing is scaled."""
    cells = snapshot.cells
    temps = cells.temp_c
    fit = (temps > TEMP_LOW_C) & (temps < TEMP_HIGH_C) & (cells.temp_quality <= UNCERTAIN)
    start = prepared.layout.temp_start
    total = np.add.reduceat(np.where(fit, temps, 0.0), start)
    count = np.add.reduceat(fit.astype(np.float64), start)
    return np.where(count > 0.0, total / np.maximum(count, 1.0), 25.0)


def slopes_v(
    soc_frac: FloatArray, learning: ResistanceState, prepared: Prepared
) -> tuple[FloatArray, FloatArray]:
    """dOCV/dSoC per pack at the mean SoC of its groups, V, and the larger of it and of
    the slope that the voltage itself points to."""
    start, count = prepared.layout.cell_start, prepared.cells_of_pack
    mean = np.add.reduceat(soc_frac, start) / count
    seen = np.add.reduceat((learning.mean_v > 0.0).astype(np.float64), start)
    shown_v = np.add.reduceat(learning.mean_v, start) / np.maximum(seen, 1.0)
    shown = ocv.soc_from_ocv_of(prepared.chem, shown_v)
    slope_v = ocv.slope_v_of(prepared.chem, mean)
    return slope_v, np.maximum(slope_v, ocv.slope_v_of(prepared.chem, shown))
