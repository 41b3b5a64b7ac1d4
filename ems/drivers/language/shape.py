"""Where exactly the bytes of a point lie, and what its words mean."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ems.drivers.language.base import REGISTERS, Place
from ems.drivers.language.points import BitfieldSpec, CountFrom, PointSpec
from ems.drivers.language.profile import Profile
from ems.drivers.rules import Severity
from ems.model import Contactor, ConverterState

Counts = Mapping[str, int]
"""``reported_cells`` and ``reported_temps`` of a pack."""

_SEVERITIES: Final = {"none": 0} | {level.name.lower(): int(level) for level in Severity}
_CONTACTOR: Final = {code.name.lower(): int(code) for code in Contactor}
_STATE: Final = {code.name.lower(): int(code) for code in ConverterState}
_WHOLE: Final = 0xFFFF


def first(spec: PointSpec | BitfieldSpec) -> int:
    """Lowest register of the first element."""
    if isinstance(spec, PointSpec) and spec.words:
        return min(spec.words)
    return spec.at or 0


def registers(spec: PointSpec | BitfieldSpec) -> int:
    """Registers from the first to the last one that an element touches."""
    if isinstance(spec, PointSpec) and spec.type == "string":
        return spec.length
    return max(offsets(spec)) // 2 + 1


def offsets(spec: PointSpec | BitfieldSpec) -> tuple[int, ...]:
    """Byte of each significance, most significant first, from the element's first register."""
    size = REGISTERS[spec.type]
    order = list(range(size))
    if isinstance(spec, PointSpec) and spec.words:
        order = [address - min(spec.words) for address in spec.words]
    elif spec.word_order == "little":
        order.reverse()
    high_low = (0, 1) if spec.byte_order == "big" else (1, 0)
    return tuple(2 * register + byte for register in order for byte in high_low)


def element_starts(spec: PointSpec, counts: Counts) -> tuple[int, ...]:
    """First register of each element from that of the first; a scalar has one element.

    Raises:
        KeyError: the count is not known for this device.
    """
    if spec.count is None:
        return (0,)
    if isinstance(spec.count, CountFrom):
        count = spec.count.max
    else:
        count = spec.count if isinstance(spec.count, int) else counts[spec.count]
    stride = spec.stride or registers(spec)
    within = [k * stride for k in range(count)]
    if spec.groups is None:
        return tuple(within)
    return tuple(g * spec.groups.stride + k for g in range(spec.groups.count) for k in within)


@dataclass(frozen=True, slots=True)
class Claim:
    """The bits of the registers that one point or bit field takes for itself."""

    name: str
    place: Place
    table: str
    sunspec_model: int | None
    mask_of: Mapping[int, int]
    """Register to the bits claimed in it."""
    alias: bool


def claims(profile: Profile, counts: Counts) -> Iterator[Claim]:
    """What each point of a Modbus map claims; of an unknown count only the first element."""
    for name, spec in profile.points.items():
        known = {"reported_cells": 1, "reported_temps": 1} | dict(counts)
        mask_of: dict[int, int] = {}
        for start in element_starts(spec, known):
            for register, mask in _masks(spec):
                where = first(spec) + start + register
                mask_of[where] = mask_of.get(where, 0) | mask
        place: Place = ("points", name)
        yield Claim(name, place, spec.table, spec.sunspec_model, mask_of, spec.alias)
    for name, field in profile.bitfields.items():
        mask_of = {first(field) + k: _WHOLE for k in range(registers(field))}
        place = ("bitfields", name)
        yield Claim(name, place, field.table, field.sunspec_model, mask_of, field.alias)


def _masks(spec: PointSpec) -> Iterator[tuple[int, int]]:
    """(register from the element's first, bits) that one element occupies."""
    if spec.type == "string":
        yield from ((k, _WHOLE) for k in range(spec.length))
        return
    order = offsets(spec)
    low, high = spec.bits or (0, 8 * len(order) - 1)
    for bit in range(low, high + 1):
        byte = order[len(order) - 1 - bit // 8]
        yield byte // 2, 1 << (bit % 8 + (8 if byte % 2 == 0 else 0))


def words_of(profile: Profile, name: str) -> Mapping[str, int]:
    """Words that the ``enum`` of a point may use, with their codes in ``ems.model``.

    Empty for a point whose words are labels of its own.
    """
    if name not in profile.coded:
        return {}
    if name == "alarm_level":
        return _SEVERITIES
    return _STATE if name == "state" else _CONTACTOR


def codes_of(profile: Profile, name: str) -> dict[int, int]:
    """Raw code to value: a code of ``ems.model``, or the raw code itself where it is a label.

    Raises:
        KeyError: a word without a code; the lint has told before.
    """
    spec = profile.points[name]
    known = words_of(profile, name)
    return {raw: known[word.lower()] if known else raw for raw, word in spec.enum.items()}


def number_of(profile: Profile, name: str, value: float | str) -> float:
    """A value of a point given as a number or as a word of its ``enum``.

    Raises:
        KeyError: no such word.
    """
    if not isinstance(value, str):
        return float(value)
    known = words_of(profile, name)
    if known:
        return float(known[value.lower()])
    spec = profile.points[name]
    return float({word.lower(): raw for raw, word in spec.enum.items()}[value.lower()])
