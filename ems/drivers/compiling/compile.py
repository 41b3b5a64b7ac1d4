"""From the profile language to a compiled device: codecs, planned blocks, plain rules."""

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

from ems.drivers.coding.block import Block
from ems.drivers.coding.codec import PointCodec, TextCodec
from ems.drivers.compiling import compile_rules, linefit
from ems.drivers.compiling.blockmaker import BlockMaker, bitfield
from ems.drivers.compiling.blockplan import Cost, Line
from ems.drivers.device import CompiledDevice, Located, ProfileMisfit
from ems.drivers.language.base import Problem
from ems.drivers.language.lint import overlaps
from ems.drivers.language.points import BitfieldSpec, PointSpec
from ems.drivers.language.profile import Profile
from ems.drivers.language.shape import Counts, codes_of, element_starts, first, offsets
from ems.site import DeviceSpec

TRANSPORT_OF: Final = {
    "modbus_tcp": "tcp", "modbus_rtu": "rtu", "modbus_rtu_tcp": "rtu_tcp", "modbus_tls": "tls",
}  # fmt: skip
"""Transports of a site file and what a profile calls them."""
BAUD: Final = 9600
"""Of a serial line whose site file does not say; also behind a gateway."""
_SUNSPEC_SENTINEL: Final = {
    "int16": 0x8000, "uint16": 0xFFFF, "int32": 0x8000_0000, "uint32": 0xFFFF_FFFF,
    "int64": 1 << 63, "uint64": (1 << 64) - 1,
}  # fmt: skip
_OPPOSITE: Final = ("charge", "export", "consumption")
"""What a device may call positive that is negative here."""


def compile_device(
    profile: Profile,
    spec: DeviceSpec,
    counts: Counts | None = None,
    *,
    alone: bool = True,
) -> CompiledDevice:
    """The profile made ready for one device.

    Args:
        profile: Loaded profile.
        spec: The device in the site file. Its options fill node ids, and ``baud``,
            ``parity`` (N, E, O) and ``stop_bits`` describe a serial line.
        counts: ``reported_cells`` and ``reported_temps`` of the pack, if it is one.
        alone: The device has its serial line to itself, so periods are fitted to it at
            once; else ``ems.drivers.compiling.linefit.fit`` does it for all devices of the line.

    Raises:
        ProfileMisfit: protocol or transport differ, a count or option is unknown,
            points cannot be read together, or the line is too slow.
    """
    _check_transport(profile, spec)
    counts = counts or {}
    line = line_of(profile, spec)
    misfits = [_sentence(problem) for problem in overlaps(profile, counts)] if counts else []
    if misfits:
        raise ProfileMisfit(_named(spec, "; ".join(misfits)))
    codecs = {
        name: point_codec(profile, name)
        for name, point in profile.points.items()
        if point.type != "string"
    }
    maker = BlockMaker(
        profile=profile,
        codecs=codecs,
        texts=_texts(profile),
        words={name: word_codec(name, field) for name, field in profile.bitfields.items()},
        counts=counts,
        options={"prefix": spec.id, **spec.options},
        cost=Cost.of_requests() if line is None else Cost.of_line(line),
        line=line,
    )
    try:
        blocks = maker.blocks()
        located = {name: _located(profile, name, codec, maker) for name, codec in codecs.items()}
    except ValueError as error:
        raise ProfileMisfit(_named(spec, str(error))) from error
    device = CompiledDevice(
        spec=spec,
        kind=profile.kind,
        vendor=profile.vendor,
        model=profile.device,
        summary=profile.summary,
        maturity=profile.maturity,
        link=compile_rules.link_rules(profile),
        blocks=tuple(block for block in blocks if block.poll != "on_demand"),
        points=located,
        on_demand=tuple(block for block in blocks if block.poll == "on_demand"),
        identity=compile_rules.identity(profile),
        bitfields={name: bitfield(name, field) for name, field in profile.bitfields.items()},
        alarm_parts=_alarm_parts(profile, blocks),
        writes=compile_rules.writes(profile),
        on_connect=compile_rules.steps(profile, profile.on_connect),
        safe_state=compile_rules.steps(profile, profile.safe_state),
        provides=profile.provides,
        not_provided=dict(profile.not_provided),
        simulator=compile_rules.simulator(profile),
        timeout=compile_rules.timeout(profile),
        heartbeat=compile_rules.heartbeat_read(profile),
        heartbeat_write=compile_rules.heartbeat_write(profile),
    )
    return linefit.fit([device])[0] if alone else device


def line_of(profile: Profile, spec: DeviceSpec) -> Line | None:
    """The serial line of a device; ``None`` where wire time does not matter."""
    if TRANSPORT_OF.get(spec.transport) not in ("rtu", "rtu_tcp"):
        return None
    try:
        baud = int(spec.options.get("baud", BAUD))
        stop_bits = int(spec.options.get("stop_bits", 1))
    except ValueError:
        raise ProfileMisfit(_named(spec, "baud and stop_bits must be whole numbers")) from None
    if baud <= 0:
        raise ProfileMisfit(_named(spec, f"baud must be positive, found {baud}"))
    parity = 0 if spec.options.get("parity", "N").upper() == "N" else 1
    link = profile.link
    return Line(baud, 9 + parity + stop_bits, link.turnaround_ms / 1000, link.gap_ms / 1000)


def point_codec(profile: Profile, name: str) -> PointCodec:
    """The codec of a number of a profile."""
    spec = profile.points[name]
    return codec_of(name, spec, codes_of(profile, name))


def codec_of(name: str, spec: PointSpec, codes: Mapping[int, int]) -> PointCodec:
    """The codec of a number, given what its raw codes mean."""
    width = 16 * (len(offsets(spec)) // 2)
    signed = spec.type.startswith("int")
    exact = [item for item in spec.sentinels if isinstance(item, int)]
    if spec.sunspec_model is not None and not spec.sentinels and spec.type in _SUNSPEC_SENTINEL:
        exact = [_SUNSPEC_SENTINEL[spec.type]]
    low, high = spec.range or ((0.0, 1.0) if spec.type == "bool" else (-math.inf, math.inf))
    write_low, write_high = spec.write_range or (low, high)
    return PointCodec(
        name=name,
        type=spec.type,
        offsets=offsets(spec),
        scale=Fraction(spec.scale),
        offset=Fraction(spec.offset),
        sign=-1 if spec.positive in _OPPOSITE else spec.sign,
        bits=spec.bits,
        sentinels=frozenset(_as_typed(item, width, signed) for item in exact),
        sentinel_ranges=tuple(
            (float(item[0]), float(item[1])) for item in spec.sentinels if not isinstance(item, int)
        ),
        low=low,
        high=high,
        code_of_raw=dict(codes),
        raw_of_code={code: raw for raw, code in reversed(list(codes.items()))},
        unknown_is_bad=spec.unknown == "bad",
        scale_factor=spec.scale_factor,
        quantum=spec.quantum,
        write_low=write_low,
        write_high=write_high,
        max_rate_per_s=spec.max_rate_per_s or math.inf,
    )


def word_codec(name: str, field: BitfieldSpec) -> PointCodec:
    """The codec of a bit field's word."""
    return PointCodec(name, field.type, offsets(field))


def _check_transport(profile: Profile, spec: DeviceSpec) -> None:
    wanted = "opcua" if spec.transport == "opcua" else "modbus"
    if profile.link.protocol != wanted:
        raise ProfileMisfit(
            _named(spec, f"speaks {profile.link.protocol}, the site file says {spec.transport}")
        )
    transport = TRANSPORT_OF.get(spec.transport)
    if wanted == "modbus" and transport not in profile.link.transports:
        offered = ", ".join(f"modbus_{name}" for name in profile.link.transports)
        raise ProfileMisfit(
            _named(spec, f"is reached by {offered}, the site file says {spec.transport}")
        )


def _texts(profile: Profile) -> dict[str, TextCodec]:
    return {
        name: TextCodec(name, spec.length, spec.encoding, spec.byte_order == "little")
        for name, spec in profile.points.items()
        if spec.type == "string"
    }


def _located(profile: Profile, name: str, codec: PointCodec, maker: BlockMaker) -> Located:
    spec = profile.points[name]
    starts = element_starts(spec, maker.known_counts(name))
    base = profile.link.base(spec.table, spec.sunspec_model)
    step = 0 if spec.count is None else (starts[1] if len(starts) > 1 else codec.registers)
    return Located(
        codec=codec,
        table=spec.table,
        sunspec_model=spec.sunspec_model,
        at=first(spec) - base if not spec.node else 0,
        step=step,
        node=maker.node(spec.node),
        type=spec.type,
        access=spec.access,
        unit=spec.unit,
        count=len(starts),
        labels=dict(spec.enum),
    )


def _alarm_parts(profile: Profile, blocks: tuple[Block, ...]) -> tuple[str, ...]:
    own = ("alarm_level",) if "alarm_level" in profile.points else ()
    return own + tuple(block.alarm for block in blocks if block.alarm and block.poll != "on_demand")


def _as_typed(raw: int, bits: int, signed: bool) -> int:
    return raw - (1 << bits) if signed and raw >= 1 << (bits - 1) else raw


def _sentence(problem: Problem) -> str:
    place, message = problem
    return f"{'.'.join(str(part) for part in place[1:])}: {message}"


def _named(spec: DeviceSpec, problem: str) -> str:
    return f"device {spec.id}, profile {spec.profile}: {problem}"
