"""What the registers hold: each tells by its content which unit, table and address it is."""

import random
import struct
from dataclasses import dataclass

UNITS = (1, 2, 3)
TABLE = {3: "holding", 4: "input"}
_COUNTS = (1, 4, 10, 10, 10, 25)
"""Several blocks of one unit are equally long: on a serial line nothing tells them apart."""
_SPREAD = 40_503
"""Odd, so that equal contents of different addresses are far apart."""


@dataclass(frozen=True)
class Ask:
    """One read of registers."""

    unit: int
    function: int
    address: int
    count: int

    @property
    def content(self) -> bytes:
        """What it must return."""
        return b"".join(
            struct.pack(">H", _content(self.unit, self.function, self.address + k))
            for k in range(self.count)
        )


def _content(unit: int, function: int, address: int) -> int:
    return (address * _SPREAD + unit * 7919 + function * 104_729) & 0xFFFF


BLOCKS = tuple(
    Ask(unit, function, 100 * (k + 1), count)
    for unit in UNITS
    for function in (3, 4)
    for k, count in enumerate(_COUNTS)
)


def draw(rng: random.Random) -> Ask:
    """The next question of a poller with many blocks."""
    return rng.choice(BLOCKS)
