"""Columns, codecs and foreign decoders agree bit for bit; compiled devices travel as pickles."""

import pickle
import struct
import subprocess
import sys
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from ems.drivers import language
from ems.drivers.coding.block import Block
from ems.drivers.coding.codec import PointCodec
from ems.drivers.compiling.compile import codec_of, compile_device
from ems.drivers.device import CompiledDevice
from ems.drivers.language.points import PointSpec
from ems.model import Quality
from ems.site import DeviceSpec
from tests.drivers.bench import device

REGISTERS = {"int16": 1, "uint16": 1, "int32": 2, "uint32": 2, "float32": 2, "int64": 4}
COUNTS = {"reported_cells": 48, "reported_temps": 12}


def shipped(name: str) -> CompiledDevice:
    profile = language.load(name)
    spec = device("d", name)
    if profile.link.protocol == "opcua":
        spec = DeviceSpec("d", name, "opcua", "127.0.0.1", 4840, 1, "")
    return compile_device(profile, spec, COUNTS)


@st.composite
def specs(draw) -> PointSpec:
    kind = draw(st.sampled_from(sorted(REGISTERS)))
    fields: dict[str, object] = {"at": 0, "type": kind}
    fields["word_order"] = draw(st.sampled_from(["big", "little"]))
    fields["byte_order"] = draw(st.sampled_from(["big", "little"]))
    fields["scale"] = draw(st.sampled_from([Decimal(s) for s in ("1", "0.1", "0.001", "10", "3")]))
    fields["offset"] = draw(st.sampled_from([Decimal(0), Decimal("-40"), Decimal("0.5")]))
    fields["sign"] = draw(st.sampled_from([1, -1]))
    if draw(st.booleans()):
        fields["range"] = (-1000.0, 30_000.0)
    if kind != "float32":
        fields["sentinels"] = draw(st.sampled_from([(), (0xFFFF,), (0x8000, 0xFFFF), ((1, 9),)]))
    if draw(st.booleans()):
        fields["scale_factor"] = "factor"
    return PointSpec.model_validate(fields)


@pytest.mark.parametrize("points", [1, 20], ids=["one by one", "in columns"])
@pytest.mark.parametrize(("told", "value"), [(-2, 4.99), (0, 499.0), (1, None), (-3, None)])
def test_a_scale_factor_outside_its_range_scales_nothing(points, told, value):
    factor = PointSpec.model_validate({"at": 0, "type": "int16", "range": (-2, 0)})
    spec = PointSpec.model_validate({"at": 1, "type": "int16", "scale_factor": "factor"})
    placed = [(codec_of("factor", factor, {}), 0)]
    placed += [(codec_of(f"p{k}", spec, {}), 2 + 2 * k) for k in range(points)]
    block = Block("b", "holding", None, ((0, 1 + points),), 1.0, 3.0, tuple(placed))
    found = block.decode(struct.pack(f">{1 + points}h", told, *[499] * points)).scalars
    assert {found[f"p{k}"][0] for k in range(points)} == {value}


@given(
    mine=st.lists(specs(), min_size=1, max_size=12),
    factor=st.integers(-12, 12) | st.just(-32768),
    seed=st.binary(min_size=200, max_size=200),
)
@settings(max_examples=300)
def test_decoding_together_is_decoding_one_by_one(mine, factor, seed):
    placed: list[tuple[PointCodec, int]] = [
        (codec_of("factor", PointSpec.model_validate({"at": 0, "type": "int16"}), {}), 0)
    ]
    at = 2
    for number, spec in enumerate(mine * 2):
        placed.append((codec_of(f"p{number}", spec, {}), at))
        at += 2 * REGISTERS[spec.type]
    payload = (struct.pack(">h", factor) + seed)[:at]
    block = Block("b", "holding", None, ((0, len(payload) // 2),), 1.0, 3.0, tuple(placed))
    together = block.decode(payload).scalars
    alone = block._decode_each(payload, block.scalars).scalars
    assert together == alone
    for value, quality in together.values():
        assert (value is None) is (quality is Quality.BAD)


def test_columns_give_what_pymodbus_gives():
    kinds = {"int16": "INT16", "uint16": "UINT16", "int32": "INT32", "uint32": "UINT32",
             "float32": "FLOAT32"}  # fmt: skip
    rng = np.random.Generator(np.random.PCG64(1))
    placed, theirs, registers = [], {}, list[int]()
    for number in range(92):
        kind = sorted(kinds)[number % len(kinds)]
        words = [int(w) for w in rng.integers(0, 0x7F00, REGISTERS[kind])]
        spec = PointSpec.model_validate({"at": 0, "type": kind})
        placed.append((codec_of(f"p{number}", spec, {}), 2 * len(registers)))
        data_type = ModbusTcpClient.DATATYPE[kinds[kind]]
        theirs[f"p{number}"] = float(ModbusTcpClient.convert_from_registers(words, data_type))
        registers += words
    block = Block("b", "holding", None, ((0, len(registers)),), 1.0, 3.0, tuple(placed))
    found = block.decode(struct.pack(f">{len(registers)}H", *registers)).scalars
    assert {name: value for name, (value, _) in found.items()} == theirs


def eight() -> Block:
    """Eight equal points, decoded as a column, each with a sentinel and a range."""
    spec = PointSpec.model_validate(
        {"at": 0, "type": "uint16", "scale": "0.1", "sentinels": (300,), "range": (5, 100)}
    )
    placed = tuple((codec_of(f"p{k}", spec, {}), 2 * k) for k in range(8))
    return Block("b", "holding", None, ((0, 8),), 1.0, 3.0, placed)


def test_a_column_masks_exactly_what_is_not_a_value():
    payload = struct.pack(">8H", 299, 300, 301, 49, 50, 1000, 1001, 3)
    found = eight().decode(payload).scalars
    assert [found[f"p{k}"][0] for k in range(8)] == [29.9, None, 30.1, None, 5, 100, None, None]


@pytest.mark.parametrize("registers", [0, 1, 7, 8, 9])
def test_an_answer_of_another_length_gives_what_it_holds(registers):
    block = eight()
    assert len(block.decode(struct.pack(">8H", *[60] * 8)).names) == 8, "columns are built now"
    found = block.decode(struct.pack(f">{registers}H", *[60] * registers)).scalars
    assert found == {f"p{k}": (6.0, Quality.GOOD) for k in range(min(registers, 8))}


def test_a_short_answer_has_no_values_beyond_its_end():
    block = next(b for b in shipped("pcs_sunspec_704").blocks if b.sunspec_model == 704)
    whole = bytes(2 * block.count)
    assert "setpoint_w" in block.decode(whole).scalars
    short = block.decode(whole[:-2]).scalars
    assert "setpoint_w" not in short, "its scale factor is missing"
    assert "reversion_time_s" in short


def test_a_value_that_another_point_makes_void_is_bad():
    text = {
        "mode": {"at": 0, "type": "uint16", "enum": {0: "idle", 1: "on"}},
        "extra": {"at": 1, "type": "uint16", "valid_if": {"point": "mode", "one_of": ["on"]}},
    }
    good = language.load("meter_acrel_adw300")
    points = {**good.points, **{n: PointSpec.model_validate(p) for n, p in text.items()}}
    found = compile_device(good.model_copy(update={"points": points}), device("m", "own"))
    block = found.block_of("extra")
    assert block is not None
    assert block.decode(block.encode({"mode": 1, "extra": 7}, {})).scalars["extra"][0] == 7.0
    assert block.decode(block.encode({"mode": 0, "extra": 7}, {})).scalars["extra"] == (
        None,
        Quality.BAD,
    )


@pytest.mark.parametrize("name", language.shipped())
def test_every_writable_point_of_a_shipped_profile_round_trips_over_its_range(name):
    found = shipped(name)
    writable = [point for point in found.points.values() if point.writable]

    @given(share=st.floats(0.0, 1.0), exponent=st.sampled_from([-2, -1, 0]))
    def round_trips(share: float, exponent: int) -> None:
        for point in writable:
            codec = point.codec
            if codec.code_of_raw:
                for code, raw in codec.raw_of_code.items():
                    assert codec.command(code) == raw
                    assert codec.value(codec.unpack(codec.pack(raw), 0)) == (code, Quality.GOOD)
                continue
            factor = exponent if codec.scale_factor else 0
            wanted = codec.write_low + share * (codec.write_high - codec.write_low)
            raw = codec.command(wanted, factor)
            told, quality = codec.value(codec.unpack(codec.pack(raw), 0), factor)
            step = float(codec.quantum or codec.scale) * (10.0**factor if not codec.quantum else 1)
            assert quality is Quality.GOOD
            assert told is not None
            assert abs(told) <= abs(wanted)
            assert abs(wanted - told) <= step + 1e-9
            assert codec.command(told, factor) == raw, "what was read back can be written again"

    round_trips()


@pytest.mark.parametrize("name", language.shipped())
def test_a_compiled_device_needs_neither_pydantic_nor_yaml(name, tmp_path):
    found = shipped(name)
    payloads = {block.key: bytes(2 * block.count) for block in found.blocks if not block.nodes}
    before = {key: found.blocks[at].decode(payloads[key]).scalars
              for at, key in enumerate(payloads)}  # fmt: skip
    path = tmp_path / "device.pickle"
    # Pickled after use: whatever was built on the way must not travel along.
    path.write_bytes(pickle.dumps({"d": found}))
    code = (
        "import pickle, sys\n"
        "found = pickle.load(open(sys.argv[1], 'rb'))['d']\n"
        "blocks = [b for b in found.blocks if not b.nodes]\n"
        "print({b.key: b.decode(bytes(2 * b.count)).scalars for b in blocks} if 0 else\n"
        "      [[(n, v) for n, (v, q) in b.decode(bytes(2 * b.count)).scalars.items()]\n"
        "       for b in blocks])\n"
        "print(*(m for m in ('pydantic', 'pydantic_core', 'yaml') if m in sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    values, loaded = done.stdout.split("\n")[:2]
    assert values == str([[(n, v) for n, (v, _) in b.items()] for b in before.values()])
    assert loaded == ""
