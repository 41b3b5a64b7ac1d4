"""Modbus frames, held against pymodbus as a second opinion."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU, FramerSocket
from pymodbus.pdu import DecodePDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)

from ems.drivers.link import BadAnswer, DeviceRefusal, NoAnswer
from ems.drivers.modbus.frames import (
    crc,
    objection,
    payload,
    read_question,
    rtu_payload,
    tcp_frame,
    tcp_right,
    to_rtu,
    to_tcp,
    write_question,
)

QUESTION = read_question(7, 3, 100, 3)
RIGHT = bytes((7, 3, 6)) + b"\x12\x34" * 3


def sealed(body: bytes) -> bytes:
    """A serial frame."""
    return body + crc(body).to_bytes(2, "little")


@pytest.mark.parametrize(
    ("question", "request_"),
    [
        (QUESTION, ReadHoldingRegistersRequest(address=100, count=3, dev_id=7)),
        (read_question(7, 4, 9, 125), ReadInputRegistersRequest(address=9, count=125, dev_id=7)),
        (
            write_question(7, 6, 5, [65_535]),
            WriteSingleRegisterRequest(address=5, registers=[65_535], dev_id=7),
        ),
        (
            write_question(7, 16, 5, [1, 2]),
            WriteMultipleRegistersRequest(address=5, registers=[1, 2], dev_id=7),
        ),
    ],
    ids=["read holding", "read input", "write one", "write many"],
)
def test_requests_are_those_of_pymodbus_byte_for_byte(question, request_):
    pdu = bytes((request_.function_code,)) + request_.encode()
    assert to_tcp(321, question) == FramerSocket(DecodePDU(False)).encode(pdu, 7, 321)
    assert to_rtu(question) == FramerRTU(DecodePDU(False)).encode(pdu, 7, 0)


@given(st.binary(min_size=1, max_size=260))
def test_the_checksum_is_that_of_pymodbus(data):
    assert crc(data).to_bytes(2, "little") == FramerRTU.compute_CRC(data).to_bytes(2, "big")
    assert crc(sealed(data)) == 0


@given(st.binary(max_size=300))
def test_only_the_right_beginning_and_length_are_an_answer(body):
    right = body.startswith(QUESTION.head) and len(body) == 9
    try:
        found = payload(QUESTION, body if len(body) >= 2 else b"\0\0")
    except (BadAnswer, DeviceRefusal, NoAnswer):
        assert not right
    else:
        assert right
        assert found == body[3:]


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        pytest.param(b"\x08" + RIGHT[1:], BadAnswer, "unit 8 answered for unit 7", id="unit"),
        pytest.param(b"\x07\x04" + RIGHT[2:], BadAnswer, "function 4 answered", id="function"),
        pytest.param(RIGHT[:-2], BadAnswer, "4 bytes behind a byte count of 6", id="cut"),
        pytest.param(bytes((7, 3, 4)) + RIGHT[3:7], BadAnswer, "4 bytes where 6", id="short"),
        pytest.param(bytes((7, 3)), BadAnswer, "0 bytes", id="empty"),
        pytest.param(bytes((7, 0x83, 2)), DeviceRefusal, "2 (illegal address)", id="refused"),
        pytest.param(bytes((7, 0x83, 99)), DeviceRefusal, "exception 99", id="odd code"),
        pytest.param(bytes((7, 0x83, 6)), NoAnswer, "6 (busy)", id="busy"),
        pytest.param(bytes((7, 0x83, 2, 0)), BadAnswer, "malformed", id="exception with a tail"),
        pytest.param(bytes((7, 0x84, 2)), BadAnswer, "function 132", id="another's exception"),
    ],
)
def test_objections_say_what_is_wrong(body, error, words):
    found = objection(QUESTION, body)
    assert type(found) is error
    assert words in str(found)


def test_the_right_beginning_over_tcp():
    answer = to_tcp(9, QUESTION)[:2] + b"\0\0\0\x09" + RIGHT
    assert answer.startswith(tcp_right(9, QUESTION))
    assert tcp_frame(answer) == (9, len(answer))
    for spoiled in (b"\0\x09\0\1\0\x09", b"\0\x09\0\0\0\x02", b"\0\x09\0\0\0\xff"):
        with pytest.raises(BadAnswer, match="not a Modbus TCP frame"):
            tcp_frame(spoiled)


def test_what_is_no_modbus_at_all_is_shown_with_what_to_check():
    with pytest.raises(BadAnswer, match="begins 48 54 54 50 2F 31; if this lasts, something else"):
        tcp_frame(b"HTTP/1.1 400 Bad Request")


OTHERS = sealed(bytes((8, 3, 6)) + b"\x55" * 6)


@pytest.mark.parametrize(
    ("heard", "found"),
    [
        pytest.param(b"", None, id="nothing"),
        pytest.param(sealed(RIGHT)[:-1], None, id="not yet whole"),
        pytest.param(sealed(RIGHT), RIGHT[3:], id="whole"),
        pytest.param(b"\0\xff\x07" + sealed(RIGHT), RIGHT[3:], id="behind noise"),
        pytest.param(OTHERS + sealed(RIGHT), RIGHT[3:], id="behind another unit's late answer"),
        pytest.param(sealed(RIGHT) + b"\0\0", RIGHT[3:], id="before noise"),
        pytest.param(RIGHT + b"\0\0", None, id="wrong checksum"),
        pytest.param(OTHERS, None, id="only another unit's answer"),
    ],
)
def test_an_answer_among_what_was_heard(heard, found):
    assert rtu_payload(QUESTION, bytearray(heard)) == found


@pytest.mark.parametrize(
    ("body", "error"),
    [
        pytest.param(bytes((7, 0x83, 2)), DeviceRefusal, id="refused"),
        pytest.param(bytes((7, 3, 2)) + b"\1\1", BadAnswer, id="another number of bytes"),
        pytest.param(bytes((7, 4, 6)) + RIGHT[3:], BadAnswer, id="another function"),
    ],
)
@pytest.mark.parametrize("noise", [b"", b"\0\1"], ids=["clean", "noisy"])
def test_a_whole_frame_of_the_asked_unit_that_says_something_else(body, error, noise):
    with pytest.raises(error):
        rtu_payload(QUESTION, bytearray(noise + sealed(body)))


@given(st.data())
def test_a_flipped_bit_never_gives_a_value(data):
    frame = bytearray(sealed(RIGHT))
    for _ in range(data.draw(st.integers(1, 3))):
        bit = data.draw(st.integers(0, 8 * len(frame) - 1))
        frame[bit // 8] ^= 1 << bit % 8
    if bytes(frame) == sealed(RIGHT):
        return
    with contextlib.suppress(BadAnswer, DeviceRefusal, NoAnswer):
        assert rtu_payload(QUESTION, frame) is None
