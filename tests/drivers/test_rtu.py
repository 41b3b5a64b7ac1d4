"""Serial lines: silence between frames, and answers that come when nobody waits for them."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest

from ems.drivers.link import BadAnswer, LinkDown, NoAnswer, WriteForbidden
from ems.drivers.modbus.frames import crc
from ems.drivers.modbus.rtu import GAP_MIN_S, RtuTcpConnection, SerialConnection
from ems.drivers.modbus.serialport import SerialSettings
from ems.drivers.modbus.transaction import Pace
from ems.model import Link
from tests.drivers.foreign.ptyline import pty_line

pytestmark = pytest.mark.sockets
UNIT = 7
PACE = Pace(timeout_s=0.15, latency_max_s=0.4)
FAST = SerialSettings(115_200)


def sealed(body: bytes) -> bytes:
    return body + crc(body).to_bytes(2, "little")


def truth(request: bytes) -> bytes:
    """The right answer to a read: every register holds its address."""
    at, count = int.from_bytes(request[2:4], "big"), int.from_bytes(request[4:6], "big")
    content = b"".join((at + k).to_bytes(2, "big") for k in range(count))
    return sealed(request[:2] + bytes((len(content),)) + content)


class Device:
    """What sits at the other end: answers with whatever the test puts into ``answers``."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.asked_s: list[float] = []
        self.answers: list[Callable[[bytes], None]] = []
        self.put: Callable[[bytes], None]

    def heard(self, request: bytes) -> None:
        self.requests.append(request)
        self.asked_s.append(time.monotonic())
        if self.answers:
            self.answers.pop(0)(request)
        else:
            self.put(truth(request))

    def later(self, delay_s: float) -> Callable[[bytes], None]:
        """Answer rightly, but late."""
        loop = asyncio.get_running_loop()
        return lambda request: (loop.call_later(delay_s, self.put, truth(request)), None)[1]

    @property
    def counts(self) -> list[int]:
        """Registers asked for, request by request."""
        return [int.from_bytes(request[4:6], "big") for request in self.requests]


def play(
    scene: Callable[[SerialConnection, Device], Awaitable[None]],
    observe: bool = False,
    settings: SerialSettings = FAST,
) -> None:
    async def run() -> None:
        device = Device()
        with pty_line(on_ours=device.heard) as line:
            device.put = line.to_ours
            connection = SerialConnection(line.ours, settings, 1.0, observe)
            await connection.connect()
            try:
                await scene(connection, device)
            finally:
                await connection.close()

    asyncio.run(run())


def test_the_exact_answer_is_believed():
    async def scene(c: SerialConnection, d: Device) -> None:
        assert await c.read(UNIT, "holding", 100, 3, PACE) == b"\x00\x64\x00\x65\x00\x66"
        assert d.requests == [sealed(bytes((UNIT, 3, 0, 100, 0, 3)))]

    play(scene)


def test_an_answer_in_single_bytes_and_one_behind_noise():
    async def scene(c: SerialConnection, d: Device) -> None:
        def bytewise(request: bytes) -> None:
            for byte in b"\xff\x00" + truth(request):
                d.put(bytes((byte,)))

        d.answers = [bytewise]
        assert await c.read(UNIT, "holding", 5, 1, PACE) == b"\x00\x05"

    play(scene)


def test_nothing_is_sent_before_the_line_has_been_silent():
    async def scene(c: SerialConnection, d: Device) -> None:
        answered_s = []

        def answer(request: bytes) -> None:
            d.put(truth(request))
            answered_s.append(time.monotonic())

        d.answers = [answer, answer, answer]
        for address in (1, 2, 3):
            await c.read(UNIT, "holding", address, address, PACE)
        pauses = [asked - told for told, asked in zip(answered_s, d.asked_s[1:], strict=False)]
        assert min(pauses) >= GAP_MIN_S

    play(scene)


def test_a_pause_that_the_device_wants_is_kept():
    async def scene(c: SerialConnection, d: Device) -> None:
        slow = Pace(timeout_s=0.15, gap_s=0.08, latency_max_s=0.2)
        await c.read(UNIT, "holding", 1, 1, slow)
        await c.read(UNIT, "holding", 1, 1, slow)
        assert d.asked_s[1] - d.asked_s[0] >= 0.08

    play(scene)


def test_after_a_time_out_the_line_is_drained_and_the_next_question_has_another_length():
    async def scene(c: SerialConnection, d: Device) -> None:
        d.answers = [d.later(0.25)]
        with pytest.raises(NoAnswer, match="no answer within"):
            await c.read(UNIT, "holding", 100, 2, PACE)
        assert await c.read(UNIT, "holding", 200, 2, PACE) == b"\x00\xc8\x00\xc9"
        assert d.counts == [2, 1, 2], "a read of another length came first"
        assert d.asked_s[1] - d.asked_s[0] >= 0.9 * PACE.latency_max_s

    play(scene)


def test_a_line_that_is_one_answer_behind_never_gives_a_value():
    """As serial servers do that keep an answer: each question gets the one before's."""

    async def scene(c: SerialConnection, d: Device) -> None:
        held: list[bytes] = []

        def behind(request: bytes) -> None:
            held.append(truth(request))
            if len(held) > 1:
                d.put(held[-2])

        d.answers = [behind] * 12
        for _ in range(4):
            for address in (100, 200):
                with pytest.raises((NoAnswer, BadAnswer)):
                    await c.read(UNIT, "holding", address, 2, PACE)
            if not d.answers:
                break

    play(scene)


def test_answers_of_equal_length_are_kept_apart():
    async def scene(c: SerialConnection, d: Device) -> None:
        for address in (100, 200, 200):
            await c.read(UNIT, "holding", address, 2, PACE)
        assert d.counts == [2, 1, 2, 1, 2]
        await c.read(UNIT + 1, "holding", 100, 2, PACE)
        await c.read(UNIT, "input", 100, 2, PACE)
        assert d.counts[5:] == [2, 2], "another unit and another function tell themselves apart"

    play(scene)


def test_the_earlier_answer_to_the_same_question_gives_no_value():
    """As devices do that send their last answer again instead of a new one."""

    async def scene(c: SerialConnection, d: Device) -> None:
        await c.read(UNIT, "holding", 100, 2, PACE)
        d.answers = [lambda _: d.put(truth(d.requests[0]))]
        with pytest.raises((NoAnswer, BadAnswer)):
            await c.read(UNIT, "holding", 100, 2, PACE)

    play(scene)


def test_a_repeated_question_goes_alone_once_no_answer_to_the_first_can_come():
    async def scene(c: SerialConnection, d: Device) -> None:
        await c.read(UNIT, "holding", 100, 2, PACE)
        await asyncio.sleep(PACE.latency_max_s)
        await c.read(UNIT, "holding", 100, 2, PACE)
        assert d.counts == [2, 2]

    play(scene)


def test_a_cancelled_question_is_treated_like_one_given_up():
    async def scene(c: SerialConnection, d: Device) -> None:
        d.answers = [d.later(0.3)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.02):
                await c.read(UNIT, "holding", 100, 2, Pace(0.5, 0.0, 0.4))
        assert await c.read(UNIT, "holding", 200, 2, PACE) == b"\x00\xc8\x00\xc9"
        assert d.counts == [2, 1, 2]

    play(scene)


def test_a_late_answer_of_one_unit_is_not_taken_for_anothers():
    async def scene(c: SerialConnection, d: Device) -> None:
        d.answers = [d.later(0.25)]
        with pytest.raises(NoAnswer):
            await c.read(UNIT, "holding", 100, 2, PACE)
        assert await c.read(UNIT + 1, "holding", 200, 2, PACE) == b"\x00\xc8\x00\xc9"

    play(scene)


def test_a_write_is_confirmed_by_its_echo_only():
    async def scene(c: SerialConnection, d: Device) -> None:
        d.answers = [d.put, d.put, lambda r: d.put(sealed(r[:4] + b"\0\x63"))]
        await c.write(UNIT, 300, [42], 6, PACE)
        assert c.sent_writes == 1
        with pytest.raises(BadAnswer, match="without an answer"):
            await c.write(UNIT, 300, [1, 2], 16, PACE)  # the request itself is no echo
        with pytest.raises(BadAnswer, match="echo differs"):
            await c.write(UNIT, 300, [42], 6, PACE)

    play(scene)


def test_while_observing_nothing_is_written():
    async def scene(c: SerialConnection, d: Device) -> None:
        with pytest.raises(WriteForbidden):
            await c.write(UNIT, 300, [42], 6, PACE)
        assert (c.refused_writes, c.sent_writes, d.requests) == (1, 0, [])

    play(scene, observe=True)


def test_a_line_that_chatters_without_end_is_refused_in_time():
    async def scene(c: SerialConnection, d: Device) -> None:
        async def chatter() -> None:
            while True:
                d.put(b"\x55" * 16)
                await asyncio.sleep(0.001)

        noise = asyncio.create_task(chatter())
        await asyncio.sleep(0.01)
        with pytest.raises(BadAnswer, match="does not fall silent"):
            await c.read(UNIT, "holding", 1, 1, PACE)
        noise.cancel()

    play(scene, settings=SerialSettings(300))  # the silence is 117 ms long there


def test_a_port_that_is_not_there_not_a_port_or_taken(tmp_path):
    async def scene() -> None:
        plain = tmp_path / "file"
        plain.touch()
        with pty_line() as line:
            first = SerialConnection(line.ours, FAST, 1.0)
            await first.connect()
            for path, why in (
                (str(tmp_path / "none"), "No such file"),
                (str(plain), "no serial port"),
                (line.ours, "another program uses it"),
            ):
                with pytest.raises(LinkDown, match=why) as down:
                    await SerialConnection(path, FAST, 1.0).connect()
                assert down.value.link is Link.REFUSED
            await first.close()

    asyncio.run(scene())


def test_settings_come_from_the_options_of_the_site_file():
    assert SerialSettings.of({}) == SerialSettings(9600, "N", 1)
    given = {"baud": "19200", "parity": "E", "stop_bits": "2"}
    assert SerialSettings.of(given) == SerialSettings(19_200, "E", 2)
    assert SerialSettings.of(given).character_s == pytest.approx(12 / 19_200)
    for key, value in (("baud", "9601"), ("parity", "even"), ("stop_bits", "3")):
        with pytest.raises(ValueError, match=f"{key} is '{value}'; possible are"):
            SerialSettings.of({key: value})


def test_serial_frames_over_tcp():
    async def scene() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while request := await reader.read(8):
                writer.write(truth(request))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = RtuTcpConnection("127.0.0.1", port, 1.0, settings=FAST)
        await connection.connect()
        assert await connection.read(UNIT, "input", 100, 2, PACE) == b"\x00\x64\x00\x65"
        await connection.close()
        server.close()

    asyncio.run(scene())
