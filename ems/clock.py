"""Time as an argument: the only module that asks the machine what time it is.

Control and interlock timers use monotonic seconds. Wall time (UTC) is data with
a quality flag: it stamps records and selects tariffs, and it may jump.
"""

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the shell is given; pure code gets ``now_s`` and ``now_utc`` instead."""

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start, never stepping back."""
        ...

    def now_utc(self) -> datetime:
        """Aware wall-clock time in UTC; may step."""
        ...

    async def sleep_until_s(self, at_s: float) -> None:
        """Return at monotonic ``at_s``, or at once when it has passed."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def now_utc(self) -> datetime:
        return datetime.now(UTC)

    async def sleep_until_s(self, at_s: float) -> None:
        # Even a late caller yields once, so that pollers and writers get their turn.
        await asyncio.sleep(max(0.0, at_s - time.monotonic()))


def wall_step_s(
    previous_utc: datetime, previous_s: float, now_utc: datetime, now_s: float
) -> float:
    """Seconds by which the wall clock stepped between two samples (+ forward).

    Source: cause C42; more than 2 s is a record, more than 60 s or any step
    back freezes the tariff schedule until the clock is synchronised again.
    """
    return (now_utc - previous_utc).total_seconds() - (now_s - previous_s)


def window_start_utc(at_utc: datetime, window_s: float) -> datetime:
    """Start of the clock-aligned window that contains ``at_utc``.

    Demand windows of 15, 30 or 60 min are aligned to the hour, and every zone we
    serve is offset by whole quarters, so UTC alignment equals local alignment.
    """
    midnight = at_utc.replace(hour=0, minute=0, second=0, microsecond=0)
    elapsed_s = (at_utc - midnight).total_seconds()
    return midnight + timedelta(seconds=elapsed_s // window_s * window_s)
