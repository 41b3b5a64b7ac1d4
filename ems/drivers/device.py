"""A device of the site as its profile was compiled: blocks to read, points to write.

Compiling (``ems.drivers.compiler``) happens once, before the control process; per poll
only the codecs run.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ems.drivers.codec import ArrayCodec, Outcome, PointCodec, Raw
from ems.model import FloatArray, Quality
from ems.site import DeviceSpec

if TYPE_CHECKING:
    from ems.drivers.profile import Profile

ArrayOutcome = tuple[FloatArray, NDArray[np.uint8]]
_ALARM: Final = struct.Struct(">H")


class Kind(StrEnum):
    """Which reading of ``ems.model`` the device feeds."""

    PACK = "pack"
    CONVERTER = "converter"
    METER = "meter"


@dataclass(slots=True)
class Values:
    """What one block said."""

    scalars: dict[str, Outcome] = field(default_factory=dict)
    arrays: dict[str, ArrayOutcome] = field(default_factory=dict)
    exponents: dict[str, int] = field(default_factory=dict)
    """SunSpec scale factors seen, needed to code commands."""


@dataclass(frozen=True, slots=True)
class Flag:
    """An :class:`~ems.drivers.profile.Override`, compiled."""

    point: str
    layout: struct.Struct
    at: int
    mask: int
    when: float
    code: float


@dataclass(frozen=True, slots=True)
class Block:
    """Registers (or nodes) read together, and how to decode them.

    Offsets are bytes from the start of the block; for OPC UA they are indices
    into ``nodes``.
    """

    key: str
    table: str
    sunspec_model: int | None
    start: int
    count: int
    period_s: float
    ttl_s: float
    scalars: tuple[tuple[PointCodec, int], ...]
    arrays: tuple[tuple[ArrayCodec, int], ...]
    alarms: tuple[tuple[int, int, int], ...] = ()
    """(offset, mask, level) of each alarm word."""
    flags: tuple[Flag, ...] = ()
    nodes: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Every point this block delivers."""
        alarm = ("alarm_level",) if self.alarms else ()
        return (
            *(codec.name for codec, _ in self.scalars),
            *(array.element.name for array, _ in self.arrays),
            *alarm,
        )

    def decode(self, payload: bytes) -> Values:
        """Values of the registers in ``payload``.

        A payload shorter than the block (a SunSpec model cut short by its vendor)
        simply has no values for the points beyond its end.
        """
        size = len(payload)
        raws = {
            codec.name: (codec, codec.unpack(payload, at))
            for codec, at in self.scalars
            if at + codec.layout.size <= size
        }
        found = self._scaled(raws)
        for flag in self.flags:
            if found.scalars.get(flag.point, (None,))[0] == flag.when and (
                flag.layout.unpack_from(payload, flag.at)[0] & flag.mask
            ):
                found.scalars[flag.point] = (flag.code, Quality.GOOD)
        for array, at in self.arrays:
            if at + 2 * array.registers <= size:
                found.arrays[array.element.name] = array.values(array.unpack(payload, at))
        if self.alarms:
            level = max(
                level if _ALARM.unpack_from(payload, at)[0] & mask else 0
                for at, mask, level in self.alarms
            )
            found.scalars["alarm_level"] = (float(level), Quality.GOOD)
        return found

    def decode_nodes(self, values: Sequence[tuple[object, Quality]]) -> Values:
        """Values of OPC UA nodes, given each node's content and quality in order."""
        found = Values()
        for codec, at in self.scalars:
            content, quality = values[at]
            if quality > Quality.UNCERTAIN or not isinstance(content, int | float):
                found.scalars[codec.name] = (None, max(quality, Quality.BAD))
            else:
                value, own = codec.value(content)
                found.scalars[codec.name] = (value, max(quality, own))
        for array, at in self.arrays:
            content, quality = values[at]
            if (
                isinstance(content, list)
                and len(content) == array.count
                and all(isinstance(item, int | float) for item in content)
            ):
                decoded, own_array = array.values(np.asarray(content, dtype=np.float64))
                worst = np.maximum(own_array, np.uint8(quality))
            else:
                decoded = np.zeros(array.count)
                worst = np.full(array.count, max(quality, Quality.BAD), np.uint8)
            found.arrays[array.element.name] = (decoded, worst)
        return found

    def encode(
        self,
        values: Mapping[str, float | Sequence[float | None] | None],
        exponents: Mapping[str, int],
    ) -> bytes:
        """Register image that a device with this map would show for ``values``.

        What has no value, or none that the map can express, is shown as the
        device would show it: by its sentinel or an unknown code.
        """
        image = bytearray(2 * self.count)
        for codec, at in self.scalars:
            value = values.get(codec.name)
            for flag in self.flags:
                if flag.point == codec.name and value == flag.code:
                    value = flag.when
                    flag.layout.pack_into(image, flag.at, flag.mask)
            if codec.name in exponents:
                data = codec.pack(exponents[codec.name])
            else:
                scalar = value if isinstance(value, int | float) else None
                data = codec.shown(scalar, exponents.get(codec.scale_factor, 0))
            image[at : at + len(data)] = data
        for array, at in self.arrays:
            elements = values.get(array.element.name)
            if isinstance(elements, Sequence | np.ndarray):
                array.pack_into(image, at, elements)
        wanted = values.get("alarm_level")
        if self.alarms and isinstance(wanted, int | float) and wanted > 0:
            levels = {level for _, _, level in self.alarms}
            shown = min((n for n in levels if n >= wanted), default=max(levels))
            at, mask, _ = next(word for word in self.alarms if word[2] == shown)
            _ALARM.pack_into(image, at, mask & -mask)
        return bytes(image)

    def _scaled(self, raws: Mapping[str, tuple[PointCodec, Raw]]) -> Values:
        found = Values()
        for name, (codec, raw) in raws.items():
            exponent = 0
            if codec.scale_factor:
                if codec.scale_factor not in raws:
                    continue
                exponent = int(raws[codec.scale_factor][1])
                found.exponents[codec.scale_factor] = exponent
            found.scalars[name] = codec.value(raw, exponent)
        return found


@dataclass(frozen=True, slots=True)
class Located:
    """A point and where it is written."""

    codec: PointCodec
    table: str
    sunspec_model: int | None
    at: int
    step: int
    """Registers from one element of an array to the next; 0 for a scalar."""
    node: str
    type: str


@dataclass(frozen=True, slots=True)
class Step:
    """One write: a number, or the name of a value that the command brings along."""

    point: str
    value: float | str


@dataclass(frozen=True, slots=True)
class Write:
    """How a command is carried out, step by step."""

    steps: tuple[Step, ...]
    readback: str
    """Point that confirms it; empty when none does."""
    tolerance: float
    """How far the read-back may differ, in the unit of the point."""
    repeat_s: float
    """An unchanged value is not rewritten more often; 0 is a lease."""


@dataclass(frozen=True, slots=True)
class Conduct:
    """How to behave towards the device: what of its profile is needed while it runs."""

    timeout_s: float
    max_read_registers: int
    max_write_registers: int
    write_function: Literal[6, 16]
    sunspec_models: tuple[int, ...]
    namespace_uri: str
    heartbeat_write: str
    """Point that gets our own counter; empty for none."""
    on_connect: tuple[Step, ...]
    """Registers to hold at a value; written only when they differ."""
    safe_state: tuple[Step, ...]
    writes: Mapping[str, Write]
    """``power``, ``rectifier``, ``contactor``, ``load``: whichever the device takes."""


@dataclass(frozen=True, slots=True)
class ServedDevice:
    """Everything the owner of a connection needs to serve one device; plain data."""

    spec: DeviceSpec
    kind: Kind
    conduct: Conduct
    blocks: tuple[Block, ...]
    points: Mapping[str, Located]

    def block_of(self, point: str) -> Block | None:
        """The block that delivers a point."""
        return next((block for block in self.blocks if point in block.names), None)


@dataclass(frozen=True, slots=True)
class CompiledDevice(ServedDevice):
    """The same with the profile it came from, for whoever judges or imitates the device."""

    profile: "Profile"

    def served(self) -> ServedDevice:
        """Without the profile, whose library the control process does not load."""
        return ServedDevice(self.spec, self.kind, self.conduct, self.blocks, self.points)
