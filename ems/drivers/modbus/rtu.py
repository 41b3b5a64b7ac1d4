"""Serial Modbus: on a serial port, and over TCP through a plain serial server.

A serial frame has no transaction id: the only things that tell one answer of a unit
from another are its function and its byte count. Hence three habits. A question that
was given up is not followed by another one until no answer to it can come any more,
and then first by one that asks the same unit for another number of bytes. Between two
questions to one unit whose answers are equally long, and be it the same question again,
stands one with another length as long as an answer to the first may still come, so that
a line that is one answer behind is noticed at once. And nothing is sent before the line
has been silent for 3.5 characters.

What no client can see: a second copy of an answer, whole and later than that exchange and
the silence after it, just after a question with an answer of equal length went to the same unit.
"""

import asyncio
import contextlib
import math
from typing import Final

from ems.drivers.link import BadAnswer, DeviceRefusal
from ems.drivers.modbus.frames import READS, VERDICTS, Question, read_question, rtu_payload, to_rtu
from ems.drivers.modbus.serialport import SerialPort, SerialSettings
from ems.drivers.modbus.transaction import Pace, Tap, Transactions

GAP_MIN_S: Final = 0.00175
"""Shortest silence between frames; above 19,200 baud the standard fixes it."""
_GAP_CHARACTERS: Final = 3.5
_CRC_SIZE: Final = 2
_SETTLE_S: Final = 0.010
"""Silence after a step, so that a second copy that serial servers or a busy machine hold up
comes while nobody waits for an answer, s."""
_HEARD_MAX: Final = 1024
"""More than this in answer to one question is noise without an end."""
_RESTLESS_S: Final = 2.0
"""A line that never falls silent for this long cannot be used."""


class RtuConnection(Transactions):
    """Base of the serial connections: one line, one request in flight, one owner task."""

    def __init__(self, where: str, timeout_s: float, observe: bool, character_s: float) -> None:
        super().__init__(where, timeout_s, observe)
        self._character_s = character_s
        self._gap_s = max(GAP_MIN_S, _GAP_CHARACTERS * character_s)
        self._heard_s = 0.0
        self._silent_from_s = 0.0
        """No answer to anything asked so far can begin later than this."""
        self._next_at_s = 0.0
        self._open_sizes: dict[int, set[tuple[int, int]]] = {}
        """By unit: (function, answer size) of questions that were given up."""
        self._recent: dict[int, dict[tuple[int, int], float]] = {}
        """By unit and kind of answer: when one came last."""
        self._readable: dict[int, tuple[int, int]] = {}
        """By unit: function and address of a register that has been read."""

    def _reset(self) -> None:
        self._buffer.clear()
        # Whatever was on its way when the line was opened belongs to nobody.
        self._heard_s = self._loop.time()
        self._open_sizes.clear()
        self._recent.clear()

    def data_received(self, data: bytes) -> None:
        """Search what has been heard since the question for its answer."""
        self._heard_s = self._loop.time()
        if self._question is None or self._waiter is None or self._waiter.done():
            return  # noise, or an answer that comes too late
        self._buffer += data
        try:
            found = rtu_payload(self._question, self._buffer)
        except VERDICTS as verdict:
            self._failed(verdict)
            return
        if found is not None:
            self._answered(found)
        elif len(self._buffer) > _HEARD_MAX:
            self._failed(BadAnswer(f"{len(self._buffer)} bytes without an answer among them"))

    async def _ask(self, question: Question, pace: Pace) -> bytes:
        await self._come_into_step(question, pace)
        return await self._converse(question, pace)

    async def _come_into_step(self, question: Question, pace: Pace) -> None:
        """Ask for another number of bytes where the next answer could be mistaken."""
        unit, kind = question.unit, (question.function, question.size)
        given_up = self._open_sizes.get(unit)
        if given_up:
            mistakable = kind in given_up
        else:
            # Even the same question: the answer it had before is an old value now.
            at_s = self._recent.get(unit, {}).get(kind, -math.inf)
            recent = self._loop.time() < at_s + pace.latency_max_s
            mistakable = recent and question.function in READS
        if not mistakable:
            return
        if question.function in READS:
            function, address = question.function, int.from_bytes(question.pdu[1:3], "big")
        elif unit in self._readable:
            function, address = self._readable[unit]
        else:
            return  # nothing is known that could be read
        taken = {size for f, size in given_up or () if f == function} | {question.size}
        count = next(n for n in range(1, 126) if 3 + 2 * n not in taken)
        # A refusal does as well: it heard us, and that was the answer.
        with contextlib.suppress(DeviceRefusal):
            await self._converse(read_question(unit, function, address, count), pace)
        self._next_at_s = max(self._next_at_s, self._loop.time() + _SETTLE_S)

    async def _converse(self, question: Question, pace: Pace) -> bytes:
        """One question and its answer, at the pace of the line."""
        await self._silence(pace)
        self._buffer.clear()
        frame = to_rtu(question)
        on_wire_s = self._character_s * (len(frame) + question.size + _CRC_SIZE)
        self._silent_from_s = (
            self._loop.time() + on_wire_s + max(pace.latency_max_s, pace.timeout_s)
        )
        # Until an answer is here one may still come, even when nobody waits any more.
        given_up = self._open_sizes.setdefault(question.unit, set())
        given_up.add((question.function, question.size))
        try:
            answer = await self._exchange(question, frame, pace.timeout_s + on_wire_s)
        except DeviceRefusal:
            self._in_step(question, pace)
            raise
        self._in_step(question, pace)
        return answer

    def _in_step(self, question: Question, pace: Pace) -> None:
        self._open_sizes.pop(question.unit, None)
        kind = (question.function, question.size)
        self._recent.setdefault(question.unit, {})[kind] = self._loop.time()
        self._silent_from_s = 0.0
        self._next_at_s = self._loop.time() + pace.gap_s
        if question.function in READS:
            address = int.from_bytes(question.pdu[1:3], "big")
            self._readable[question.unit] = (question.function, address)

    async def _silence(self, pace: Pace) -> None:
        """Wait until the line may be used: late answers are over, and it is silent."""
        loop = self._loop
        until_s = max(loop.time(), self._silent_from_s, self._next_at_s) + _RESTLESS_S
        while True:
            quiet_at_s = max(self._heard_s + self._gap_s, self._silent_from_s, self._next_at_s)
            wait_s = quiet_at_s - loop.time()
            if wait_s <= 0.0:
                return
            if loop.time() > until_s:
                raise BadAnswer("the line does not fall silent")
            self._live()
            await asyncio.sleep(wait_s)

    def _timed_out(self) -> Exception:
        if not self._buffer:
            return super()._timed_out()
        return BadAnswer(
            f"{len(self._buffer)} bytes without an answer from unit "
            f"{self._question.unit if self._question else 0} among them"
        )


class SerialConnection(RtuConnection):
    """A serial port of this machine.

    Args:
        path: Such as ``/dev/serial/by-id/…``, which stays the same over restarts.
        settings: Of the line.
        timeout_s: Unused while opening; a port opens at once or not at all.
        observe: Refuse and count every write.
    """

    def __init__(
        self, path: str, settings: SerialSettings, timeout_s: float, observe: bool = False
    ) -> None:
        super().__init__(path, timeout_s, observe, settings.character_s)
        self._settings = settings

    async def _open(self) -> None:
        self._reset()
        port = SerialPort(self.where, self._settings, self._loop)
        self.opened(port)
        port.listen(self.data_received, self.lost)

    def _loss(self, error: Exception | None) -> str:
        return f"serial port {self.where} is gone" + (f": {error}" if error else "")


class RtuTcpConnection(RtuConnection):
    """Serial frames over TCP, through a serial server that passes bytes on.

    Args:
        host: Name or address.
        port: TCP port.
        timeout_s: Time limit of connecting, s.
        observe: Refuse and count every write.
        settings: Of the line behind the serial server.
    """

    def __init__(
        self,
        host: str,
        port: int,
        timeout_s: float,
        observe: bool = False,
        settings: SerialSettings | None = None,
    ) -> None:
        line = settings or SerialSettings()
        super().__init__(f"{host}:{port}", timeout_s, observe, line.character_s)
        self.host, self.port = host, port

    async def _open(self) -> None:
        self._reset()
        await self._loop.create_connection(lambda: Tap(self), self.host, self.port)
