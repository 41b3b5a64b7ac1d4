"""Signals of each converter: silence, faults, and whether it obeys."""

from dataclasses import dataclass
from math import inf, nan

import numpy as np

from ems.model import ConverterReading, ConverterState, FloatArray, Link, SiteSnapshot
from ems.safety.cells import good
from ems.safety.state import SafetyState, on_direct_bus
from ems.site import ConverterSpec, Site

_ISLAND, _FAULT = ConverterState.ISLAND, ConverterState.FAULT
_REFUSED = Link.REFUSED
COMMAND_LATENCY_S = 5.0
"""Commands this old may still be what a converter is following, s."""


@dataclass(frozen=True, slots=True, eq=False)
class ConverterSignals:
    """Signals in the order of ``Signal``, converter after converter."""

    signals: FloatArray
    at_s: tuple[float, ...]
    newest_s: tuple[float, ...]
    seen: tuple[bool, ...]
    islanded: bool
    """A converter forms the grid, or a direct bus lives on its packs."""


def converter_signals(
    state: SafetyState, snapshot: SiteSnapshot, current_a: tuple[float, ...], site: Site
) -> ConverterSignals:
    """Signals of every converter.

    Args:
        state: After the previous cycle, already ``started``.
        snapshot: What the devices said.
        current_a: BMS current per pack, A, NaN where unknown.
        site: The site.
    """
    now_s = snapshot.now_s
    direct, lost = on_direct_bus(site), state.grid_lost
    ours_since_s = now_s if state.started_s is None else state.started_s
    lowest_w, highest_w = _commanded(state, site)
    columns: list[tuple[float, ...]] = []
    newest: list[float] = []
    seen: list[bool] = []
    islanded = False
    for index, (spec, reading) in enumerate(zip(site.converters, snapshot.converters, strict=True)):
        newest_s = max(state.memory.converter_at_s[index], reading.power_w.at_s, reading.state.at_s)
        alive = state.memory.converter_seen[index] or reading.power_w.good is not None
        # Until it was first seen, "never made" (C35b) says it all.
        age_s = now_s - newest_s if alive else 0.0
        flowing = _flowing(spec, current_a, site)
        device_state = good(reading.state)
        forming = device_state == _ISLAND
        islanded |= forming or (direct and flowing and _dead(device_state, reading))
        # A former owner's set-point may still be in force until the device's time-out.
        ours = now_s - ours_since_s >= spec.device_timeout_s + COMMAND_LATENCY_S
        deviation, wrong = -inf, -inf
        if ours and not (forming or lost or direct):
            deviation, wrong = _obedience(lowest_w[index], highest_w[index], spec, reading)
        columns.append(
            (
                age_s,
                age_s if flowing else -inf,
                1.0 if reading.link is _REFUSED or not alive else 0.0,
                1.0 if device_state == _FAULT else 0.0,
                deviation,
                wrong,
            )
        )
        newest.append(newest_s)
        seen.append(alive)
    return ConverterSignals(
        signals=np.array(columns).T.ravel(),
        at_s=tuple(newest),
        newest_s=tuple(newest),
        seen=tuple(seen),
        islanded=islanded,
    )


def _flowing(spec: ConverterSpec, current_a: tuple[float, ...], site: Site) -> bool:
    """Whether the packs' BMS see current, together more than C/50."""
    if len(spec.packs) == 1:
        (pack,) = spec.packs
        return abs(current_a[pack]) > site.packs[pack].rated_ah / 50  # NaN is not flowing
    flow_a = sum(abs(current_a[p]) for p in spec.packs if current_a[p] == current_a[p])
    return flow_a > sum(site.packs[p].rated_ah for p in spec.packs) / 50


def _commanded(state: SafetyState, site: Site) -> tuple[list[float], list[float]]:
    """Lowest and highest power asked of each converter in the last seconds, W."""
    recent = state.commands_w
    if len(recent) < 2:
        recent = (*recent, *((0.0,) * len(site.converters),) * 2)
    return list(map(min, *recent)), list(map(max, *recent))


def _dead(device_state: float, reading: ConverterReading) -> bool:
    """A rectifier shelf that delivers nothing: off, at fault, or gone with the mains."""
    return device_state in (ConverterState.OFF, ConverterState.FAULT) or (
        reading.link is not Link.UP
    )


def _obedience(
    low_w: float, high_w: float, spec: ConverterSpec, reading: ConverterReading
) -> tuple[float, float]:
    """Distance from the commands of the last seconds, and movement against their sign.

    Any power between the lowest and the highest recent command is obedience: the
    device's ramp and both latencies lie in between. Its standby draw is not movement.
    """
    power_w = good(reading.power_w)
    if power_w != power_w:
        return nan, nan
    if low_w <= power_w <= high_w:
        return 0.0, 0.0
    rated_w = max(spec.rated_charge_w, spec.rated_discharge_w)
    outside_w = max(low_w - power_w, power_w - high_w) - spec.standby_w
    against = (power_w < 0 <= low_w) or (power_w > 0 >= high_w)
    wrong_w = abs(power_w) - spec.standby_w if against else 0.0
    dc_v = good(reading.dc_voltage_v)
    two_amps_w = 2.0 * dc_v if dc_v == dc_v else 0.0
    return (
        max(0.0, outside_w) / rated_w,
        max(0.0, wrong_w) / max(0.02 * rated_w, two_amps_w),
    )
