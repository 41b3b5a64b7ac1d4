"""Raw registers to values and back: exact, never clamped, never NaN."""

import math
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from ems.drivers.codec import ArrayCodec, NotWritable, PointCodec
from ems.drivers.compiler import point_codec
from ems.drivers.device import Kind
from ems.drivers.profile import PointSpec
from ems.model import Contactor, Quality

BAD = (None, Quality.BAD)


def codec(kind: Kind = Kind.PACK, sunspec: bool = False, **fields: object) -> PointCodec:
    spec = PointSpec.model_validate({"at": 0, "type": "int16", **fields})
    return point_codec("power_w", spec, kind, sunspec)


def decode(one: PointCodec, registers: list[int], exponent: int = 0):
    payload = struct.pack(f">{len(registers)}H", *registers)
    return one.value(one.unpack(payload, 0), exponent)


@pytest.mark.parametrize(
    ("fields", "registers", "value"),
    [
        pytest.param({"type": "uint16"}, [65535], 65535.0, id="unsigned"),
        pytest.param({"type": "int16"}, [0xFFFF], -1.0, id="signed"),
        pytest.param({"scale": Decimal("0.1")}, [3], 0.3, id="3 × 0.1 is 0.3"),
        pytest.param({"scale": Decimal(10), "type": "int32"}, [1, 2], 655380.0, id="two words"),
        pytest.param({"type": "int32", "word_order": "little"}, [2, 1], 65538.0, id="swapped"),
        pytest.param({"scale": Decimal("0.1"), "offset": Decimal(-40)}, [650], 25.0, id="offset"),
        pytest.param({"sign": -1}, [100], -100.0, id="a device that counts the other way"),
        pytest.param({"type": "float32"}, [0x4148, 0], 12.5, id="float"),
        pytest.param({"type": "float32", "word_order": "little"}, [0, 0x4148], 12.5, id="swapped"),
        pytest.param({"type": "uint64"}, [0, 0, 1, 0], 65536.0, id="four words"),
    ],
)  # fmt: skip
def test_a_value_is_decoded_and_encodes_to_the_same_registers(fields, registers, value):
    one = codec(**fields)
    assert decode(one, registers) == (value, Quality.GOOD)
    assert one.pack(one.raw(value)) == struct.pack(f">{len(registers)}H", *registers)


@pytest.mark.parametrize(
    ("kind", "registers"),
    [("int16", 1), ("uint16", 1), ("int32", 2), ("uint32", 2), ("int64", 4), ("float32", 2)],
)
@pytest.mark.parametrize("order", ["big", "little"])
def test_agrees_with_the_decoder_of_pymodbus(kind, registers, order):
    words = [0x4148, 0x1234, 0x0000, 0xFFFE][:registers]
    theirs = ModbusTcpClient.convert_from_registers(
        words, ModbusTcpClient.DATATYPE[kind.upper()], word_order=order
    )
    assert decode(codec(type=kind, word_order=order), words)[0] == float(theirs)


@pytest.mark.parametrize(
    ("registers", "outcome"),
    [
        pytest.param([49], BAD, id="just below the plausible range"),
        pytest.param([50], (5.0, Quality.GOOD), id="at its lower end"),
        pytest.param([100], (10.0, Quality.GOOD), id="at its upper end"),
        pytest.param([101], BAD, id="just above"),
    ],
)
def test_only_plausible_values_are_good(registers, outcome):
    assert decode(codec(scale=Decimal("0.1"), range=(5, 10)), registers) == outcome


@pytest.mark.parametrize("raw", [0x7FC00000, 0x7F800000, 0xFF800000], ids=["NaN", "+inf", "-inf"])
def test_no_nan_and_no_infinity_gets_out(raw):
    assert decode(codec(type="float32"), [raw >> 16, raw & 0xFFFF]) == BAD


@pytest.mark.parametrize(
    ("kind", "registers"),
    [
        ("int16", [0x8000]),
        ("uint16", [0xFFFF]),
        ("int32", [0x8000, 0]),
        ("uint32", [0xFFFF, 0xFFFF]),
    ],
)
def test_sunspec_sentinels_are_not_values(kind, registers):
    assert decode(codec(type=kind, sunspec=True), registers) == BAD
    assert decode(codec(type=kind), registers)[1] is Quality.GOOD, "only where the map says so"


@pytest.mark.parametrize(
    ("exponent", "outcome"),
    [
        pytest.param(0, (499.0, Quality.GOOD), id="1"),
        pytest.param(1, (4990.0, Quality.GOOD), id="10"),
        pytest.param(-2, (4.99, Quality.GOOD), id="0.01"),
        pytest.param(11, BAD, id="outside what SunSpec allows"),
        pytest.param(-32768, BAD, id="scale factor not implemented"),
    ],
)
def test_scale_factors(exponent, outcome):
    assert decode(codec(), [499], exponent) == outcome


def test_an_unknown_code_is_bad_and_a_missing_code_is_refused():
    one = codec(type="uint16", enum={0: "open", 3: "closed"})
    assert decode(one, [3]) == (float(Contactor.CLOSED), Quality.GOOD)
    assert decode(one, [2]) == BAD
    assert one.command(Contactor.CLOSED) == 3
    with pytest.raises(NotWritable, match="does not exist in this map"):
        one.command(Contactor.PRECHARGE)


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        pytest.param(0.0, 0, id="zero"),
        pytest.param(99.9, 0, id="less than a step: zero"),
        pytest.param(199.9, 1, id="down"),
        pytest.param(200.0, 2, id="exactly a step"),
        pytest.param(-199.9, -1, id="charging: towards zero as well"),
        pytest.param(-200.0, -2, id="exactly a step of charge"),
    ],
)
def test_a_command_is_rounded_towards_zero_power(value, raw):
    # 100 W steps, as a known PCS has; its measurements have 10 W.
    assert codec(scale=Decimal(100), quantum=Decimal(100)).command(value) == raw


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(1000.1, id="just above the range"),
        pytest.param(-1000.1, id="just below the range"),
        pytest.param(math.nan, id="not a number"),
        pytest.param(math.inf, id="infinite"),
    ],
)
def test_a_command_out_of_range_is_refused_never_clamped(value):
    with pytest.raises(NotWritable):
        codec(write_range=(-1000, 1000)).command(value)


def test_a_command_that_does_not_fit_the_register_is_refused():
    one = codec(write_range=(-1e6, 1e6))
    with pytest.raises(NotWritable, match="does not fit"):
        one.pack(one.command(32768.0))
    assert one.pack(one.command(32767.0)) == b"\x7f\xff"


@given(
    value=st.floats(-30_000, 30_000),
    sign=st.sampled_from([1, -1]),
    step=st.sampled_from([1, 10, 100]),
)
def test_a_command_never_asks_for_more_than_was_wanted(value, sign, step):
    one = codec(sign=sign, quantum=Decimal(step), type="int32")
    told, quality = one.value(one.command(value))
    assert quality is Quality.GOOD
    assert told is not None
    assert abs(told) <= abs(value) < abs(told) + step
    assert told * value >= 0.0


@given(raw=st.integers(-32768, 32767), scale=st.sampled_from(["0.001", "0.01", "0.1", "1", "10"]))
def test_reading_and_writing_are_one_codec(raw, scale):
    one = codec(scale=Decimal(scale))
    value, _ = one.value(raw)
    assert value is not None
    assert one.raw(value) == one.command(value) == raw


def test_an_array_masks_exactly_the_elements_that_are_not_values():
    array = ArrayCodec(
        codec(type="uint16", scale=Decimal("0.001"), range=(0.5, 5), sentinels=(0xFFFF,)), 4, 2
    )
    payload = struct.pack(">7H", 3312, 0, 0xFFFF, 0, 499, 0, 500)
    values, quality = array.values(array.unpack(payload, 0))
    assert quality.tolist() == [Quality.GOOD, Quality.BAD, Quality.BAD, Quality.GOOD]
    assert values[[0, 3]].tolist() == [3.312, 0.5]
    assert np.isfinite(values).all()


def test_an_array_of_swapped_words():
    array = ArrayCodec(codec(type="int32", word_order="little"), 2, 2)
    assert array.values(array.unpack(struct.pack(">4H", 5, 0, 0, 1), 0))[0].tolist() == [5, 65536]
