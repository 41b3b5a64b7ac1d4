"""Sections of the benchmarks: one module each, with ``TITLE`` and ``run() -> list[Figure]``.

Ratios are taken within one run, interleaved, best of several, so that a noisy
machine slows both sides alike.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number, and the goal it is held against."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; ``None`` when there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def goal(self) -> str:
        """The goal as text."""
        parts = []
        if self.at_least is not None:
            parts.append(f"≥ {self.at_least:g}")
        if self.at_most is not None:
            parts.append(f"≤ {self.at_most:g}")
        return " ".join(parts)


def interleaved_us(
    calls: dict[str, Callable[[], object]], rounds: int = 15, repeats: int = 500
) -> dict[str, float]:
    """Shortest mean time of each call over all rounds, µs; the calls take turns."""
    best = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            began_s = time.perf_counter()
            for _ in range(repeats):
                call()
            best[name] = min(best[name], 1e6 * (time.perf_counter() - began_s) / repeats)
    return best
