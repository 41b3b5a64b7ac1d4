"""Mistakes in single points and bit fields."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from ems.drivers.language.base import REGISTERS, UNIT_OF_TOKEN, Place, Problem
from ems.drivers.language.points import CountFrom, PointSpec
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import registers, words_of
from ems.drivers.rules import Kind
from ems.yamlfile import nearest

DIRECTIONS: Final = {
    Kind.PACK: {"current_a": ("discharge", "charge")},
    Kind.CONVERTER: {
        "power_w": ("discharge", "charge"),
        "setpoint_w": ("discharge", "charge"),
        "dc_current_a": ("discharge", "charge"),
    },
    Kind.METER: {"power_w": ("import", "export"), "pv_power_w": ("generation", "consumption")},
}
"""Points whose sign must be stated, with our positive direction first."""
_WHOLE_TYPES: Final = ("int16", "uint16", "int32", "uint32", "int64", "uint64")
_UNSIGNED: Final = ("uint16", "uint32", "uint64")
_STEPS_MIN: Final = 20
"""Fewer raw steps than this inside a plausible range are taken for a wrong scale."""
_FACTOR_OF: Final = {
    "mV": ("V", "0.001"), "kV": ("V", "1000"), "mA": ("A", "0.001"), "kW": ("W", "1000"),
    "MW": ("W", "1000000"), "kWh": ("Wh", "1000"), "MWh": ("Wh", "1000000"), "%": ("1", "0.01"),
    "ms": ("s", "0.001"), "min": ("s", "60"), "mHz": ("Hz", "0.001"), "kOhm": ("ohm", "1000"),
    "mOhm": ("ohm", "0.001"), "kvar": ("var", "1000"), "kVA": ("VA", "1000"),
    "°C": ("degC", "1"), "C": ("degC", "1"),
}  # fmt: skip


def points(profile: Profile) -> Iterator[Problem]:
    """Everything wrong with a point by itself."""
    for name, point in profile.points.items():
        place: Place = ("points", name)
        for key, message in (
            *_where(profile, point),
            *_coding(profile, name, point),
            *_meaning(profile, name, point),
            *_array(profile, name, point),
            *(_writing(profile, name, point) if "w" in point.access else ()),
        ):
            yield ((*place, key) if key else place), message


def bitfields(profile: Profile) -> Iterator[Problem]:
    """Everything wrong with a bit field by itself."""
    opcua = profile.link.protocol == "opcua"
    for name, field in profile.bitfields.items():
        place: Place = ("bitfields", name)
        if (field.at is None) is not opcua or bool(field.node) is not opcua:
            yield place, f"{'node' if opcua else 'at'} is needed, and only that"
        width = 16 * REGISTERS[field.type]
        for number in field.bits:
            if number >= width:
                yield (*place, "bits", number), f"{field.type} has bits 0 to {width - 1} only"
        if name in profile.points:
            yield place, "is the name of a point too"


def _where(profile: Profile, point: PointSpec) -> Iterator[tuple[str, str]]:
    opcua = profile.link.protocol == "opcua"
    if opcua and (point.at is not None or point.words or not point.node):
        yield "", "node is needed, and only that"
    if not opcua and ((point.at is None) is not bool(point.words) or point.node):
        yield "", "at is needed (or words), and only that"
    if point.words and (
        len(point.words) != REGISTERS.get(point.type, 0)
        or len(set(point.words)) != len(point.words)
        or min(point.words) < 0
    ):
        wanted = REGISTERS.get(point.type, 0)
        yield "words", f"a {point.type} has {wanted} different words"
    if point.words and point.word_order == "little":
        yield "word_order", "words are listed most significant first already"
    base = profile.link.base(point.table, point.sunspec_model)
    lowest = min(point.words) if point.words else point.at
    if lowest is not None and lowest < base:
        yield (
            "at",
            (
                f"lies below link.address_base, {base}; where the manual counts the tables "
                "differently, say so: address_base: {holding: 40001, input: 0}"
            ),
        )


def _coding(profile: Profile, name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    if point.type == "string":
        if not point.length and profile.link.protocol != "opcua":
            yield "length", "is missing: registers of the string"
        extra = {"scale", "offset", "enum", "range", "bits", "sentinels", "count", "scale_factor"}
        for key in sorted(extra & point.model_fields_set):
            yield key, "has no meaning for a string"
        return
    if point.length:
        yield "length", "is for strings only"
    if point.scale == 0:
        yield "scale", "must not be 0"
    if point.range is not None and not point.range[0] <= point.range[1]:
        yield "range", "ends before it begins"
    if point.enum and point.type not in _WHOLE_TYPES:
        yield "enum", f"needs a whole-number type, found {point.type}"
    yield from _raw(profile, point)


def _raw(profile: Profile, point: PointSpec) -> Iterator[tuple[str, str]]:
    factor = profile.points.get(point.scale_factor)
    if point.scale_factor and factor is None:
        yield (
            "scale_factor",
            (f"{point.scale_factor!r} is not a point{nearest(point.scale_factor, profile.points)}"),
        )
    elif factor is not None and (factor.type not in ("int16", "int32") or factor.count):
        yield "scale_factor", f"{point.scale_factor} is not a signed whole number"
    if point.bits is not None:
        low, high = point.bits
        width = 16 * REGISTERS[point.type]
        if point.type not in _UNSIGNED or not 0 <= low <= high < width:
            yield "bits", f"must lie within 0..{width - 1} of a uint16, uint32 or uint64"
    for item in point.sentinels:
        if isinstance(item, int) and not -(1 << 63) <= item < 1 << (16 * REGISTERS[point.type]):
            yield "sentinels", f"{item} does not fit {point.type}"


def _meaning(profile: Profile, name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    yield from _unit(name, point)
    yield from _scale_against_range(name, point)
    yield from _direction(profile, name, point)
    yield from _codes(profile, name, point)
    if point.valid_if is None:
        return
    other = profile.points.get(point.valid_if.point)
    if other is None:
        hint = nearest(point.valid_if.point, profile.points)
        yield "valid_if", f"{point.valid_if.point!r} is not a point{hint}"
        return
    if other.type == "string" or other.count is not None:
        yield "valid_if", f"{point.valid_if.point!r} is not a single number"
        return
    words = {word.lower() for word in other.enum.values()}
    for item in point.valid_if.one_of:
        if isinstance(item, str) and item.lower() not in words:
            yield "valid_if", f"{item!r} is no word of {point.valid_if.point}"


def _direction(profile: Profile, name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    """A power or current without a declared direction is the dearest mistake of all."""
    wanted = DIRECTIONS[profile.kind].get(name)
    if wanted is not None and point.positive is None:
        yield "", f"positive is missing: {wanted[0]} or {wanted[1]}?"
    elif wanted is not None and point.positive not in wanted:
        yield "positive", f"must be {wanted[0]} or {wanted[1]}"
    if point.positive is not None and "sign" in point.model_fields_set:
        yield "sign", "is said by positive already"


def _codes(profile: Profile, name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    known = words_of(profile, name)
    if known:
        for raw, word in point.enum.items():
            if word.lower() not in known:
                yield "enum", f"{raw}: unknown code {word!r}{nearest(word, known)}"
        if point.unknown == "uncertain":
            yield "unknown", "a code that decides about power cannot be taken on trust"
    if point.unknown == "uncertain" and not point.enum:
        yield "unknown", "needs an enum"
    if point.override is not None:
        words = {word.lower() for word in point.enum.values()} | set(known)
        for word in (point.override.when, point.override.code):
            if word.lower() not in words:
                yield "override", f"unknown code {word!r}{nearest(word, words)}"


def _unit(name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    wanted = UNIT_OF_TOKEN.get(name.rsplit("_", 1)[-1])
    if wanted is None or point.unit == wanted:
        return
    hint = ""
    if point.unit in _FACTOR_OF and _FACTOR_OF[point.unit][0] == wanted:
        factor = _FACTOR_OF[point.unit][1]
        hint = f"; write unit: {_quoted(wanted)} and multiply scale by {factor}"
    yield "unit", f"unit is {wanted!r} after scaling, found {point.unit!r}{hint}"


def _scale_against_range(name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    """A range that only a handful of raw contents reach is the sign of a forgotten scale."""
    if point.range is None or point.enum or point.scale_factor or point.bits:
        return
    if point.type not in _WHOLE_TYPES or name.rsplit("_", 1)[-1] not in UNIT_OF_TOKEN:
        return
    low, high = (Decimal(repr(bound)) for bound in point.range)
    steps = abs((high - low) / point.scale) if point.scale else Decimal(0)
    if steps < _STEPS_MIN:
        yield (
            "scale",
            (
                f"{point.scale} leaves only {int(steps) + 1} contents within range "
                f"{point.range[0]:g}..{point.range[1]:g}; is the scale right?"
            ),
        )
    size = 16 * REGISTERS[point.type]
    lowest = -(1 << (size - 1)) if point.type.startswith("int") else 0
    highest = (1 << (size - 1 if point.type.startswith("int") else size)) - 1
    turned = point.sign * (-1 if point.positive in ("charge", "export", "consumption") else 1)
    ends = sorted(turned * (raw * point.scale + point.offset) for raw in (lowest, highest))
    if ends[1] < low or ends[0] > high:
        yield "range", f"no content of a {point.type} lies within it; is the scale right?"


def _array(profile: Profile, name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    if point.count is None:
        for key in ("stride", "groups"):
            if key in point.model_fields_set:
                yield key, "needs a count"
        return
    if point.stride is not None and point.stride < registers(point):
        yield "stride", f"is shorter than one {point.type}, {registers(point)} registers"
    if point.words:
        yield "words", "an array cannot be split"
    if point.groups is not None and isinstance(point.count, int):
        reach = (point.count - 1) * (point.stride or registers(point)) + registers(point)
        if point.groups.stride < reach:
            yield "groups", f"stride is shorter than one group, {reach} registers"
    if isinstance(point.count, CountFrom):
        other = profile.points.get(point.count.point)
        if other is None or other.count is not None:
            hint = nearest(point.count.point, profile.points)
            yield "count", f"{point.count.point!r} is not a point with a number{hint}"


def _writing(profile: Profile, name: str, point: PointSpec) -> Iterator[tuple[str, str]]:
    if point.type == "string" or point.bits is not None:
        yield "access", "a string or a part of a word cannot be written"
        return
    if point.table == "input" and profile.link.protocol != "opcua":
        yield "table", "input registers cannot be written"
    size = REGISTERS[point.type]
    if profile.link.protocol != "opcua":
        limit = 1 if profile.link.write_function == 6 else profile.link.max_write_registers
        if size > limit:
            yield "type", f"{size} registers; it does not fit one write"
        if registers(point) != size:
            yield "words", "a value in two places cannot be written in one request"
    if not point.enum and point.type != "bool" and point.write_range is None:
        yield "", "write_range is missing: the values that may be commanded"
    if point.write_range is not None and not point.write_range[0] <= point.write_range[1]:
        yield "write_range", "ends before it begins"
    if point.type.startswith("float"):
        return
    if point.scale and point.offset % point.scale:
        yield "offset", f"must be a multiple of scale, so that 0 can be commanded to {name}"
    if point.quantum and point.scale and not point.scale_factor and point.quantum % point.scale:
        yield "quantum", f"{point.quantum} is no multiple of scale {point.scale}"


def _quoted(unit: str) -> str:
    return f'"{unit}"' if unit == "1" else unit
