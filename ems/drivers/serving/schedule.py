"""What to read next on one line, and how often when the line cannot carry it all."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ems.drivers.coding.block import Block

LINE_SHARE_MAX: Final = 0.9
"""Share of a line's time that polls may take; the rest is for commands and stragglers."""
FAST_SHARE_MAX: Final = 0.8
"""Share that the fastest poll class may take while there are slower ones."""
_WEIGHT: Final = 0.2
"""Of the newest cost in the running mean."""


@dataclass(slots=True)
class Job:
    """A block that is read again and again."""

    block: Block
    due_s: float
    cost_s: float = 0.0
    """Time one read takes, s; running mean."""
    period_s: float = 0.0
    """How often it is read at present, s; the period of the block or longer."""

    def __post_init__(self) -> None:
        self.period_s = self.block.period_s
        self.cost_s = self.block.wire_s

    def done(self, began_s: float, now_s: float) -> None:
        """It was read; no bursts to catch up: a poll that was missed is gone."""
        self.cost_s += _WEIGHT * (now_s - began_s - self.cost_s)
        self.due_s = max(self.due_s + self.period_s, now_s)


def stretch(jobs: Sequence[Job]) -> float:
    """Set periods that the line can keep, and return the largest factor used, >= 1.

    On a saturated line slow blocks are read less often so that the fast ones keep
    their time; only when the fast ones alone are too much they are stretched too.
    """
    if not jobs:
        return 1.0
    fastest_s = min(job.block.period_s for job in jobs)
    fast = [job for job in jobs if job.block.period_s == fastest_s]
    slow = [job for job in jobs if job.block.period_s > fastest_s]
    fast_load, slow_load = _load(fast), _load(slow)
    if not slow:
        return _keep(fast, max(1.0, fast_load / LINE_SHARE_MAX))
    left = LINE_SHARE_MAX - min(fast_load, FAST_SHARE_MAX)
    return max(
        _keep(fast, max(1.0, fast_load / FAST_SHARE_MAX)), _keep(slow, max(1.0, slow_load / left))
    )


def _keep(jobs: Sequence[Job], factor: float) -> float:
    for job in jobs:
        job.period_s = job.block.period_s * factor
    return factor


def _load(jobs: Sequence[Job]) -> float:
    return sum(job.cost_s / job.block.period_s for job in jobs)
