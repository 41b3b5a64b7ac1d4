"""One control cycle as a pure function: what is known in, what is commanded out."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ems import health
from ems.dispatch import track
from ems.dispatch.tariff import Tariff
from ems.health import HeldBackup
from ems.model import (
    Command,
    Contactor,
    ContactorDemand,
    CycleRecord,
    GateDecision,
    Mode,
    Plan,
    SetContactor,
    SetLoad,
    SetPower,
    SetRectifier,
    SiteSnapshot,
)
from ems.safety import envelope, gate
from ems.site import Site

CLOSES_FROM = (Contactor.OPEN, Contactor.PRECHARGE)
"""A contactor that nobody sees may have been opened by its BMS for a reason."""


@dataclass(frozen=True, slots=True)
class CycleState:
    """Everything a cycle remembers for the next one."""

    seq: int
    health: health.HealthState
    dispatch: track.DispatchState
    safety: gate.SafetyState
    backup: HeldBackup | None = None
    """What may be carried over to the next cycles; worked out anew after a start."""


def initial(site: Site) -> CycleState:
    """State of a controller that has seen nothing yet: not armed, nothing known."""
    return CycleState(0, health.initial(site), track.initial(site), gate.initial(site))


def save(state: CycleState) -> dict[str, Any]:
    """What must survive a restart, as JSON-able data."""
    return {
        "health": health.save(state.health),
        "dispatch": track.save(state.dispatch),
        "safety": gate.save(state.safety),
    }


def step(
    state: CycleState, snapshot: SiteSnapshot, plan: Plan | None, site: Site, tariff: Tariff
) -> tuple[CycleState, CycleRecord]:
    """Next state and the full record of one cycle.

    Order matters: health delivers SoH, R and sigma; the envelope alone turns them
    into limits; dispatch sees limits and backup energy; the gate has the last word.
    """
    standing = gate.standing(state.safety)
    health_state, estimate = health.update(state.health, snapshot, site)
    limits = envelope.limits(estimate, snapshot, standing, site)
    notice_hours = track.notice_hours(state.dispatch, snapshot.now_s)
    held = health.backup_now(state.backup, estimate, limits, snapshot, standing, notice_hours, site)
    backup = held.backup
    dispatch_state, request = track.track(
        state.dispatch, snapshot, standing, estimate, limits, backup, plan, tariff, site
    )
    safety_state, decision = gate.decide(state.safety, snapshot, estimate, limits, request, site)
    if decision.granted:
        dispatch_state = track.accept(dispatch_state, snapshot, decision.granted)
    record = CycleRecord(
        seq=state.seq,
        snapshot=snapshot,
        estimate=estimate,
        limits=limits,
        backup=backup,
        request=request,
        decision=decision,
        commands=tuple(commands(snapshot, decision, site)),
    )
    return CycleState(state.seq + 1, health_state, dispatch_state, safety_state, held), record


def commands(snapshot: SiteSnapshot, decision: GateDecision, site: Site) -> Iterator[Command]:
    """What is sent to the devices for a decision.

    Power commands go out every cycle, because each is also the lease that keeps
    the device from falling back to its own safe value. Switches are asked only
    while they are not yet where they should be.
    """
    for index, spec in enumerate(site.converters):
        power_w = float(decision.power_w[index])
        if spec.rectifier is None:
            yield SetPower(index, power_w)
        else:
            yield _rectifier_command(index, power_w, snapshot, decision, site)
    for index, demand in enumerate(decision.contactor):
        seen = snapshot.packs[index].contactor.good
        if demand is ContactorDemand.OPEN and seen != Contactor.OPEN:
            yield SetContactor(index, close=False)
        elif demand is ContactorDemand.CLOSE and seen in CLOSES_FROM:
            yield SetContactor(index, close=True)
    for index, (load, on) in enumerate(zip(site.loads, decision.load_on, strict=True)):
        # A load that nothing can switch is left alone; `ems check` says so.
        if load.sheddable and load.device and snapshot.load_on[index] is not on:
            yield SetLoad(index, on)


def _rectifier_command(
    index: int, power_w: float, snapshot: SiteSnapshot, decision: GateDecision, site: Site
) -> SetRectifier:
    """Battery power on a −48 V bus, expressed as what the shelf may deliver.

    Holding the shelf below the load makes the packs carry the rest; letting it
    forward under a charge-current limit recharges them. Without a usable reading
    of load or bus voltage, and in an outage, the shelf gets no limit, so that it
    carries the load by itself the moment mains returns.
    """
    spec = site.converters[index]
    reading = snapshot.converters[index]
    no_limit_w = site.grid.import_limit_w
    battery_w = reading.power_w.good
    grid_w = snapshot.grid.power_w.good
    bus_v = reading.dc_voltage_v.good
    if decision.mode is Mode.BACKUP or battery_w is None or grid_w is None or not bus_v:
        return SetRectifier(index, no_limit_w, 0.0)
    if power_w > 0.0:
        bus_load_w = grid_w * spec.efficiency_frac + battery_w
        return SetRectifier(index, max(0.0, bus_load_w - power_w), 0.0)
    return SetRectifier(index, no_limit_w, -power_w / bus_v)
