"""Constants of the estimator, computed once per site.

Numbers with provenance are fields or module constants; everything per pack or per
reported cell is an array, so that one cycle is a fixed, short list of array operations.
"""

from collections import deque
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health import ocv
from ems.model import FloatArray
from ems.site import Chemistry, Layout, Site, SiteKind
from ems.units import S_PER_H

IndexArray = NDArray[np.intp]

OCV_SIGMA_V: Final = {
    Chemistry.LFP: 0.008,
    Chemistry.NMC: 0.020,
    Chemistry.LMO: 0.015,
    Chemistry.LTO: 0.020,
}
"""How far a rested used cell may lie from the OCV table, V (1 sigma): curve of another
maker, ageing, hysteresis, BMS offset. LMO: branches of one measured cell lie 20 mV from
their mean with slow resistance, 10 mV without. Others: engineering judgement."""

R0_SHARE: Final = 0.84
R1_SHARE: Final = 0.77
TAU_S: Final = 50.0
"""Split of the 10 s resistance into an immediate part and one RC pair. Fit of 30 A pulses
of a Nissan Leaf cell (R0 1.53, 0.24 at 3 s, 1.53 mohm at 50 s; 2.03 mohm after 10 s),
the 3 s pair folded into the other two so that 10 s gives 1.0."""
DC_SHARE: Final = R0_SHARE + R1_SHARE

UNKNOWN_RATIO: Final = 1.5
"""Resistance ratio assumed where intake knows none: pessimistic for a used pack."""
ARRHENIUS_K: Final = 2400.0
"""Activation energy over the gas constant, K (about 20 kJ/mol): R doubles from 25 to
0 degC. Engineering judgement for the 10 s resistance."""
ROOM_K: Final = 298.15
CAPACITY_SPREAD: Final = 0.08
"""Relative distance (1 sigma) of group capacities from the one value of the pack, which
is that of the weakest."""
CURRENT_GAIN_SIGMA: Final = 0.01

INVERSE_STEP_V: Final = 0.0002
INVERSE_LOW_V: Final = -0.6
INVERSE_HIGH_V: Final = 5.6
CELL_LOW_V: Final = 0.2
CELL_HIGH_V: Final = 4.8
"""A usable cell voltage lies between these; keeps every look-up inside its table."""
FORWARD_STEP: Final = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What never changes at a site, as arrays over packs or reported cells."""

    layout: Layout
    direct: bool
    """Whether the packs float on the load's own bus, no converter in between."""
    chem: IndexArray
    """Row of the OCV tables per pack."""
    series: FloatArray
    cells_of_pack: FloatArray
    series_per_cell: FloatArray
    """Groups of the pack for each cell voltage it reports."""
    capacity_ah: FloatArray
    capacity_as: FloatArray
    """The same in ampere seconds."""
    soh_frac: FloatArray
    soh_sigma_frac: FloatArray
    intake_day: FloatArray
    """Intake date as a proleptic ordinal."""
    ratio: FloatArray
    """Resistance ratio for use: intake, or ``UNKNOWN_RATIO``."""
    ratio_out: FloatArray
    """Resistance ratio for the record: intake, or 0 where unknown."""
    group_ohm: FloatArray
    """Worst group at 25 degC by intake, ohm: new resistance times ``ratio``."""
    ocv_sigma_v: FloatArray
    step_a: FloatArray
    """Current step from which resistance is learned, A (0.1 C)."""
    confidence_z: float
    critical_w: float
    inverse: FloatArray
    """SoC on a uniform voltage grid, one row after another per chemistry."""
    inverse_base: FloatArray
    """Per reported cell: offset of its chemistry's row in ``inverse``."""
    inverse_base_pack: FloatArray
    """Per pack: the same without rounding to the nearest entry."""
    forward_v: FloatArray
    """OCV on a fine uniform SoC grid, one row after another per chemistry, V."""
    forward_base: FloatArray
    """Per reported cell, and below per pack: offset of its chemistry's row."""
    forward_base_pack: FloatArray
    energy_v: FloatArray
    """Integral of OCV over SoC from ``ocv.SOC_LOW_FRAC``, V, on the grid of ``forward_v``."""


_KEPT: Final[deque[tuple[Site, Prepared]]] = deque(maxlen=8)
"""By identity: ``Site`` holds a mapping and cannot be hashed."""


def prepare(site: Site) -> Prepared:
    """The site's constants; computed on the first call for this object, then kept."""
    for known, prepared in _KEPT:
        if known is site:
            return prepared
    prepared = _prepare(site)
    _KEPT.append((site, prepared))
    return prepared


def _prepare(site: Site) -> Prepared:
    layout = site.layout
    packs = site.packs
    direct = site.kind is SiteKind.DIRECT_BUS
    chem = np.array([ocv.chem_index(p.chemistry) for p in packs], dtype=np.intp)
    soh = np.array([p.soh_frac for p in packs])
    soh_sigma = np.array([p.soh_sigma_frac for p in packs])
    ratio = np.array([p.resistance_ratio or UNKNOWN_RATIO for p in packs])
    rated_ah = np.array([p.rated_ah for p in packs])
    series = np.array([float(p.series_cells) for p in packs])
    reported = np.array([float(p.reported_cells) for p in packs])
    inverse, forward = _inverse_rows(), _forward_rows()
    forward_base = _base(chem, forward, ocv.SOC_LOW_FRAC, FORWARD_STEP)
    prepared = Prepared(
        layout=layout,
        direct=direct,
        chem=chem,
        series=series,
        cells_of_pack=reported,
        series_per_cell=series / reported,
        capacity_ah=rated_ah * soh,
        capacity_as=S_PER_H * (rated_ah * soh),
        soh_frac=soh,
        soh_sigma_frac=soh_sigma,
        intake_day=np.array([float(p.intake_date.toordinal()) for p in packs]),
        ratio=ratio,
        ratio_out=np.array([p.resistance_ratio or 0.0 for p in packs]),
        group_ohm=np.array([p.group_resistance_ohm for p in packs]) * ratio,
        ocv_sigma_v=np.array([OCV_SIGMA_V[p.chemistry] for p in packs]),
        step_a=0.1 * rated_ah,
        confidence_z=NormalDist().inv_cdf(site.backup.confidence),
        critical_w=site.backup.critical_w,
        inverse=inverse.ravel(),
        inverse_base=_base(chem, inverse, INVERSE_LOW_V, INVERSE_STEP_V)[layout.pack_of_cell],
        inverse_base_pack=_base(chem, inverse, INVERSE_LOW_V, INVERSE_STEP_V) - 0.5,
        forward_v=forward.ravel(),
        forward_base=forward_base[layout.pack_of_cell],
        forward_base_pack=forward_base,
        energy_v=_energy_rows(forward).ravel(),
    )
    for name in Prepared.__slots__:
        if isinstance(values := getattr(prepared, name), np.ndarray):
            values.setflags(write=False)
    return prepared


def pace_var(site: Site) -> FloatArray:
    """Squared relative error (1 sigma) of SoC moved by counting, per pack.

    Before anything is learned: capacity, its spread among groups, gain of the sensor.
    """
    relative = np.array([p.soh_sigma_frac / p.soh_frac for p in site.packs])
    return np.asarray(relative**2 + CAPACITY_SPREAD**2 + CURRENT_GAIN_SIGMA**2)


def _base(chem: IndexArray, rows: FloatArray, low: float, step: float) -> FloatArray:
    """What to add to ``value / step`` to get the nearest entry of the flattened rows."""
    return np.asarray(chem * rows.shape[1] - low / step + 0.5)


def _soc_grid() -> FloatArray:
    return np.linspace(ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC, ocv.TABLE_V.shape[1])


def _inverse_rows() -> FloatArray:
    n = round((INVERSE_HIGH_V - INVERSE_LOW_V) / INVERSE_STEP_V) + 1
    volts = INVERSE_LOW_V + INVERSE_STEP_V * np.arange(n)
    return np.array([np.interp(volts, row, _soc_grid()) for row in ocv.TABLE_V])


def _forward_rows() -> FloatArray:
    n = round((ocv.SOC_HIGH_FRAC - ocv.SOC_LOW_FRAC) / FORWARD_STEP) + 1
    soc = ocv.SOC_LOW_FRAC + FORWARD_STEP * np.arange(n)
    return np.array([np.interp(soc, _soc_grid(), row) for row in ocv.TABLE_V])


def _energy_rows(forward_v: FloatArray) -> FloatArray:
    area = FORWARD_STEP * (forward_v[:, 1:] + forward_v[:, :-1]) / 2.0
    return np.concatenate((np.zeros((area.shape[0], 1)), np.cumsum(area, axis=1)), axis=1)
