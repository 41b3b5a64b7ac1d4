"""Mistakes in commands, signs of life, identity and golden vectors."""

import re
import typing
from collections.abc import Iterator
from typing import Final

from ems.drivers.language.base import CommandValue, Place, Problem
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import words_of
from ems.drivers.language.writes import StepSpec
from ems.yamlfile import nearest

_BROUGHT: Final = frozenset(typing.get_args(CommandValue))
_BRINGS: Final = {
    "power": {"power_w"},
    "rectifier": {"power_limit_w", "charge_limit_a"},
    "contactor": {"contactor"},
    "load": {"load_on"},
}
"""Values that each kind of command brings along."""
_DAY_S: Final = 86_400.0


def steps(profile: Profile) -> Iterator[Problem]:
    """Steps that write what cannot be written, or nothing anybody knows."""
    for key, write in profile.writes.items():
        for number, step in enumerate(write.steps):
            place: Place = ("writes", key, "steps", number)
            yield from _step(profile, place, step, _BRINGS[key] | {"device_timeout_s"})
    for number, step in enumerate(profile.on_connect):
        yield from _step(profile, ("on_connect", number), step, {"device_timeout_s"})
    for number, step in enumerate(profile.safe_state):
        place = ("safe_state", number)
        yield from _step(profile, place, step, {"device_timeout_s"})
        point = profile.points.get(step.point)
        if point is not None and point.scale_factor and step.value != 0:
            yield (
                place,
                (
                    f"{step.point} has a scale factor that must be read first; without a read "
                    "only 0 can be written"
                ),
            )


def _step(profile: Profile, place: Place, step: StepSpec, brought: set[str]) -> Iterator[Problem]:
    point = profile.points.get(step.point)
    if point is None or "w" not in point.access:
        writable = {name for name, spec in profile.points.items() if "w" in spec.access}
        hint = nearest(step.point, writable)
        yield (*place, "point"), f"{step.point!r} is not a writable point{hint}"
        return
    value = step.value
    if isinstance(value, str):
        words = set(words_of(profile, step.point)) | {w.lower() for w in point.enum.values()}
        if value in _BROUGHT and value not in brought:
            yield (*place, "value"), f"{value} is not brought along by this command"
        elif value not in _BROUGHT and value.lower() not in words:
            yield (*place, "value"), f"unknown value {value!r}{nearest(value, brought | words)}"
    else:
        yield from _within(profile, (*place, "value"), step.point, value)
    if step.clears_within_s and point.access != "rw":
        yield (*place, "clears_within_s"), f"{step.point} cannot be read to see it clear"


def writes(profile: Profile) -> Iterator[Problem]:
    """What surrounds the steps of a command."""
    for key, write in profile.writes.items():
        place: Place = ("writes", key)
        if write.readback is not None:
            yield from _readable(profile, (*place, "readback", "point"), write.readback.point)
            if write.readback.point not in {step.point for step in write.steps}:
                yield (*place, "readback", "point"), "is written by none of the steps"
        if write.effect is not None:
            yield from _readable(profile, (*place, "effect", "point"), write.effect.point)
        for number, required in enumerate(write.requires):
            where = (*place, "requires", number)
            yield from _readable(profile, where, required.point)
            yield from _words(profile, where, required.point, required.one_of)
        for number, names in enumerate(write.descending):
            for name in names:
                yield from _readable(profile, (*place, "descending", number), name)
        if write.daily_budget is not None and write.repeat_s < _DAY_S / write.daily_budget:
            yield (
                (*place, "daily_budget"),
                (
                    f"{write.daily_budget} a day cannot be kept while repeat_s is "
                    f"{write.repeat_s:g}; give repeat_s at least {_DAY_S / write.daily_budget:g}"
                ),
            )
    if {"power", "rectifier"} & profile.writes.keys() and not profile.safe_state:
        yield ("writes",), "a device that takes power commands needs a safe_state"


def signs_of_life(profile: Profile) -> Iterator[Problem]:
    """Heartbeats and the device's own time-out."""
    beats = profile.heartbeats
    if beats.read is not None and "heartbeat" not in profile.points:
        yield ("heartbeats", "read"), "needs a point called heartbeat"
    if beats.write is not None:
        place: Place = ("heartbeats", "write")
        yield from _writable(profile, (*place, "point"), beats.write.point)
        yield from _within(profile, (*place, "wrap"), beats.write.point, beats.write.wrap)
    rule = profile.device_timeout
    if rule is None:
        return
    yield from _readable(profile, ("device_timeout", "point"), rule.point)
    if rule.enforce:
        yield from _writable(profile, ("device_timeout", "point"), rule.point)
        if not isinstance(rule.value, str):
            yield from _within(profile, ("device_timeout", "value"), rule.point, rule.value)
    point = profile.points.get(rule.point)
    if point is not None and point.unit != "s":
        yield ("device_timeout", "point"), f"{rule.point} must have unit s after scaling"


def identity(profile: Profile) -> Iterator[Problem]:
    """How the device is recognised."""
    for number, check in enumerate(profile.identity):
        place: Place = ("identity", number)
        yield from _readable(profile, (*place, "point"), check.point)
        ways = [
            check.equals is not None,
            bool(check.one_of),
            bool(check.matches),
            check.at_least is not None,
        ]
        if sum(ways) != 1:
            yield place, "needs exactly one of equals, one_of, matches and at_least"
        try:
            re.compile(check.matches)
        except re.error as error:
            yield (*place, "matches"), f"is not a regular expression: {error}"
        point = profile.points.get(check.point)
        if point is None:
            continue
        given = [*check.one_of, *([check.equals] if check.equals is not None else [])]
        if check.at_least is not None:
            yield from _at_least((*place, "at_least"), point.type == "string", check.at_least)
        if point.type == "string" and any(not isinstance(item, str) for item in given):
            yield place, f"{check.point} is a string; put its content in quotes"
        if point.type != "string":
            yield from _words(profile, place, check.point, tuple(given))
            if check.matches:
                yield (*place, "matches"), f"{check.point} is not a string"


def _at_least(place: Place, is_text: bool, wanted: float | str) -> Iterator[Problem]:
    if is_text is not isinstance(wanted, str):
        yield place, "is a text with numbers in quotes" if is_text else "is a number"
    elif isinstance(wanted, str) and not re.search(r"\d", wanted):
        yield place, f"{wanted!r} has no number to compare"


def golden(profile: Profile) -> Iterator[Problem]:
    """Vectors that name what does not exist."""
    names = {*profile.points, *profile.bitfields, "alarm_level"}
    for number, vector in enumerate(profile.golden):
        place: Place = ("golden", number)
        for name in (*vector.expect, *vector.commands, *vector.nodes):
            if name not in names:
                yield place, f"{name!r} is not a point{nearest(name, names)}"
        for name in vector.commands:
            yield from _writable(profile, (*place, "commands", name), name)
        for address, content in vector.registers.items():
            if not 0 <= content <= 0xFFFF:
                yield (*place, "registers", address), f"{content} does not fit a register"
        if not vector.expect and not vector.commands:
            yield place, "proves nothing: give expect or commands"
    for name, value in profile.simulator.items():
        if name not in names:
            yield ("simulator", name), f"is not a point{nearest(name, names)}"
        elif name in profile.points and profile.points[name].type != "string":
            yield from _words(profile, ("simulator", name), name, (value,))


def _within(profile: Profile, place: Place, name: str, value: float) -> Iterator[Problem]:
    point = profile.points.get(name)
    if point is None or point.write_range is None:
        return
    low, high = point.write_range
    if not low <= value <= high:
        yield place, f"{value:g} is outside write_range {low:g}..{high:g} of {name}"


def _readable(profile: Profile, place: Place, name: str) -> Iterator[Problem]:
    point = profile.points.get(name)
    if point is None or point.access == "w":
        readable = {n for n, spec in profile.points.items() if spec.access != "w"}
        yield place, f"{name!r} is not a readable point{nearest(name, readable)}"
    elif point.type == "string" and place[0] != "identity":
        yield place, f"{name!r} is a text where a number is needed"


def _writable(profile: Profile, place: Place, name: str) -> Iterator[Problem]:
    point = profile.points.get(name)
    if point is None or "w" not in point.access:
        writable = {n for n, spec in profile.points.items() if "w" in spec.access}
        yield place, f"{name!r} is not a writable point{nearest(name, writable)}"


def _words(
    profile: Profile, place: Place, name: str, items: tuple[float | str, ...]
) -> Iterator[Problem]:
    point = profile.points.get(name)
    if point is None:
        return
    words = {word.lower() for word in point.enum.values()}
    if point.override is not None:
        words.add(point.override.code.lower())
    for item in items:
        if isinstance(item, str) and item.lower() not in words:
            yield place, f"{item!r} is no word of {name}{nearest(item, words)}"
