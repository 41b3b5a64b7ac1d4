"""Which faults there are, and which comes next."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

TIMEOUT_S = 0.03
LATENCY_MAX_S = 0.07
"""Largest delay between a question and its answer; scaled down like the time limit."""
FAULTS = (
    "late", "very late", "short", "truncated", "duplicated", "bit flipped", "wrong unit",
    "wrong function", "swapped", "wrong byte count", "stale", "odd exception",
    "garbage before", "garbage after", "reset in the frame", "single bytes",
)  # fmt: skip
FAULTY_SHARE = 0.75
"""The rest of the answers are left as they are: recovering is part of the campaign."""


@dataclass
class Deck:
    """Faults still to be met, in random order: each class exactly as often as asked."""

    each: int
    rng: random.Random
    met: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._left = [fault for fault in FAULTS for _ in range(self.each)]
        self.rng.shuffle(self._left)

    @property
    def empty(self) -> bool:
        return not self._left

    def next(self, can: Callable[[str], bool]) -> str:
        """The next fault; empty for a clean answer, also when this one cannot be met now.

        Args:
            can: Whether a fault can be met now; else it is put back for later.
        """
        if not self._left or self.rng.random() > FAULTY_SHARE:
            return ""
        if not can(self._left[-1]):
            self._left.insert(0, self._left.pop())
            return ""
        fault = self._left.pop()
        self.met[fault] += 1
        return fault
