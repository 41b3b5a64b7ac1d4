"""Virtual time: jumps to the next timer, never waits, never hangs."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from sim.vloop import VirtualClock, VirtualLoop, run

START = datetime(2018, 3, 1, tzinfo=UTC)


def test_a_day_passes_without_waiting():
    loop = VirtualLoop()
    clock = VirtualClock(loop, START)

    async def main() -> datetime:
        await clock.sleep_until_s(86_400.0)
        return clock.now_utc()

    assert run(loop, main()) == START + timedelta(days=1)


def test_timers_fire_in_order_of_their_time():
    loop = VirtualLoop()
    clock = VirtualClock(loop, START)
    seen: list[tuple[str, float]] = []

    async def tick(name: str, period_s: float) -> None:
        for count in range(1, 4):
            await clock.sleep_until_s(count * period_s)
            seen.append((name, clock.monotonic_s()))

    async def main() -> None:
        await asyncio.gather(tick("slow", 5.0), tick("fast", 2.0))

    run(loop, main())
    assert seen == [("fast", 2), ("fast", 4), ("slow", 5), ("fast", 6), ("slow", 10), ("slow", 15)]


def test_waiting_for_nothing_is_an_error_not_a_hang():
    loop = VirtualLoop()

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="virtual time stands still"):
        run(loop, main())
