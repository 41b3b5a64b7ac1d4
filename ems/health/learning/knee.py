"""Knee: the capacity of a pack begins to fall much faster than it used to.

Capacity is noted every few equivalent full cycles (EFC). Two straight lines that meet are
laid through the notes for every possible place of the bend; the best is a knee when it
explains clearly more than one line, the last stretch is long enough, and falls at a
rate that cause C15 of the interlock table names, at least twice the rate before.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ems.model import FloatArray
from ems.site import Chemistry

MOST_NOTES: Final = 96
SPACED_EFC: Final = 10.0
LEAST_NOTES: Final = 6
LEAST_AFTER: Final = 3
RECENT_EFC: Final = 50.0
"""Least length of the last stretch, and of the one before."""
TIMES: Final = 2.0
"""By how much the last stretch falls faster."""
F_TEST: Final = 8.0
"""Improvement over one line, as an F ratio with 2 and n - 4 degrees of freedom: chance
gives it about once in a hundred with a dozen notes."""
RATES: Final = {
    Chemistry.LFP: (1.5, 2.5, 4.0),
    Chemistry.NMC: (2.0, 3.0, 5.0),
    Chemistry.LMO: (2.0, 3.0, 5.0),
    Chemistry.LTO: (1.0, 2.0, 3.0),
}
"""Points of capacity lost per 100 EFC: levels of cause C15 of the safety concept, [E]."""


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """Weakest group of one pack over its use; arrays of equal length, oldest first."""

    efc: FloatArray
    soh_frac: FloatArray
    day: FloatArray


@dataclass(frozen=True, slots=True)
class Knee:
    """What the history shows."""

    level: int
    """0: no knee; 1 to 3: the level of cause C15 that the present rate reaches."""
    rate_per_100_efc: float
    """Points of capacity lost per 100 EFC in the last stretch; 0 while unknown."""
    rate_before: float
    at_efc: float
    """Where the bend is; 0 without one."""


NONE: Final = Knee(0, 0.0, 0.0, 0.0)


def empty() -> History:
    """Nothing noted yet."""
    return History(np.zeros(0), np.zeros(0), np.zeros(0))


def note(history: History, efc: float, soh_frac: float, day: int) -> History:
    """History with this capacity, if enough use lies between; thinned when it is full.

    Args:
        history: Before.
        efc: Equivalent full cycles since the pack came here, never falling.
        soh_frac: Capacity of the weakest group over rated.
        day: Date, proleptic ordinal.
    """
    if history.efc.size and efc - history.efc[-1] < SPACED_EFC:
        return history
    if history.efc.size >= MOST_NOTES:
        # Every second of the older half goes: the past needs less detail.
        keep = np.ones(history.efc.size, np.bool_)
        keep[1 : MOST_NOTES // 2 : 2] = False
        history = History(history.efc[keep], history.soh_frac[keep], history.day[keep])
    return replace(
        history,
        efc=np.append(history.efc, efc),
        soh_frac=np.append(history.soh_frac, soh_frac),
        day=np.append(history.day, float(day)),
    )


def find(history: History, chemistry: Chemistry) -> Knee:
    """The knee of a history; :data:`NONE` while it is too short or straight."""
    efc, soh = history.efc, history.soh_frac
    if efc.size < LEAST_NOTES + LEAST_AFTER or efc[-1] - efc[0] < 2.0 * RECENT_EFC:
        return NONE
    one = np.vstack((np.ones(efc.size), efc)).T
    straight = _squares(one, soh)
    best, found = straight, NONE
    for place in range(LEAST_AFTER, efc.size - LEAST_AFTER + 1):
        bend = efc[place]
        if efc[-1] - bend < RECENT_EFC or bend - efc[0] < RECENT_EFC:
            continue
        two = np.column_stack((one, np.maximum(efc - bend, 0.0)))
        fitted, *_ = np.linalg.lstsq(two, soh, rcond=None)
        left = float(((soh - two @ fitted) ** 2).sum())
        if left >= best:
            continue
        best = left
        before, after = -1e4 * fitted[1], -1e4 * (fitted[1] + fitted[2])
        found = Knee(0, float(after), float(before), float(bend))
    if found is NONE:
        return NONE
    free = efc.size - 4
    clear = (straight - best) / 2.0 >= F_TEST * max(best, 1e-9) / free
    faster = found.rate_per_100_efc > TIMES * max(found.rate_before, 0.0)
    if not (clear and faster):
        return replace(found, at_efc=0.0)
    level = sum(found.rate_per_100_efc >= rate for rate in RATES[chemistry])
    return replace(found, level=level)


def _squares(columns: FloatArray, values: FloatArray) -> float:
    fitted, *_ = np.linalg.lstsq(columns, values, rcond=None)
    return float(((values - columns @ fitted) ** 2).sum())
