"""What measured numbers say: the verdicts of commissioning, on both sides of each limit."""

import pytest

from ems.commission import judge
from ems.commission.judge import Moved
from ems.commission.record import Verdict


def moved(during, before=1000.0, expected=500.0, tolerance=100.0):
    return Moved("converter power", "W", before, during, expected, tolerance)


@pytest.mark.parametrize(
    ("during", "words"),
    [
        pytest.param(1500.0, "", id="exactly"),
        pytest.param(1400.0, "", id="at the tolerance"),
        pytest.param(1399.0, "moved +399 W where +500 W", id="below the tolerance"),
        pytest.param(1601.0, "moved +601 W where +500 W", id="above the tolerance"),
        pytest.param(1000.0, "moved +0 W", id="not at all: no word about a sign"),
        pytest.param(851.0, "moved -149 W", id="a little the wrong way: noise"),
        pytest.param(850.0, "its sign is turned", id="clearly the wrong way"),
        pytest.param(500.0, "its sign is turned", id="the opposite"),
        pytest.param(None, "could not be read", id="missing"),
    ],
)
def test_a_quantity_moves_as_it_must(during, words):
    problem = moved(during).problem()
    assert words in problem
    assert bool(problem) is bool(words)
    assert ("sign" in problem) is ("sign" in words)


def test_what_must_fall_is_judged_the_same_way():
    assert moved(500.0, expected=-500.0).problem() == ""
    assert "its sign is turned" in moved(1500.0, expected=-500.0).problem()


@pytest.mark.parametrize(
    ("shown_w", "verdict"),
    [
        (500.0, Verdict.PASSED),
        (490.0, Verdict.PASSED),
        (489.0, Verdict.FAILED),
        (-500.0, Verdict.FAILED),
        (None, Verdict.PASSED),
    ],
)
def test_the_set_point_shown_is_the_one_given(shown_w, verdict):
    assert judge.sign([moved(1500.0)], 500.0, shown_w).verdict is verdict


@pytest.mark.parametrize(
    ("last_power_s", "first_still_s", "verdict"),
    [
        pytest.param(9.6, 10.1, Verdict.PASSED, id="in time"),
        pytest.param(11.0, 11.5, Verdict.PASSED, id="power seen last at the limit"),
        pytest.param(11.1, 11.6, Verdict.FAILED, id="power seen beyond the limit"),
        pytest.param(15.0, None, Verdict.FAILED, id="never at rest"),
        pytest.param(None, 0.5, Verdict.FAILED, id="never with power: nothing measured"),
    ],
)
def test_a_device_rests_within_its_promise_and_a_second(last_power_s, first_still_s, verdict):
    assert judge.timeout(10.0, last_power_s, first_still_s).verdict is verdict


@pytest.mark.parametrize(
    ("lvd_v", "bms_v", "stated", "verdict"),
    [
        pytest.param(None, 2.5, False, Verdict.PASSED, id="BMS last, read"),
        pytest.param(None, 2.5, True, Verdict.STATED, id="BMS last, by its data sheet"),
        pytest.param(None, 2.6, False, Verdict.FAILED, id="BMS at the same voltage"),
        pytest.param(None, 2.7, True, Verdict.FAILED, id="BMS before us"),
        pytest.param(2.7, 2.5, False, Verdict.PASSED, id="LVD between our stop and our trip"),
        pytest.param(2.79, None, False, Verdict.SKIPPED, id="LVD just after our stop"),
        pytest.param(2.8, 2.5, False, Verdict.FAILED, id="LVD at our stop"),
        pytest.param(2.9, None, False, Verdict.FAILED, id="LVD first, whatever the BMS does"),
        pytest.param(2.55, 2.5, False, Verdict.PASSED, id="LVD after our trip"),
        pytest.param(2.4, 2.5, False, Verdict.FAILED, id="BMS before the LVD"),
        pytest.param(None, None, True, Verdict.SKIPPED, id="nobody knows"),
    ],
)
def test_the_bms_opens_last(lvd_v, bms_v, stated, verdict):
    assert judge.order(2.8, 2.6, lvd_v, bms_v, stated).verdict is verdict


def test_the_order_is_told_from_the_first_to_act_to_the_last():
    found = judge.order(2.86, 2.63, 2.7, 2.5, stated=True)
    assert found.text == (
        "EMS stop (L3) at 2.86 V a cell, then LVD at 2.7 V a cell, "
        "then EMS trip (L4) at 2.63 V a cell, then BMS at 2.5 V a cell"
    )
    turned = judge.order(2.6, 2.5, 2.7, 2.8, stated=True)
    assert turned.text.startswith("BMS at 2.8 V a cell, then LVD at 2.7 V")
    assert "the LVD must come after the EMS stop (L3)" in turned.text
    assert "the BMS must come after the EMS stop (L3) and the EMS trip (L4) and" in turned.text


@pytest.mark.parametrize(
    ("opened_s", "closed_s", "verdict"),
    [
        (0.5, 2.5, Verdict.PASSED),
        (None, 2.5, Verdict.FAILED),
        (0.5, None, Verdict.FAILED),
        (None, None, Verdict.FAILED),
    ],
)
def test_a_contactor_follows_both_ways(opened_s, closed_s, verdict):
    assert judge.contactor(opened_s, closed_s).verdict is verdict
