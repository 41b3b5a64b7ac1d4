"""The good server and the bad wire behind it: one session per connection.

Every request reaches the server. Its answer is passed on as it is, or spoiled by the
next fault of a shared deck, so that each class is met exactly as often as asked.
"""

import asyncio
import random
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.drivers.faults.world import Ask

TIMEOUT_S = 0.03
LATENCY_MAX_S = 0.07
"""Largest delay between a question and its answer; scaled down like the time limit."""
COPY_MAX_S = 0.003
"""Latest second copy on a serial line: two silences between frames. A later copy cannot be
told from an answer of equal length by any client."""
FAULTS = (
    "late", "very late", "short", "truncated", "duplicated", "bit flipped", "wrong unit",
    "wrong function", "swapped", "wrong byte count", "stale", "odd exception",
    "garbage before", "garbage after", "reset in the frame", "single bytes",
)  # fmt: skip
FAULTY_SHARE = 0.75
"""The rest of the answers are left as they are: recovering is part of the campaign."""
_MBAP = 6


def crc(data: bytes) -> bytes:
    """Checksum of serial Modbus, computed bit by bit, unlike in the code under test."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return struct.pack("<H", register)


@dataclass
class Deck:
    """Faults still to be met, in random order."""

    each: int
    rng: random.Random
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._left = [fault for fault in FAULTS for _ in range(self.each)]
        self.rng.shuffle(self._left)

    @property
    def empty(self) -> bool:
        return not self._left

    def next(self) -> str:
        """The next fault; empty for a clean answer."""
        if not self._left or self.rng.random() > FAULTY_SHARE:
            return ""
        fault = self._left.pop()
        self.met[fault] += 1
        return fault


@dataclass
class Exchange:
    """Where answers of two connections are swapped for each other."""

    waiting: "tuple[Session, bytes] | None" = None


class Session:
    """One connection to the server over the bad wire.

    Args:
        rtu: Serial framing; else Modbus TCP.
        deck: Faults, shared by all connections of a campaign.
        exchange: Partners for swapped answers, shared too.
        write: Puts bytes on the wire.
        reset: Breaks the connection.
    """

    def __init__(
        self,
        rtu: bool,
        deck: Deck,
        exchange: Exchange,
        write: Callable[[bytes], None],
        reset: Callable[[], None],
    ) -> None:
        self.rtu, self.deck, self.exchange = rtu, deck, exchange
        self._put, self.reset = write, reset
        self.last_fault = ""
        self._loop = asyncio.get_running_loop()
        self._buffer = b""
        self._previous = b""
        self._withheld = b""
        self._behind = 0
        self._in_pieces = False
        self._queued: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Bytes from the client."""
        self._buffer += data
        size = 8 if self.rtu else 12
        while len(self._buffer) >= size:
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._serve(request)

    def _serve(self, request: bytes) -> None:
        body = request[:-2] if self.rtu else request[_MBAP:]
        unit, function, address, count = struct.unpack(">BBHH", body)
        content = Ask(unit, function, address, count).content
        header = b"" if self.rtu else request[:2]
        answer = self._frame(header, bytes((unit, function, len(content))) + content)
        if self._behind:
            # One answer behind, for as many requests as were swapped.
            self._behind -= 1
            answer, self._withheld = self._withheld, answer
            self.write(answer)
        elif fault := self.deck.next():
            self.last_fault = fault
            getattr(self, "_" + fault.replace(" ", "_"))(header, answer)
        else:
            self.write(answer)
        self._previous = answer

    def _frame(self, header: bytes, body: bytes) -> bytes:
        """A frame that is right in itself."""
        if self.rtu:
            return body + crc(body)
        return header + struct.pack(">HH", 0, len(body)) + body

    def _body(self, answer: bytes) -> bytes:
        return answer[:-2] if self.rtu else answer[_MBAP:]

    def write(self, data: bytes) -> None:
        """Put a frame on the wire; never inside another one."""
        if self._in_pieces:
            self._queued.append(data)
        else:
            self._put(data)

    def _later(self, delay_s: float, data: bytes) -> None:
        self._loop.call_later(delay_s, self.write, data)

    def _late(self, _header: bytes, answer: bytes) -> None:
        self._later(self.deck.rng.uniform(0.1, 0.6) * TIMEOUT_S, answer)

    def _very_late(self, _header: bytes, answer: bytes) -> None:
        self._later(self.deck.rng.uniform(1.1 * TIMEOUT_S, 0.9 * LATENCY_MAX_S), answer)

    def _short(self, header: bytes, answer: bytes) -> None:
        """Fewer registers than asked, in a frame that says so."""
        body = self._body(answer)
        keep = 2 * self.deck.rng.randrange(body[2] // 2)
        self.write(self._frame(header, body[:2] + bytes((keep,)) + body[3 : 3 + keep]))

    def _truncated(self, _header: bytes, answer: bytes) -> None:
        self.write(answer[: self.deck.rng.randrange(1, len(answer))])

    def _duplicated(self, _header: bytes, answer: bytes) -> None:
        """Twice: at once, or (over TCP) at any time before the time limit."""
        self.write(answer)
        if self.deck.rng.random() < 0.5:
            self.write(answer)
        else:
            spread_s = COPY_MAX_S if self.rtu else 0.5 * TIMEOUT_S
            self._later(self.deck.rng.uniform(0.0, spread_s), answer)

    def _bit_flipped(self, _header: bytes, answer: bytes) -> None:
        """Any bit on a serial line; over TCP one of the nine bytes before the contents.

        A bit flipped inside the contents of a TCP frame cannot be seen by anyone:
        Modbus TCP has no checksum of its own.
        """
        flipped = bytearray(answer)
        rng = self.deck.rng
        flipped[rng.randrange(len(answer) if self.rtu else 9)] ^= 1 << rng.randrange(8)
        self.write(bytes(flipped))

    def _wrong_unit(self, header: bytes, answer: bytes) -> None:
        """What another unit has to say to the same question."""
        body = self._body(answer)
        other = self.deck.rng.choice([u for u in (0, 1, 2, 3, 255) if u != body[0]])
        self.write(self._frame(header, bytes((other,)) + body[1:3] + self._noise(body[2])))

    def _wrong_function(self, header: bytes, answer: bytes) -> None:
        """The contents of another table, or something stranger."""
        body = self._body(answer)
        other = self.deck.rng.choice([f for f in (1, 2, 3, 4, 23, 43) if f != body[1]])
        self.write(self._frame(header, bytes((body[0], other, body[2])) + self._noise(body[2])))

    def _swapped(self, _header: bytes, answer: bytes) -> None:
        """Answers of two requests exchanged: of two connections, or of two in succession."""
        if self.rtu:
            self._withheld, self._behind = answer, 2
            return
        partner, self.exchange.waiting = self.exchange.waiting, None
        if partner is None or partner[0] is self:
            self.exchange.waiting = (self, answer)
            return
        partner[0].write(answer)
        self.write(partner[1])

    def _wrong_byte_count(self, header: bytes, answer: bytes) -> None:
        """A byte count that the data behind it do not have."""
        body = self._body(answer)
        told = self.deck.rng.choice([n for n in range(0, 251) if n != body[2]])
        self.write(self._frame(header, body[:2] + bytes((told,)) + body[3:]))

    def _stale(self, _header: bytes, answer: bytes) -> None:
        """The answer to the request before, in place of this one's."""
        self.write(self._previous or answer[:1])

    def _odd_exception(self, header: bytes, answer: bytes) -> None:
        body = self._body(answer)
        code = self.deck.rng.choice((0, 5, 6, 7, 9, 10, 11, 12, 99, 255))
        self.write(self._frame(header, bytes((body[0], body[1] | 0x80, code))))

    def _garbage_before(self, _header: bytes, answer: bytes) -> None:
        self.write(self._noise(self.deck.rng.randrange(1, 20)) + answer)

    def _garbage_after(self, _header: bytes, answer: bytes) -> None:
        self.write(answer + self._noise(self.deck.rng.randrange(1, 20)))

    def _reset_in_the_frame(self, _header: bytes, answer: bytes) -> None:
        self.write(answer[: self.deck.rng.randrange(1, len(answer))])
        self.reset()

    def _single_bytes(self, _header: bytes, answer: bytes) -> None:
        self._in_pieces, self._queued = True, []
        step_s = 0.3 * TIMEOUT_S / len(answer)
        for at in range(len(answer)):
            self._loop.call_later(at * step_s, self._put, answer[at : at + 1])
        self._loop.call_later(len(answer) * step_s, self._whole_again)

    def _whole_again(self) -> None:
        self._in_pieces = False
        for data in self._queued:
            self._put(data)

    def _noise(self, size: int) -> bytes:
        return self.deck.rng.randbytes(size)
