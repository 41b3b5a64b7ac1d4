"""Polls on a line that cannot carry them all."""

import pytest

from ems.drivers.serving.schedule import FAST_SHARE_MAX, LINE_SHARE_MAX, Job, stretch
from tests.drivers.handmade import block


def job(period_s: float, cost_s: float) -> Job:
    return Job(block("b", "x", period_s=period_s, wire_s=cost_s), 0.0)


@pytest.mark.parametrize(
    ("fast_s", "slow_s", "fast_period_s", "slow_period_s"),
    [
        pytest.param(0.1, 0.3, 1.0, 5.0, id="room for all: nothing changes"),
        pytest.param(0.8, 0.5, 1.0, 5.0, id="just full: nothing changes"),
        pytest.param(0.5, 4.0, 1.0, 10.0, id="slow polls wait twice as long, fast ones do not"),
        pytest.param(1.6, 1.0, 2.0, 10.0, id="the fast ones alone are too much"),
    ],
)
def test_slow_polls_give_way_first(fast_s, slow_s, fast_period_s, slow_period_s):
    fast, slow = job(1.0, fast_s), job(5.0, slow_s)
    factor = stretch([fast, slow])
    assert fast.period_s == pytest.approx(fast_period_s)
    assert slow.period_s == pytest.approx(slow_period_s)
    assert factor == pytest.approx(max(fast_period_s / 1.0, slow_period_s / 5.0))


def test_stretched_polls_fit_the_line():
    jobs = [job(0.5, 0.2), job(0.5, 0.3), job(1.0, 0.4), job(10.0, 3.0)]
    stretch(jobs)
    assert sum(j.cost_s / j.period_s for j in jobs) <= LINE_SHARE_MAX + 1e-9
    assert sum(j.cost_s / j.period_s for j in jobs[:2]) <= FAST_SHARE_MAX + 1e-9


def test_one_class_alone_may_take_the_whole_share():
    only = job(1.0, 1.8)
    assert stretch([only]) == pytest.approx(2.0)
    assert stretch([]) == 1.0


def test_what_a_poll_really_costs_is_learned_and_a_missed_one_is_not_made_up_for():
    slow = job(1.0, 0.1)
    for _ in range(50):
        slow.done(began_s=10.0, now_s=10.6)
    assert slow.cost_s == pytest.approx(0.6, abs=0.01)
    slow.due_s = 0.0
    slow.done(began_s=10.0, now_s=10.6)
    assert slow.due_s == 10.6, "not nine polls in a row"
