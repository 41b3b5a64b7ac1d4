"""Signals of each converter: silence, faults, and whether it obeys."""

from math import inf, nan
from typing import NamedTuple

from ems.model import ConverterReading, ConverterState, Link, Reading, SiteSnapshot
from ems.safety.cells import good
from ems.safety.state import SafetyState, connecting, on_direct_bus
from ems.site import ConverterSpec, Site

_ISLAND, _FAULT = float(ConverterState.ISLAND), float(ConverterState.FAULT)
_OUT = (float(ConverterState.OFF), _FAULT)
_STANDBY = float(ConverterState.STANDBY)
_UP, _REFUSED = Link.UP, Link.REFUSED
COMMAND_LATENCY_S = 5.0
"""Commands this old may still be what a converter is following, s."""


class ConverterSignals(NamedTuple):
    """Signals in the order of ``Signal``, converter after converter."""

    signals: list[float]
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
    absent = 0.0 if connecting(state, now_s) else 1.0
    lowest_w, highest_w = _commanded(state, site)
    ages_s: list[float] = []
    flowing_s: list[float] = []
    refused: list[float] = []
    faults: list[float] = []
    deviations: list[float] = []
    wrongs: list[float] = []
    newest: list[float] = []
    seen: list[bool] = []
    known_s, known = state.memory.converter_at_s, state.memory.converter_seen
    islanded = False
    for index, (spec, reading) in enumerate(zip(site.converters, snapshot.converters, strict=True)):
        newest_s = max(known_s[index], reading.power_w.at_s, reading.state.at_s)
        power_w = good(reading.power_w)
        alive = known[index] or power_w == power_w
        # Until it was first seen, "never made" (C35b) says it all.
        age_s = now_s - newest_s if alive else 0.0
        flowing = _flowing(spec, current_a, site)
        device_state = good(reading.state)
        forming = device_state == _ISLAND
        islanded |= forming or (
            direct and flowing and _dead(device_state, reading, snapshot.grid.voltage_v)
        )
        # A former owner's set-point may still be in force until the device's time-out.
        ours = now_s - ours_since_s >= spec.device_timeout_s + COMMAND_LATENCY_S
        deviation, wrong = -inf, -inf
        if ours and not (forming or lost or direct):
            deviation, wrong = _obedience(lowest_w[index], highest_w[index], power_w, spec, reading)
        ages_s.append(age_s)
        flowing_s.append(age_s if flowing else -inf)
        refused.append((1.0 if reading.link is _REFUSED else 0.0) if alive else absent)
        faults.append(1.0 if device_state == _FAULT else 0.0)
        deviations.append(deviation)
        wrongs.append(wrong)
        newest.append(newest_s)
        seen.append(alive)
    return ConverterSignals(
        signals=[*ages_s, *flowing_s, *refused, *faults, *deviations, *wrongs],
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


def _dead(device_state: float, reading: ConverterReading, mains_v: Reading) -> bool:
    """A rectifier shelf that delivers nothing: off, at fault, or gone with the mains.

    In standby it may rest because it was told to, unless the meter is silent as well:
    a meter fed from the mains goes with them and can never report the outage.
    """
    if device_state == _STANDBY:
        mains = good(mains_v)
        return mains != mains
    return device_state in _OUT or reading.link is not _UP


def _obedience(
    low_w: float, high_w: float, power_w: float, spec: ConverterSpec, reading: ConverterReading
) -> tuple[float, float]:
    """Distance from the commands of the last seconds, and movement against their sign.

    Any power between the lowest and the highest recent command is obedience: the
    device's ramp and both latencies lie in between. Its standby draw is not movement.
    """
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
