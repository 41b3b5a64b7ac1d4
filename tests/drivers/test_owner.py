"""The owner of a connection, with a port that does what the test says and a clock in its hand."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from ems.drivers.link import BadAnswer, LinkDown, NoAnswer
from ems.drivers.rules import LinkRules, Step, WriteRules
from ems.drivers.serving.owner import (
    BACKOFF_MAX_S,
    COMMAND_LIFE_S,
    DEAD_SHARE_MAX,
    SILENT_AFTER,
    SILENT_RETRY_MAX_S,
)
from ems.model import Link, Quality
from tests.drivers.handmade import block, made
from tests.drivers.stage import Stage
from tests.drivers.stage import play as play_device

CONTACTOR = made(
    block("status", "contactor", "voltage_v", "current_a"),
    writes={"contactor": WriteRules((Step("contactor", "contactor"),), repeat_s=5.0)},
)


def play(scene: Callable[[Stage], Awaitable[None]]) -> None:
    """Run a scene with a device that has a contactor."""
    play_device(CONTACTOR, scene)


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
        s.peer.loss = "serial port /dev/x is gone"
        s.peer.on_lost()
        assert s.image.link is Link.REFUSED
        assert s.image.readings == {}
        assert [r.reason for r in s.results] == ["serial port /dev/x is gone"]
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
        "dev: block status: 9 bytes where 10 were asked for; trying again quietly",
        "dev: answers again",
    ]


def test_a_device_that_answers_wrongly_says_so_even_after_it_did_not_answer_at_all(caplog):
    caplog.set_level(logging.WARNING, "ems.drivers")

    async def other_device() -> None:
        raise BadAnswer("SunSpec model 704 is missing")

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.peer.connects >= 2)
        s.peer.prepare = other_device  # type: ignore[method-assign]
        s.peer.error = None
        s.owner._pause_s = 0.01
        await s.until(lambda: s.member.complaint == "SunSpec model 704 is missing")
        assert s.image.link is not Link.UP
        assert not s.member.prepared
        connects = s.peer.connects
        await s.until(lambda: s.peer.connects > connects + 1)

    async def run() -> None:
        stage = Stage(CONTACTOR)
        stage.peer.error = LinkDown(Link.REFUSED, "connection refused")
        task = asyncio.create_task(stage.owner.run())
        await scene(stage)
        stage.owner.request_stop()
        await asyncio.wait_for(task, 5.0)

    asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == [
        "dev: connection refused; trying again quietly",
        "dev: SunSpec model 704 is missing; trying again quietly",
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


def test_a_dead_unit_is_asked_ever_more_seldom_and_its_neighbour_does_not_wait():
    async def run() -> None:
        living, dead = Stage(CONTACTOR), Stage(CONTACTOR)
        clock = living.clock
        asked_s: list[float] = []

        async def no_answer(_: object) -> None:
            asked_s.append(clock.monotonic_s())
            clock.ahead_s += 0.5  # its time limit
            raise NoAnswer("no answer within 0.5 s")

        dead.peer.read = no_answer  # type: ignore[method-assign, assignment]
        owner = living.owner
        owner.members.append(dead.member)
        task = asyncio.create_task(owner.run())
        await living.until(lambda: living.member.prepared and len(asked_s) == 1)
        for times in range(2, 7):
            before = living.peer.reads
            await living.until(lambda before=before: living.peer.reads > before + 2)
            assert len(asked_s) == times - 1, "meanwhile only the living one is asked"
            clock.ahead_s += 60.0
            await living.until(lambda times=times: len(asked_s) == times)
        assert dead.member.pause_s == SILENT_RETRY_MAX_S
        left_s = dead.member.silent_until_s - clock.monotonic_s()
        assert left_s > 0.8 * 0.5 / DEAD_SHARE_MAX, "its questions cost a small share of the line"
        assert living.image.link is Link.UP
        owner.request_stop()
        await asyncio.wait_for(task, 5.0)

    asyncio.run(run())


def test_on_a_full_line_slow_polls_wait_and_their_values_live_longer(caplog):
    fast = block("fast", "contactor", start=0, period_s=0.05)
    slow = block("slow", "voltage_v", start=10, period_s=0.2, ttl_s=3.0)

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        for job in s.member.jobs:
            job.cost_s = 0.03 if job.block is fast else 0.3
        s.clock.ahead_s += 10.0
        await s.until(lambda: s.owner.stretched > 2.0)
        factor = s.owner.stretched
        by_key = {job.block.key: job.period_s for job in s.member.jobs}
        assert by_key == {"fast": 0.05, "slow": pytest.approx(0.2 * factor)}
        assert s.image.ttl_s["voltage_v"] == pytest.approx(3.0 * factor)
        assert s.image.ttl_s["contactor"] == pytest.approx(3.0)

    play_device(made(fast, slow), scene)
    assert "the line is full; slow polls take" in caplog.text


def test_the_first_poll_waits_for_the_delay_that_a_device_wants_after_connecting():
    device = made(CONTACTOR.blocks[0], link=LinkRules("modbus", connect_delay_s=0.2))

    async def scene(s: Stage) -> None:
        began_s = s.clock.monotonic_s()
        await s.until(lambda: s.peer.reads > 0)
        assert s.clock.monotonic_s() - began_s >= 0.19

    play_device(device, scene)
