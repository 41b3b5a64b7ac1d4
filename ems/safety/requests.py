"""Operator requests: what is granted, what is refused, and in which words.

The door has already made each request durable in the journal before a cycle sees it
(log before arm). Refusals name what stands in the way.
"""

from dataclasses import dataclass, replace

from ems.model import BoolArray, Mode, OperatorRequest, RequestKind
from ems.safety.row import Latch
from ems.safety.state import SafetyState, StringPhase, needs_two_persons, on_direct_bus
from ems.site import Site
from ems.units import S_PER_DAY

MAX_RESETS_PER_DAY = 3


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The state after all requests of a cycle, and what became of each."""

    state: SafetyState
    granted: tuple[str, ...] = ()
    refusals: tuple[tuple[str, str], ...] = ()


def answer(
    state: SafetyState, requests: tuple[OperatorRequest, ...], clear: BoolArray, site: Site
) -> Answer:
    """Grant or refuse every request of this cycle, in order.

    Args:
        state: With buckets and levels of this cycle.
        requests: From the snapshot.
        clear: Levels whose cause is gone, ``[point, level]``.
        site: The site.
    """
    granted: list[str] = []
    refusals: list[tuple[str, str]] = []
    for request in requests:
        state, refusal = _one(state, request, clear, site)
        if refusal:
            refusals.append((request.id, refusal))
        else:
            granted.append(request.id)
    return Answer(state, tuple(granted), tuple(refusals))


def _one(
    state: SafetyState, request: OperatorRequest, clear: BoolArray, site: Site
) -> tuple[SafetyState, str]:
    match request.kind:
        case RequestKind.ARM:
            return _arm(state)
        case RequestKind.DISARM:
            return _disarm(state, site)
        case RequestKind.ACK:
            return _acknowledge(state, request, clear)
        case RequestKind.RESET:
            return _reset(state, request, clear, site)
        case RequestKind.SETPOINT:
            if state.mode is not Mode.RUN:
                return state, f"a set-point needs mode run; the site is in {state.mode}"
            return state, ""
        case RequestKind.NOTICE:
            if request.value < 0 or request.duration_s < 0:
                return state, "a notice asks for more reserve; hours and duration must be >= 0"
            return state, ""


def _arm(state: SafetyState) -> tuple[SafetyState, str]:
    if state.armed:
        return state, "already armed"
    if state.mode in (Mode.INIT, Mode.SELFTEST):
        return state, "the self-test is still running; every input must be fresh for 10 s"
    if state.mode in (Mode.TRIP, Mode.TRIPPED):
        names = sorted({state.program.rows[k].id for k, level in state.levels if level == 3})
        return state, f"every pack is tripped by {', '.join(names)}; reset the latches first"
    strings = tuple(replace(s, tries=0) for s in state.strings)
    return state._replace(armed=True, released=False, strings=strings), ""


def _disarm(state: SafetyState, site: Site) -> tuple[SafetyState, str]:
    if not state.armed:
        return state, "not armed"
    if on_direct_bus(site) and state.grid_lost:
        return state, "the packs carry the load of a direct bus; opening them is the outage"
    return state._replace(armed=False, released=True), ""


def _matching(state: SafetyState, target: str) -> list[tuple[int, int]]:
    """Raised levels that a target names: cause, pack, ``cause@pack``, or empty for all."""
    program = state.program
    cause, _, where = target.partition("@")
    return [
        (k, level)
        for k, level in sorted(state.levels)
        if target in ("", program.rows[k].id, program.target_ids[k], program.rows[k].name)
        or (where and cause == program.rows[k].id and where == program.target_ids[k])
    ]


def _acknowledge(
    state: SafetyState, request: OperatorRequest, clear: BoolArray
) -> tuple[SafetyState, str]:
    """Mark causes as seen; an ``O`` latch whose cause is gone comes back by this."""
    keys = _matching(state, request.target)
    if not keys:
        return state, f"nothing active or latched under {request.target or 'any target'!r}"
    levels = dict(state.levels)
    active = state.buckets.active.copy()
    for k, level in keys:
        levels[k, level] = replace(levels[k, level], acknowledged=True)
        if clear[k, level] and state.program.rows[k].latch[level] == Latch.OPERATOR:
            del levels[k, level]
            active[k, level] = False
    return state._replace(levels=levels, buckets=state.buckets.with_active(active)), ""


def _reset(
    state: SafetyState, request: OperatorRequest, clear: BoolArray, site: Site
) -> tuple[SafetyState, str]:
    """Clear latches whose causes are gone; all that the target names, or none."""
    program = state.program
    keys = [
        (k, level) for k, level in _matching(state, request.target) if not program.auto[k, level]
    ]
    if not keys:
        return state, f"no latch under {request.target or 'any target'!r}"
    if not request.actor.strip() or not request.reason.strip():
        return state, "a reset needs a named operator and a reason"
    for k, level in keys:
        row, where = program.rows[k], program.target_ids[k]
        if needs_two_persons(row.latch[level]):
            return state, (
                f"{row.id} {where} is latched {row.latch[level]}: two persons and an inspection "
                "record on site are needed, which this version cannot accept"
            )
        if not clear[k, level]:
            return state, f"{row.id} still present or not clear for {row.clear_s:g} s: " + (
                state.levels[k, level].detail
            )
    recent = [r for r in state.resets if state.now_s - r[2] < S_PER_DAY]
    persistent = {
        (program.rows[k].id, program.target_ids[k])
        for k, level in keys
        if program.rows[k].latch[level] == Latch.PERSISTENT
    }
    for latch in sorted(persistent):
        if sum(r[:2] == latch for r in recent) >= MAX_RESETS_PER_DAY:
            return state, f"{latch[0]} {latch[1]} was reset {MAX_RESETS_PER_DAY} times in 24 h"
    active = state.buckets.active.copy()
    fill = state.buckets.fill.copy()
    for key in keys:
        active[key] = False
        fill[key] = 0.0
    freed = {pack for k, _ in keys for pack in program.packs[k]}
    strings = tuple(
        replace(s, tries=0) if i in freed and s.phase is not StringPhase.CLOSING else s
        for i, s in enumerate(state.strings)
    )
    return (
        state._replace(
            levels={key: entry for key, entry in state.levels.items() if key not in keys},
            buckets=state.buckets.with_active(active, fill),
            resets=tuple(recent) + tuple((*latch, state.now_s) for latch in sorted(persistent)),
            strings=strings,
        ),
        "",
    )
