"""The health-tightened envelope: how much each pack may be charged or discharged now.

This is the home of the health index h. Limits come from the weakest group, never from
the pack's average, and fail closed: what is unknown allows nothing in the direction it
concerns. A limit is a current (A) times the pack voltage; the smallest term binds and
gives the reason. Relaxed while the grid is lost: below its SoC floor a pack is derated
down to empty instead of stopped, because measured cell voltage still stops it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ems.model import (
    BoolArray,
    ConverterState,
    FloatArray,
    Limits,
    Reading,
    SiteEstimate,
    SiteSnapshot,
)
from ems.safety.cells import GOOD_ENOUGH, good, view_cells
from ems.safety.inputs import GRID_LOST_PU
from ems.safety.program import thresholds
from ems.safety.table import (
    CHARGE_C_RATE,
    DISCHARGE_C_RATE,
    RESISTANCE_END_OF_LIFE,
    ROW_OF_ID,
    SOC_HIGH,
    SOH_END_OF_LIFE,
)
from ems.site import Site

SOH_AS_NEW = 0.80
"""SoH at which a second-life pack has no ageing deduction left (b1)."""
HEALTH_WITHOUT_RESISTANCE = 0.5
SOC_LOW = 0.10
SOC_TAPER = 0.03
"""Power falls to 0 over this much SoC before an end of the window, so that a pack
settles at the edge instead of switching there."""
SOC_GAP_SEEN, SOC_GAP_FULL = 0.08, 0.12
"""Disagreement with the BMS from which, and at which fully, the window shrinks (C22)."""
RECALIBRATE_SIGMA = 0.05
"""A SoC less certain than this has to be measured anew at the top of the OCV curve."""
TO_THE_TOP = 1.0 + SOC_TAPER
"""Upper end of such a pack: no taper even at an estimate of 100 %; cell voltage ends it."""

_UNKNOWN = ("soc_unknown", "voltage_unknown", "temperature_unknown", "current_unknown")
CHARGE_REASONS = (
    *_UNKNOWN, "bms_limit", "current", "cell_voltage_high", "cell_voltage_high", "hot", "cold",
    "soc_high", "heat",
)  # fmt: skip
DISCHARGE_REASONS = (
    *_UNKNOWN, "bms_limit", "current", "cell_voltage_low", "cell_voltage_low", "hot", "cold",
    "soc_low", "heat",
)  # fmt: skip
"""Terms in the order of ``_smallest``; at a tie the first is named, so that a derate that
does not bite yet is never given as the reason."""

_GRADED = ("C01", "C04", "C06", "C02", "C05", "C07")
"""Rows whose L2..L3 span derates: three for charge, three for discharge."""


@dataclass(frozen=True, slots=True, eq=False)
class _Constants:
    """Of one site; arrays ``(6, n_packs)`` in the order of ``_GRADED`` or ``(n_packs,)``."""

    l2: FloatArray
    l3: FloatArray
    slope2: FloatArray
    """Added to ``l2`` times (1 − h)."""
    slope3: FloatArray
    soh_eol: FloatArray
    soc_high: FloatArray
    charge_c: FloatArray
    discharge_c: FloatArray
    rated_charge_a: FloatArray
    rated_discharge_a: FloatArray
    fallback_ohm: FloatArray
    """Group resistance assumed where the estimate has none."""
    sensors_lost: FloatArray
    """Unknown temperature sensors from which no temperature is believed."""


_cache: dict[int, tuple[Site, _Constants]] = {}


def _constants(site: Site) -> _Constants:
    """Constants of a site, computed once while it is in use."""
    known = _cache.get(id(site))
    if known is not None and known[0] is site:
        return known[1]
    rows = [ROW_OF_ID[cause] for cause in _GRADED]
    at = np.array([[thresholds(row, p.chemistry, site) for p in site.packs] for row in rows])
    slope = np.array(
        [[[v or 0.0 for v in row.tighten[p.chemistry]] for p in site.packs] for row in rows]
    )
    rated_ah = np.array([p.rated_ah for p in site.packs])
    charge_c = np.array([CHARGE_C_RATE[p.chemistry] for p in site.packs])
    discharge_c = np.array([DISCHARGE_C_RATE[p.chemistry] for p in site.packs])
    constants = _Constants(
        l2=at[:, :, 1],
        l3=at[:, :, 2],
        slope2=slope[:, :, 1],
        slope3=slope[:, :, 2],
        soh_eol=np.array([SOH_END_OF_LIFE[p.chemistry] for p in site.packs]),
        soc_high=np.array([SOC_HIGH[p.chemistry] for p in site.packs]),
        charge_c=charge_c,
        discharge_c=discharge_c,
        rated_charge_a=charge_c * rated_ah,
        rated_discharge_a=discharge_c * rated_ah,
        fallback_ohm=RESISTANCE_END_OF_LIFE
        * np.array([p.group_resistance_ohm for p in site.packs]),
        sensors_lost=np.array([min(2.0, p.reported_temps) for p in site.packs]),
    )
    if len(_cache) >= 8:
        _cache.clear()
    _cache[id(site)] = (site, constants)
    return constants


def health_index(
    soh_frac: FloatArray,
    soh_sigma_frac: FloatArray,
    resistance_ratio: FloatArray,
    soh_eol: FloatArray,
) -> FloatArray:
    """Health index h per pack, 0 (worst accepted) .. 1 (as new).

    ``h = min(s, 1 − rho)`` with ``s`` from the pessimistic SoH (two sigma below) and
    ``rho`` from the resistance ratio. Where no reference resistance is known, h comes
    from SoH alone and is at most 0.5.

    Args:
        soh_frac: Weakest group's capacity / rated; NaN where unknown (then h = 0).
        soh_sigma_frac: Its standard deviation.
        resistance_ratio: Worst group's R / new, 0 where no reference is known.
        soh_eol: SoH at which h reaches 0, by chemistry.

    Source:
        b1 of the safety concept, [E].
    """
    s = (soh_frac - 2.0 * soh_sigma_frac - soh_eol) / (SOH_AS_NEW - soh_eol)
    room = (RESISTANCE_END_OF_LIFE - resistance_ratio) / (RESISTANCE_END_OF_LIFE - 1.0)
    room = np.where(resistance_ratio > 0, np.minimum(room, 1.0), HEALTH_WITHOUT_RESISTANCE)
    h: FloatArray = np.fmax(np.minimum(s, room), 0.0)  # fmax: NaN becomes 0
    return h


def limits(estimate: SiteEstimate, snapshot: SiteSnapshot, site: Site) -> Limits:
    """What each pack may do continuously, as charge and discharge limits.

    Args:
        estimate: SoC, SoH, resistance and OCV with their uncertainty.
        snapshot: Measured cells, temperatures and the BMS's own limits.
        site: The site.

    Returns:
        Limits per pack, all >= 0, with the one term that binds per direction.

    Source:
        b1 to b6 of the safety concept; thresholds from rows C01 to C07, C10, C11, C22.
    """
    c, packs = _constants(site), snapshot.packs
    cells = view_cells(snapshot.cells, site)
    ratio = estimate.resistance_ratio
    h = health_index(estimate.soh_frac, estimate.soh_sigma_frac, ratio, c.soh_eol)
    slack = 1.0 - h
    soc_low, soc_high = soc_window(estimate, snapshot, slack, c.soc_high)
    lost = grid_lost(snapshot, site)

    l2, l3 = c.l2 + c.slope2 * slack, c.l3 + c.slope3 * slack
    seen = np.array([cells.v_max, cells.t_max, cells.t_min, cells.v_min, cells.t_max, cells.t_min])
    grade = np.minimum((seen - l3) / (l2 - l3), 1.0)

    # What the fullest and the weakest group would show at rest: the worse of the
    # estimate and of the measurement less its own resistive part.
    ohm = estimate.group_resistance_max_ohm
    ohm = np.where(ohm > 0, ohm, c.fallback_ohm)
    full_v = cells.v_max + np.minimum(estimate.current_a, 0.0) * ohm
    full_v = np.fmax(full_v, estimate.ocv_cell_max_v)
    weak_v = cells.v_min + np.maximum(estimate.current_a, 0.0) * ohm
    weak_v = np.fmin(weak_v, estimate.ocv_cell_min_v)

    unknown = (
        ~estimate.soc_known,
        (cells.unknown_v > 0) | ~(estimate.voltage_v > 0) | _unknown([p.voltage_v for p in packs]),
        cells.unknown_t >= c.sensors_lost,
        _unknown([p.current_a for p in packs]),
    )
    aged_ah = estimate.capacity_ah * (0.5 + 0.5 * h)
    heat = 1.0 / np.sqrt(np.where(ratio > 0, np.maximum(ratio, 1.0), RESISTANCE_END_OF_LIFE))
    above_floor = (estimate.soc_frac - soc_low) / SOC_TAPER
    if lost:
        above_floor = np.maximum(above_floor, estimate.soc_frac / np.maximum(soc_low, SOC_TAPER))
    charge_a, charge_reason = _smallest(
        CHARGE_REASONS,
        unknown,
        [p.charge_limit_a for p in packs],
        (l2[0] - full_v) / ohm,
        c.charge_c * aged_ah,
        grade[:3],
        (soc_high - estimate.soc_max_frac) / SOC_TAPER,
        c.rated_charge_a * heat,
    )
    discharge_a, discharge_reason = _smallest(
        DISCHARGE_REASONS,
        unknown,
        [p.discharge_limit_a for p in packs],
        (weak_v - l2[3]) / ohm,
        c.discharge_c * aged_ah,
        grade[3:],
        above_floor,
        c.rated_discharge_a * heat,
    )
    voltage_v = np.fmax(estimate.voltage_v, 0.0)
    return Limits(
        charge_w=charge_a * voltage_v,
        discharge_w=discharge_a * voltage_v,
        charge_a=charge_a,
        discharge_a=discharge_a,
        soc_low_frac=soc_low,
        soc_high_frac=soc_high,
        health=h,
        charge_reason=charge_reason,
        discharge_reason=discharge_reason,
    )


def soc_window(
    estimate: SiteEstimate, snapshot: SiteSnapshot, slack: FloatArray, soc_high: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """SoC of the lowest cell at which discharge ends, and of the fullest at which charge does.

    Two sigma inside the chemistry's window, narrower with age. Where the BMS disagrees
    by more than 8 points, the tighter of both opinions counts on each side, fully from
    12 points on.

    A pack whose SoC is not known to 5 points may charge until its cells' voltage ends
    it: on a flat OCV curve only the steep end tells where the pack stands, and a window
    that shrinks with the doubt would keep it from ever getting there.

    Args:
        estimate: SoC and its sigma.
        snapshot: SoC as the BMS reports it.
        slack: 1 − h.
        soc_high: Upper end at h = 1, by chemistry.

    Source:
        b6 and cause C22 (recalibration).
    """
    margin = 0.10 * slack + 2.0 * estimate.soc_sigma_frac
    low, high = SOC_LOW + margin, soc_high - margin
    gap = np.array([good(p.soc_frac) for p in snapshot.packs]) - estimate.soc_frac
    if np.fmax.reduce(np.abs(gap)) > SOC_GAP_SEEN:
        share = np.minimum((np.abs(gap) - SOC_GAP_SEEN) / (SOC_GAP_FULL - SOC_GAP_SEEN), 1.0)
        doubt = np.where(share > 0.0, gap * share, 0.0)  # NaN, a silent BMS, is no opinion
        low = low + np.maximum(-doubt, 0.0)
        high = high - np.maximum(doubt, 0.0)
    # A BMS that says more than we do is not overruled by our own doubt.
    unsure = (estimate.soc_sigma_frac > RECALIBRATE_SIGMA) & ~(gap > SOC_GAP_SEEN)
    high = np.where(unsure, TO_THE_TOP, high)
    return np.minimum(low, 1.0), np.maximum(high, 0.0)


def grid_lost(snapshot: SiteSnapshot, site: Site) -> bool:
    """Whether the grid is seen to be gone: unknown is not gone, because gone relaxes."""
    if good(snapshot.grid.voltage_v) < GRID_LOST_PU * site.grid.nominal_v:
        return True
    return any(good(c.state) == ConverterState.ISLAND for c in snapshot.converters)


def _unknown(readings: list[Reading]) -> BoolArray:
    return np.array([r.value is None or r.quality > GOOD_ENOUGH for r in readings])


def _smallest(
    reasons: tuple[str, ...],
    unknown: Sequence[BoolArray],
    bms_limits: list[Reading],
    voltage_a: FloatArray,
    base_a: FloatArray,
    grade: FloatArray,
    soc_share: FloatArray,
    heat_a: FloatArray,
) -> tuple[FloatArray, tuple[str, ...]]:
    """The smallest of all upper bounds per pack, A >= 0, and its name.

    Args:
        reasons: Names of the terms, in the order built here.
        unknown: Missing inputs; each allows nothing.
        bms_limits: The BMS's own limits; missing means 0.
        voltage_a: Current that keeps the deciding group at its L2 voltage.
        base_a: Rated current at today's capacity and health.
        grade: Shares of ``base_a`` by voltage, heat and cold, ``(3, n_packs)``.
        soc_share: Distance from the end of the SoC window in tapers.
        heat_a: Current of equal ohmic heat.
    """
    terms = np.empty((len(reasons), len(base_a)))
    for i, mask in enumerate(unknown):
        terms[i] = np.where(mask, 0.0, np.inf) if mask.any() else np.inf
    terms[4] = [good(r) for r in bms_limits]
    terms[5] = base_a
    terms[6] = voltage_a
    terms[7:10] = grade * base_a
    terms[10] = np.minimum(soc_share, 1.0) * base_a
    terms[11] = heat_a
    np.fmax(terms, 0.0, out=terms)  # negative and NaN alike become 0
    binds = terms.argmin(axis=0).tolist()
    return terms.min(axis=0), tuple([reasons[i] for i in binds])
