"""The owner of a connection, with a port that does what the test says and a clock in its hand."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

import pytest

from ems.clock import SystemClock
from ems.drivers import profile
from ems.drivers.compiler import compile_device
from ems.drivers.device import Block, Values
from ems.drivers.image import DeviceImage
from ems.drivers.link import BadAnswer, LinkDown, NoAnswer, PointWrite
from ems.drivers.owner import BACKOFF_MAX_S, COMMAND_LIFE_S, SILENT_AFTER, Member, Order, Owner
from ems.model import CommandResult, Link, Quality, SetContactor
from tests.drivers.bench import device


class Clock(SystemClock):
    """Monotonic time that the test can push ahead."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Peer:
    """A connection and port in one; answers every block with zeros unless told otherwise."""

    def __init__(self) -> None:
        counts = {"reported_cells": 2, "reported_temps": 2}
        name = "bms_ev_module_rack"
        self.device = compile_device(profile.load(name), device("bms", name), counts)
        self.refused_writes = 0
        self.on_lost: Callable[[], None] = lambda: None
        self.connected = False
        self.error: Exception | None = None
        self.connects = 0
        self.reads = 0
        self.written: list[list[PointWrite]] = []
        self.writing: Callable[[], Awaitable[None]] | None = None

    async def connect(self) -> None:
        self.connects += 1
        if isinstance(self.error, LinkDown):
            raise self.error
        self.connected = True

    async def close(self) -> None:
        self.connected = False

    async def prepare(self) -> None: ...

    def has(self, point: object) -> bool:
        return True

    async def read(self, block: Block) -> Values:
        self.reads += 1
        if self.error is not None:
            raise self.error
        payload = bytes(2 * block.count)
        return block.decode(payload)

    async def write(self, writes: list[PointWrite]) -> None:
        if self.writing is not None:
            await self.writing()
        self.written.append(writes)


class Stage:
    """One owner with one device."""

    def __init__(self) -> None:
        self.peer, self.clock = Peer(), Clock()
        self.image = DeviceImage.of(self.peer.device.blocks)
        self.member = Member("bms", self.peer, self.image, 10.0)
        self.results: list[CommandResult] = []
        report, rng = self.results.append, random.Random(0)
        self.owner = Owner(self.peer, [self.member], self.clock, report, rng)

    def order(self, age_s: float = 0.0) -> None:
        at_s = self.clock.monotonic_s() - age_s
        context = {"contactor": 0.0}
        self.owner.submit(
            self.member, Order(SetContactor(0, close=False), "contactor", context, 0, at_s)
        )

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(10.0):
            while not holds():
                await asyncio.sleep(0.005)


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def run() -> None:
        stage = Stage()
        task = asyncio.create_task(stage.owner.run())
        await scene(stage)
        stage.owner.request_stop()
        await asyncio.wait_for(task, 5.0)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("age_s", "writes", "reason"),
    [
        pytest.param(0.0, 1, "", id="fresh: delivered"),
        pytest.param(COMMAND_LIFE_S - 0.3, 1, "", id="still alive"),
        pytest.param(COMMAND_LIFE_S, 0, "dropped: too late", id="at the end of its life: dropped"),
    ],
)
def test_a_command_is_delivered_in_time_or_not_at_all(age_s, writes, reason):
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.image.link is Link.UP)
        s.order(age_s)
        await s.until(lambda: len(s.results) == 1)
        assert len(s.peer.written) == writes
        assert s.results[0].reason == reason

    play(scene)


def test_a_write_that_takes_too_long_is_given_up():
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.image.link is Link.UP)
        s.peer.writing = asyncio.Event().wait  # type: ignore[assignment]
        s.order(COMMAND_LIFE_S - 0.1)
        await s.until(lambda: len(s.results) == 1)
        assert s.results[0].reason == "dropped: too late"

    play(scene)


def test_an_unchanged_switch_is_not_rewritten_before_its_repeat_time():
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.image.link is Link.UP)
        for ahead_s, writes in ((0.0, 1), (4.9, 1), (5.1, 2)):
            s.clock.ahead_s = ahead_s
            s.results.clear()
            s.order()
            await s.until(lambda: len(s.results) == 1)
            assert s.results[0].ok
            assert len(s.peer.written) == writes, f"after {ahead_s} s"

    play(scene)


def test_commands_without_a_connection_fail_at_once():
    async def scene(s: Stage) -> None:
        s.order()
        assert [r.reason for r in s.results] == ["the device is not connected"]

    play(scene)


def test_losing_the_connection_fails_what_waits_and_forgets_the_values():
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.image.link is Link.UP)
        s.order()
        s.peer.connected = False
        s.peer.error = LinkDown(Link.REFUSED, "connection refused")
        s.peer.on_lost()
        assert s.image.link is Link.REFUSED
        assert s.image.readings == {}
        assert [r.reason for r in s.results] == ["connection closed by the device"]
        assert s.peer.written == []

    play(scene)


def test_the_third_unanswered_request_in_a_row_makes_a_device_silent():
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        s.peer.error = NoAnswer("no answer within 0.5 s")
        before = s.peer.reads
        await s.until(lambda: s.peer.reads == before + SILENT_AFTER - 1)
        assert s.image.link is Link.UP, "two may be bad luck; the values go stale by themselves"
        await s.until(lambda: s.image.link is Link.SILENT)
        assert s.peer.reads == before + SILENT_AFTER
        assert s.image.readings == {}

    play(scene)


def test_trouble_is_logged_once_and_its_end_once(caplog):
    caplog.set_level(logging.WARNING, "ems.drivers")

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        s.peer.error = BadAnswer("9 bytes where 10 were asked for")
        before = s.peer.reads
        await s.until(lambda: s.peer.reads >= before + 3)
        assert s.image.readings["current_a"].quality is Quality.BAD
        s.peer.error = None
        await s.until(lambda: s.image.readings["voltage_v"].quality is Quality.GOOD)

    play(scene)
    assert [record.getMessage() for record in caplog.records] == [
        "bms: block status: 9 bytes where 10 were asked for; trying again quietly",
        "bms: answers again",
    ]


def test_pauses_between_attempts_grow_to_their_limit_and_start_over_after_success():
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.image.link is Link.UP)
        pauses: list[float] = []

        async def note(duration_s: float) -> None:
            pauses.append(duration_s)
            await asyncio.sleep(0)
            if len(pauses) == 8:
                s.peer.error = None

        s.owner._sleep = note  # type: ignore[method-assign]
        s.peer.connected = False
        s.peer.error = LinkDown(Link.REFUSED, "connection refused")
        s.peer.on_lost()
        await s.until(lambda: len(pauses) >= 8)
        tries = pauses[:8]
        assert 0.15 <= tries[0] <= 0.25
        assert all(0.75 * BACKOFF_MAX_S <= p <= 1.25 * BACKOFF_MAX_S for p in tries[5:])
        await s.until(lambda: s.member.prepared)
        assert s.owner._pause_s < 0.25

    play(scene)
