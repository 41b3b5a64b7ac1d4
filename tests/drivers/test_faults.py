"""Every kind of broken answer, thousands of times: no wrong value is ever accepted.

A proxy spoils the genuine answers of a libmodbus server on their way to the client. The
same harness over bare pymodbus accepts wrong values, which shows that it can tell.
"""

import asyncio
import json
import logging
from pathlib import Path

import pytest

from tests.drivers.faults import campaign
from tests.drivers.faults.deck import FAULTS
from tests.drivers.faults.world import Ask

pytestmark = pytest.mark.sockets
BUILD = Path(__file__).parents[2] / "build"
SEED = 20_260


@pytest.fixture(autouse=True)
def quiet():
    """pymodbus reports every frame it does not like."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(before)


@pytest.mark.parametrize(
    ("tick", "right"),
    [
        pytest.param(65_533, False, id="before the question: stale"),
        pytest.param(65_534, True, id="as it was asked"),
        pytest.param(1, True, id="as the answer came, the clock having started again"),
        pytest.param(2, False, id="not yet"),
    ],
)
def test_the_judge_takes_what_the_server_held_between_question_and_answer(tick, right):
    ask, other = Ask(1, 3, 100, 4), Ask(1, 3, 200, 4)
    assert ask.held(ask.content(tick), since=65_534, until=1) is right
    assert not ask.held(ask.content(tick)[:-2], since=65_534, until=1), "too short"
    assert not ask.held(other.content(tick), since=65_534, until=1), "from elsewhere"
    assert not ask.held(ask.content(tick)[:-2] + b"ab", since=65_534, until=1), "mixed"


@pytest.mark.parametrize(("rtu", "each"), [(False, 80), (True, 50)], ids=["tcp", "rtu"])
def test_no_wrong_value_is_accepted(rtu, each):
    tally = asyncio.run(campaign.run("ours", rtu, each, links=32, seed=SEED))
    assert dict(tally.frames) == dict.fromkeys(FAULTS, each)
    assert dict(tally.wrong) == {}, tally.first_wrong
    assert tally.right > 0.2 * tally.frames.total(), "and the right ones are"


@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu"])
def test_the_harness_sees_wrong_values_where_they_are_accepted(rtu):
    tally = asyncio.run(campaign.run("pymodbus", rtu, 20, links=32, seed=SEED))
    assert tally.wrong["short"] > 0
    assert tally.wrong["wrong function"] > 0
    assert (tally.wrong["swapped"] > 0) or not rtu, "nothing marks a serial answer"


@pytest.mark.campaign
@pytest.mark.timeout(1800)
def test_the_campaign(capsys):
    """100,000 frames, a quarter of them serial, for us and for bare pymodbus."""
    found = asyncio.run(campaign.both(each_tcp=4_800, each_rtu=1_600, links=48, seed=SEED))
    BUILD.mkdir(exist_ok=True)
    text = json.dumps(campaign.as_data(found), indent=2)
    (BUILD / "modbus-faults.json").write_text(text + "\n", encoding="utf-8")
    with capsys.disabled():
        print("\n" + campaign.table(found))
    ours, bare = found["ours"], found["pymodbus"]
    frames = ours["tcp"].frames + ours["rtu"].frames
    assert frames.total() >= 100_000
    assert min(frames.values()) >= 2_000
    assert ours["rtu"].frames.total() >= 0.2 * frames.total()
    assert ours["tcp"].wrong.total() + ours["rtu"].wrong.total() == 0, (
        ours["tcp"].first_wrong + ours["rtu"].first_wrong
    )
    assert bare["tcp"].wrong.total() > 0
    assert bare["rtu"].wrong.total() > 0
