"""Verified writes: what must hold before one, how it is confirmed, and what memory stands."""

import asyncio
import logging

import pytest

from ems.drivers.rules import (
    Effect,
    HeartbeatWrite,
    IdentityCheck,
    Precondition,
    Readback,
    Step,
    TimeoutRule,
    WriteRules,
)
from ems.drivers.serving.budget import DAY_S, Budget, load, save
from ems.model import Link, Quality
from tests.drivers.handmade import block, made
from tests.drivers.stage import Stage, play

SETPOINT, MODE, POWER, TIMEOUT, COUNTER = range(5)
STATUS = block("status", "setpoint_w", "mode", "power_w", "timeout_s", "our_counter")
POWER_STEP = (Step("setpoint_w", "power_w"),)


def converter(**rules):
    """A converter that takes power commands; ``write`` adds to the rules of the command."""
    write = WriteRules(POWER_STEP, **rules.pop("write", {}))
    return made(STATUS, writes={"power": write}, **rules)


def command(device, power_w=500.0, registers=None, before=None):
    """Reason of one power command, and everything the device was told."""
    found = []

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        if before is not None:
            before(s)
        found.append(await s.outcome("power", power_w=power_w))
        found.append(list(s.peer.raws))

    play(device, scene, registers)
    return found


def test_a_write_without_confirmation_is_believed_once_its_echo_came():
    assert command(converter()) == ["", [[("setpoint_w", 500)]]]


@pytest.mark.parametrize(
    ("takes", "reason"),
    [
        pytest.param(True, "", id="shown back"),
        pytest.param(False, "setpoint_w reads back 0 where 500 was written", id="not taken"),
    ],
)
def test_a_write_counts_when_the_device_shows_it_back(takes, reason):
    device = converter(write={"readback": Readback("setpoint_w", 1.0, delay_s=0.01)})

    def before(s: Stage) -> None:
        s.peer.takes = takes

    assert command(device, before=before)[0] == reason


def test_a_measured_effect_that_stays_out_is_told_once_and_told_again_after_it_was_there():
    device = converter(write={"effect": Effect("power_w", 10.0, within_s=0.3)})

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        assert await s.outcome("power", power_w=500.0) == "", "the write itself is fine"
        s.results.clear()
        await s.until(lambda: bool(s.results))
        assert s.results[0].reason == "power_w is 0, 0.3 s after 500 was commanded and confirmed"
        s.results.clear()
        reads = s.peer.reads
        await s.until(lambda: s.peer.reads > reads + 5)
        assert s.results == []
        s.peer.registers[POWER] = 495
        await s.until(lambda: s.image.read("power_w", s.clock.monotonic_s()).value == 495.0)
        s.peer.registers[POWER] = 300
        await s.until(lambda: bool(s.results))

    play(device, scene)


def test_an_effect_in_time_is_not_mentioned():
    device = converter(write={"effect": Effect("power_w", 10.0, within_s=0.3)})

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        s.peer.registers[POWER] = 500
        assert await s.outcome("power", power_w=500.0) == ""
        s.results.clear()
        await asyncio.sleep(0.5)
        assert s.results == []

    play(device, scene)


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        pytest.param(1, "", id="remote"),
        pytest.param(0, "mode is 0, not remote", id="local: refused"),
    ],
)
def test_a_precondition_refuses_before_a_byte_is_sent(mode, reason):
    requires = (Precondition("mode", frozenset({1.0}), ("remote",)),)
    device = converter(write={"requires": requires})
    sent = [] if reason else [[("setpoint_w", 500)]]
    assert command(device, registers={MODE: mode}) == [reason, sent]


def test_the_safe_value_is_written_even_where_a_precondition_fails():
    requires = (Precondition("mode", frozenset({1.0}), ("remote",)),)
    device = converter(write={"requires": requires}, safe_state=(Step("setpoint_w", 0.0),))
    reason, sent = command(device, power_w=0.0)
    assert (reason, sent) == ("", [[("setpoint_w", 0)]])


LIMITS = block("limits", "max_v", "topping_v", "float_v")


@pytest.mark.parametrize(
    ("float_v", "reason"),
    [
        pytest.param(56.0, "", id="below"),
        pytest.param(57.0, "", id="equal"),
        pytest.param(58.0, "topping_v would be 57, below float_v with 58", id="above: refused"),
    ],
)
def test_values_that_must_not_rise_are_held_against_those_last_read(float_v, reason):
    rules = WriteRules(
        (Step("float_v", "float_v"),), descending=(("max_v", "topping_v", "float_v"),)
    )
    device = made(LIMITS, writes={"float": rules})
    found = []

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        found.append(await s.outcome("float", float_v=float_v))
        assert s.peer.raws == ([] if reason else [[("float_v", int(float_v))]])

    play(device, scene, {0: 58, 1: 57, 2: 55})
    assert found == [reason]


def test_steps_with_a_pause_travel_apart_and_a_pulse_must_be_cleared_by_the_device():
    steps = (
        Step("mode", 1.0),
        Step("setpoint_w", "power_w", pause_s=0.05),
        Step("our_counter", 1.0, clears_within_s=0.3),
    )
    device = made(STATUS, writes={"power": WriteRules(steps)})

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        reason = await s.outcome("power", power_w=5.0)
        assert reason == ("our_counter is 1 where the device should have cleared it within 0.3 s")
        assert s.peer.raws == [[("mode", 1), ("setpoint_w", 5)], [("our_counter", 1)]]
        asyncio.get_running_loop().call_later(0.15, s.peer.registers.update, {COUNTER: 0})
        assert await s.outcome("power", power_w=6.0) == ""

    play(device, scene)


def test_a_budget_writes_only_what_changed_and_refuses_when_it_is_used_up():
    device = converter(write={"daily_budget": 2}, safe_state=(Step("setpoint_w", 0.0),))

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        reasons = [await s.outcome("power", power_w=w) for w in (100.0, 100.0, 200.0, 300.0, 0.0)]
        used_up = "power: 2 of 2 writes that its memory stands in 24 h are used up"
        assert reasons == ["", "", "", used_up, ""]
        assert s.peer.raws == [[("setpoint_w", w)] for w in (100, 200, 0)]
        assert s.saves == 3, "kept over a restart after each write"
        s.clock.ahead_s = DAY_S
        await s.until(lambda: s.member.prepared)
        assert await s.outcome("power", power_w=300.0) == ""

    play(device, scene)


def test_a_value_in_memory_that_wears_out_is_written_again_only_when_the_device_lost_it():
    device = converter(write={"daily_budget": 9, "readback": Readback("setpoint_w", 0.0)})

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        for lost, writes in ((False, 1), (False, 1), (True, 2)):
            if lost:
                s.peer.registers[SETPOINT] = 0
                await s.until(lambda: s.member.seen("setpoint_w", s.clock.monotonic_s()) == 0.0)
            assert await s.outcome("power", power_w=100.0) == ""
            assert len(s.peer.written) == writes

    play(device, scene)


def test_what_was_spent_survives_a_restart_and_a_clock_set_back(tmp_path):
    path = tmp_path / "data" / "budget.json"
    spent = Budget()
    spent.spend("power", 2, now_s=1000.0)
    save(path, {"pcs": spent}, now_s=1010.0, now_unix_s=1.8e9)
    found = load(path, now_s=5.0, now_unix_s=1.8e9 + 60.0)["pcs"]
    assert found.spent("power", 5.0) == 2
    assert found.spent("power", 5.0 - 70.0 + DAY_S - 0.1) == 2
    assert found.spent("power", 5.0 - 70.0 + DAY_S) == 0, "70 s after being spent, and a day"
    back = load(path, now_s=5.0, now_unix_s=1.7e9)["pcs"]
    assert back.spent("power", 5.0 + DAY_S - 0.1) == 2, "a stamp in the future counts as now"


def test_a_spoiled_budget_file_is_said_and_forgotten(tmp_path, caplog):
    path = tmp_path / "budget.json"
    path.write_text("{", encoding="utf-8")
    assert load(path, 0.0, 0.0) == {}
    assert load(tmp_path / "none.json", 0.0, 0.0) == {}
    assert [r.levelno for r in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize(
    ("rule", "at_first_s", "takes", "at_last_s", "reason"),
    [
        pytest.param(TimeoutRule("timeout_s", None, True), 60, True, 10, "", id="enforced"),
        pytest.param(TimeoutRule("timeout_s", 8.0, True), 60, True, 8, "", id="the profile's own"),
        pytest.param(
            TimeoutRule("timeout_s", None, True), 60, False, 60,
            "device timeout: timeout_s does not take the value 10.0", id="not taken: no power",
        ),
        pytest.param(TimeoutRule("timeout_s", None, False), 5, True, 5, "", id="shorter is safe"),
        pytest.param(
            TimeoutRule("timeout_s", None, False), 11, True, 11,
            "device timeout: timeout_s is 11 s, expected 10 s", id="longer: no power",
        ),
        pytest.param(
            TimeoutRule("timeout_s", None, False), 0, True, 0,
            "device timeout: timeout_s is 0 s, expected 10 s", id="off: no power",
        ),
    ],
)  # fmt: skip
def test_power_needs_the_devices_own_dead_man(rule, at_first_s, takes, at_last_s, reason):
    device = converter(timeout=rule, safe_state=(Step("setpoint_w", 0.0),))

    async def run() -> None:
        stage = Stage(device)
        stage.peer.registers[TIMEOUT] = at_first_s
        stage.peer.takes = takes
        task = asyncio.create_task(stage.owner.run())
        await stage.until(lambda: stage.member.prepared)
        assert stage.peer.registers[TIMEOUT] == at_last_s
        stage.peer.takes = True
        assert await stage.outcome("power", power_w=500.0) == reason
        assert await stage.outcome("power", power_w=0.0) == "", "towards 0 always"
        stage.owner.request_stop()
        await asyncio.wait_for(task, 5.0)

    asyncio.run(run())


def test_another_device_is_never_written_and_not_believed_until_it_is_the_right_one(caplog):
    device = converter(
        identity=(IdentityCheck("mode", frozenset({7.0})),),
        safe_state=(Step("setpoint_w", 0.0),),
        on_connect=(Step("timeout_s", 5.0),),
        heartbeat_write=HeartbeatWrite("our_counter", 0.05, 65_535),
    )

    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        assert s.image.link is Link.UP, "it answers"
        reads = s.peer.reads
        await s.until(lambda: s.peer.reads > reads + 3)
        assert s.image.read("power_w", s.clock.monotonic_s()).quality is Quality.BAD
        expected = "identity: mode is 8.0, expected 7.0"
        assert await s.outcome("power", power_w=0.0) == expected, "not even the safe value"
        assert s.peer.written == []
        s.peer.registers[MODE] = 7
        await s.until(lambda: s.member.prepared and not s.member.foreign)
        assert s.image.read("power_w", s.clock.monotonic_s()).quality is Quality.GOOD
        assert s.peer.registers[TIMEOUT] == 5, "what is due at connecting was made up for"
        assert await s.outcome("power", power_w=100.0) == ""
        s.peer.registers[MODE] = 8
        await s.until(lambda: bool(s.member.foreign))
        assert await s.outcome("power", power_w=100.0) == expected
        s.peer.written.clear()

    play(device, scene, {MODE: 8})
    errors = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    wrong = "dev: not the device its profile describes: mode is 8.0, expected 7.0"
    assert errors == [wrong, wrong], "once each time"


def test_our_counter_moves_at_its_own_pace_and_wraps():
    device = made(STATUS, heartbeat_write=HeartbeatWrite("our_counter", 0.03, 3))

    async def scene(s: Stage) -> None:
        await s.until(lambda: len(s.peer.written) >= 5)
        assert [raw for ((_, raw),) in s.peer.raws[:5]] == [1, 2, 3, 0, 1]

    play(device, scene)
