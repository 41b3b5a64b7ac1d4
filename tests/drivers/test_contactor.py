"""A contactor whose command lies in memory that wears out: closed sparingly, opened always."""

import pytest

from ems.drivers.rules import Precondition, Readback, Step, WriteRules
from ems.drivers.serving.carry import OPEN_AGAIN_S
from ems.model import Contactor
from tests.drivers.handmade import block, made
from tests.drivers.stage import Stage, play

RELAY = block("relay", "relay_command", "contactor", "mode")
RELAY_COMMAND, CONTACTOR = 0, 1


def pack(**rules):
    """A pack whose relay command is a register of its own, in memory that wears out."""
    write = WriteRules(
        (Step("relay_command", "contactor"),),
        readback=Readback("relay_command", 0.0),
        requires=(Precondition("mode", frozenset({1.0}), ("remote",)),),
        **rules,
    )
    return made(RELAY, writes={"contactor": write})


async def later(s: Stage, ahead_s: float, contactor: float) -> None:
    """Let time pass and the device show where its contactor is."""
    s.clock.ahead_s = ahead_s
    s.peer.registers[CONTACTOR] = int(contactor)
    await s.until(
        lambda: s.member.prepared and s.member.seen("contactor", s.clock.monotonic_s()) == contactor
    )


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        pytest.param(Contactor.CLOSED, "mode is 0, not remote", id="closing: refused"),
        pytest.param(Contactor.OPEN, "", id="opening: never refused"),
    ],
)
def test_a_precondition_stands_in_the_way_of_closing_and_never_of_opening(state, reason):
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        assert await s.outcome(contactor=float(state)) == reason
        assert s.peer.raws == ([] if reason else [[("relay_command", int(state))]])

    play(pack(), scene, {RELAY_COMMAND: 1})


def test_a_used_up_budget_stands_in_the_way_of_closing_and_never_of_opening():
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        states = (Contactor.CLOSED, Contactor.OPEN, Contactor.CLOSED)
        reasons = [await s.outcome(contactor=float(state)) for state in states]
        assert reasons == [
            "",
            "",
            "contactor: 2 of 1 writes that its memory stands in 24 h are used up",
        ]

    play(pack(daily_budget=1), scene, {2: 1})


@pytest.mark.parametrize(
    ("after_s", "writes"),
    [
        pytest.param(599.0, 1, id="before repeat_s: not written again"),
        pytest.param(601.0, 2, id="after repeat_s: asked again"),
    ],
)
def test_a_contactor_that_opened_by_itself_is_closed_again_after_repeat_s(after_s, writes):
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        assert await s.outcome(contactor=float(Contactor.CLOSED)) == ""
        await later(s, after_s, Contactor.OPEN)
        assert await s.outcome(contactor=float(Contactor.CLOSED)) == ""
        assert len(s.peer.written) == writes

    play(pack(repeat_s=600.0, daily_budget=200), scene, {2: 1})


@pytest.mark.parametrize(
    ("after_s", "shown", "writes"),
    [
        pytest.param(OPEN_AGAIN_S - 1.0, Contactor.CLOSED, 1, id="it may still be on its way"),
        pytest.param(OPEN_AGAIN_S + 1.0, Contactor.CLOSED, 2, id="told again"),
        pytest.param(
            OPEN_AGAIN_S + 1.0, Contactor.FAULT, 1, id="not seen closed: memory is spared"
        ),
    ],
)
def test_a_contactor_that_does_not_open_is_told_again_whatever_wears(after_s, shown, writes):
    async def scene(s: Stage) -> None:
        await s.until(lambda: s.member.prepared)
        assert await s.outcome(contactor=float(Contactor.OPEN)) == ""
        await later(s, after_s, shown)
        assert await s.outcome(contactor=float(Contactor.OPEN)) == ""
        assert len(s.peer.written) == writes

    play(pack(repeat_s=600.0, daily_budget=1), scene, {CONTACTOR: int(Contactor.CLOSED)})
