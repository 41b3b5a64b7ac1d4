"""Raw registers to values and back: exact, never clamped, never NaN."""

import math
import struct
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.client import ModbusTcpClient

from ems.drivers.coding.arrays import ArrayCodec
from ems.drivers.coding.codec import NotWritable, PointCodec, TextCodec
from ems.drivers.compiling.compile import codec_of
from ems.drivers.language.points import PointSpec
from ems.model import Contactor, Quality

BAD = (None, Quality.BAD)


CONTACTOR = {0: int(Contactor.OPEN), 3: int(Contactor.CLOSED)}


def codec(codes: dict[int, int] | None = None, **fields: object) -> PointCodec:
    spec = PointSpec.model_validate({"at": 0, "type": "int16", **fields})
    return codec_of("power_w", spec, codes or {})


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
        pytest.param({"type": "uint16", "byte_order": "little"}, [0x3412], 0x1234, id="low byte"),
        pytest.param(
            {"type": "uint32", "byte_order": "little", "word_order": "little"},
            [0x7856, 0x3412],
            0x12345678,
            id="all four bytes reversed",
        ),
        pytest.param(
            {"type": "uint32", "at": None, "words": (3, 1)}, [2, 0, 1], 65538.0, id="split words"
        ),
        pytest.param({"type": "bool"}, [1], 1.0, id="bool"),
        pytest.param({"type": "bcd16"}, [0x1234], 1234.0, id="BCD"),
        pytest.param({"type": "bcd32", "scale": Decimal("0.1")}, [1, 0x2345], 1234.5, id="BCD 32"),
        pytest.param({"type": "uint16", "bits": (4, 7)}, [0x00A0], 10.0, id="four bits of a word"),
        pytest.param(
            {"scale": Decimal("0.1"), "offset": Decimal("0.3")}, [3], 0.6, id="one division last"
        ),
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
    assert decode(codec(type=kind, sunspec_model=701), registers) == BAD
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
    one = codec(CONTACTOR, type="uint16")
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
    cell = codec(type="uint16", scale=Decimal("0.001"), range=(0.5, 5), sentinels=(0xFFFF,))
    array = ArrayCodec(cell, (0, 4, 8, 12))
    payload = struct.pack(">7H", 3312, 0, 0xFFFF, 0, 499, 0, 500)
    values, quality = array.decode(payload, 0)
    assert quality.tolist() == [Quality.GOOD, Quality.BAD, Quality.BAD, Quality.GOOD]
    assert values[[0, 3]].tolist() == [3.312, 0.5]
    assert np.isfinite(values).all()


def test_an_array_of_swapped_words():
    array = ArrayCodec(codec(type="int32", word_order="little"), (0, 4))
    assert array.decode(struct.pack(">4H", 5, 0, 0, 1), 0)[0].tolist() == [5, 65536]


def test_an_array_of_which_the_device_says_how_much_is_real():
    array = ArrayCodec(codec(type="uint16"), (0, 2, 4), count_point="cells")
    payload = struct.pack(">3H", 7, 8, 9)
    assert array.decode(payload, 0, 2.0)[1].tolist() == [0, 0, Quality.MISSING]
    assert array.decode(payload, 0, None)[1].tolist() == [Quality.MISSING] * 3, "nobody knows"
    assert array.decode(payload, 0, 99.0)[1].tolist() == [0, 0, 0], "not more than the map has"


@pytest.mark.parametrize(
    ("kind", "width", "sentinel"),
    [
        ("int16", 1, 0x8000), ("uint16", 1, 0xFFFF), ("int32", 2, 0x8000_0000),
        ("uint32", 2, 0xFFFF_FFFF), ("int64", 4, 1 << 63), ("uint64", 4, (1 << 64) - 1),
        ("float32", 2, 0x7FC0_0000), ("float64", 4, 0x7FF8_0000_0000_0000),
    ],
)  # fmt: skip
def test_what_sunspec_calls_not_implemented_is_bad_for_every_type(kind, width, sentinel):
    one = codec(type=kind, sunspec_model=701)
    data = sentinel.to_bytes(2 * width, "big")
    assert one.value(one.unpack(data, 0)) == BAD
    assert one.value(one.unpack(bytes(2 * width), 0)) == (0.0, Quality.GOOD)


def test_a_range_of_sentinels_is_not_a_value():
    one = codec(type="uint16", sentinels=((0xFFF0, 0xFFFF), 7))
    assert [one.value(raw)[0] for raw in (6, 7, 8, 0xFFEF, 0xFFF0, 0xFFFF)] == [
        6.0, None, 8.0, 65519.0, None, None,
    ]  # fmt: skip


@pytest.mark.parametrize("registers", [[0x12A4], [0xFFFF]], ids=["one nibble", "all"])
def test_what_is_no_decimal_digit_is_no_bcd(registers):
    assert decode(codec(type="bcd16"), registers) == BAD


@pytest.mark.parametrize("registers", [[2], [0xFFFF]])
def test_a_bool_that_is_neither_is_bad(registers):
    assert decode(codec(type="bool"), registers) == BAD


def test_an_unknown_label_may_pass_as_uncertain():
    one = codec({1: 1, 2: 2}, type="uint16", enum={1: "auto", 2: "manual"}, unknown="uncertain")
    assert decode(one, [2]) == (2.0, Quality.GOOD)
    assert decode(one, [9]) == (9.0, Quality.UNCERTAIN)


def test_a_part_of_a_word_leaves_the_rest_alone():
    one = codec(type="uint16", bits=(4, 7))
    image = bytearray(b"\xff\xff")
    one.pack_into(image, 0, 5)
    assert image == b"\xff\x5f"
    with pytest.raises(NotWritable, match="does not fit bits 4 to 7"):
        one.pack(16)


def test_split_words_leave_what_lies_between_alone():
    one = codec(type="uint32", at=None, words=(2, 0))
    image = bytearray(b"\xaa" * 6)
    one.pack_into(image, 0, 0x0001_0002)
    assert image.hex() == "0002aaaa0001"


@pytest.mark.parametrize(
    ("text", "registers", "found"),
    [
        pytest.param(b"ABC\0", 2, "ABC", id="padded with zeros"),
        pytest.param(b"AB  ", 2, "AB", id="padded with blanks"),
        pytest.param(b"\0\0\0\0", 2, None, id="SunSpec: not implemented"),
        pytest.param(b"\xff\xff\xff\xff", 2, None, id="not a text"),
        pytest.param(b"A\x01B\0", 2, None, id="control characters"),
    ],
)
def test_texts(text, registers, found):
    assert TextCodec("model", registers).text(text, 0) == found


def test_a_text_with_the_low_byte_first():
    one = TextCodec("model", 2, swap_bytes=True)
    assert one.text(b"BADC", 0) == "ABCD"
    image = bytearray(4)
    one.put(image, 0, "ABCD")
    assert image == b"BADC"


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        pytest.param(0.0, 400, id="zero is where the value is 0, not the raw content"),
        pytest.param(1.19, 411, id="up: towards zero is down"),
        pytest.param(-1.19, 389, id="down: towards zero is up"),
    ],
)
def test_rounding_towards_zero_holds_with_an_offset(value, raw):
    one = codec(type="uint16", scale=Decimal("0.1"), offset=Decimal(-40), write_range=(-40, 40))
    assert one.command(value) == raw


def test_a_float_command_never_exceeds_what_was_wanted():
    one = codec(type="float32", write_range=(-1e6, 1e6))
    for value in (100.1, -100.1, 0.1, -0.3):
        told = one.told(value)
        assert abs(told) <= abs(value)
        assert told == pytest.approx(value, rel=1e-6)


def test_without_a_scale_factor_nothing_is_commanded():
    one = codec(scale_factor="factor", write_range=(-5000, 5000))
    with pytest.raises(NotWritable, match="scale factor is not implemented, -32768"):
        one.command(100.0, -32768)


def test_what_a_device_was_really_told_is_known_for_the_read_back():
    one = codec(scale=Decimal(100), write_range=(-5000, 5000))
    assert one.told(199.9) == 100.0
