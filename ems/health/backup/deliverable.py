"""Deliverable backup energy: how long the weakest cells carry the critical load."""

from math import sqrt
from typing import Final, NamedTuple

import numpy as np

from ems.health.backup.carry import Carried, carry
from ems.health.backup.pack import PackEnergy, PackStart, area_of, pack_energy, start
from ems.health.backup.site import Discharge, discharge
from ems.health.prepare import Prepared, prepare
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

CARRYING_FRAC: Final = 0.01
"""Current in C from which a pack is evidently connected, whoever does not say so."""
SOC_COMMON: Final = 0.5
"""Part of the variance of SoC that packs have in common: one OCV table, one kind of sensor.
Engineering judgement."""
MODEL_SIGMA: Final = 0.02
"""Relative error (1 sigma) of the calculation itself, of OCV tables and converter losses.
Common to all packs; measured against simulated discharges, see
docs/explanation/backup-hours.md."""
LEAST_OHM: Final = 1e-9
ALL_FRAC: Final = 1e-6
"""Energy may be left over by this much where all of it reaches the load."""
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

    A discharge at constant power from now on: packs share the critical load by the rating
    of their converters, on a common DC bus by conductance, and drop out one after the other
    when their weakest group ends (:func:`ems.health.backup.pack.pack_energy`). It is dark
    when the packs still alive can no longer give ``critical_w`` together; packs that
    cannot do so now give 0 h.

    The lower bound takes off, at the site's confidence, the errors of SoC, capacity,
    resistance and of the calculation itself: what packs do not have in common as a root
    of squares, the rest as a sum.

    Site totals are what can reach the *critical load*. They leave out packs that the gate
    stops, whose contactor is known not to be closed, or whose converter says it is off or
    at fault. Where contactor or converter does not say, the pack counts, but in the lower
    bound only if it evidently carries current. On a direct bus the shelf does not matter.

    In an outage the energy required is 0: the reserve exists for this. The function keeps
    no time, so it does not count the promise down.

    Args:
        estimate: From :func:`ems.health.update` of this cycle.
        limits: Envelope of this cycle; SoC window, health and discharge power per pack.
        snapshot: The same snapshot.
        standing: What the gate held in the previous cycle.
        notice_hours: Hours of reserve asked for by a notice on top of the promise, >= 0.
        site: The site.

    Returns:
        Finite numbers, all >= 0. A pack whose SoC is not known has neither energy nor
        headroom.

    Source:
        b6 and b8 of the safety concept; docs/explanation/backup-hours.md.
    """
    prepared, constants = prepare(site), discharge(site)
    at = start(estimate, prepared)
    reach = _reach(estimate, snapshot, standing, prepared)
    group = _group(estimate, limits, reach, constants)
    mean_w, last_w = _powers(at, estimate, limits, group, prepared)
    drawn_w, drawn_last_w, kept = mean_w, last_w, constants.efficiency
    if prepared.critical_w > 0.0:
        drawn_w, drawn_last_w = constants.terminal_w(mean_w), constants.terminal_w(last_w)
        kept = mean_w / drawn_w
    pack = pack_energy(at, drawn_w, drawn_last_w, estimate, limits, prepared, constants)
    energy_wh, energy_low_wh = _at_the_load(pack, group, kept, prepared)
    known = estimate.soc_known
    critical_w = prepared.critical_w
    promised_h = 0.0 if standing.grid_lost else site.backup.hours + notice_hours
    return BackupEstimate(
        pack_energy_wh=np.where(known, pack.energy_wh, 0.0),
        pack_headroom_wh=np.where(known, _headroom_wh(at, estimate, limits, prepared), 0.0),
        energy_wh=energy_wh,
        energy_low_wh=energy_low_wh,
        hours=energy_wh / critical_w if critical_w > 0.0 else 0.0,
        hours_low=energy_low_wh / critical_w if critical_w > 0.0 else 0.0,
        required_wh=critical_w * promised_h,
    )


class _Group(NamedTuple):
    """Who carries the load together."""

    reach: list[bool]
    """Packs not known to be cut off."""
    sure: list[bool]
    """Packs known to reach the load."""
    power_w: list[float]
    """Most that each can give at the site bus, W."""
    weight: list[float]
    """How they share."""
    together_w: float

    def carry(self, energy_wh: list[float], load_w: float) -> Carried:
        return carry(energy_wh, self.power_w, self.weight, load_w, self.together_w)


def _group(
    estimate: SiteEstimate, limits: Limits, reach: BoolArray | None, site: Discharge
) -> _Group:
    able = estimate.soc_known & (limits.discharge_w > 0.0)
    power_w = np.maximum(limits.discharge_w, 0.0) * site.efficiency
    weight = site.weight
    if site.parallel:
        weight = 1.0 / np.maximum(estimate.resistance_ohm, LEAST_OHM)
    else:
        power_w = np.minimum(power_w, weight)
    reaches = sure = (able if reach is None else able & reach[0]).tolist()
    if reach is not None:
        sure = (able & reach[1]).tolist()
    return _Group(
        reach=reaches,
        sure=sure,
        power_w=power_w.tolist(),
        weight=weight.tolist(),
        together_w=site.converter_w,
    )


def _powers(
    at: PackStart, estimate: SiteEstimate, limits: Limits, group: _Group, prepared: Prepared
) -> tuple[FloatArray, FloatArray]:
    """Power of each pack at the site bus over the discharge and at its end, W.

    From roughly what each holds: it only has to tell who drops out when. A pack that
    takes no part is shown what it would carry beside all others.
    """
    load_w = prepared.critical_w
    weight = np.array(group.weight)
    alone_w = weight * (load_w / weight.sum())
    if load_w <= 0.0:
        return alone_w, alone_w
    depth = np.maximum(at.lowest - limits.soc_low_frac, 0.0)
    rough_wh = depth * estimate.capacity_ah * estimate.ocv_v * group.reach
    plan = group.carry(rough_wh.tolist(), load_w)
    mean_w, last_w = np.array(plan.mean_w), np.array(plan.last_w)
    takes_part = mean_w > 0.0
    return np.where(takes_part, mean_w, alone_w), np.where(takes_part, last_w, alone_w)


def _at_the_load(
    pack: PackEnergy, group: _Group, kept: FloatArray, prepared: Prepared
) -> tuple[float, float]:
    """Energy that reaches the load and its lower bound, Wh.

    Where all of it does, errors of the packs partly cancel. Where the load goes dark for
    want of power while some still hold energy, one pack decides, and every pack is
    taken at its own lower bound.
    """
    load_w, z = prepared.critical_w, prepared.confidence_z
    rows = np.array((pack.energy_wh, pack.soc_wh, pack.capacity_wh, pack.resistance_wh))
    rows *= kept
    bus_wh, soc_wh, capacity_wh, resistance_wh = rows.tolist()
    reached_wh = [e if there else 0.0 for e, there in zip(bus_wh, group.reach, strict=True)]
    sure = [k for k, there in enumerate(group.sure) if there]
    all_wh = sum([bus_wh[k] for k in sure])
    own_wh2 = sum([(1.0 - SOC_COMMON) * soc_wh[k] ** 2 + capacity_wh[k] ** 2 for k in sure])
    shared_wh2 = (
        SOC_COMMON * sum([soc_wh[k] for k in sure]) ** 2
        + sum([resistance_wh[k] for k in sure]) ** 2
        + (z * MODEL_SIGMA * all_wh) ** 2
    )
    low_wh = max(all_wh - sqrt(own_wh2 + shared_wh2), 0.0)
    if load_w <= 0.0:
        return sum(reached_wh), low_wh
    energy_wh = given_wh = load_w * group.carry(reached_wh, load_w).hours
    if group.sure is not group.reach:
        given_wh = load_w * group.carry(_only(bus_wh, sure), load_w).hours
    if given_wh < (1.0 - ALL_FRAC) * all_wh:
        least_wh = [
            max(e - sqrt(s * s + c * c + r * r + (z * MODEL_SIGMA * e) ** 2), 0.0)
            for e, s, c, r in zip(bus_wh, soc_wh, capacity_wh, resistance_wh, strict=True)
        ]
        low_wh = load_w * group.carry(_only(least_wh, sure), load_w).hours
    return energy_wh, min(low_wh, energy_wh)


def _only(values: list[float], chosen: list[int]) -> list[float]:
    """The chosen values, 0 for the others."""
    kept = [0.0] * len(values)
    for k in chosen:
        kept[k] = values[k]
    return kept


def _headroom_wh(
    at: PackStart, estimate: SiteEstimate, limits: Limits, prepared: Prepared
) -> FloatArray:
    """Chargeable per pack until its fullest group is at its ceiling, Wh, >= 0."""
    ceiling = limits.soc_high_frac
    room_v = area_of(prepared, ceiling) - area_of(prepared, at.highest)
    to_the_top = ceiling >= 1.0
    if to_the_top.any():
        # A pack on its way to be measured anew has room as long as it may be wrong by sigma.
        unsure_v = estimate.soc_sigma_frac * estimate.ocv_cell_max_v
        room_v = np.maximum(room_v, np.where(to_the_top, unsure_v, 0.0))
    return np.asarray(prepared.series * estimate.capacity_ah * np.maximum(room_v, 0.0))


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
