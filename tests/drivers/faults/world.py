"""What the registers hold, and whether a client may believe it: the judge of the campaign.

The contents tell their unit, table and address, and how often the clock has ticked.
The clock is a file shared with the server process, past every wire and client. It ticks
before each question, so that even an answer to the same question asked earlier is wrong.
"""

import contextlib
import mmap
import random
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

UNITS = (1, 2, 3)
TABLE = {3: "holding", 4: "input"}
_COUNTS = (1, 4, 10, 10, 10, 25)
"""Several blocks of one unit are equally long: on a serial line nothing tells them apart."""
_SPREAD = 40_503
"""Odd, so that equal contents of different addresses are far apart; as in ``server.c``."""
_TICKS = 1 << 16
"""The clock starts again after so many: a thousand times more than a question ever sees."""


class Clock:
    """Counts the questions of a campaign; the server reads it for each answer."""

    def __init__(self, path: Path, memory: memoryview) -> None:
        self.path, self._memory = path, memory
        self.now = 0

    def tick(self) -> int:
        """Let time pass on the server; what it is now, 0..65535."""
        self.now = (self.now + 1) % _TICKS
        # In one store: struct.pack_into writes a zero first, which the server may see.
        self._memory[0] = self.now
        return self.now


@contextlib.contextmanager
def clock() -> Iterator[Clock]:
    """A clock in a file of its own, at 0."""
    with tempfile.NamedTemporaryFile(prefix="ems-clock-") as file:
        file.truncate(2)
        with (
            mmap.mmap(file.fileno(), 2) as memory,
            memoryview(memory) as bytewise,
            bytewise.cast("H") as word,
        ):
            yield Clock(Path(file.name), word)


@dataclass(frozen=True)
class Ask:
    """One read of registers."""

    unit: int
    function: int
    address: int
    count: int

    @cached_property
    def _at_zero(self) -> tuple[int, ...]:
        table = self.unit * 7919 + self.function * 104_729
        return tuple((n * _SPREAD + table) % _TICKS for n in range(self.address, self._end))

    @property
    def _end(self) -> int:
        return self.address + self.count

    def content(self, tick: int) -> bytes:
        """What the server holds there at one tick."""
        return struct.pack(f">{self.count}H", *(word ^ tick for word in self._at_zero))

    def held(self, found: bytes, since: int, until: int) -> bool:
        """Whether the server held just this at some tick from ``since`` to ``until``."""
        if len(found) != 2 * self.count:
            return False
        tick = int.from_bytes(found[:2], "big") ^ self._at_zero[0]
        in_time = (tick - since) % _TICKS <= (until - since) % _TICKS
        return in_time and found == self.content(tick)


BLOCKS = tuple(
    Ask(unit, function, 100 * (k + 1), count)
    for unit in UNITS
    for function in (3, 4)
    for k, count in enumerate(_COUNTS)
)


def draw(rng: random.Random) -> Ask:
    """The next question of a poller with many blocks."""
    return rng.choice(BLOCKS)
