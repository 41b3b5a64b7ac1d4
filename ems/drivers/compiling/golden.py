"""Golden vectors: a profile's own proof that it decodes and encodes as it should.

Each vector is decoded and compared, then encoded again and compared register by
register, so that reading and writing cannot drift apart; its commands are coded and
compared with the registers that must be sent.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from ems.drivers.coding.block import Block, Values
from ems.drivers.coding.codec import EXPONENT_MAX, NotWritable

# The module, not its function: it is on its way in when the language asks for us.
from ems.drivers.compiling import compile as compiler
from ems.drivers.device import CompiledDevice, ProfileMisfit
from ems.drivers.language.base import Place, Problem
from ems.drivers.language.profile import Golden, Profile
from ems.model import Quality
from ems.site import DeviceSpec

Found = float | str | None | list[float | None]
_ALARM: Final = "alarm_level"


def check(profile: Profile) -> list[str]:
    """Vectors that do not hold and values that none proves; empty for a proven profile."""
    named = [
        f"{profile.golden[int(place[1])].name}: {text}" if len(place) > 1 else text
        for place, text in failures(profile)
    ]
    return named + unproven(profile)


def failures(profile: Profile) -> list[Problem]:
    """Vectors that do not hold, as (place in the file, found and expected)."""
    problems: list[Problem] = []
    for number, written in enumerate(profile.golden):
        golden = _as_sent(profile, written)
        try:
            device = _device(profile, golden)
        except ProfileMisfit as misfit:
            return [((), str(misfit).partition(": ")[2])]
        place: Place = ("golden", number)
        problems += [
            (place, f"vector {golden.name!r}: {text}") for text in _problems(device, golden)
        ]
        problems += [
            ((*place, "commands"), f"vector {golden.name!r}: {text}")
            for text in _command_problems(device, golden)
        ]
    return problems


def unproven(profile: Profile) -> list[str]:
    """Values of ``ems.model`` that no vector proves, as sentences."""
    covered = {name for golden in profile.golden for name in golden.expect}
    bare = sorted(profile.provides - covered - {"heartbeat"})
    return [f"no golden vector for {name}" for name in bare]


def _as_sent(profile: Profile, golden: Golden) -> Golden:
    """The vector with addresses as they are sent, whatever the map counts from."""
    base = profile.link.base(golden.table, golden.sunspec_model)
    shifted = {address - base: content for address, content in golden.registers.items()}
    return golden.model_copy(update={"registers": shifted})


def _device(profile: Profile, golden: Golden) -> CompiledDevice:
    lengths = {
        str(profile.points[name].count): len(expected)
        for name, expected in golden.expect.items()
        if isinstance(expected, list) and name in profile.points
    }
    counts = {"reported_cells": 1, "reported_temps": 1} | lengths
    transport = "opcua" if profile.link.protocol == "opcua" else "modbus_tcp"
    if transport == "modbus_tcp" and "tcp" not in profile.link.transports:
        transport = f"modbus_{profile.link.transports[0]}"
    options = {"baud": "115200"}
    spec = DeviceSpec("golden", "golden", transport, "", 0, 1, "", options)  # type: ignore[arg-type]
    return compiler.compile_device(profile, spec, counts)


def _problems(device: CompiledDevice, golden: Golden) -> Iterator[str]:
    known: set[str] = set()
    levels: list[float | None] = []
    for block in device.all_blocks():
        if not (block.nodes or _concerns(block, golden)):
            continue
        mine = {*block.names, *(text.name for text, _ in block.texts)}
        mine |= {word.name for word in block.words}
        known |= mine
        wanted = {n: v for n, v in golden.expect.items() if n in mine and n != _ALARM}
        values = _decode(block, golden)
        if _ALARM in golden.expect:
            scalars = values.scalars
            levels += [scalars[n][0] for n in device.alarm_parts if n in scalars]
        if not wanted:
            continue
        wrong = dict(_differences(values, wanted))
        for name, text in wrong.items():
            why = "" if block.nodes else _why_bad(block, golden, values, name)
            yield f"{name} decodes to {text}{why}"
        if not block.nodes:
            right = {name: value for name, value in wanted.items() if name not in wrong}
            yield from _encoding(block, values, golden, right)
    if levels:
        known.add(_ALARM)
        worst = None if None in levels else max(level for level in levels if level is not None)
        if worst != golden.expect[_ALARM]:
            yield f"{_ALARM} decodes to {worst}, expected {golden.expect[_ALARM]}"
    for name in golden.expect.keys() - known:
        where = f"SunSpec model {golden.sunspec_model}" if golden.sunspec_model else golden.table
        yield f"{name} is not read from the {where} registers of this vector"


def _concerns(block: Block, golden: Golden) -> bool:
    return (block.table, block.sunspec_model) == (golden.table, golden.sunspec_model)


def _decode(block: Block, golden: Golden) -> Values:
    if not block.nodes:
        return block.decode(_image(block, golden))
    names = {at: codec.name for codec, at in block.scalars}
    names |= {array.positions[0]: array.name for array in block.arrays}
    names |= {at: text.name for text, at in block.texts}
    names |= {word.at: word.name for word in block.words}
    contents = [(golden.nodes.get(names[at]), Quality.GOOD) for at in range(block.count)]
    return block.decode_nodes(contents)


def _image(block: Block, golden: Golden) -> bytes:
    return b"".join(golden.registers.get(at, 0).to_bytes(2, "big") for at in block.addresses())


def _differences(values: Values, wanted: Mapping[str, Found]) -> Iterator[tuple[str, str]]:
    """(name, found and expected) of every value that is not as wanted."""
    scalars = values.scalars
    for name, expected in wanted.items():
        found: Found
        if name in values.arrays:
            array, quality = values.arrays[name]
            found = [
                float(v) if q == Quality.GOOD else None for v, q in zip(array, quality, strict=True)
            ]
            found = found[: len(expected)] if isinstance(expected, list) else found
        elif name in values.texts:
            found = values.texts[name]
        elif name in values.words:
            found = values.words[name]
        else:
            found = scalars.get(name, (None, Quality.MISSING))[0]
        if found != expected:
            yield name, f"{found}, expected {expected}"


def _why_bad(block: Block, golden: Golden, values: Values, name: str) -> str:
    """Why a number was not believed, in brackets; empty when it was, or is no single number."""
    placed = next((pair for pair in block.scalars if pair[0].name == name), None)
    if placed is None or values.scalars.get(name, (None,))[0] is not None:
        return ""
    codec, at = placed
    exponent = values.exponents.get(codec.scale_factor, 0)
    if abs(exponent) > EXPONENT_MAX:
        return f" (its scale factor {codec.scale_factor} is bad)"
    raw = codec.unpack(_image(block, golden), at)
    value = replace(codec, low=-math.inf, high=math.inf).value(raw, exponent)[0]
    if value is None:
        return f" (raw {raw} is no value: a sentinel or an unknown code)"
    if not codec.low <= value <= codec.high:
        return f" ({value:g} is outside range {codec.low:g} to {codec.high:g})"
    return " (its valid_if does not hold)"


def _encoding(
    block: Block, values: Values, golden: Golden, wanted: Mapping[str, Found]
) -> Iterator[str]:
    shown = {
        name: expected
        for name, expected in wanted.items()
        if expected is not None and not (isinstance(expected, list) and None in expected)
    }
    # What decides whether a value counts must be there again when it is decoded.
    others = {name: value for name, (value, _) in values.scalars.items() if value is not None}
    others |= values.words
    image = block.encode({**others, **shown}, values.exponents)
    for name, text in _differences(block.decode(image), shown):
        yield f"{name} is encoded and decoded again as {text}"
    given = _image(block, golden)
    for codec, at in block.scalars:
        # Several raw codes may mean the same; then only the meaning has to come back.
        if codec.name not in shown or codec.code_of_raw:
            continue
        again, before = codec.unpack(image, at), codec.unpack(given, at)
        if again != before:
            yield f"{codec.name} encodes to raw {again}, expected {before}"


def _command_problems(device: CompiledDevice, golden: Golden) -> Iterator[str]:
    for name, value in golden.commands.items():
        point = device.points[name]
        if device.link.protocol == "opcua":
            continue
        exponent = 0
        if point.codec.scale_factor:
            factor = device.points[point.codec.scale_factor]
            exponent = golden.registers.get(factor.at, 0)
            exponent -= (exponent & 0x8000) << 1
        try:
            data = point.codec.pack(point.codec.command(value, exponent))
        except NotWritable as error:
            yield str(error)
            continue
        sent = [int.from_bytes(data[k : k + 2], "big") for k in range(0, len(data), 2)]
        wanted = [golden.registers.get(point.at + k) for k in range(len(sent))]
        if sent != wanted:
            yield f"{name} = {value:g} is sent as {sent}, expected {wanted}"
