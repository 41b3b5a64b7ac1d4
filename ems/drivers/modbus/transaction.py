"""One question at a time on one connection, each with its own time limit.

What TCP and serial lines share: the future a question waits for, the clock that ends
the waiting, the counters, and the last place every frame passes before it leaves.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

from ems.drivers.link import LinkDown, NoAnswer, WriteForbidden
from ems.drivers.modbus.frames import READ_FUNCTION, READS, Question, read_question, write_question
from ems.model import Link


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast one device may be asked, all in s."""

    timeout_s: float = 0.5
    """From the end of the question to the end of the answer, without time on the wire."""
    gap_s: float = 0.0
    """Smallest time between the end of an answer and the next question."""
    latency_max_s: float = 1.0
    """No answer comes later than this after its question."""


class Wire(Protocol):
    """Where bytes go: a socket's transport or a serial port."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None: ...

    def is_closing(self) -> bool: ...


DEFAULT_PACE: Final = Pace()
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_KEEPCNT, 3))


class Transactions:
    """Base of the Modbus connections.

    Args:
        where: Name of the other end, for messages.
        timeout_s: Time limit of connecting, s.
        observe: Refuse and count every write.
    """

    def __init__(self, where: str, timeout_s: float, observe: bool) -> None:
        self.where, self.timeout_s = where, timeout_s
        self.refused_writes = 0
        self.sent_writes = 0
        """Frames with a writing function that left for the wire; stays 0 while observing."""
        self.on_lost: Callable[[], None] = _nobody
        self.loss = ""
        self._observe = observe
        self._wire: Wire | None = None
        self._question: Question | None = None
        self._waiter: asyncio.Future[bytes] | None = None
        self._buffer = bytearray()
        self._deadline_s = 0.0
        self._limit_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop

    @property
    def connected(self) -> bool:
        return self._wire is not None and not self._wire.is_closing()

    async def connect(self) -> None:
        """Connect once; the caller decides when to try again.

        Raises:
            LinkDown: refused (known at once) or silent (nothing within the time limit).
        """
        await self.close()
        self._loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self.timeout_s):
                await self._open()
        except TimeoutError:
            raise LinkDown(Link.SILENT, "no connection within the time limit") from None
        except OSError as error:
            raise LinkDown(Link.REFUSED, self._why(error)) from error

    async def close(self) -> None:
        """Close; harmless when not connected."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._wire is not None:
            wire, self._wire = self._wire, None
            wire.close()

    async def read(
        self, unit: int, table: str, address: int, count: int, pace: Pace = DEFAULT_PACE
    ) -> bytes:
        """Exactly ``count`` registers, as big-endian bytes.

        Raises:
            LinkDown, NoAnswer, BadAnswer, DeviceRefusal: there is no value.
        """
        return await self._ask(read_question(unit, READ_FUNCTION[table], address, count), pace)

    async def write(
        self,
        unit: int,
        address: int,
        registers: list[int],
        function: int,
        pace: Pace = DEFAULT_PACE,
    ) -> None:
        """Write registers with function 6 (one) or 16; the echo is compared.

        Raises:
            WriteForbidden: we only observe.
            LinkDown, NoAnswer, BadAnswer, DeviceRefusal: the write is not confirmed.
        """
        if self._observe:
            self.refused_writes += 1
            raise WriteForbidden("this connection only observes")
        await self._ask(write_question(unit, function, address, registers), pace)

    async def _open(self) -> None:
        raise NotImplementedError

    def _why(self, error: OSError) -> str:
        if isinstance(error, ConnectionRefusedError):
            return "connection refused"
        why = error.strerror or str(error) or "it broke off while connecting"
        return f"cannot connect to {self.where}: {why}"

    async def _ask(self, question: Question, pace: Pace) -> bytes:
        raise NotImplementedError

    async def _exchange(self, question: Question, frame: bytes, limit_s: float) -> bytes:
        """Send one frame and await the verdict on what comes back."""
        wire = self._live()
        loop = self._loop
        self._question = question
        waiter: asyncio.Future[bytes] = loop.create_future()
        self._waiter = waiter
        self._limit_s = limit_s
        self._deadline_s = deadline_s = loop.time() + limit_s
        # One timer serves many questions: it is not worth a heap entry for each.
        if self._timer is None or self._timer.when() > deadline_s:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(deadline_s, self._expire)
        try:
            self._send(wire, frame, question.function)
            return await waiter
        finally:
            self._waiter = self._question = None

    def _send(self, wire: Wire, frame: bytes, function: int) -> None:
        """The one place where bytes leave; the last barrier while observing."""
        if function not in READS:
            if self._observe:
                raise WriteForbidden("this connection only observes")
            self.sent_writes += 1
        wire.write(frame)

    def _live(self) -> Wire:
        if self._wire is None or self._wire.is_closing():
            raise LinkDown(Link.REFUSED, "not connected")
        return self._wire

    def _expire(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        if self._deadline_s > self._loop.time():
            self._timer = self._loop.call_at(self._deadline_s, self._expire)
        elif not self._waiter.done():
            self._waiter.set_exception(self._timed_out())

    def _timed_out(self) -> Exception:
        return NoAnswer(f"no answer within {self._limit_s:g} s")

    def _answered(self, payload: bytes) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(payload)

    def _failed(self, error: Exception) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)

    def data_received(self, data: bytes) -> None:
        """Bytes from the present wire."""
        raise NotImplementedError

    def opened(self, wire: Wire) -> None:
        """A wire is there."""
        self._wire = wire

    def uses(self, wire: Wire) -> bool:
        """Whether this is the present wire."""
        return self._wire is wire

    def lost(self, wire: Wire, error: Exception | None) -> None:
        """A wire is gone: whoever waits on it is told at once."""
        if self._wire is not wire:
            return  # one that we closed ourselves
        self._wire = None
        self.loss = self._loss(error)
        self._failed(LinkDown(Link.REFUSED, self.loss))
        self.on_lost()

    def _loss(self, error: Exception | None) -> str:
        return "connection closed by the device"


class Tap(asyncio.Protocol):
    """Socket side of one connection: bytes of a connection given up reach nobody."""

    def __init__(self, user: Transactions) -> None:
        self._user = user
        self._transport: Wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over; small frames leave at once and dead peers are noticed."""
        self._transport = cast(asyncio.Transport, transport)
        plain = transport.get_extra_info("socket")
        if plain is not None:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                plain.setsockopt(socket.IPPROTO_TCP, option, value)
        self._user.opened(self._transport)

    def data_received(self, data: bytes) -> None:
        """Pass on what comes over the present connection."""
        if self._user.uses(self._transport):
            self._user.data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the user."""
        self._user.lost(self._transport, exc)


def _nobody() -> None:
    """Until an owner listens, nobody has to be told that a connection broke."""
