"""The site's state machine. Causes are judged before it, in every mode alike."""

import numpy as np

from ems.model import Mode, SiteSnapshot
from ems.safety.cells import good
from ems.safety.inputs import Inputs
from ems.safety.state import SafetyState, StringPhase, StringState
from ems.site import Site

FRESH_FOR_S = 10.0
"""Every input must be complete and fresh this long before a site may be armed."""
ABSENT_FOR_S = 30.0
"""A device that has not answered this long after the start is not waited for."""
FRESH_AGE_S = 3.0

_ON, _CLOSING = StringPhase.ON, StringPhase.CLOSING
_LOCKED, _OPENING = StringPhase.LOCKED, StringPhase.OPENING
_TESTING = (Mode.INIT, Mode.SELFTEST)
_STARTED = (Mode.RUN, Mode.BACKUP, Mode.STOPPED)


def next_mode(state: SafetyState, blocked: list[bool]) -> Mode:
    """Mode after this cycle.

    Args:
        state: With strings, arming and grid of this cycle.
        blocked: Packs that a STOP effect holds at 0 W in both directions.
    """
    phases = [s.phase for s in state.strings]
    if phases.count(_LOCKED) == len(phases):
        return Mode.TRIPPED
    if state.mode in _TESTING:
        if not _tested(state):
            return Mode.SELFTEST
        return Mode.PRECHARGE if state.armed else Mode.STANDBY
    if state.mode is Mode.TRIPPED:
        return Mode.SELFTEST  # reset: prove every input anew before an arm
    on = [i for i, p in enumerate(phases) if p is _ON]
    if state.armed and phases.count(_LOCKED) + phases.count(_OPENING) == len(phases):
        return Mode.TRIP
    if not state.armed:
        return Mode.STANDBY
    if not on or (state.mode not in _STARTED and _CLOSING in phases):
        return Mode.PRECHARGE
    if False not in [blocked[i] for i in on]:
        return Mode.STOPPED
    return Mode.BACKUP if state.grid_lost else Mode.RUN


def restart_selftest(state: SafetyState) -> SafetyState:
    """Forget what was proved before."""
    return state._replace(
        mode=Mode.SELFTEST,
        selftest_s=state.now_s,
        fresh_since_s=(None,) * len(state.fresh_since_s),
        meter_fresh_since_s=None,
    )


def track_freshness(
    state: SafetyState, snapshot: SiteSnapshot, inputs: Inputs, site: Site
) -> SafetyState:
    """Since when each pack with its converter, and the meter, are complete and fresh.

    Only the self-test asks; afterwards rows C31 to C38 watch the same things.
    """
    now_s = snapshot.now_s
    whole = np.maximum(inputs.cells.unknown_v, inputs.cells.unknown_t) == 0
    since: list[float | None] = []
    for i, pack in enumerate(snapshot.packs):
        converter = int(site.layout.converter_of_pack[i])
        fresh = (
            bool(whole[i])
            and good(pack.current_a) == good(pack.current_a)
            and good(pack.voltage_v) == good(pack.voltage_v)
            and now_s - inputs.memory.pack_at_s[i] <= FRESH_AGE_S
            and snapshot.converters[converter].power_w.good is not None
            and now_s - inputs.memory.converter_at_s[converter] <= FRESH_AGE_S
        )
        before = state.fresh_since_s[i]
        since.append((now_s if before is None else before) if fresh else None)
    metered = snapshot.grid.power_w.good is not None
    meter_since = state.meter_fresh_since_s
    return state._replace(
        fresh_since_s=tuple(since),
        meter_fresh_since_s=(now_s if meter_since is None else meter_since) if metered else None,
    )


def _tested(state: SafetyState) -> bool:
    """At least one pack is ready, and nothing that answers is still settling."""
    now_s = state.now_s
    ready = [t is not None and now_s - t >= FRESH_FOR_S for t in state.fresh_since_s]
    meter_s = state.meter_fresh_since_s
    metered = meter_s is not None and now_s - meter_s >= FRESH_FOR_S
    waited = now_s - state.selftest_s >= ABSENT_FOR_S
    return any(ready) and ((all(ready) and metered) or waited)


def closing_failed(strings: tuple[StringState, ...], max_tries: int) -> bool:
    """Whether every string that is not locked has used up its attempts to close."""
    return all(s.phase is StringPhase.OFF and s.tries >= max_tries for s in strings)
