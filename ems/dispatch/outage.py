"""Grid lost, grid back, and which loads are let go meanwhile."""

from dataclasses import dataclass, replace
from typing import Final

from ems import units
from ems.model import ConverterState, SiteSnapshot
from ems.site import LoadSpec, Site

LOST_FRAC: Final = 0.85
"""Below this share of the nominal voltage the grid counts as lost."""
BACK_FRAC: Final = 0.90
BACK_AFTER_S: Final = 10.0
"""The grid must hold this long before it is trusted again: reclosing fails often."""
RECONNECT_AFTER_S: Final = 60.0
RECONNECT_STEP_S: Final = 15.0
"""Loads return one by one, so that inrush currents do not add up."""
SHED_STEP_S: Final = 10.0
"""Time a shed load has to show in the measured load before the next one goes."""
LOW_ENERGY_FRAC: Final = 0.15
"""Below this share of the fleet's usable energy, what can be shed is shed."""
LEAST_LOAD_W: Final = 1.0
ISLAND: Final = float(ConverterState.ISLAND)
RUN: Final = float(ConverterState.RUN)


@dataclass(frozen=True, slots=True)
class Outage:
    """Memory of the present or last outage; times are monotonic s."""

    lost_at_s: float | None = None
    """Since when the grid is lost, ``None`` while it is there."""
    good_since_s: float | None = None
    """Since when the returned grid holds."""
    shed: tuple[int, ...] = ()
    """Indices of loads let go, in the order they went."""
    switched_at_s: float = float("-inf")


def update(outage: Outage, snapshot: SiteSnapshot, site: Site) -> Outage:
    """Whether the grid is lost, after this snapshot."""
    now_s = snapshot.now_s
    gone, back = _grid(snapshot, site)
    if outage.lost_at_s is None:
        if gone:
            return replace(outage, lost_at_s=now_s, good_since_s=None)
        if outage.good_since_s is None and back:
            return replace(outage, good_since_s=now_s)
        return outage
    if not back:
        return replace(outage, good_since_s=None) if outage.good_since_s is not None else outage
    if outage.good_since_s is None:
        return replace(outage, good_since_s=now_s)
    if now_s - outage.good_since_s >= BACK_AFTER_S:
        return replace(outage, lost_at_s=None)
    return outage


def _grid(snapshot: SiteSnapshot, site: Site) -> tuple[bool, bool]:
    """(lost, good) of the grid; both false when nobody knows."""
    voltage_v = snapshot.grid.voltage_v.good
    if voltage_v is not None:
        nominal_v = site.grid.nominal_v
        return voltage_v < LOST_FRAC * nominal_v, voltage_v >= BACK_FRAC * nominal_v
    # The meter may hang on the dead feeder. A converter that forms the bus knows, and
    # one that runs without forming it has a grid to follow.
    states = [c.state.good for c in snapshot.converters]
    islanded = ISLAND in states
    return islanded, not islanded and RUN in states


def shed_loads(
    outage: Outage,
    now_s: float,
    load_w: float | None,
    energy_low_wh: float,
    capacity_wh: float,
    promised_h: float,
    loads: tuple[LoadSpec, ...],
) -> Outage:
    """Lets the least important load go when the promise would not be kept otherwise.

    Args:
        load_w: Present site load, W, ``None`` when unknown: then nothing is shed
            for the promise, only for low energy.
        energy_low_wh: Lower bound of the deliverable energy, Wh.
        capacity_wh: Energy the fleet could deliver when full, Wh.
        promised_h: Hours promised from the start of the outage, h.
    """
    if outage.lost_at_s is None or now_s - outage.switched_at_s < SHED_STEP_S:
        return outage
    left_h = promised_h - (now_s - outage.lost_at_s) / units.S_PER_H
    short = load_w is not None and energy_low_wh < left_h * max(load_w, LEAST_LOAD_W)
    if not short and energy_low_wh >= LOW_ENERGY_FRAC * capacity_wh:
        return outage
    kept = [i for i, spec in enumerate(loads) if spec.sheddable and i not in outage.shed]
    if not kept:
        return outage
    goes = max(kept, key=lambda i: (loads[i].priority, i))
    return replace(outage, shed=(*outage.shed, goes), switched_at_s=now_s)


def reconnect_loads(outage: Outage, now_s: float) -> Outage:
    """Takes shed loads back one by one, the last to go first, once the grid holds."""
    if not outage.shed or outage.lost_at_s is not None or outage.good_since_s is None:
        return outage
    if now_s - outage.good_since_s < RECONNECT_AFTER_S:
        return outage
    if now_s - outage.switched_at_s < RECONNECT_STEP_S:
        return outage
    return replace(outage, shed=outage.shed[:-1], switched_at_s=now_s)


def wishes(outage: Outage, loads: tuple[LoadSpec, ...]) -> tuple[bool, ...]:
    """Which loads should be connected."""
    shed = outage.shed
    return tuple([i not in shed for i in range(len(loads))])
