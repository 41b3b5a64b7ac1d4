"""A profile compiled for one device of the site: blocks to read, points to write.

Compiling happens once, at start; per poll only the codecs run.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.drivers.codec import ArrayCodec, Outcome, PointCodec, Raw, code, point_codec
from ems.drivers.profile import BlockSpec, PointSpec, Profile
from ems.model import FloatArray, Quality
from ems.site import DeviceSpec

ArrayOutcome = tuple[FloatArray, NDArray[np.uint8]]
TTL_MIN_S: Final = 3.0
"""No value goes stale sooner: one late poll on a busy controller is not a fault."""
_FLAGS: Final = {"uint16": struct.Struct(">H"), "uint32": struct.Struct(">I")}
_ALARM: Final = _FLAGS["uint16"]


class ProfileMisfit(ValueError):
    """A profile cannot be used for this device of this site; says why."""


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
class CompiledDevice:
    """Everything the owner of a connection needs to serve one device."""

    spec: DeviceSpec
    profile: Profile
    blocks: tuple[Block, ...]
    points: Mapping[str, Located]

    def block_of(self, point: str) -> Block | None:
        """The block that delivers a point."""
        return next((block for block in self.blocks if point in block.names), None)


def compile_device(
    profile: Profile, spec: DeviceSpec, counts: Mapping[str, int] | None = None
) -> CompiledDevice:
    """The profile made ready for one device.

    Args:
        profile: Loaded profile.
        spec: The device in the site file; its options fill node ids.
        counts: ``reported_cells`` and ``reported_temps`` of the pack, if it is one.

    Raises:
        ProfileMisfit: a point lies in no block or in two, or a count is unknown.
    """
    wanted = "opcua" if spec.transport == "opcua" else "modbus"
    if profile.link.protocol != wanted:
        raise ProfileMisfit(
            f"device {spec.id}: profile {spec.profile} speaks {profile.link.protocol}, "
            f"the site file says {spec.transport}"
        )
    compiler = _Compiler(profile, spec, counts or {})
    blocks = compiler.node_blocks() if wanted == "opcua" else compiler.register_blocks()
    return CompiledDevice(spec, profile, blocks, compiler.located())


class _Compiler:
    def __init__(self, profile: Profile, spec: DeviceSpec, counts: Mapping[str, int]) -> None:
        self.profile, self.spec, self.counts = profile, spec, counts
        sunspec = bool(profile.link.sunspec_models)
        self.codecs = {
            name: point_codec(name, point, profile.kind, sunspec)
            for name, point in profile.points.items()
        }

    def located(self) -> dict[str, Located]:
        base = self.profile.link.address_base
        return {
            name: Located(
                codec=self.codecs[name],
                table=point.table,
                sunspec_model=point.sunspec_model,
                at=(point.at or 0) - (0 if point.sunspec_model else base),
                step=0 if point.count is None else point.stride,
                node=self._node(point),
                type=point.type,
            )
            for name, point in self.profile.points.items()
        }

    def register_blocks(self) -> tuple[Block, ...]:
        blocks = tuple(self._block(key, spec) for key, spec in self.profile.blocks.items())
        for name, point in self.profile.points.items():
            homes = [block.key for block in blocks if name in block.names]
            if point.access != "w" and len(homes) != 1:
                raise self._misfit(f"point {name} lies in {homes or 'no block'}")
            factor = self.profile.points.get(point.scale_factor)
            if (
                factor is not None
                and homes
                and not any(name in b.names and point.scale_factor in b.names for b in blocks)
            ):
                raise self._misfit(f"{name} and its scale factor are not read together")
        return blocks

    def node_blocks(self) -> tuple[Block, ...]:
        blocks = []
        for poll, period_ms in self.profile.link.poll_ms.items():
            mine = [
                (name, point)
                for name, point in self.profile.points.items()
                if point.poll == poll and point.access != "w"
            ]
            if not mine:
                continue
            blocks.append(
                Block(
                    key=poll, table="", sunspec_model=None, start=0, count=len(mine),
                    period_s=period_ms / 1000, ttl_s=self._ttl_s(poll),
                    scalars=tuple(
                        (self.codecs[name], at)
                        for at, (name, point) in enumerate(mine) if point.count is None
                    ),
                    arrays=tuple(
                        (self._array(name, point), at)
                        for at, (name, point) in enumerate(mine) if point.count is not None
                    ),
                    nodes=tuple(self._node(point) for _, point in mine),
                )
            )  # fmt: skip
        return tuple(blocks)

    def _block(self, key: str, spec: BlockSpec) -> Block:
        count = self._count(spec.count)
        base = 0 if spec.sunspec_model else self.profile.link.address_base
        inside = [
            (name, point, 2 * ((point.at or 0) - spec.start))
            for name, point in self.profile.points.items()
            if point.access != "w" and self._contains(spec, count, name, point)
        ]
        return Block(
            key=key,
            table=spec.table,
            sunspec_model=spec.sunspec_model,
            start=spec.start - base,
            count=count,
            period_s=self.profile.link.poll_ms[spec.poll] / 1000,
            ttl_s=self._ttl_s(spec.poll),
            scalars=tuple((self.codecs[n], at) for n, p, at in inside if p.count is None),
            arrays=tuple((self._array(n, p), at) for n, p, at in inside if p.count is not None),
            alarms=tuple(
                (2 * (word.at - spec.start), word.mask, word.level)
                for word in self.profile.alarms
                if word.table == spec.table and 0 <= word.at - spec.start < count
            ),
            flags=tuple(
                Flag(
                    point=name,
                    layout=_FLAGS[point.override.type],
                    at=2 * (point.override.at - spec.start),
                    mask=point.override.mask,
                    when=float(code(point.override.when, self.profile.kind)),
                    code=float(code(point.override.code, self.profile.kind)),
                )
                for name, point, _ in inside
                if point.override is not None
            ),
        )

    def _contains(self, spec: BlockSpec, count: int, name: str, point: PointSpec) -> bool:
        if (point.table, point.sunspec_model) != (spec.table, spec.sunspec_model):
            return False
        size = self.codecs[name].registers
        if point.count is not None:
            size = self._array(name, point).registers
        start = (point.at or 0) - spec.start
        return start >= 0 and start + size <= count

    def _array(self, name: str, point: PointSpec) -> ArrayCodec:
        if point.scale_factor or point.enum:
            raise self._misfit(f"array {name} can have neither scale factor nor codes")
        count = 1 if point.count is None else self._count(point.count)
        return ArrayCodec(self.codecs[name], count, point.stride)

    def _count(self, count: int | str) -> int:
        if isinstance(count, int):
            return count
        if count not in self.counts:
            raise self._misfit(f"{count} is known for packs only")
        return self.counts[count]

    def _ttl_s(self, poll: str) -> float:
        period_s = self.profile.link.poll_ms[poll] / 1000
        return max(TTL_MIN_S, self.profile.link.ttl_polls * period_s)

    def _node(self, point: PointSpec) -> str:
        try:
            return point.node.format_map({"prefix": self.spec.id, **self.spec.options})
        except KeyError as error:
            raise self._misfit(f"node id {point.node!r} needs the option {error}") from None

    def _misfit(self, problem: str) -> ProfileMisfit:
        return ProfileMisfit(f"device {self.spec.id}, profile {self.spec.profile}: {problem}")
