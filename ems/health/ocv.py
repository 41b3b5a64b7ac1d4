"""Open-circuit voltage over state of charge, per chemistry.

One table on a uniform SoC grid for all chemistries, so that hundreds of cells of mixed
chemistry are one gather and one linear interpolation. SoC 0 and 1 are where the source
puts them (see each curve); outside 0..1 the curves go on steeply, because a cell that
is over-charged or over-discharged shows it. Hysteresis and the temperature dependence
of OCV (about 0.1 mV/K) are left out.

Confidence: LMO measured on one cell; LFP and NMC published half-cell fits balanced
here; LTO is put together from half-cells, plausible but not measured.
"""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ems.site import Chemistry

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.intp]

CHEMISTRIES: Final = (Chemistry.LFP, Chemistry.NMC, Chemistry.LMO, Chemistry.LTO)
"""Row order of ``TABLE_V``."""
SOC_LOW_FRAC: Final = -0.10
SOC_HIGH_FRAC: Final = 1.10
STEPS_PER_FRAC: Final = 1000
N_STEPS: Final = round((SOC_HIGH_FRAC - SOC_LOW_FRAC) * STEPS_PER_FRAC)
N_INVERSE: Final = 8192
END_SLOPE_V: Final = {
    Chemistry.LFP: (15.0, 8.0),
    Chemistry.NMC: (15.0, 4.0),
    Chemistry.LMO: (12.0, 4.0),
    Chemistry.LTO: (10.0, 5.0),
}
"""Slope below 0 and above 1, V per unit of SoC: engineering judgement, low confidence."""

# fmt: off
LMO_KNOTS: Final = (
    (0.0000, 3.0000), (0.0125, 3.1560), (0.0250, 3.2752), (0.0375, 3.3756), (0.0500, 3.4557),
    (0.0625, 3.5217), (0.0750, 3.5777), (0.0875, 3.6248), (0.1000, 3.6624), (0.1250, 3.6925),
    (0.1500, 3.7084), (0.1750, 3.7221), (0.2000, 3.7375), (0.2250, 3.7586), (0.2500, 3.7824),
    (0.2750, 3.8048), (0.3000, 3.8223), (0.3250, 3.8411), (0.3500, 3.8536), (0.3750, 3.8631),
    (0.4000, 3.8726), (0.4250, 3.8809), (0.4500, 3.8909), (0.4750, 3.9000), (0.5000, 3.9102),
    (0.5250, 3.9204), (0.5500, 3.9305), (0.5750, 3.9418), (0.6000, 3.9520), (0.6250, 3.9609),
    (0.6500, 3.9698), (0.6750, 3.9790), (0.7000, 3.9871), (0.7250, 3.9987), (0.7500, 4.0150),
    (0.7750, 4.0290), (0.8000, 4.0402), (0.8250, 4.0493), (0.8500, 4.0586), (0.8750, 4.0687),
    (0.9000, 4.0803), (0.9250, 4.0931), (0.9500, 4.1091), (0.9750, 4.1313), (0.9875, 4.1467),
    (1.0000, 4.1751),
)
# fmt: on
"""(SoC, OCV in V) of a Nissan Leaf cell at 24 degC, see ``_lmo``."""


def chem_index(chemistry: Chemistry) -> int:
    """Row of a chemistry in ``TABLE_V`` and ``SLOPE_V``."""
    return CHEMISTRIES.index(chemistry)


def ocv_v(chemistry: Chemistry, soc_frac: ArrayLike) -> FloatArray:
    """OCV in V of cells of one chemistry.

    Args:
        chemistry: Which curve.
        soc_frac: SoC, any shape; clipped to ``[SOC_LOW_FRAC, SOC_HIGH_FRAC]``.

    Returns:
        Voltages, same shape, strictly rising with SoC.
    """
    row = np.intp(chem_index(chemistry))
    return ocv_v_of(row, np.asarray(soc_frac, dtype=np.float64))


def slope_v(chemistry: Chemistry, soc_frac: ArrayLike) -> FloatArray:
    """dOCV/dSoC in V per unit of SoC, > 0; same shape as ``soc_frac``."""
    row = np.intp(chem_index(chemistry))
    return slope_v_of(row, np.asarray(soc_frac, dtype=np.float64))


def soc_from_ocv(chemistry: Chemistry, voltage_v: ArrayLike) -> FloatArray:
    """SoC that a rested cell of one chemistry shows, clipped to 0..1.

    On the LFP plateau 1 mV is 1 to 3 points of SoC: the caller weighs it with
    ``slope_v``.
    """
    volts = np.asarray(voltage_v, dtype=np.float64)
    return soc_from_ocv_of(np.intp(chem_index(chemistry)), volts)


def ocv_v_of(chem: IndexArray | np.intp, soc_frac: FloatArray) -> FloatArray:
    """OCV in V of cells of mixed chemistry.

    Args:
        chem: Row of ``TABLE_V`` per cell (``chem_index``), shape of ``soc_frac`` or scalar.
        soc_frac: SoC, clipped to ``[SOC_LOW_FRAC, SOC_HIGH_FRAC]``.
    """
    return ocv_v_in_row(row_of(chem), soc_frac)


def row_of(chem: IndexArray | np.intp) -> IndexArray | np.intp:
    """Where the OCV table of each cell's chemistry begins; for :func:`ocv_v_in_row`."""
    return chem * (N_STEPS + 1)


def ocv_v_in_row(row: IndexArray | np.intp, soc_frac: FloatArray) -> FloatArray:
    """As :func:`ocv_v_of`, for callers that keep ``row_of(chem)`` from cycle to cycle."""
    position: FloatArray = np.asarray(soc_frac - SOC_LOW_FRAC)
    position *= STEPS_PER_FRAC
    np.maximum(position, 0.0, out=position)
    np.minimum(position, N_STEPS - 1e-9, out=position)
    step = np.floor(position)
    position -= step
    flat = step.astype(np.intp)
    flat += row
    position *= _FLAT_STEP_V.take(flat)
    position += _FLAT_V.take(flat)
    return position


def slope_v_of(chem: IndexArray | np.intp, soc_frac: FloatArray) -> FloatArray:
    """dOCV/dSoC in V per unit of SoC of cells of mixed chemistry, > 0."""
    position = (soc_frac - SOC_LOW_FRAC) * STEPS_PER_FRAC
    position = np.minimum(np.maximum(position, 0.0), N_STEPS - 1e-9)
    flat = position.astype(np.intp) + chem * (N_STEPS + 1)
    slope: FloatArray = _FLAT_STEP_V[flat] * STEPS_PER_FRAC
    return slope


def soc_from_ocv_of(chem: IndexArray | np.intp, voltage_v: FloatArray) -> FloatArray:
    """SoC of rested cells of mixed chemistry, clipped to 0..1."""
    scaled = (voltage_v - _INVERSE_LOW_V[chem]) * _INVERSE_PER_V[chem]
    position = np.minimum(np.maximum(scaled, 0.0), N_INVERSE - 1e-6)
    step = position.astype(np.intp)
    flat = step + chem * (N_INVERSE + 1)
    left: FloatArray = _INVERSE[flat]
    soc: FloatArray = left + (position - step) * (_INVERSE[flat + 1] - left)
    return np.minimum(np.maximum(soc, 0.0), 1.0)


def pchip(x: FloatArray, y: FloatArray, at: FloatArray) -> FloatArray:
    """Monotone piecewise cubic through ``(x, y)``, evaluated at ``at`` within ``x``.

    Fritsch and Carlson's harmonic-mean slopes: no overshoot between knots, so a
    rising table stays a rising curve.
    """
    h = np.diff(x)
    secant = np.diff(y) / h
    slope = np.empty_like(y)
    slope[0], slope[-1] = secant[0], secant[-1]
    w1, w2 = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    rising = secant[:-1] * secant[1:] > 0
    a, b = np.where(rising, secant[:-1], 1.0), np.where(rising, secant[1:], 1.0)
    slope[1:-1] = np.where(rising, (w1 + w2) / (w1 / a + w2 / b), 0.0)
    k = np.clip(np.searchsorted(x, at, side="right") - 1, 0, x.size - 2)
    t = (at - x[k]) / h[k]
    return np.asarray(
        y[k] * (1 + 2 * t) * (1 - t) ** 2
        + h[k] * slope[k] * t * (1 - t) ** 2
        + y[k + 1] * t**2 * (3 - 2 * t)
        + h[k] * slope[k + 1] * t**2 * (t - 1)
    )


def _lfp(soc: FloatArray) -> FloatArray:
    """LFP against graphite: 2.67 V empty, plateaus near 3.28 and 3.33 V, 3.48 V full.

    Half-cells: M. Safari, C. Delacourt, J. Electrochem. Soc. 158 (2011) A562 (fits as
    published); graphite stoichiometry 0.0085..0.78 as M. Schimpe et al., J. Electrochem.
    Soc. 165 (2018) A181; LFP 0.93..0.035 chosen here so that a rested full cell reads
    3.45 to 3.5 V. Confidence: plateau high, ends medium.
    """
    x = 0.0085 + soc * (0.78 - 0.0085)
    y = 1.0 - (0.93 - soc * (0.93 - 0.035))
    negative = (
        0.6379
        + 0.5416 * np.exp(-305.5309 * x)
        - 0.044 * np.tanh((x - 0.1958) / 0.1088)
        - 0.1978 * np.tanh((x - 1.0571) / 0.0854)
        - 0.6875 * np.tanh((x + 0.0117) / 0.0529)
        - 0.0175 * np.tanh((x - 0.5692) / 0.0875)
    )
    positive = (
        3.4323
        - 0.8428 * np.exp(-80.2493 * y**1.3198)
        - 3.2474e-6 * np.exp(20.2645 * y**3.8003)
        + 3.2482e-6 * np.exp(20.2646 * y**3.7995)
    )
    return np.asarray(positive - negative)


def _nmc(soc: FloatArray) -> FloatArray:
    """NMC against graphite: 2.50 V empty, 4.19 V full.

    LG M50 (NMC 811): C.-H. Chen et al., J. Electrochem. Soc. 167 (2020) 080534, half-cell
    fits and stoichiometry as published. Confidence: high for that cell; medium for
    the NMC 111..622 of older EV packs, which lie up to 50 mV away at mid SoC.
    """
    x = 0.0279 + soc * (0.9014 - 0.0279)
    negative = (
        1.9793 * np.exp(-39.3631 * x)
        + 0.2482
        - 0.0909 * np.tanh(29.8538 * (x - 0.1234))
        - 0.04478 * np.tanh(14.9159 * (x - 0.2769))
        - 0.0205 * np.tanh(30.4444 * (x - 0.6103))
    )
    return np.asarray(_nmc_positive(0.9084 - soc * (0.9084 - 0.2661)) - negative)


def _nmc_positive(y: FloatArray) -> FloatArray:
    """NMC 811 half-cell, V against Li; Chen et al. 2020 as in ``_nmc``."""
    return np.asarray(
        -0.8090 * y
        + 4.4875
        - 0.0428 * np.tanh(18.5138 * (y - 0.5542))
        - 17.7326 * np.tanh(15.7890 * (y - 0.3117))
        + 17.5842 * np.tanh(15.9308 * (y - 0.3120))
    )


def _lmo(soc: FloatArray) -> FloatArray:
    """LMO/NMC blend against graphite: 3.00 V empty, 4.17 V full (rested).

    Mean of C/15 charge and discharge at 24 degC of one Nissan Leaf cell (33.1 Ah when
    new): Wiggins, Allu, Wang (ORNL), doi 10.5281/zenodo.2580327, MIT. Made by
    ``python -m sim.fit_lmo``, which prints the errors. Confidence: high for that
    cell; the branches lie 40 mV apart, and 20 mV of that is not slow resistance.
    """
    knots = np.array(LMO_KNOTS)
    return pchip(knots[:, 0], knots[:, 1], soc)


def _lto(soc: FloatArray) -> FloatArray:
    """NMC against LTO: 1.87 V empty, 2.3 V half, 2.7 V full.

    Positive as ``_nmc``; LTO a flat 1.55 V (T. Ohzuku et al., J. Electrochem. Soc. 142
    (1995) 1431) with exponential ends; balance and ends are engineering
    judgement matched to 2.3 V nominal and a 1.5..2.7 V data-sheet window. Confidence low.
    """
    x = 0.02 + soc * (0.97 - 0.02)
    negative = 1.55 + 0.6 * np.exp(-60.0 * x) - 0.35 * np.exp(-50.0 * (1.0 - x))
    return np.asarray(_nmc_positive(0.86 - soc * (0.86 - 0.36)) - negative)


_CURVES: Final = {
    Chemistry.LFP: _lfp,
    Chemistry.NMC: _nmc,
    Chemistry.LMO: _lmo,
    Chemistry.LTO: _lto,
}


@cache
def _table() -> FloatArray:
    """OCV in V, shape ``(n_chemistries, N_STEPS + 1)``."""
    soc = np.linspace(SOC_LOW_FRAC, SOC_HIGH_FRAC, N_STEPS + 1)
    inside = np.clip(soc, 0.0, 1.0)
    rows = []
    for chemistry in CHEMISTRIES:
        below, above = END_SLOPE_V[chemistry]
        volts = _CURVES[chemistry](inside)
        rows.append(volts + below * np.minimum(soc, 0.0) + above * np.maximum(soc - 1.0, 0.0))
    return np.array(rows)


def _inverse(table_v: FloatArray) -> FloatArray:
    """SoC on a uniform voltage grid per chemistry, shape ``(n_chemistries, N_INVERSE + 1)``."""
    soc = np.linspace(SOC_LOW_FRAC, SOC_HIGH_FRAC, N_STEPS + 1)
    return np.array([np.interp(np.linspace(v[0], v[-1], N_INVERSE + 1), v, soc) for v in table_v])


TABLE_V: Final = _table()
"""OCV in V: row = chemistry, column = SoC from ``SOC_LOW_FRAC`` in thousandths."""
TABLE_V.flags.writeable = False
_FLAT_V: Final = TABLE_V.ravel()
_FLAT_STEP_V: Final = np.diff(TABLE_V, axis=1, append=np.nan).ravel()
_INVERSE: Final = _inverse(TABLE_V).ravel()
_INVERSE_LOW_V: Final = TABLE_V[:, 0].copy()
_INVERSE_PER_V: Final = N_INVERSE / (TABLE_V[:, -1] - TABLE_V[:, 0])
