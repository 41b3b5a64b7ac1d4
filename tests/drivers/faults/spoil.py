"""The way back from the server to one client, and all that can happen to an answer on it."""

import asyncio
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from tests.drivers.faults.deck import LATENCY_MAX_S, TIMEOUT_S
from tests.drivers.faults.framing import Framing, Rtu

COPY_MAX_S = 0.003
"""Latest second copy on a serial line: two silences between frames. A later copy cannot be
told from an answer of equal length by any client."""
_OLD_S = 0.9 * LATENCY_MAX_S
"""Largest age of an answer here; the rest of the delay is left to sockets and processes."""
_TCP_PREFIX = 9
"""Bytes of a TCP answer before its contents."""


@dataclass
class Exchange:
    """Where answers of two connections are swapped for each other."""

    waiting: "tuple[WayBack, bytes] | None" = None


class WayBack:
    """Takes genuine answers of one connection.

    Args:
        framing: Of the answers.
        rng: How exactly they are spoiled.
        exchange: Partners for swapped answers, shared by all connections.
        put: Puts bytes on the wire to the client.
        reset: Breaks the connection.
    """

    def __init__(
        self,
        framing: Framing,
        rng: random.Random,
        exchange: Exchange,
        put: Callable[[bytes], None],
        reset: Callable[[], None],
    ) -> None:
        self._framing, self._rng, self._exchange = framing, rng, exchange
        self._serial = isinstance(framing, Rtu)
        self._put, self._reset = put, reset
        self._loop = asyncio.get_running_loop()
        self._asked_s = 0.0
        self._previous, self._previous_asked_s = b"", -math.inf
        self._withheld = b""
        self._behind = 0
        self._in_pieces = False
        self._queued: list[bytes] = []

    def can(self, fault: str, asked_s: float) -> bool:
        """Whether the answer to a question of ``asked_s`` can meet this fault.

        Not while the line is one answer behind. And no answer is older than the wire of
        a device may make it, which is what its users count on.
        """
        fresh = asked_s - self._previous_asked_s < _OLD_S
        return not self._behind and (fault != "stale" or fresh)

    def take(self, fault: str, answer: bytes, asked_s: float) -> None:
        """Pass the answer to a question of ``asked_s`` on, with a fault or with none."""
        self._asked_s = asked_s
        if self._behind:
            # One answer behind, for as many requests as were swapped.
            self._behind -= 1
            answer, self._withheld = self._withheld, answer
            self._write(answer)
        elif fault:
            getattr(self, "_" + fault.replace(" ", "_"))(answer)
        else:
            self._write(answer)
        self._previous, self._previous_asked_s = answer, asked_s

    def _write(self, data: bytes) -> None:
        """Put a frame on the wire; never inside another one."""
        if self._in_pieces:
            self._queued.append(data)
        else:
            self._put(data)

    def _like(self, answer: bytes, body: bytes) -> bytes:
        return self._framing.like(answer, body)

    def _late(self, answer: bytes) -> None:
        at_s = self._asked_s + self._rng.uniform(0.1, 0.6) * TIMEOUT_S
        self._loop.call_at(at_s, self._write, answer)

    def _very_late(self, answer: bytes) -> None:
        delay_s = self._rng.uniform(1.1 * TIMEOUT_S, _OLD_S)
        self._loop.call_at(self._asked_s + delay_s, self._write, answer)

    def _short(self, answer: bytes) -> None:
        """Fewer registers than asked, in a frame that says so."""
        body = self._framing.body(answer)
        keep = 2 * self._rng.randrange(body[2] // 2)
        self._write(self._like(answer, body[:2] + bytes((keep,)) + body[3 : 3 + keep]))

    def _truncated(self, answer: bytes) -> None:
        self._write(answer[: self._rng.randrange(1, len(answer))])

    def _duplicated(self, answer: bytes) -> None:
        """Twice: at once, or (over TCP) at any time before the time limit."""
        self._write(answer)
        if self._rng.random() < 0.5:
            self._write(answer)
        else:
            spread_s = COPY_MAX_S if self._serial else 0.5 * TIMEOUT_S
            self._loop.call_later(self._rng.uniform(0.0, spread_s), self._write, answer)

    def _bit_flipped(self, answer: bytes) -> None:
        """Any bit on a serial line; over TCP one of the nine bytes before the contents.

        A bit flipped inside the contents of a TCP frame cannot be seen by anyone:
        Modbus TCP has no checksum of its own.
        """
        flipped = bytearray(answer)
        at = self._rng.randrange(len(answer) if self._serial else _TCP_PREFIX)
        flipped[at] ^= 1 << self._rng.randrange(8)
        self._write(bytes(flipped))

    def _wrong_unit(self, answer: bytes) -> None:
        """What another unit answered: the question was carried to it."""
        self._write(answer)

    def _wrong_function(self, answer: bytes) -> None:
        """What another table answered."""
        self._write(answer)

    def _swapped(self, answer: bytes) -> None:
        """Answers of two requests exchanged: of two connections, or of two in succession."""
        if self._serial:
            self._withheld, self._behind = answer, 2
            return
        partner, self._exchange.waiting = self._exchange.waiting, None
        if partner is None or partner[0] is self:
            self._exchange.waiting = (self, answer)
            return
        partner[0]._write(answer)
        self._write(partner[1])

    def _wrong_byte_count(self, answer: bytes) -> None:
        """A byte count that the data behind it do not have."""
        body = self._framing.body(answer)
        told = self._rng.choice([n for n in range(251) if n != body[2]])
        self._write(self._like(answer, body[:2] + bytes((told,)) + body[3:]))

    def _stale(self, _answer: bytes) -> None:
        """The answer to the question before, in place of this one's."""
        self._write(self._previous)

    def _odd_exception(self, answer: bytes) -> None:
        body = self._framing.body(answer)
        code = self._rng.choice((0, 5, 6, 7, 9, 10, 11, 12, 99, 255))
        self._write(self._like(answer, bytes((body[0], body[1] | 0x80, code))))

    def _garbage_before(self, answer: bytes) -> None:
        self._write(self._noise() + answer)

    def _garbage_after(self, answer: bytes) -> None:
        self._write(answer + self._noise())

    def _reset_in_the_frame(self, answer: bytes) -> None:
        self._truncated(answer)
        self._reset()

    def _single_bytes(self, answer: bytes) -> None:
        if self._in_pieces:
            self._write(answer)
            return
        self._in_pieces = True
        step_s = 0.3 * TIMEOUT_S / len(answer)
        for at in range(len(answer) - 1):
            self._loop.call_later(at * step_s, self._put, answer[at : at + 1])
        self._loop.call_later((len(answer) - 1) * step_s, self._last_byte, answer[-1:])

    def _last_byte(self, last: bytes) -> None:
        """Complete the frame; only now others may follow."""
        self._in_pieces = False
        queued, self._queued = self._queued, []
        for data in (last, *queued):
            self._put(data)

    def _noise(self) -> bytes:
        return self._rng.randbytes(self._rng.randrange(1, 20))
