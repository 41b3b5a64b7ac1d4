"""Compiled devices made by hand: rules under test without a profile in between."""

from typing import Any

from ems.drivers.coding.arrays import ArrayCodec
from ems.drivers.coding.block import Block
from ems.drivers.coding.codec import PointCodec
from ems.drivers.device import CompiledDevice, Located
from ems.drivers.rules import Kind, LinkRules, Maturity
from ems.site import DeviceSpec
from tests.drivers.bench import device


def number(name: str, **rules: Any) -> PointCodec:
    """A register that holds the value as it is."""
    return PointCodec(name, "int16", (0, 1), **rules)


def block(
    key: str, *names: str, start: int = 0, period_s: float = 0.1, ttl_s: float = 3.0, **more: Any
) -> Block:
    """Registers in a row, one for each name; ``rules`` adds to their codecs by name."""
    rules = more.pop("rules", {})
    scalars = tuple((number(name, **rules.get(name, {})), 2 * k) for k, name in enumerate(names))
    return Block(
        key, "holding", None, ((start, len(names)),), period_s, ttl_s, scalars=scalars, **more
    )


def array_block(key: str, name: str, count: int, start: int = 0, **rules: Any) -> Block:
    """Registers in a row that are one array."""
    array = ArrayCodec(number(name, **rules), tuple(range(0, 2 * count, 2)))
    return Block(key, "holding", None, ((start, count),), 1.0, 3.0, arrays=(array,))


def made(*blocks: Block, spec: DeviceSpec | None = None, **rules: Any) -> CompiledDevice:
    """A device with these blocks, every point of which can be written."""
    points = {
        codec.name: Located(codec, "holding", None, b.start + at // 2, 0, "", codec.type, "rw")
        for b in blocks
        for codec, at in b.scalars
    }
    link = rules.pop("link", LinkRules("modbus"))
    return CompiledDevice(
        spec or device("dev", "handmade"), Kind.CONVERTER, "nobody", "handmade", "", Maturity.BENCH,
        link, blocks, points, **rules,
    )  # fmt: skip
