"""Profiles made ready for the devices of a site: codecs, blocks, points, conduct.

Happens once, before the control process runs, which gets the result as plain data.
"""

import math
import struct
from collections.abc import Mapping
from typing import Final

from ems.drivers.codec import ArrayCodec, PointCodec
from ems.drivers.device import (
    Block,
    CompiledDevice,
    Conduct,
    Flag,
    Kind,
    Located,
    Step,
    Write,
)
from ems.drivers.profile import BlockSpec, PointSpec, Profile, WriteSpec
from ems.drivers.profile import Step as StepSpec
from ems.model import Contactor, ConverterState
from ems.site import DeviceSpec

TTL_MIN_S: Final = 3.0
"""No value goes stale sooner: one late poll on a busy controller is not a fault."""
_FLAGS: Final = {"uint16": struct.Struct(">H"), "uint32": struct.Struct(">I")}
_STRUCT: Final = {
    "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
    "float32": "f", "float64": "d", "bool": "H",
}  # fmt: skip
_SUNSPEC_SENTINEL: Final = {
    "int16": 0x8000, "uint16": 0xFFFF, "int32": 0x8000_0000, "uint32": 0xFFFF_FFFF,
    "int64": 1 << 63, "uint64": (1 << 64) - 1,
}  # fmt: skip


class ProfileMisfit(ValueError):
    """A profile cannot be used for this device of this site; says why."""


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
    return CompiledDevice(spec, profile.kind, conduct(profile), blocks, compiler.located(), profile)


def conduct(profile: Profile) -> Conduct:
    """What of a profile the running driver needs."""
    link = profile.link
    return Conduct(
        timeout_s=link.timeout_ms / 1000,
        max_read_registers=link.max_read_registers,
        max_write_registers=link.max_write_registers,
        write_function=link.write_function,
        sunspec_models=link.sunspec_models,
        namespace_uri=link.namespace_uri,
        heartbeat_write=profile.heartbeat_write,
        on_connect=_steps(profile.on_connect),
        safe_state=_steps(profile.safe_state),
        writes={name: _write(spec) for name, spec in profile.writes.items()},
    )


def _write(spec: WriteSpec) -> Write:
    readback = spec.readback
    return Write(
        steps=_steps(spec.steps),
        readback="" if readback is None else readback.point,
        tolerance=0.0 if readback is None else readback.tolerance,
        repeat_s=spec.repeat_s,
    )


def _steps(specs: tuple[StepSpec, ...]) -> tuple[Step, ...]:
    return tuple(Step(spec.point, spec.value) for spec in specs)


def point_codec(name: str, spec: PointSpec, kind: Kind, sunspec: bool) -> PointCodec:
    """The codec of a point of a profile."""
    codes = _codes(spec, kind)
    sentinels = set(spec.sentinels)
    if sunspec and not sentinels and spec.type in _SUNSPEC_SENTINEL:
        sentinels.add(_SUNSPEC_SENTINEL[spec.type])
    scale = spec.scale.as_integer_ratio()
    low, high = spec.range or (-math.inf, math.inf)
    write_low, write_high = spec.write_range or (low, high)
    layout = struct.Struct(">" + _STRUCT[spec.type])
    signed = spec.type.startswith("int")
    return PointCodec(
        name=name,
        layout=layout,
        is_float=spec.type.startswith("float"),
        swap_words=spec.word_order == "little",
        numerator=scale[0],
        denominator=scale[1],
        offset=float(spec.offset),
        sign=spec.sign,
        sentinels=frozenset(_as_typed(s, 8 * layout.size, signed) for s in sentinels),
        low=low,
        high=high,
        code_of_raw=codes,
        raw_of_code={code: raw for raw, code in reversed(codes.items())},
        scale_factor=spec.scale_factor,
        quantum=spec.quantum,
        write_low=write_low,
        write_high=write_high,
    )


def code(name: str, kind: Kind) -> int:
    """Number of a code named in a profile.

    Raises:
        ValueError: unknown name; lists the known ones.
    """
    codes: type[Contactor] | type[ConverterState]
    codes = Contactor if kind is Kind.PACK else ConverterState
    try:
        return int(codes[name.upper()])
    except KeyError:
        known = ", ".join(member.name.lower() for member in codes)
        raise ValueError(f"unknown code {name!r}; known: {known}") from None


def _codes(spec: PointSpec, kind: Kind) -> dict[int, int]:
    return {raw: code(name, kind) for raw, name in spec.enum.items()}


def _as_typed(raw: int, bits: int, signed: bool) -> int:
    return raw - (1 << bits) if signed and raw >= 1 << (bits - 1) else raw


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
