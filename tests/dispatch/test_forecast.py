"""The forecast: shape from like days, level from today, gaps left out."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from ems.dispatch.forecast import History
from tests.dispatch.worlds import SHANGHAI, days_of_history

MIDNIGHT_UTC = datetime(2026, 3, 2, tzinfo=SHANGHAI).astimezone(UTC)
"""A Monday."""
SHAPE_W = 1_000.0 + 10.0 * np.arange(96)


def seen(days: int, profile_w: object = SHAPE_W, until: datetime = MIDNIGHT_UTC) -> History:
    history = History(900.0, SHANGHAI)
    history.observe(days_of_history(until, days, profile_w))  # type: ignore[arg-type]
    return history


def test_the_same_day_again_and_again_is_forecast_as_it_is() -> None:
    load, pv = seen(28).forecast(MIDNIGHT_UTC, 96, None, None)
    assert load == pytest.approx(SHAPE_W)
    assert pv == pytest.approx(np.zeros(96))


def test_a_weekday_is_forecast_from_its_own_kind() -> None:
    history = History(900.0, SHANGHAI)
    for back in range(28, 0, -1):
        day = MIDNIGHT_UTC - timedelta(days=back)
        weekend = day.astimezone(SHANGHAI).weekday() >= 5
        level = np.full(96, 200.0 if weekend else 1_000.0)
        history.observe(days_of_history(day + timedelta(days=1), 1, level))
    monday, _ = history.forecast(MIDNIGHT_UTC, 96, None, None)
    assert monday == pytest.approx(1_000.0)
    saturday, _ = history.forecast(MIDNIGHT_UTC + timedelta(days=5), 96, None, None)
    assert saturday == pytest.approx(200.0)


def test_the_median_ignores_one_odd_day() -> None:
    history = seen(28)
    odd = MIDNIGHT_UTC - timedelta(days=7)
    history.observe(days_of_history(odd + timedelta(days=1), 1, np.full(96, 9e6)))
    load, _ = history.forecast(MIDNIGHT_UTC, 96, None, None)
    assert load == pytest.approx(SHAPE_W)


def test_today_above_the_usual_lifts_the_next_hours_and_fades() -> None:
    history = seen(28, np.full(96, 1_000.0))
    noon = MIDNIGHT_UTC + timedelta(hours=12)
    history.observe(tuple((noon - timedelta(minutes=15 * i), 1_300.0, 0.0) for i in range(1, 13)))
    load, _ = history.forecast(noon, 96, None, None)
    assert load[0] == pytest.approx(1_300.0)
    assert load[16] == pytest.approx(1_000.0 + 300.0 / np.e)
    assert load[95] == pytest.approx(1_000.0, rel=0.01)


def test_the_running_window_is_what_was_measured() -> None:
    load, _ = seen(28).forecast(MIDNIGHT_UTC, 4, 1_234.0, None)
    assert load[0] == 1_234.0


def test_missing_windows_are_left_out_never_zero() -> None:
    history = History(900.0, SHANGHAI)
    entries = days_of_history(MIDNIGHT_UTC, 28, SHAPE_W)
    history.observe(
        tuple((at, None if index % 2 else w, None) for index, (at, w, _) in enumerate(entries))
    )
    load, pv = history.forecast(MIDNIGHT_UTC, 96, None, None)
    assert load[::2] == pytest.approx(SHAPE_W[::2])
    assert load[1::2].min() > 1_000.0, "slots never seen take the middle of the others"
    assert (pv == 0.0).all()


@pytest.mark.parametrize("hours", [0, 1, 12, 30])
def test_cold_start_needs_no_history(hours: int) -> None:
    history = History(900.0, SHANGHAI)
    for i in range(hours * 4, 0, -1):
        history.observe(((MIDNIGHT_UTC - timedelta(minutes=15 * i), 500.0, 0.0),))
    load, _ = history.forecast(MIDNIGHT_UTC, 96, 600.0, None)
    assert np.isfinite(load).all()
    assert load[0] == 600.0
    if hours >= 12:
        assert load[1:] == pytest.approx(500.0, rel=0.25)


def test_values_that_are_no_numbers_are_missing() -> None:
    history = History(900.0, SHANGHAI)
    history.observe(((MIDNIGHT_UTC, float("nan"), float("inf")),))
    load, pv = history.forecast(MIDNIGHT_UTC, 4, None, None)
    assert np.isfinite(load).all()
    assert np.isfinite(pv).all()


def test_old_days_are_forgotten() -> None:
    history = seen(120)
    assert len(history.net_days(MIDNIGHT_UTC.astimezone(SHANGHAI).date())) <= 93


def test_a_day_hardly_seen_is_no_example() -> None:
    history = seen(2)
    entries = days_of_history(MIDNIGHT_UTC - timedelta(days=5), 1, SHAPE_W)
    history.observe(entries[:40])
    days = [day for day, _ in history.net_days(MIDNIGHT_UTC.astimezone(SHANGHAI).date())]
    assert len(days) == 2


def test_the_day_with_a_missing_hour_does_not_shift_the_others() -> None:
    # Berlin changes to summer time on 29 March 2026; slots follow the wall clock.
    berlin = ZoneInfo("Europe/Berlin")
    history = History(900.0, berlin)
    start = datetime(2026, 3, 2, tzinfo=berlin).astimezone(UTC)
    for i in range(28 * 96):
        at = start + timedelta(minutes=15 * i)
        local = at.astimezone(berlin)
        history.observe(((at, 1_000.0 if local.hour == 8 else 100.0, 0.0),))
    monday = datetime(2026, 3, 30, tzinfo=berlin).astimezone(UTC)
    load, _ = history.forecast(monday, 96, None, None)
    assert np.flatnonzero(load > 500.0).tolist() == [32, 33, 34, 35]
