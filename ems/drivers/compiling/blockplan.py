"""Which registers to ask for together: the fewest requests, or the least time on the wire.

Reading a range from its first to its last wanted register is one request. Longer
ranges save requests and cost the unused registers between; a device limits how many
registers it gives at once, refuses some addresses altogether and may not like gaps.
Within one table the problem has one dimension: what one request can hold of the
sorted spans is always a run of neighbours, so looking at every last run gives the
exact optimum.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

REQUEST_BYTES: Final = 8
"""Unit, function, address, count and check sum."""
ANSWER_BYTES: Final = 5
"""Unit, function, byte count and check sum around the registers."""
SILENCE_CHARS: Final = 3.5
"""Pause that ends a frame, in characters; never below :data:`SILENCE_MIN_S`."""
SILENCE_MIN_S: Final = 0.00175

Request = tuple[int, int]
"""First register and number of registers."""


class NoPlan(ValueError):
    """Points that must come in one answer cannot."""


@dataclass(frozen=True, slots=True)
class Span:
    """Registers that must come in one answer, both ends included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Limits:
    """What the device allows."""

    max_registers: int = 125
    max_hole: int = 124
    """Most unused registers between two spans of one request."""
    holes: tuple[Span, ...] = ()
    """Registers that no request may touch."""


@dataclass(frozen=True, slots=True)
class Line:
    """A serial line. Modbus sends 11 bits for a character: start, 8 data, parity or stop, stop."""

    baud: int
    bits_per_char: int = 11
    turnaround_s: float = 0.0
    """Time the device takes to begin its answer, s."""
    gap_s: float = 0.0
    """Pause the device wants before the next request, s."""

    @property
    def char_s(self) -> float:
        return self.bits_per_char / self.baud

    @property
    def silence_s(self) -> float:
        return max(SILENCE_CHARS * self.char_s, SILENCE_MIN_S)

    def read_s(self, registers: int) -> float:
        """Time from one request to the next, s."""
        return self.overhead_s + 2 * registers * self.char_s

    @property
    def overhead_s(self) -> float:
        """Part of :meth:`read_s` that does not depend on how much is read, s."""
        frames_s = (REQUEST_BYTES + ANSWER_BYTES) * self.char_s
        return frames_s + 2 * self.silence_s + self.turnaround_s + self.gap_s


@dataclass(frozen=True, slots=True)
class Cost:
    """What a plan is to keep small: ``per_request × requests + per_register × registers``."""

    per_request: float
    per_register: float

    @classmethod
    def of_requests(cls) -> "Cost":
        """Fewest requests; among those the fewest registers (never 65 536 of them)."""
        return cls(1.0, 1.0 / 65_536)

    @classmethod
    def of_line(cls, line: Line) -> "Cost":
        """Least time on a serial line."""
        return cls(line.overhead_s, 2 * line.char_s)

    def total(self, requests: Iterable[Request]) -> float:
        return sum(self.per_request + self.per_register * count for _, count in requests)


def plan(spans: Iterable[Span], limits: Limits, cost: Cost) -> list[Request]:
    """The cheapest requests that bring every span whole, sorted by address.

    Raises:
        NoPlan: a span is longer than one answer or lies in a hole; says which.
    """
    wanted = _outermost(spans)
    for span in wanted:
        _possible(span, limits)
    best: list[tuple[float, int]] = [(0.0, 0)]
    """Cost of the first k spans, and where the last request of that plan begins."""
    for end in range(1, len(wanted) + 1):
        cheapest, start = math.inf, end
        for begin in range(end - 1, -1, -1):
            if begin < end - 1:
                unused = wanted[begin + 1].first - wanted[begin].last - 1
                if unused > limits.max_hole:
                    break
            count = wanted[end - 1].last - wanted[begin].first + 1
            if count > limits.max_registers or _touches(
                wanted[begin].first, wanted[end - 1].last, limits.holes
            ):
                break
            found = best[begin][0] + cost.per_request + cost.per_register * count
            if found < cheapest:
                cheapest, start = found, begin
        best.append((cheapest, start))
    requests: list[Request] = []
    end = len(wanted)
    while end:
        begin = best[end][1]
        requests.append((wanted[begin].first, wanted[end - 1].last - wanted[begin].first + 1))
        end = begin
    return requests[::-1]


def _outermost(spans: Iterable[Span]) -> list[Span]:
    """The spans without those inside another, sorted: then their ends are sorted too."""
    kept: list[Span] = []
    for span in sorted(set(spans), key=lambda span: (span.first, -span.last)):
        if not kept or span.last > kept[-1].last:
            kept.append(span)
    return kept


def _possible(span: Span, limits: Limits) -> None:
    where = f"registers {span.first} to {span.last} (0x{span.first:X} to 0x{span.last:X})"
    if span.last - span.first + 1 > limits.max_registers:
        raise NoPlan(
            f"{where} must come in one answer, which holds {limits.max_registers} registers"
        )
    if _touches(span.first, span.last, limits.holes):
        raise NoPlan(f"{where} must come in one answer, but some of them must not be read")


def _touches(first: int, last: int, holes: Sequence[Span]) -> bool:
    return any(hole.first <= last and hole.last >= first for hole in holes)
