"""The running demand window, on both sides of its boundaries and with the meter lost."""

import pytest

from ems.dispatch import window
from ems.dispatch.window import Window

START_S = 1_800_000_000.0
"""A multiple of 900 s."""


def run(
    samples: list[tuple[float, float | None]], counter: list[float | None] | None = None
) -> tuple[Window, list[float]]:
    """Window after samples (s after START_S, W), and the means it completed; cap 100 W."""
    state = window.begin(START_S, 900.0)
    means = []
    for index, (at_s, import_w) in enumerate(samples):
        counter_wh = counter[index] if counter else None
        state, mean = window.advance(state, START_S + at_s, import_w, counter_wh, 100.0)
        if mean is not None:
            means.append(mean)
    return state, means


def each_second(begin: int, end: int, import_w: float | None) -> list[tuple[float, float | None]]:
    return [(float(s), import_w) for s in range(begin, end + 1)]


def test_a_constant_import_is_its_own_mean() -> None:
    state, means = run(each_second(1, 1800, 60.0))
    assert means == pytest.approx([60.0, 60.0])
    assert state.start_utc_s == START_S + 1800
    assert state.mean_w(100.0) == 0.0, "a window that has just begun has no mean yet"


def test_the_window_is_complete_at_its_boundary_not_before() -> None:
    assert run(each_second(1, 899, 60.0))[1] == []
    assert run(each_second(1, 900, 60.0))[1] == pytest.approx([60.0])


def test_a_sample_behind_the_boundary_counts_on_both_sides() -> None:
    # 1 W until second 898, then 901 W from a sample at 902: two seconds before, two after.
    state, means = run([*each_second(1, 898, 1.0), (902.0, 901.0)])
    assert means == pytest.approx([(898 + 2 * 901) / 900])
    assert state.import_ws == pytest.approx(2 * 901.0)


def test_budget_at_the_start_is_the_target_itself() -> None:
    assert run([])[0].budget_w(80.0) == pytest.approx(80.0)


def test_budget_is_what_the_rest_may_import() -> None:
    # 10 min at 60 of a target of 80: (80*15 - 60*10) / 5 = 120.
    state, _ = run(each_second(1, 600, 60.0))
    assert state.budget_w(80.0) == pytest.approx(120.0)
    # 10 min at 200: nothing the last third can do; the budget says so.
    state, _ = run(each_second(1, 600, 200.0))
    assert state.budget_w(80.0) == pytest.approx((80 * 15 - 200 * 10) / 5)


def test_budget_of_the_last_second_stays_finite() -> None:
    state, _ = run(each_second(1, 899, 79.0))
    assert 80.0 < state.budget_w(80.0) <= 80.0 + 900.0 / window.LEAST_REMAINDER_S


def test_holding_the_budget_lands_on_the_target() -> None:
    state = window.begin(START_S, 900.0)
    mean = None
    for second in range(1, 901):
        import_w = 300.0 if second <= 120 else min(300.0, max(state.budget_w(100.0), 0.0))
        state, mean = window.advance(state, START_S + second, import_w, None, 100.0)
    assert mean == pytest.approx(100.0, rel=1e-3)


def test_missing_time_counts_at_the_cap() -> None:
    state, _ = run([*each_second(1, 300, 40.0), *each_second(301, 600, None)])
    assert state.missing_s == 300.0
    assert state.mean_w(100.0) == pytest.approx((40 + 100) / 2)
    # The budget takes the gap at the target itself, so the gap neither gives nor takes.
    assert state.budget_w(80.0) == pytest.approx((80 * 900 - 40 * 300 - 80 * 300) / 300)


def test_a_gap_without_a_counter_stays_at_the_cap() -> None:
    state, _ = run([*each_second(1, 300, 40.0), *each_second(301, 600, None), (601.0, 40.0)])
    assert state.missing_s == 0.0
    assert state.import_ws == pytest.approx(40 * 300 + 100 * 300 + 40)


def test_a_counter_settles_the_gap() -> None:
    samples = [(1.0, 36.0), *each_second(2, 101, None), (102.0, 36.0)]
    # 101 s at 36 W is 1.01 Wh between the two good samples.
    counter = [5_000.0, *([None] * 100), 5_001.01]
    state, _ = run(samples, counter)
    assert state.import_ws == pytest.approx(36.0 + 1.01 * 3600.0)


def test_a_whole_window_without_a_meter_is_the_cap() -> None:
    _, means = run([*each_second(1, 899, None), (900.0, None)])
    assert means == pytest.approx([100.0])


def test_a_start_in_mid_window_assumes_the_cap_for_what_it_did_not_see() -> None:
    state = window.begin(START_S + 450.0, 900.0)
    for second in range(451, 901):
        state, mean = window.advance(state, START_S + second, 20.0, None, 100.0)
    assert mean == pytest.approx(60.0)


def test_a_long_stop_does_not_vouch_for_the_time_between() -> None:
    # Seen at 60 W until 600 s, next sample two windows later.
    state, means = run([*each_second(1, 600, 60.0), (2000.0, 500.0)])
    assert means == pytest.approx([(600 * 60 + 300 * 100) / 900])
    assert state.start_utc_s == START_S + 1800
    assert state.import_ws == pytest.approx(200 * 100.0)


def test_a_clock_that_steps_back_inside_the_window_counts_nothing_twice() -> None:
    state, _ = run(each_second(1, 600, 60.0))
    again, mean = window.advance(state, START_S + 580.0, 60.0, None, 100.0)
    assert mean is None
    assert again.import_ws == state.import_ws
