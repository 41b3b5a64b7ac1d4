"""Connection of each pack: closing one at a time, opening without an arc, staying out.

A tripped string first goes to 0 W; its contactor opens when its current is below the
break limit or after 3 s. It is not closed again before its latch is reset. On a direct
bus in an outage the last path to the load is never opened.
"""

from dataclasses import replace

from ems.model import Contactor, ContactorDemand, Mode, SiteEstimate
from ems.safety.inputs import Inputs
from ems.safety.state import SafetyState, StringPhase, StringState, on_direct_bus
from ems.site import Site, SiteKind

BREAK_C_RATE = 0.1
"""A contactor may open below this current / rated capacity, 1/h."""
OPEN_AT_LATEST_S = 3.0
CLOSE_TIMEOUT_S = 10.0
RETRY_AFTER_S = 10.0
"""Anti-oscillation: pause before the next attempt to close."""
REJOIN_AFTER_S = 60.0
"""Pause before a string opened for circulating current may close again."""
MAX_TRIES = 3
CLOSE_DELTA_V = 1.0
"""Largest voltage step at a close in the 48 V class, V (b9)."""
CLOSE_DELTA_HIGH_V = 3.0
"""The same above 60 V, V."""

_LEAVING = (StringPhase.OPENING, StringPhase.LOCKED)
_NOT_CLOSED = (Contactor.OPEN, Contactor.FAULT)
_NOT_YET = (Mode.INIT, Mode.SELFTEST)


def advance(
    state: SafetyState,
    inputs: Inputs,
    trip: list[bool],
    no_close: list[bool],
    circulating: list[bool],
    estimate: SiteEstimate,
    site: Site,
) -> tuple[StringState, ...]:
    """Every string's phase after this cycle.

    Args:
        state: With ``now_s`` of this cycle.
        inputs: Contactor feedback and currents.
        trip: Packs that a TRIP effect stands for.
        no_close: Packs that must not be closed now.
        circulating: Packs whose predicted current at zero total breaks their limit.
        estimate: OCV and resistance, for the close condition on a shared bus.
        site: The site.
    """
    strings = list(state.strings)
    for i, string in enumerate(strings):
        if trip[i] or string.phase in _LEAVING or not state.armed:
            strings[i] = _towards_open(state, inputs, strings, i, trip[i], site)
        elif string.phase is StringPhase.ON:
            if circulating[i] and not _is_last_path(state, strings, i, site):
                strings[i] = StringState(StringPhase.OPENING, state.now_s, 0, circulating=True)
            elif inputs.contactor[i] in _NOT_CLOSED:
                strings[i] = StringState(StringPhase.OFF, state.now_s, string.tries + 1)
        elif state.mode not in _NOT_YET:
            strings[i] = _towards_closed(state, inputs, strings, i, no_close[i], estimate, site)
    return tuple(strings)


def _towards_open(
    state: SafetyState,
    inputs: Inputs,
    strings: list[StringState],
    i: int,
    trip: bool,
    site: Site,
) -> StringState:
    """A string that is tripped, disarmed, or on its way out."""
    string, now_s = strings[i], state.now_s
    match string.phase:
        case StringPhase.OPENING:
            if _is_last_path(state, strings, i, site):
                # The mains failed while it was on its way out: now it carries the load.
                return replace(string, phase=StringPhase.ON, since_s=now_s)
            if not _may_break(state, inputs, i, site):
                return string
            phase = StringPhase.LOCKED if trip else StringPhase.OFF
            return replace(string, phase=phase, since_s=now_s)
        case StringPhase.LOCKED:
            return string if trip else StringState(StringPhase.OFF, now_s)
        case StringPhase.OFF if not trip:
            return string
        case _:
            if _is_last_path(state, strings, i, site):
                return string
            return StringState(StringPhase.OPENING, now_s)


def _towards_closed(
    state: SafetyState,
    inputs: Inputs,
    strings: list[StringState],
    i: int,
    no_close: bool,
    estimate: SiteEstimate,
    site: Site,
) -> StringState:
    """An armed string on its way to ON; one at a time, three tries, 10 s apart."""
    string, now_s, contactor = strings[i], state.now_s, inputs.contactor[i]
    waited_s = now_s - string.since_s
    if string.phase is StringPhase.CLOSING:
        if contactor is Contactor.CLOSED:
            return StringState(StringPhase.ON, now_s, string.tries)
        if waited_s >= CLOSE_TIMEOUT_S or contactor is Contactor.FAULT:
            return StringState(StringPhase.OFF, now_s, string.tries + 1)
        return string
    if contactor is Contactor.CLOSED and not string.circulating:
        return StringState(StringPhase.ON, now_s)
    pause_s = REJOIN_AFTER_S if string.circulating else RETRY_AFTER_S if string.tries else 0.0
    if (
        no_close
        or waited_s < pause_s
        or string.tries >= MAX_TRIES
        or contactor is not Contactor.OPEN
        or any(s.phase is StringPhase.CLOSING for s in strings)
        or not _matches_bus(strings, i, estimate, site)
    ):
        return string
    return StringState(StringPhase.CLOSING, now_s, string.tries)


def demand(string: StringState, state: SafetyState, site: Site) -> ContactorDemand:
    """What the contactor is asked for in a phase."""
    match string.phase:
        case StringPhase.ON | StringPhase.CLOSING:
            return ContactorDemand.CLOSE
        case StringPhase.OPENING:
            return ContactorDemand.HOLD
        case StringPhase.LOCKED:
            return ContactorDemand.OPEN
        case StringPhase.OFF:
            if state.armed:
                out = string.circulating or string.tries >= MAX_TRIES
                return ContactorDemand.OPEN if out else ContactorDemand.HOLD
            # A fresh start finds a direct bus floating on its packs and leaves it so.
            leave = state.mode in _NOT_YET or (on_direct_bus(site) and not state.released)
            return ContactorDemand.HOLD if leave else ContactorDemand.OPEN


def _may_break(state: SafetyState, inputs: Inputs, i: int, site: Site) -> bool:
    current_a = inputs.current_a[i]
    small = abs(current_a) < BREAK_C_RATE * site.packs[i].rated_ah  # NaN is not small
    waited = state.now_s - state.strings[i].since_s >= OPEN_AT_LATEST_S
    return small or waited or inputs.contactor[i] is Contactor.OPEN


def _is_last_path(state: SafetyState, strings: list[StringState], i: int, site: Site) -> bool:
    """Whether opening this string would be the outage itself."""
    if not (on_direct_bus(site) and state.grid_lost):
        return False
    return not any(s.phase is StringPhase.ON for j, s in enumerate(strings) if j != i)


def _matches_bus(strings: list[StringState], i: int, estimate: SiteEstimate, site: Site) -> bool:
    """Close condition on a common bus (b9): small voltage step and small SoC gap."""
    others = [j for j, s in enumerate(strings) if s.phase is StringPhase.ON]
    if site.kind is SiteKind.OWN_CONVERTERS or not others:
        return True
    bus_v = sum(float(estimate.voltage_v[j]) for j in others) / len(others)
    own_v = float(estimate.ocv_v[i])
    gap = max(abs(float(estimate.soc_frac[i] - estimate.soc_frac[j])) for j in others)
    known = bool(estimate.soc_known[i])
    step_v = CLOSE_DELTA_V if own_v <= 60.0 else CLOSE_DELTA_HIGH_V
    return known and gap <= 0.10 and abs(own_v - bus_v) <= step_v
