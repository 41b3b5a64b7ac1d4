"""The health-tightened envelope: how much each pack may be charged or discharged now.

This is the home of the health index h. Limits come from the weakest group, never from
the pack's average, and fail closed: what is unknown allows nothing in the direction it
concerns. A limit is a current (A) times the pack voltage; the smallest term binds and
gives the reason. Relaxed while the grid is lost: below its SoC floor a pack is derated
down to empty instead of stopped, because measured cell voltage still stops it.
"""

from dataclasses import dataclass

import numpy as np

from ems.model import (
    BoolArray,
    FloatArray,
    Limits,
    Reading,
    SiteEstimate,
    SiteSnapshot,
    Standing,
)
from ems.safety.cells import GOOD_ENOUGH, CellView, good, view_cells
from ems.safety.program import thresholds
from ems.safety.ratings import Ratings
from ems.safety.socwindow import SOC_TAPER, recalibrating_a, soc_window
from ems.safety.table import (
    RESISTANCE_END_OF_LIFE,
    ROW_OF_ID,
    SOC_HIGH,
    SOH_END_OF_LIFE,
)
from ems.site import Chemistry, Site

SOH_AS_NEW = 0.80
"""SoH at which a second-life pack has no ageing deduction left (b1)."""
HEALTH_WITHOUT_RESISTANCE = 0.5
_UNKNOWN = ("soc_unknown", "voltage_unknown", "temperature_unknown", "current_unknown")
CHARGE_REASONS = (
    *_UNKNOWN, "bms_limit", "current", "cell_voltage_high", "cell_voltage_high", "hot", "cold",
    "soc_high", "heat",
)  # fmt: skip
DISCHARGE_REASONS = (
    *_UNKNOWN, "bms_limit", "current", "cell_voltage_low", "cell_voltage_low", "hot", "cold",
    "soc_low", "heat",
)  # fmt: skip
"""Terms in the order of ``limits``; at a tie the first is named, so that a derate that
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
    flat: BoolArray
    """Packs whose OCV tells their SoC only at its ends (LFP)."""
    charge_c: FloatArray
    discharge_c: FloatArray
    rated_charge_a: FloatArray
    rated_discharge_a: FloatArray
    fallback_ohm: FloatArray
    """Group resistance assumed where the estimate has none."""
    sensors_lost: FloatArray
    """Unknown temperature sensors from which no temperature is believed."""


@dataclass(frozen=True, slots=True, eq=False)
class _Aged:
    """What follows from the packs' health alone, which stays the same for many cycles.

    Arrays ``(6, n_packs)`` in the order of ``_GRADED``, ``(2, n_packs)`` as charge and
    discharge, or ``(n_packs,)``.
    """

    of: tuple[bytes, ...]
    """The estimate's fields that it was made from."""
    health: FloatArray
    margin: FloatArray
    """Taken off both ends of the SoC window."""
    l2: FloatArray
    l3: FloatArray
    span: FloatArray
    """From the one to the other."""
    base_a: FloatArray
    """Rated current at today's capacity and health."""
    heat_a: FloatArray
    """Current of equal ohmic heat."""


_cache: dict[int, tuple[Site, _Constants]] = {}
_last_aged: dict[int, _Aged] = {}


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
    ratings = Ratings.of(site)
    constants = _Constants(
        l2=at[:, :, 1],
        l3=at[:, :, 2],
        slope2=slope[:, :, 1],
        slope3=slope[:, :, 2],
        soh_eol=np.array([SOH_END_OF_LIFE[p.chemistry] for p in site.packs]),
        soc_high=np.array([SOC_HIGH[p.chemistry] for p in site.packs]),
        flat=np.array([p.chemistry is Chemistry.LFP for p in site.packs]),
        charge_c=ratings.charge_c,
        discharge_c=ratings.discharge_c,
        rated_charge_a=ratings.charge_c * rated_ah,
        rated_discharge_a=ratings.discharge_c * rated_ah,
        fallback_ohm=RESISTANCE_END_OF_LIFE
        * np.array([p.group_resistance_ohm for p in site.packs]),
        sensors_lost=np.array([min(2.0, p.reported_temps) for p in site.packs]),
    )
    if len(_cache) >= 8:
        _cache.clear()
    _last_aged.clear()
    _cache[id(site)] = (site, constants)
    return constants


def _aged(estimate: SiteEstimate, c: _Constants) -> _Aged:
    """Health and what it does to the limits; the last answer while health is the same."""
    ratio = estimate.resistance_ratio
    of = (
        estimate.soh_frac.tobytes(),
        estimate.soh_sigma_frac.tobytes(),
        ratio.tobytes(),
        estimate.capacity_ah.tobytes(),
    )
    known = _last_aged.get(id(c))
    if known is not None and known.of == of:
        return known
    h = health_index(estimate.soh_frac, estimate.soh_sigma_frac, ratio, c.soh_eol)
    h.setflags(write=False)
    slack = 1.0 - h
    l2, l3 = c.l2 + c.slope2 * slack, c.l3 + c.slope3 * slack
    heat = 1.0 / np.sqrt(np.where(ratio > 0, np.maximum(ratio, 1.0), RESISTANCE_END_OF_LIFE))
    aged_ah = estimate.capacity_ah * (0.5 + 0.5 * h)
    aged = _Aged(
        of=of,
        health=h,
        margin=0.10 * slack,
        l2=l2,
        l3=l3,
        span=l2 - l3,
        base_a=np.array([c.charge_c * aged_ah, c.discharge_c * aged_ah]),
        heat_a=np.array([c.rated_charge_a * heat, c.rated_discharge_a * heat]),
    )
    _last_aged[id(c)] = aged
    return aged


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


def limits(
    estimate: SiteEstimate, snapshot: SiteSnapshot, standing: Standing, site: Site
) -> Limits:
    """What each pack may do continuously, as charge and discharge limits.

    Args:
        estimate: SoC, SoH, resistance and OCV with their uncertainty.
        snapshot: Measured cells, temperatures and the BMS's own limits.
        standing: The gate's verdict of the previous cycle; a lost grid relaxes the SoC floor.
        site: The site.

    Returns:
        Limits per pack, all >= 0, with the one term that binds per direction.

    Source:
        b1 to b6 of the safety concept; thresholds from rows C01 to C07, C10, C11, C22.
    """
    c, packs = _constants(site), snapshot.packs
    aged = _aged(estimate, c)
    cells = view_cells(snapshot.cells, site)
    window = soc_window(estimate, snapshot, aged.margin, c.soc_high, c.flat)
    soc_low, soc_high = window.low, window.high
    seen = np.array([cells.v_max, cells.t_max, cells.t_min, cells.v_min, cells.t_max, cells.t_min])
    grade = np.minimum((seen - aged.l3) / aged.span, 1.0)

    # What the fullest and the weakest group would show at rest: the worse of the
    # estimate and of the measurement less its own resistive part.
    ohm = estimate.group_resistance_max_ohm
    ohm = np.where(ohm > 0, ohm, c.fallback_ohm)
    full_v = cells.v_max + np.minimum(estimate.current_a, 0.0) * ohm
    full_v = np.fmax(full_v, estimate.ocv_cell_max_v)
    weak_v = cells.v_min + np.maximum(estimate.current_a, 0.0) * ohm
    weak_v = np.fmin(weak_v, estimate.ocv_cell_min_v)

    above_floor = (estimate.soc_frac - soc_low) / SOC_TAPER
    if standing.grid_lost:
        above_floor = np.maximum(above_floor, estimate.soc_frac / np.maximum(soc_low, SOC_TAPER))
    below_ceiling = (soc_high - estimate.soc_max_frac) / SOC_TAPER

    # Upper bounds per direction, in the order of the reasons; each missing input allows nothing.
    terms = np.empty((2, len(CHARGE_REASONS), len(packs)))
    for i, missing in enumerate(_unknown(estimate, snapshot, cells, c)):
        terms[:, i] = [0.0 if gone else np.inf for gone in missing] if any(missing) else np.inf
    terms[0, 4] = [good(p.charge_limit_a) for p in packs]
    terms[1, 4] = [good(p.discharge_limit_a) for p in packs]
    terms[:, 5] = aged.base_a
    terms[0, 6] = (aged.l2[0] - full_v) / ohm
    terms[1, 6] = (weak_v - aged.l2[3]) / ohm
    np.multiply(grade.reshape(2, 3, -1), aged.base_a[:, None], out=terms[:, 7:10])
    terms[0, 10], terms[1, 10] = below_ceiling, above_floor
    terms[:, 10] = np.minimum(terms[:, 10], 1.0) * aged.base_a
    if window.agreed_high is not window.high:
        terms[0, 10] = recalibrating_a(estimate, window, terms[0, 10], aged.base_a[0])
    terms[:, 11] = aged.heat_a
    np.fmax(terms, 0.0, out=terms)  # negative and NaN alike become 0
    binds = terms.argmin(axis=1).tolist()
    current_a = terms.min(axis=1)
    power_w = current_a * np.fmax(estimate.voltage_v, 0.0)
    return Limits(
        charge_w=power_w[0],
        discharge_w=power_w[1],
        charge_a=current_a[0],
        discharge_a=current_a[1],
        soc_low_frac=soc_low,
        soc_high_frac=soc_high,
        health=aged.health,
        charge_reason=tuple([CHARGE_REASONS[i] for i in binds[0]]),
        discharge_reason=tuple([DISCHARGE_REASONS[i] for i in binds[1]]),
    )


def _unknown(
    estimate: SiteEstimate, snapshot: SiteSnapshot, cells: CellView, c: _Constants
) -> tuple[list[bool], ...]:
    """Missing inputs per pack, in the order of ``_UNKNOWN``."""
    packs = snapshot.packs
    return (
        [not known for known in estimate.soc_known.tolist()],
        [
            lost > 0 or not volts > 0 or _missing(p.voltage_v)
            for lost, volts, p in zip(
                cells.unknown_v.tolist(), estimate.voltage_v.tolist(), packs, strict=True
            )
        ],
        (cells.unknown_t >= c.sensors_lost).tolist(),
        [_missing(p.current_a) for p in packs],
    )


def _missing(reading: Reading) -> bool:
    return reading.value is None or reading.quality > GOOD_ENOUGH
