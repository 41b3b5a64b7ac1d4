"""asyncio on virtual time: the daemon's own code runs days in seconds.

The loop's clock stands still while anything is runnable and jumps to the next
timer when nothing is. No wall clock takes part, so the same seed gives the same
order of events.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting for a timer, moves the clock to it."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("virtual time stands still: every task waits and no timer is set")
        if timeout > 0.0:
            self.now_s += timeout
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Event loop whose time is simulated seconds since its start."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


class VirtualClock:
    """The clock of a simulation; monotonic time starts at 0.

    Args:
        start_utc: Wall-clock time at monotonic 0.
    """

    def __init__(self, loop: VirtualLoop, start_utc: datetime) -> None:
        self._loop = loop
        self._start_utc = start_utc.astimezone(UTC)

    def monotonic_s(self) -> float:
        # Timers add up rounding errors far below any period; whole milliseconds
        # keep time stamps readable and equal from run to run.
        return round(self._loop.time(), 3)

    def now_utc(self) -> datetime:
        return self._start_utc + timedelta(seconds=self.monotonic_s())

    async def sleep_until_s(self, at_s: float) -> None:
        loop = self._loop
        if at_s > loop.time():
            waiter = loop.create_future()
            loop.call_at(at_s, waiter.set_result, None)
            await waiter


def run(loop: VirtualLoop, main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on virtual time and close the loop."""
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()
