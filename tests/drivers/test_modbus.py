"""The validating layer: what is not exactly the answer to the question is never believed."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable

import pytest

from ems.drivers.link import BadAnswer, DeviceRefusal, LinkDown, NoAnswer, WriteForbidden
from ems.drivers.modbus.tcp import TcpConnection
from ems.model import Link
from tests.drivers.bench import free_port

pytestmark = pytest.mark.sockets
UNIT = 7
Answer = Callable[[bytes], bytes]


def frame(tid: bytes, body: bytes, *, protocol: int = 0, length: int | None = None) -> bytes:
    """A Modbus TCP frame."""
    return tid + struct.pack(">HH", protocol, len(body) if length is None else length) + body


def registers(count: int, unit: int = UNIT, function: int = 3, count_byte: int | None = None):
    """Body of a read answer."""
    claimed = 2 * count if count_byte is None else count_byte
    return bytes([unit, function, claimed]) + b"\x12\x34" * count


@contextlib.asynccontextmanager
async def peer(answer: Answer, **kwargs: object) -> AsyncIterator[tuple[TcpConnection, list]]:
    """A connection to a tiny server that answers each request with whatever it likes."""
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while request := await reader.read(300):
                seen.append(request)
                reply = answer(request)
                if reply == b"hang up":
                    break
                writer.write(reply)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = TcpConnection("127.0.0.1", port, 0.3, **kwargs)  # type: ignore[arg-type]
    await connection.connect()
    try:
        yield connection, seen
    finally:
        await connection.close()
        server.close()


def test_the_exact_answer_is_believed():
    async def scene() -> None:
        async with peer(lambda r: frame(r[:2], registers(3))) as (connection, seen):
            assert await connection.read(UNIT, "holding", 100, 3) == b"\x12\x34" * 3
            assert seen[0][2:] == struct.pack(">HHBBHH", 0, 6, UNIT, 3, 100, 3)

    asyncio.run(scene())


LIES = {
    "fewer registers than asked": lambda r: frame(r[:2], registers(2)),
    "more registers than asked": lambda r: frame(r[:2], registers(4)),
    "byte count larger than the data": lambda r: frame(r[:2], registers(3, count_byte=8)),
    "odd byte count": lambda r: frame(r[:2], registers(3, count_byte=7) + b"\0"),
    "data cut inside the frame": lambda r: frame(r[:2], registers(3)[:-1]),
    "function 4 for function 3": lambda r: frame(r[:2], registers(3, function=4)),
    "a function nobody knows": lambda r: frame(r[:2], registers(3, function=99)),
    "another unit": lambda r: frame(r[:2], registers(3, unit=UNIT + 1)),
    "unit 0": lambda r: frame(r[:2], registers(3, unit=0)),
    "transaction id 0": lambda r: frame(b"\0\0", registers(3)),
    "another transaction": lambda r: frame(b"\x7f\x7f", registers(3)),
    "not the Modbus protocol": lambda r: frame(r[:2], registers(3), protocol=1),
    "a length that cannot be": lambda r: frame(r[:2], registers(3), length=1),
    "an exception with a tail": lambda r: frame(r[:2], bytes([UNIT, 0x83, 2, 0])),
    "an exception to another function": lambda r: frame(r[:2], bytes([UNIT, 0x84, 2])),
    "an empty exception": lambda r: frame(r[:2], bytes([UNIT, 0x83])),
    "noise": lambda r: bytes(range(200, 240)),
    "half an answer": lambda r: frame(r[:2], registers(3))[:-2],
    "nothing": lambda r: b"",
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_no_value_comes_out_of_a_wrong_answer(lie):
    async def scene() -> None:
        async with peer(lie) as (connection, _):
            with pytest.raises((BadAnswer, NoAnswer)):
                await connection.read(UNIT, "holding", 100, 3)

    asyncio.run(scene())


def test_after_a_wrong_answer_the_next_right_one_is_believed():
    answers = iter([LIES["fewer registers than asked"], lambda r: frame(r[:2], registers(3))])

    async def scene() -> None:
        async with peer(lambda r: next(answers)(r)) as (connection, _):
            with pytest.raises(BadAnswer, match="4 bytes where 6 were asked for"):
                await connection.read(UNIT, "holding", 100, 3)
            assert len(await connection.read(UNIT, "holding", 100, 3)) == 6

    asyncio.run(scene())


def test_a_late_answer_is_not_given_to_the_next_request():
    held: list[bytes] = []

    def late(request: bytes) -> bytes:
        held.append(frame(request[:2], bytes([UNIT, 3, 2, 0, len(held)])))
        return b"" if len(held) == 1 else held[0] + held[1]

    async def scene() -> None:
        async with peer(late) as (connection, _):
            with pytest.raises(NoAnswer):
                await connection.read(UNIT, "holding", 100, 1)
            assert await connection.read(UNIT, "holding", 200, 1) == b"\x00\x01"

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("code", "error"),
    [
        pytest.param(2, DeviceRefusal, id="illegal address: the device says no"),
        pytest.param(6, NoAnswer, id="busy: not now"),
        pytest.param(11, NoAnswer, id="gateway without answer: nobody home"),
    ],
)
def test_exceptions(code, error):
    async def scene() -> None:
        async with peer(lambda r: frame(r[:2], bytes([UNIT, 0x83, code]))) as (connection, _):
            with pytest.raises(error, match=f"exception {code}"):
                await connection.read(UNIT, "holding", 100, 3)

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("function", "echo", "believed"),
    [
        pytest.param(6, lambda r: r, True, id="6: exact echo"),
        pytest.param(6, lambda r: r[:-1] + b"\x63", False, id="6: another value"),
        pytest.param(6, lambda r: r[:9] + b"\x63" + r[10:], False, id="6: another address"),
        pytest.param(16, lambda r: frame(r[:2], r[6:12]), True, id="16: exact echo"),
        pytest.param(16, lambda r: frame(r[:2], r[6:11] + b"\x02"), False, id="16: another count"),
        pytest.param(16, lambda r: frame(r[:2], r[6:10]), False, id="16: cut short"),
    ],
)
def test_a_write_counts_only_with_its_exact_echo(function, echo, believed):
    async def scene() -> None:
        async with peer(echo) as (connection, _):
            if believed:
                await connection.write(UNIT, 300, [42], function)
                return
            with pytest.raises(BadAnswer, match="echo"):
                await connection.write(UNIT, 300, [42], function)

    asyncio.run(scene())


def test_connection_refused_is_known_at_once():
    async def scene() -> None:
        with pytest.raises(LinkDown) as down:
            await TcpConnection("127.0.0.1", free_port(), 0.3).connect()
        assert down.value.link is Link.REFUSED

    asyncio.run(scene())


def test_a_peer_that_hangs_up_fails_the_request_without_waiting_for_the_time_limit():
    async def scene() -> None:
        told: list[bool] = []
        async with peer(lambda r: b"hang up") as (connection, _):
            connection.timeout_s = 60.0  # the test itself would run into its own limit
            connection.on_lost = lambda: told.append(True)
            with pytest.raises(LinkDown) as down:
                await connection.read(UNIT, "holding", 100, 3)
            assert down.value.link is Link.REFUSED
            assert told == [True]
            assert not connection.connected

    asyncio.run(asyncio.wait_for(scene(), 10.0))


def test_an_observing_connection_refuses_and_counts_writes_and_sends_nothing():
    async def scene() -> None:
        async with peer(lambda r: r, observe=True) as (connection, seen):
            for _ in range(2):
                with pytest.raises(WriteForbidden):
                    await connection.write(UNIT, 300, [42], 6)
            assert connection.refused_writes == 2
            assert seen == []

    asyncio.run(scene())
