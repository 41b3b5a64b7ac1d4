"""Golden vectors: a profile's own proof that it decodes and encodes as it should."""

from collections.abc import Iterator, Mapping

from ems.drivers.compiler import compile_device
from ems.drivers.device import Block, CompiledDevice, Values
from ems.drivers.profile import Golden, Profile
from ems.model import Quality
from ems.site import DeviceSpec

Found = float | None | list[float | None]


def check(profile: Profile) -> list[str]:
    """What is wrong with the golden vectors of a profile; empty when they all hold.

    Each vector is decoded and compared, then encoded again and compared register by
    register, so that reading and writing cannot drift apart.
    """
    problems: list[str] = []
    covered: set[str] = set()
    for golden in profile.golden:
        device = _device(profile, golden)
        covered.update(golden.expect)
        problems.extend(f"{golden.name}: {text}" for text in _problems(device, golden))
    bare = sorted(profile.provides - covered - {"heartbeat"})
    return problems + [f"no golden vector for {name}" for name in bare]


def _device(profile: Profile, golden: Golden) -> CompiledDevice:
    lengths = {
        str(profile.points[name].count): len(expected)
        for name, expected in golden.expect.items()
        if isinstance(expected, list)
    }
    counts = {"reported_cells": 1, "reported_temps": 1} | lengths
    transport = "opcua" if profile.link.protocol == "opcua" else "modbus_tcp"
    spec = DeviceSpec("golden", "golden", transport, "", 0, 1, "")  # type: ignore[arg-type]
    return compile_device(profile, spec, counts)


def _problems(device: CompiledDevice, golden: Golden) -> Iterator[str]:
    for block in device.blocks:
        wanted = {n: v for n, v in golden.expect.items() if n in block.names}
        if not wanted or not (block.nodes or _concerns(block, golden)):
            continue
        values = _decode(block, golden)
        yield from _differences(values, wanted, "decodes to")
        if not block.nodes:
            yield from _encoding(block, values, golden, wanted)
    known = {
        name
        for block in device.blocks
        for name in block.names
        if block.nodes or _concerns(block, golden)
    }
    for name in golden.expect.keys() - known:
        yield f"{name} lies in no block of this table"


def _concerns(block: Block, golden: Golden) -> bool:
    return (block.table, block.sunspec_model) == (golden.table, golden.sunspec_model)


def _decode(block: Block, golden: Golden) -> Values:
    if not block.nodes:
        return block.decode(_image(block, golden))
    names = {at: codec.name for codec, at in block.scalars}
    names |= {at: array.element.name for array, at in block.arrays}
    return block.decode_nodes(
        [(golden.nodes.get(names[at]), Quality.GOOD) for at in range(block.count)]
    )


def _image(block: Block, golden: Golden) -> bytes:
    return b"".join(
        golden.registers.get(block.start + k, 0).to_bytes(2, "big") for k in range(block.count)
    )


def _differences(values: Values, wanted: Mapping[str, Found], verb: str) -> Iterator[str]:
    for name, expected in wanted.items():
        found: Found
        if name in values.arrays:
            array, quality = values.arrays[name]
            found = [
                float(v) if q == Quality.GOOD else None for v, q in zip(array, quality, strict=True)
            ]
            found = found[: len(expected)] if isinstance(expected, list) else found
        else:
            found = values.scalars.get(name, (None, Quality.MISSING))[0]
        if found != expected:
            yield f"{name} {verb} {found}, expected {expected}"


def _encoding(
    block: Block, values: Values, golden: Golden, wanted: Mapping[str, Found]
) -> Iterator[str]:
    shown = {
        name: expected
        for name, expected in wanted.items()
        if expected is not None and not (isinstance(expected, list) and None in expected)
    }
    image = block.encode(shown, values.exponents)
    yield from _differences(block.decode(image), shown, "is encoded and decoded again as")
    given = _image(block, golden)
    for codec, at in block.scalars:
        part = slice(at, at + codec.layout.size)
        # Several raw codes may mean the same; then only the meaning has to come back.
        if codec.name in shown and not codec.code_of_raw and image[part] != given[part]:
            yield f"{codec.name} encodes to {image[part].hex()}, expected {given[part].hex()}"
