"""The safety gate: what is allowed now, and the request cut down to it.

One pass per cycle, in every mode alike: signals → levels → operator requests →
effects → strings → mode → intervals → power. Nothing here can ask for more than the
request, and every interval contains 0. The order is the whole logic; each step is a
small module beside this one.
"""

from functools import reduce
from operator import and_

import numpy as np

from ems.model import (
    Contactor,
    GateDecision,
    Limits,
    Mode,
    SetpointRequest,
    SiteEstimate,
    SiteSnapshot,
    Standing,
)
from ems.safety import modes, power, sharing, strings
from ems.safety.causes import book, causes
from ems.safety.debounce import update
from ems.safety.effects import effects_of, share, standing_of
from ems.safety.inputs import Inputs, gather
from ems.safety.requests import answer
from ems.safety.row import Effect
from ems.safety.state import (
    Effects,
    SafetyState,
    StringPhase,
    initial,
    load,
    save,
    started,
)
from ems.site import Site, SiteKind

__all__ = ["SafetyState", "decide", "initial", "load", "save", "standing"]

_TESTING = (Mode.INIT, Mode.SELFTEST)
_LIVE = (Mode.RUN, Mode.BACKUP, Mode.STOPPED)
_STOP_CHARGE, _STOP_DISCHARGE = Effect.STOP_CHARGE, Effect.STOP_DISCHARGE
_BOTH = _STOP_CHARGE | _STOP_DISCHARGE
_TRIP = Effect.TRIP
_STOPPED = _BOTH | _TRIP
_CLOSED = Contactor.CLOSED
COMMANDS_KEPT_S = 5.0


def standing(state: SafetyState) -> Standing:
    """What the gate held in the previous cycle; before the first, nothing."""
    return state.standing


def decide(
    state: SafetyState,
    snapshot: SiteSnapshot,
    estimate: SiteEstimate,
    limits: Limits,
    request: SetpointRequest,
    site: Site,
) -> tuple[SafetyState, GateDecision]:
    """Judge one cycle.

    Args:
        state: What the previous cycle (or ``initial``, ``load``) returned.
        snapshot: What the devices said.
        estimate: What health believes; never more trusted than the readings.
        limits: The health-tightened envelope.
        request: What dispatch would like.
        site: The site the state was made for.

    Returns:
        The next state and the decision. ``power_w`` lies within ``[low_w, high_w]``,
        which contains 0 for every converter.
    """
    now_s = snapshot.now_s
    if state.started_s is None:
        state = started(state, now_s, site)
    dt_s = max(0.0, now_s - state.now_s)
    before = state
    state, inputs, clear = _judge(state, snapshot, estimate, limits, site)
    answers = answer(state, snapshot.requests, clear, site) if snapshot.requests else None
    if answers is not None:
        state = answers.state
    effects = effects_of(state, site)
    state = _connect(state, snapshot, inputs, effects, estimate, limits, site)

    pack_low_w, pack_high_w, held = _pack_intervals(state, inputs, effects, limits, site)
    joined = [s.phase is StringPhase.ON for s in state.strings]
    low_w, high_w = [], []
    for index in range(len(site.converters)):
        low, high = sharing.interval(index, pack_low_w, pack_high_w, estimate, joined, site)
        low_w.append(low)
        high_w.append(high)
    soft_low_w, soft_high_w = _soften(state, effects, low_w, high_w, dt_s, site)
    net_load = power.net_load_w(snapshot, state.net_load_w)
    power_w = _project(state, request, low_w, high_w, net_load, dt_s, site)
    soft_w = (soft_low_w, soft_high_w)
    reasons = _reasons(held, request, pack_low_w, pack_high_w, soft_w, limits, site)
    active = state.causes
    settled = state.buckets.full is not None and before.buckets.full is not None
    if not (settled and state.levels is before.levels):
        active = causes(state.levels, state.program, clear)
    kept = max(2, round(COMMANDS_KEPT_S / site.cycle_s))
    state = state._replace(
        standing=standing_of(state, effects),
        effects=effects,
        causes=active,
        power_w=tuple(power_w),
        commands_w=(*state.commands_w[1 - kept :], tuple(power_w)),
        net_load_w=net_load,
        soft_low_w=soft_low_w,
        soft_high_w=soft_high_w,
    )
    return state, GateDecision(
        mode=state.mode,
        low_w=np.array(low_w),
        high_w=np.array(high_w),
        power_w=np.array(power_w),
        contactor=tuple([strings.demand(s, state, site) for s in state.strings]),
        load_on=tuple(
            [
                on or not spec.sheddable or spec.critical
                for on, spec in zip(request.load_on, site.loads, strict=True)
            ]
        ),
        pack_low_w=np.array(pack_low_w),
        pack_high_w=np.array(pack_high_w),
        pack_reason=reasons,
        causes=active,
        refusals=answers.refusals if answers else (),
        granted=answers.granted if answers else (),
    )


def _judge(
    state: SafetyState,
    snapshot: SiteSnapshot,
    estimate: SiteEstimate,
    limits: Limits,
    site: Site,
) -> tuple[SafetyState, Inputs, np.ndarray]:
    """Signals, debounce, raised levels and whether the grid is there."""
    program = state.program
    inputs = gather(state, snapshot, estimate, limits, site)
    value = inputs.flat[program.value_index] * program.sign
    limit = inputs.limit
    sampled_at_s = inputs.clocks_s[program.clock_index]
    buckets = update(program, state.buckets, value, limit, sampled_at_s, site.cycle_s)
    levels = state.levels
    if buckets.active is not state.buckets.active:
        levels = book(levels, buckets.active, program, limit, inputs, limits, snapshot, site)
    clear = buckets.clear(program)
    lost = inputs.islanded or any(
        program.rows[k].id == "C41" and not clear[k, level] for k, level in levels
    )
    state = state._replace(
        now_s=snapshot.now_s,
        buckets=buckets,
        levels=levels,
        memory=inputs.memory,
        grid_lost=lost,
        backup_since_s=_since(state.backup_since_s, snapshot.now_s) if lost else None,
    )
    return state, inputs, clear


def _since(before_s: float | None, now_s: float) -> float:
    return now_s if before_s is None else before_s


def _connect(
    state: SafetyState,
    snapshot: SiteSnapshot,
    inputs: Inputs,
    effects: Effects,
    estimate: SiteEstimate,
    limits: Limits,
    site: Site,
) -> SafetyState:
    """Strings and mode after this cycle."""
    flags = effects.flags
    circulating = [False] * site.n_packs
    if site.kind is not SiteKind.OWN_CONVERTERS:
        charge_w, discharge_w = limits.charge_w.tolist(), limits.discharge_w.tolist()
        low_w = [0.0 if flags[i] & _STOP_CHARGE else -w for i, w in enumerate(charge_w)]
        high_w = [0.0 if flags[i] & _STOP_DISCHARGE else w for i, w in enumerate(discharge_w)]
        joined = [s.phase is StringPhase.ON for s in state.strings]
        circulating = sharing.circulating(low_w, high_w, estimate, joined, site)
    connected = strings.advance(
        state,
        inputs,
        snapshot,
        trip=effects.trip,
        no_close=effects.no_close,
        circulating=circulating,
        estimate=estimate,
        site=site,
    )
    if connected != state.strings:
        state = state._replace(strings=connected)
    if state.mode in _TESTING:
        state = modes.track_freshness(state, snapshot, inputs, site)
    mode = modes.next_mode(state, effects.blocked)
    failed = mode is Mode.PRECHARGE and modes.closing_failed(state.strings, strings.MAX_TRIES)
    if mode is Mode.TRIPPED or failed:
        # Coming back from here takes a reset and an arm, both of them operator requests.
        return state._replace(mode=Mode.STANDBY if failed else mode, armed=False)
    if mode is Mode.SELFTEST and state.mode is Mode.TRIPPED:
        return modes.restart_selftest(state)
    return state if mode is state.mode else state._replace(mode=mode)


def _pack_intervals(
    state: SafetyState, inputs: Inputs, effects: Effects, limits: Limits, site: Site
) -> tuple[list[float], list[float], list[str]]:
    """Allowed charge (<= 0) and discharge (>= 0) per pack, W, and what holds it back."""
    low_w, high_w = (-limits.charge_w).tolist(), limits.discharge_w.tolist()
    held = list(effects.reason)
    live = state.mode in _LIVE
    moving = strings.moving(state, site)
    for i, flag in enumerate(effects.flags):
        ready = live and state.strings[i].phase is StringPhase.ON
        if not (ready and inputs.contactor[i] is _CLOSED):
            low_w[i] = high_w[i] = 0.0
            held[i] = held[i] or ("contactor_open" if state.armed else "not_armed")
        elif flag:
            low_w[i] *= share(state, i, flag, Effect.DERATE_CHARGE, _STOP_CHARGE)
            high_w[i] *= share(state, i, flag, Effect.DERATE_DISCHARGE, _STOP_DISCHARGE)
        if i in moving:
            low_w[i] = high_w[i] = 0.0
            held[i] = held[i] or "string_moving"
    return low_w, high_w, held


def _soften(
    state: SafetyState,
    effects: Effects,
    low_w: list[float],
    high_w: list[float],
    dt_s: float,
    site: Site,
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Narrow the intervals, in place, while a converter comes back from a stop.

    Returns:
        The new soft caps for charge and for discharge, W.
    """
    program = state.program
    full_w = (program.rated_charge_w, program.rated_discharge_w)
    if state.mode in _TESTING and state.selftest_s == state.started_s:
        return full_w  # nothing was in service yet: a link still being made is no stop
    stopped = [flag & _STOPPED for flag in effects.flags]
    if not any(stopped) and (state.soft_low_w, state.soft_high_w) == full_w:
        return full_w
    soft_low, soft_high = [], []
    for i, spec in enumerate(site.converters):
        # A converter is stopped when everything behind it is stopped or tripped.
        flag = reduce(and_, [stopped[p] | (_BOTH if stopped[p] & _TRIP else 0) for p in spec.packs])
        low = power.soft_cap_w(
            state.soft_low_w[i], spec.rated_charge_w, bool(flag & _STOP_CHARGE), dt_s
        )
        high = power.soft_cap_w(
            state.soft_high_w[i], spec.rated_discharge_w, bool(flag & _STOP_DISCHARGE), dt_s
        )
        if state.grid_lost:
            high = spec.rated_discharge_w  # the load does not wait ten minutes
        soft_low.append(low)
        soft_high.append(high)
        low_w[i] = max(low_w[i], -low)
        high_w[i] = min(high_w[i], high)
    return tuple(soft_low), tuple(soft_high)


def _project(
    state: SafetyState,
    request: SetpointRequest,
    low_w: list[float],
    high_w: list[float],
    net_load: tuple[float, ...],
    dt_s: float,
    site: Site,
) -> list[float]:
    """The request within the intervals, the export cap and the ramps."""
    wanted = [
        max(low, min(high, w)) if w == w else 0.0
        for w, low, high in zip(request.converter_power_w.tolist(), low_w, high_w, strict=True)
    ]
    if not state.grid_lost and site.kind is not SiteKind.DIRECT_BUS:
        wanted = power.within_cap(wanted, power.discharge_cap_w(net_load, site))
    return [
        power.ramped_w(w, before, spec.ramp_w_per_s * dt_s)
        for w, before, spec in zip(wanted, state.power_w, site.converters, strict=True)
    ]


def _reasons(
    held: list[str],
    request: SetpointRequest,
    pack_low_w: list[float],
    pack_high_w: list[float],
    soft_w: tuple[tuple[float, ...], tuple[float, ...]],
    limits: Limits,
    site: Site,
) -> tuple[str, ...]:
    """Per pack the cause, envelope term or slow return that cuts the request; else empty."""
    reasons = list(held)
    wanted = request.converter_power_w.tolist()
    soft_low_w, soft_high_w = soft_w
    for i, spec in enumerate(site.converters):
        for p in spec.packs:
            if reasons[p]:
                continue
            share = wanted[i] / len(spec.packs)
            if share > pack_high_w[p] * spec.efficiency_frac:
                reasons[p] = limits.discharge_reason[p]
            elif share < pack_low_w[p]:
                reasons[p] = limits.charge_reason[p]
            elif not -soft_low_w[i] <= wanted[i] <= soft_high_w[i]:
                reasons[p] = "slow_return"
    return tuple(reasons)
