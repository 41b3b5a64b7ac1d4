"""Connection of each pack: closing one at a time, opening without an arc, staying out.

A tripped string first goes to 0 W; its contactor opens when its current is below the
break limit or after 3 s. It is not closed again before its latch is reset. On a direct
bus in an outage the last path to the load is never opened. While a string of a common
bus closes or opens, nothing is asked of that bus.
"""

from dataclasses import replace

from ems.model import Contactor, ContactorDemand, Mode, SiteEstimate, SiteSnapshot
from ems.safety.cells import good
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
"""Pause before a withdrawn string may close again."""
MAX_TRIES = 3
TRIES_FORGOTTEN_S = 600.0
"""A string that stayed closed this long has not been hard to close."""
CLOSE_DELTA_V = 1.0
"""Largest voltage step at a close in the 48 V class, V (b9)."""
CLOSE_DELTA_HIGH_V = 3.0
"""The same above 60 V, V."""

_MOVING = (StringPhase.CLOSING, StringPhase.OPENING)
_LEAVING = (StringPhase.OPENING, StringPhase.LOCKED)
_NOT_CLOSED = (Contactor.OPEN, Contactor.FAULT)
_NOT_YET = (Mode.INIT, Mode.SELFTEST)


def advance(
    state: SafetyState,
    inputs: Inputs,
    snapshot: SiteSnapshot,
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
        snapshot: For the measured voltage of a direct bus.
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
                strings[i] = _withdrawn(string, state.now_s)
            elif inputs.contactor[i] in _NOT_CLOSED:
                strings[i] = StringState(StringPhase.OFF, state.now_s, string.tries + 1)
            elif string.tries and state.now_s - string.since_s >= TRIES_FORGOTTEN_S:
                strings[i] = replace(string, tries=0)
        elif state.mode not in _NOT_YET:
            converter = int(site.layout.converter_of_pack[i])
            bus_v = good(snapshot.converters[converter].dc_voltage_v)
            strings[i] = _towards_closed(
                state, inputs, strings, i, no_close[i], bus_v, estimate, site
            )
    return tuple(strings)


def moving(state: SafetyState, site: Site) -> set[int]:
    """Packs whose common bus is kept at 0 W because a string of it closes or opens.

    What a bus carries decides the step of a closing string and what an opening one has
    to break. In an outage the load comes first: there nothing is held back.
    """
    if site.kind is SiteKind.OWN_CONVERTERS or state.grid_lost:
        return set()
    return {
        pack
        for converter in site.converters
        if any(state.strings[p].phase in _MOVING for p in converter.packs)
        for pack in converter.packs
    }


def _withdrawn(string: StringState, now_s: float) -> StringState:
    return StringState(StringPhase.OPENING, now_s, string.tries, withdrawn=True)


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
            return StringState(StringPhase.OPENING, now_s, string.tries)


def _towards_closed(
    state: SafetyState,
    inputs: Inputs,
    strings: list[StringState],
    i: int,
    no_close: bool,
    bus_v: float,
    estimate: SiteEstimate,
    site: Site,
) -> StringState:
    """An armed string on its way to ON; one at a time, three tries, 10 s apart."""
    string, now_s, contactor = strings[i], state.now_s, inputs.contactor[i]
    waited_s = now_s - string.since_s
    if string.phase is StringPhase.CLOSING:
        if contactor is Contactor.CLOSED:
            return StringState(StringPhase.ON, now_s, string.tries)
        if no_close and not _is_last_path(state, strings, i, site):
            return _withdrawn(string, now_s)
        if waited_s >= CLOSE_TIMEOUT_S or contactor is Contactor.FAULT:
            return StringState(StringPhase.OFF, now_s, string.tries + 1)
        return string
    barred = string.withdrawn or string.tries >= MAX_TRIES
    if contactor is Contactor.CLOSED and (not barred or _is_last_path(state, strings, i, site)):
        return StringState(StringPhase.ON, now_s, string.tries)
    pause_s = REJOIN_AFTER_S if string.withdrawn else RETRY_AFTER_S if string.tries else 0.0
    if (
        no_close
        or waited_s < pause_s
        or string.tries >= MAX_TRIES
        or contactor is not Contactor.OPEN
        or any(s.phase is StringPhase.CLOSING for s in strings)
        or not _matches_bus(state, strings, i, bus_v, estimate, site)
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
                out = string.withdrawn or string.tries >= MAX_TRIES
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


def _matches_bus(
    state: SafetyState,
    strings: list[StringState],
    i: int,
    bus_v: float,
    estimate: SiteEstimate,
    site: Site,
) -> bool:
    """Close condition on a common bus (b9): small voltage step and small SoC gap."""
    if site.kind is SiteKind.OWN_CONVERTERS:
        return True
    own_v = float(estimate.ocv_v[i])
    step_v = CLOSE_DELTA_V if own_v <= 60.0 else CLOSE_DELTA_HIGH_V
    others = [j for j, s in enumerate(strings) if s.phase is StringPhase.ON]
    if not others:
        return state.grid_lost or _matches_shelf(own_v, bus_v, step_v, i, site)
    others_v = sum(float(estimate.voltage_v[j]) for j in others) / len(others)
    gap = max(abs(float(estimate.soc_frac[i] - estimate.soc_frac[j])) for j in others)
    known = bool(estimate.soc_known[i])
    return known and gap <= 0.10 and abs(own_v - others_v) <= step_v


def _matches_shelf(own_v: float, bus_v: float, step_v: float, i: int, site: Site) -> bool:
    """Whether the first string may join a direct bus that its rectifier holds.

    Upwards the step is that of any close: nothing limits what a string above the bus
    gives. Downwards it is the one that the shelf's own low-voltage disconnect makes when
    it reconnects drained packs, with the charge current limited by the shelf (to 0 A
    meanwhile). An unknown bus voltage matches nothing; a dead bus needs the string.
    """
    rectifier = site.converters[int(site.layout.converter_of_pack[i])].rectifier
    if rectifier is None or bus_v < rectifier.lvd_disconnect_v:
        return True
    return rectifier.lvd_disconnect_v - rectifier.float_v <= own_v - bus_v <= step_v
