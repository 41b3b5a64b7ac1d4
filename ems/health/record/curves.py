"""Open-circuit curves and resistance priors that records are fitted with.

The site's own curves (``ems.health.ocv``), with two departures: NCA, which no site file
knows, and LMO, where the mean of a slow charge and discharge lies some millivolts below
what the same cell rests at.
"""

from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

import numpy as np

from ems.health import ocv
from ems.model import FloatArray
from ems.site import Chemistry


class Cell(Enum):
    """Chemistries a record may be of."""

    LFP = "LFP"
    NMC = "NMC"
    NCA = "NCA"
    LMO = "LMO"
    LTO = "LTO"


ONLINE: Final = {
    Cell.LFP: Chemistry.LFP,
    Cell.NMC: Chemistry.NMC,
    Cell.NCA: Chemistry.NMC,
    Cell.LMO: Chemistry.LMO,
    Cell.LTO: Chemistry.LTO,
}
"""The chemistry the online estimators are run with."""
NCA_NOTE: Final = (
    "NCA: the SoC path uses the NMC curve (site files know no NCA); capacity is fitted"
    " with a published NCA half-cell"
)

# fmt: off
KIM_NCA: Final = (
    1.638, -2.222, 15.056, -23.488, 81.246, -344.566, 621.3475, -554.774, 264.427,
    -66.3691, 11.8058,
)
"""Falling powers of the stoichiometry, see ``_nca``."""
LMO_REST: Final = (
    (-0.10, 10.0), (0.00, 10.0), (0.03, 15.0), (0.06, 18.0), (0.10, 15.0), (0.164, 9.0),
    (0.268, 4.0), (0.373, 6.5), (0.477, 7.6), (0.582, 3.7), (0.686, 2.0), (0.791, 10.0),
    (0.895, 7.4), (1.00, 5.0), (1.10, 5.0),
)
# fmt: on
"""(SoC, mV) by which the Leaf cell of ``ocv`` rests above the table one hour after a
discharge step: HPPC at 25 degC of the same data set (doi 10.5281/zenodo.2580327, MIT)."""


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """OCV of one chemistry and how far a cell may lie from it."""

    soc_frac: FloatArray
    """Uniform grid."""
    ocv_v: FloatArray
    slope_v: FloatArray
    """dOCV/dSoC, V."""
    sigma_v: float
    """Error of the curve, V (1 sigma), the same over about a tenth of SoC."""
    stretch_frac: float
    """How far along SoC it may be shifted (1 sigma), which matters where it is steep."""

    def ocv(self, soc_frac: FloatArray) -> FloatArray:
        """OCV in V, clipped at the ends of the grid."""
        return np.interp(soc_frac, self.soc_frac, self.ocv_v)

    def slope(self, soc_frac: FloatArray) -> FloatArray:
        """dOCV/dSoC in V per unit of SoC."""
        return np.interp(soc_frac, self.soc_frac, self.slope_v)

    def soc(self, voltage_v: float) -> float:
        """SoC of a rested cell."""
        return float(np.interp(voltage_v, self.ocv_v, self.soc_frac))


SIGMA_V: Final = {
    Cell.LFP: 0.005,
    Cell.NMC: 0.015,
    Cell.NCA: 0.020,
    Cell.LMO: 0.004,
    Cell.LTO: 0.020,
}
"""LMO: the curve is of one cell of this make, and repeats within 4 mV from test to test;
another maker's LMO may lie further off. Others: engineering judgement."""
STRETCH_FRAC: Final = {
    Cell.LFP: 0.010,
    Cell.NMC: 0.020,
    Cell.NCA: 0.030,
    Cell.LMO: 0.004,
    Cell.LTO: 0.030,
}
"""Where the curve is of another cell, its electrodes are balanced otherwise."""
EMPTY_V: Final = {
    Cell.LFP: 2.6,
    Cell.NMC: 3.0,
    Cell.NCA: 2.8,
    Cell.LMO: 3.02,
    Cell.LTO: 1.8,
}
"""Under load and down to this, a cell is discharged as far as anyone does."""
WINDOW_V: Final = {
    Cell.LFP: (1.5, 4.0),
    Cell.NMC: (1.5, 4.6),
    Cell.NCA: (1.5, 4.6),
    Cell.LMO: (1.5, 4.6),
    Cell.LTO: (1.0, 3.2),
}
"""Voltages of one cell that are no mistake."""


@cache
def curve(cell: Cell) -> Curve:
    """The curve of a chemistry."""
    soc = np.linspace(ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC, ocv.N_STEPS + 1)
    if cell is Cell.NCA:
        inside = np.clip(soc, 0.0, 1.0)
        volts = _nca(inside) + 15.0 * np.minimum(soc, 0.0) + 4.0 * np.maximum(soc - 1.0, 0.0)
    else:
        volts = ocv.TABLE_V[ocv.chem_index(ONLINE[cell])].copy()
    if cell is Cell.LMO:
        rest = np.array(LMO_REST)
        volts += ocv.pchip(rest[:, 0], rest[:, 1] * 1e-3, soc)
    return Curve(soc, volts, np.gradient(volts, soc), SIGMA_V[cell], STRETCH_FRAC[cell])


def _nca(soc: FloatArray) -> FloatArray:
    """NCA against graphite: 2.5 V empty, 4.1 V full.

    Positive: polynomial of G.-H. Kim et al., J. Electrochem. Soc. 158 (2011) A955, with the
    coefficients that the parameter set NCA_Kim2011 of PyBaMM gives (the printed ones
    are said to have a misprint). Graphite: as ``ocv`` has it for NMC (C.-H. Chen et al.
    2020). The balance is chosen here: rested full cell 4.15 to 4.2 V. Confidence low.
    """
    y = 0.90 - soc * (0.90 - 0.345)
    powers = np.array(KIM_NCA)
    positive = np.polyval(powers, y) - 0.61386 * np.exp(5.8201 * y**136.4)
    x = 0.0279 + soc * (0.85 - 0.0279)
    negative = (
        1.9793 * np.exp(-39.3631 * x)
        + 0.2482
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )
    return np.asarray(positive - negative)
