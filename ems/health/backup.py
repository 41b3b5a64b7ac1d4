"""Deliverable backup energy: how long the weakest cells carry the critical load."""

from typing import Final

import numpy as np

from ems.health import ocv
from ems.health.prepare import FORWARD_STEP, INVERSE_STEP_V, Prepared, prepare
from ems.model import (
    BackupEstimate,
    BoolArray,
    Contactor,
    ConverterState,
    FloatArray,
    Limits,
    SiteEstimate,
    SiteSnapshot,
    Standing,
)
from ems.site import Site

FLOOR_SIGMAS: Final = 2.0
"""Standard deviations of SoC that the envelope's floor already keeps (b6)."""
CARRYING_FRAC: Final = 0.01
"""Current in C from which a pack is evidently connected, whoever does not say so."""
# As plain floats: comparing with an enum member costs more than the rest of the check.
CLOSED: Final = float(Contactor.CLOSED)
OFF: Final = float(ConverterState.OFF)
FAULT: Final = float(ConverterState.FAULT)
NOT_WORKING: Final = (None, OFF, FAULT)


def deliverable(
    estimate: SiteEstimate,
    limits: Limits,
    snapshot: SiteSnapshot,
    standing: Standing,
    notice_hours: float,
    site: Site,
) -> BackupEstimate:
    """Energy each pack can still move and the hours that gives the critical load.

    A pack ends when its weakest group reaches ``limits.soc_low_frac``: energy is the
    integral of OCV over the charge left in that group, less I·R at the pack's share of
    the critical load. The lower bound takes off, at the site's confidence, the errors of
    capacity and of SoC, the latter as far as the floor does not keep it already; bounds
    of the packs are added, as if all erred together.

    Site totals are what can reach the *critical load*. They leave out packs that the gate
    stops, whose contactor is known not to be closed, or whose converter says it is off or
    at fault. Where contactor or converter does not say, the pack counts, but in the lower
    bound only if it evidently carries current. On a direct bus the shelf does not matter.
    Hours end when the packs still alive can no longer give ``critical_w`` together, and
    packs that cannot do so now give 0 h.

    In an outage the energy required is 0: the reserve exists for this. The function keeps
    no time, so it does not count the promise down.

    Args:
        estimate: From :func:`ems.health.update` of this cycle.
        limits: Envelope of this cycle; SoC window and discharge power per pack.
        snapshot: The same snapshot.
        standing: What the gate held in the previous cycle.
        notice_hours: Hours of reserve asked for by a notice on top of the promise, >= 0.
        site: The site.

    Returns:
        Finite numbers, all >= 0. A pack whose SoC is not known has neither energy nor
        headroom. On a direct bus no converter loss is taken off.
    """
    prepared = prepare(site)
    energies_wh = _energies(estimate, limits, prepared)
    if not estimate.soc_known.all():
        energies_wh = np.where(estimate.soc_known, energies_wh, 0.0)
    pack_wh, headroom_wh = energies_wh[0], energies_wh[2]
    power_w = _bus_power_w(limits.discharge_w, prepared)
    bus_wh = energies_wh[:2] * prepared.efficiency
    reach = _reach(estimate, snapshot, standing, prepared)
    if reach is not None:
        bus_wh = np.where(reach, bus_wh, 0.0)
    critical_w = prepared.critical_w
    energy_wh = _carried_wh(bus_wh[0], power_w, critical_w)
    energy_low_wh = _carried_wh(bus_wh[1], power_w, critical_w)
    promised_h = 0.0 if standing.grid_lost else site.backup.hours + notice_hours
    return BackupEstimate(
        pack_energy_wh=pack_wh,
        pack_headroom_wh=headroom_wh,
        energy_wh=energy_wh,
        energy_low_wh=energy_low_wh,
        hours=energy_wh / critical_w if critical_w > 0.0 else 0.0,
        hours_low=energy_low_wh / critical_w if critical_w > 0.0 else 0.0,
        required_wh=critical_w * promised_h,
    )


def _energies(estimate: SiteEstimate, limits: Limits, prepared: Prepared) -> FloatArray:
    """Rows energy, its lower bound, headroom per pack at the terminals, Wh, >= 0."""
    # Rows are filled in place: gathering arrays into a new one costs several times that.
    ends_v = np.empty((2, prepared.series.size))
    ends_v[0], ends_v[1] = estimate.ocv_cell_min_v, estimate.ocv_cell_max_v
    lowest, highest = _soc_of(prepared, ends_v)
    floor, ceiling = limits.soc_low_frac, limits.soc_high_frac
    beyond_floor = max(0.0, prepared.confidence_z - FLOOR_SIGMAS)
    socs = np.empty((5, prepared.series.size))
    socs[0], socs[2], socs[3], socs[4] = lowest, floor, ceiling, highest
    np.subtract(lowest, beyond_floor * estimate.soc_sigma_frac, out=socs[1])
    area_v = _area_v(prepared, socs)
    ah = prepared.series * estimate.capacity_ah

    current_a = prepared.asked_w / estimate.ocv_v
    lost_v = current_a * estimate.resistance_ohm * prepared.dc_share
    left = np.maximum(socs[:2] - floor, 0.0)
    gross = np.maximum(area_v[:2] - area_v[2], 0.0)
    energy, sure = ah * np.maximum(gross - lost_v * left, 0.0)
    soh_error = prepared.confidence_z * estimate.soh_sigma_frac / estimate.soh_frac
    rows = np.empty((3, prepared.series.size))
    rows[0] = energy
    np.maximum(energy - np.hypot(energy - sure, soh_error * energy), 0.0, out=rows[1])
    room_v = area_v[3] - area_v[4]
    to_the_top = ceiling >= 1.0
    if to_the_top.any():
        # A pack on its way to be measured anew has room as long as it may be wrong by sigma.
        unsure_v = estimate.soc_sigma_frac * estimate.ocv_cell_max_v
        room_v = np.maximum(room_v, np.where(to_the_top, unsure_v, 0.0))
    np.multiply(ah, np.maximum(room_v, 0.0), out=rows[2])
    return rows


def _soc_of(prepared: Prepared, ocv_cell_v: FloatArray) -> FloatArray:
    """SoC of groups from their estimated OCV, rows of packs: back through the table."""
    position = ocv_cell_v * (1.0 / INVERSE_STEP_V) + prepared.inverse_base_pack
    step = position.astype(np.intp)
    low = prepared.inverse.take(step)
    return np.asarray(low + (position - step) * (prepared.inverse.take(step + 1) - low))


def _area_v(prepared: Prepared, soc_frac: FloatArray) -> FloatArray:
    """Integral of OCV from the low end of the table to each SoC, V; rows of packs."""
    inside = np.minimum(np.maximum(soc_frac, ocv.SOC_LOW_FRAC), ocv.SOC_HIGH_FRAC)
    nearest = inside * (1.0 / FORWARD_STEP) + prepared.forward_base_pack
    return prepared.energy_v.take(nearest.astype(np.intp))


def _bus_power_w(discharge_w: FloatArray, prepared: Prepared) -> FloatArray:
    """Discharge power of each pack at the site bus, W, within its converter's rating."""
    power_w = np.maximum(discharge_w, 0.0) * prepared.efficiency
    behind = prepared.layout.converter_of_pack
    total_w = np.bincount(behind, weights=power_w, minlength=prepared.converter_w.size)
    scale = np.minimum(1.0, prepared.converter_w / np.maximum(total_w, 1e-9))
    return np.asarray(power_w * scale[behind])


def _reach(
    estimate: SiteEstimate, snapshot: SiteSnapshot, standing: Standing, prepared: Prepared
) -> BoolArray | None:
    """Rows not known to be cut off from the load, known to reach it; ``None`` when all do.

    Shape ``(2, n_packs)``.
    """
    contactors = [pack.contactor.good for pack in snapshot.packs]
    converters = [] if prepared.direct else [c.state.good for c in snapshot.converters]
    if (
        contactors.count(CLOSED) == len(contactors)
        and all(standing.discharge_ok)
        and not any(state in NOT_WORKING for state in converters)
    ):
        return None
    cut_off = np.array([state is not None and state != CLOSED for state in contactors])
    cut_off |= ~np.array(standing.discharge_ok)
    unknown = np.array([state is None for state in contactors])
    if converters:
        behind = prepared.layout.converter_of_pack
        cut_off |= np.array([state in (OFF, FAULT) for state in converters])[behind]
        unknown |= np.array([state is None for state in converters])[behind]
    carrying = np.abs(estimate.current_a) > CARRYING_FRAC * estimate.capacity_ah
    return np.array((~cut_off, ~cut_off & (~unknown | carrying)))


def _carried_wh(energy_wh: FloatArray, power_w: FloatArray, load_w: float) -> float:
    """Energy the packs can give a constant load before they fall below its power, Wh.

    The largest ``load_w · t`` with ``Σ min(P_i · t, E_i) >= load_w · t``: a pack of
    much energy and little power cannot carry the load after the others are empty.
    Without a load it is all their energy.
    """
    if load_w <= 0.0:
        return float(energy_wh[power_w > 0.0].sum())
    live = [
        (energy / power, energy, power)
        for energy, power in zip(energy_wh.tolist(), power_w.tolist(), strict=True)
        if energy > 0.0 and power > 0.0
    ]
    left_w = float(sum([power for _, _, power in live]))
    spent_wh = 0.0
    for hours, energy, power in sorted(live):
        if spent_wh + left_w * hours < load_w * hours:
            return spent_wh / (load_w - left_w) * load_w
        spent_wh += energy
        left_w -= power
    return spent_wh
