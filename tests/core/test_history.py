"""Window means of load and PV: complete, missing, and kept across restarts."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ems.history import WindowHistory, load_w
from ems.model import MISSING
from tests.builders import good, make_site, make_snapshot

SITE = make_site()
START = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


def run(history, seconds, load=lambda s: 4000.0, grid=True, step=1):
    """Feed snapshots once a second from START."""
    for second in range(0, seconds + 1, step):
        snapshot = make_snapshot(
            SITE, float(second), load_w=load(second), now_utc=START + timedelta(seconds=second)
        )
        if not grid:
            snapshot = replace(snapshot, grid=replace(snapshot.grid, power_w=MISSING))
        history.add(snapshot)
    return history


def test_load_is_what_the_site_bus_balance_says():
    snapshot = make_snapshot(SITE, load_w=4000.0, current_a=2.0)
    assert load_w(snapshot) == pytest.approx(4000.0)


def test_load_is_unknown_without_the_meter():
    snapshot = make_snapshot(SITE)
    assert load_w(replace(snapshot, grid=replace(snapshot.grid, power_w=MISSING))) is None


def test_window_mean_is_time_weighted():
    history = run(WindowHistory(900.0), 900, load=lambda s: 1000.0 if s <= 450 else 3000.0)
    (start, mean_w, pv_w) = history.windows[0]
    assert start == START
    assert mean_w == pytest.approx(2000.0, rel=2e-3)
    assert pv_w == pytest.approx(0.0)


def test_window_that_began_before_we_did_is_missing():
    history = WindowHistory(900.0)
    late = START + timedelta(seconds=600)
    for second in range(301):
        history.add(make_snapshot(SITE, float(second), now_utc=late + timedelta(seconds=second)))
    assert history.windows[0][1] is None


def test_lost_meter_makes_the_window_missing_not_zero():
    history = run(WindowHistory(900.0), 900, grid=False)
    assert history.windows[0][1] is None


def test_a_long_gap_between_snapshots_does_not_count_as_measured():
    history = WindowHistory(900.0)
    for second in (0, 1, 2, 890, 900):
        history.add(make_snapshot(SITE, float(second), now_utc=START + timedelta(seconds=second)))
    assert history.windows[0][1] is None


def test_restart_reads_back_what_was_written(tmp_path):
    path = tmp_path / "history.csv"
    run(WindowHistory.open(900.0, path), 1800)
    again = WindowHistory.open(900.0, path)
    assert [w[0] for w in again.windows] == [START, START + timedelta(seconds=900)]
    assert again.windows[1][1] == pytest.approx(4000.0)


def test_damaged_line_costs_only_itself(tmp_path):
    path = tmp_path / "history.csv"
    run(WindowHistory.open(900.0, path), 1800)
    path.write_text("garbage\n" + path.read_text() + "2026-03-02T04:3")
    assert len(WindowHistory.open(900.0, path).windows) == 2


def test_pv_is_kept_beside_the_load():
    history = WindowHistory(900.0)
    for second in range(901):
        snapshot = make_snapshot(SITE, float(second), now_utc=START + timedelta(seconds=second))
        history.add(replace(snapshot, pv_power_w=good(500.0, second)))
    assert history.windows[0][1] == pytest.approx(4500.0)
    assert history.windows[0][2] == pytest.approx(500.0)
