"""While the grid is lost: what the packs carry, which loads go, and when they return."""

from dataclasses import dataclass, replace
from typing import Final

from ems import units
from ems.model import ConverterReading, SiteSnapshot
from ems.site import ConverterSpec, LoadSpec, Site

RECONNECT_AFTER_S: Final = 60.0
RECONNECT_STEP_S: Final = 15.0
"""Loads return one by one, so that inrush currents do not add up."""
SHED_STEP_S: Final = 10.0
"""Time a shed load has to show in the measured load before the next one goes."""
LOW_ENERGY_FRAC: Final = 0.15
"""Below this share of the fleet's usable energy, what can be shed is shed."""
LEAST_LOAD_W: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outage:
    """Memory of the present or last outage; times are monotonic s."""

    lost_at_s: float | None = None
    """Since when the grid is lost, ``None`` while it is there."""
    back_at_s: float | None = None
    """Since when it is there: back from the last outage, or seen first."""
    shed: tuple[int, ...] = ()
    """Indices of loads let go, in the order they went."""
    switched_at_s: float = float("-inf")


def update(outage: Outage, grid_lost: bool, now_s: float) -> Outage:
    """Memory after the gate's verdict on the grid, which is the only one there is."""
    if grid_lost:
        if outage.lost_at_s is not None:
            return outage
        return replace(outage, lost_at_s=now_s, back_at_s=None)
    if outage.lost_at_s is None and outage.back_at_s is not None:
        return outage
    return replace(outage, lost_at_s=None, back_at_s=now_s)


def load_w(snapshot: SiteSnapshot, shed: tuple[int, ...], site: Site) -> float:
    """What the packs carry in an outage without a usable grid meter, W, >= 0.

    What the converters say, and for one that is silent what the BMSs behind it see.
    With neither anywhere: the feeders' own meters, the nominal power of feeders
    that have none, and never less than the critical load.
    """
    carried_w = [
        power_w
        for spec, reading in zip(site.converters, snapshot.converters, strict=True)
        if (power_w := _converter_w(reading, spec, snapshot)) is not None
    ]
    if carried_w:
        return max(sum(carried_w), 0.0)
    feeders_w = 0.0
    for i, (spec, reading) in enumerate(zip(site.loads, snapshot.load_power_w, strict=True)):
        metered_w = reading.good
        if metered_w is not None:
            feeders_w += metered_w
        elif i not in shed:
            feeders_w += spec.nominal_w
    return max(feeders_w, site.backup.critical_w)


def _converter_w(
    reading: ConverterReading, spec: ConverterSpec, snapshot: SiteSnapshot
) -> float | None:
    power_w = reading.power_w.good
    if power_w is not None:
        return power_w
    for index in spec.packs:
        pack = snapshot.packs[index]
        current_a, voltage_v = pack.current_a.good, pack.voltage_v.good
        if current_a is not None and voltage_v is not None:
            power_w = (power_w or 0.0) + current_a * voltage_v
    return power_w


def shed_loads(
    outage: Outage,
    now_s: float,
    carried_w: float,
    energy_low_wh: float,
    capacity_wh: float,
    promised_h: float,
    loads: tuple[LoadSpec, ...],
) -> Outage:
    """Lets the least important load go when the promise would not be kept otherwise.

    Args:
        carried_w: Load the packs carry now, W.
        energy_low_wh: Lower bound of the deliverable energy, Wh.
        capacity_wh: Energy the fleet could deliver when full, Wh.
        promised_h: Hours promised from the start of the outage, h.
    """
    if outage.lost_at_s is None or now_s - outage.switched_at_s < SHED_STEP_S:
        return outage
    left_h = promised_h - (now_s - outage.lost_at_s) / units.S_PER_H
    short = energy_low_wh < left_h * max(carried_w, LEAST_LOAD_W)
    if not short and energy_low_wh >= LOW_ENERGY_FRAC * capacity_wh:
        return outage
    kept = [i for i, spec in enumerate(loads) if spec.sheddable and i not in outage.shed]
    if not kept:
        return outage
    goes = max(kept, key=lambda i: (loads[i].priority, i))
    return replace(outage, shed=(*outage.shed, goes), switched_at_s=now_s)


def reconnect_loads(outage: Outage, now_s: float) -> Outage:
    """Takes shed loads back one by one, the last to go first, once the grid holds."""
    if not outage.shed or outage.lost_at_s is not None or outage.back_at_s is None:
        return outage
    if now_s - outage.back_at_s < RECONNECT_AFTER_S:
        return outage
    if now_s - outage.switched_at_s < RECONNECT_STEP_S:
        return outage
    return replace(outage, shed=outage.shed[:-1], switched_at_s=now_s)


def wishes(outage: Outage, loads: tuple[LoadSpec, ...]) -> tuple[bool, ...]:
    """Which loads should be connected."""
    shed = outage.shed
    return tuple([i not in shed for i in range(len(loads))])
