"""Load and PV files: what is read, what is missing, what is refused."""

import gzip
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest

from sim.csvfile import InputError
from sim.plant import Plant
from sim.traces import Traces
from tests.builders import make_site

SITE = make_site()  # Asia/Shanghai, UTC+8, 15 min windows, PV of 5 kW
DAY = date(2026, 3, 2)


def wall(day):
    """Midnight of a day on a wall clock, without zone."""
    return datetime.fromisoformat(day)


def series(start, step_min, values, name="load_kw", time="local_time"):
    """CSV text of a regular series; ``None`` leaves the line out."""
    lines = [f"{time},{name}"]
    for i, value in enumerate(values):
        at = start + timedelta(minutes=i * step_min)
        if value is not None:
            lines.append(f"{at.isoformat()},{value}")
    return "\n".join(lines) + "\n"


def load_file(tmp_path, text, name="load.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


RAMP = [float(i % 96) for i in range(96 * 3)]
RAMP_TEXT = series(wall("2026-03-01"), 15, RAMP)


def test_local_time_is_the_sites_wall_clock(tmp_path):
    traces = Traces.read(load_file(tmp_path, RAMP_TEXT), None, SITE, DAY, 1)
    assert traces.start_utc == datetime(2026, 3, 1, 16, tzinfo=UTC)
    assert traces.load_w(0.0) == 0.0
    assert traces.load_w(899.9) == 0.0
    assert traces.load_w(900.0) == 1_000.0
    assert traces.load_w(86_399.0) == 95_000.0
    assert traces.gaps == ()


def test_utc_time_is_utc(tmp_path):
    text = series(wall("2026-03-01"), 15, RAMP, time="timestamp_utc")
    traces = Traces.read(load_file(tmp_path, text), None, SITE, DAY, 1)
    # Local midnight is 16:00 UTC of the day before, step 64 of that day.
    assert traces.load_w(0.0) == 64_000.0


def test_with_both_columns_local_time_wins(tmp_path):
    lines = ["timestamp_utc,local_time,load_kw"]
    for i, value in enumerate(RAMP):
        local = wall("2026-03-01") + timedelta(minutes=15 * i)
        lines.append(f"{(local + timedelta(hours=7)).isoformat()}Z,{local.isoformat()},{value}")
    traces = Traces.read(load_file(tmp_path, "\n".join(lines)), None, SITE, DAY, 1)
    assert traces.load_w(0.0) == 0.0


class TestSummerTime:
    """Central Europe: 2 to 3 h is left out on 29 March 2026 and comes twice on 25 October."""

    SITE = replace(SITE, timezone="Europe/Berlin")

    def read(self, tmp_path, first, day, hours):
        lines = ["local_time,load_kw"]
        lines += [f"{first}T{hour:02}:00:00,{i}" for i, hour in enumerate(hours)]
        lines += [f"{day}T{hour:02}:00:00,{100 + hour}" for hour in range(24)]
        path = load_file(tmp_path, "\n".join(lines))
        return Traces.read(path, None, self.SITE, date.fromisoformat(first), 1)

    def test_the_second_of_two_equal_hours_is_the_later_one(self, tmp_path):
        hours = [0, 1, 2, 2, *range(3, 24)]
        traces = self.read(tmp_path, "2026-10-25", "2026-10-26", hours)
        assert [traces.load_w(3600.0 * h) for h in range(5)] == [0, 1e3, 2e3, 3e3, 4e3]
        assert traces.gaps == ()

    def test_a_file_with_that_hour_once_has_a_gap_of_an_hour(self, tmp_path):
        traces = self.read(tmp_path, "2026-10-25", "2026-10-26", range(24))
        assert [traces.load_w(3600.0 * h) for h in range(5)] == [0, 1e3, 2e3, 2e3, 3e3]
        assert len(traces.gaps) == 1

    def test_the_hour_left_out_in_spring_is_no_gap(self, tmp_path):
        hours = [0, 1, *range(3, 24)]
        traces = self.read(tmp_path, "2026-03-29", "2026-03-30", hours)
        assert [traces.load_w(3600.0 * h) for h in range(4)] == [0, 1e3, 2e3, 3e3]
        assert traces.gaps == ()

    def test_a_clock_without_summer_time_is_refused_at_the_hour_that_never_was(self, tmp_path):
        with pytest.raises(InputError, match=r"load.csv:4: .*02:00:00' does not come after"):
            self.read(tmp_path, "2026-03-29", "2026-03-30", range(24))


def test_gz_and_hourly_steps(tmp_path):
    path = tmp_path / "load.csv.gz"
    path.write_bytes(gzip.compress(series(wall("2026-03-01"), 60, range(72)).encode()))
    traces = Traces.read(path, None, SITE, DAY, 1)
    assert traces.load_w(0.0) == 24_000.0
    assert traces.load_w(3_599.0) == 24_000.0
    assert traces.load_w(3_600.0) == 25_000.0
    # An hourly file fills four windows of 15 min with the same value.
    assert [w[1] for w in traces.history(1)][-5:] == [22_000.0] + [23_000.0] * 4


@pytest.mark.parametrize("emptied", ["line left out", "cell left empty"])
def test_a_gap_is_reported_held_and_missing(tmp_path, emptied):
    values = [1.0] * 96 + [2.0] * 8 + [None] * 2 + [3.0] * 86 + [None] * 2 + [4.0] * 94
    if emptied == "cell left empty":
        values = ["" if v is None else v for v in values]
    lines = series(wall("2026-03-01"), 15, values)
    traces = Traces.read(load_file(tmp_path, lines), None, SITE, DAY, 2)
    assert traces.load_w(8 * 900.0) == 2_000.0  # held
    assert traces.load_w(10 * 900.0) == 3_000.0
    assert len(traces.gaps) == 2
    assert "2026-03-02 02:00:00" in traces.gaps[0]
    assert "(2 steps)" in traces.gaps[0]
    missing = traces.bill_windows().missing
    assert np.flatnonzero(missing).tolist() == [8, 9, 96, 97]
    later = Traces.read(load_file(tmp_path, lines), None, SITE, date(2026, 3, 3), 1)
    history = [load_w for _, load_w, _ in later.history(1)]
    assert history[7:11] == [2_000.0, None, None, 3_000.0]


def test_history_ends_where_the_span_begins(tmp_path):
    traces = Traces.read(load_file(tmp_path, RAMP_TEXT), None, SITE, DAY, 1)
    history = traces.history(30)
    assert len(history) == 96  # the file begins one day earlier
    assert history[0][0] == datetime(2026, 2, 28, 16, tzinfo=UTC)
    assert history[-1][0] == traces.start_utc - timedelta(minutes=15)
    assert [w[1] for w in history] == [1_000.0 * v for v in RAMP[:96]]
    assert history[0][2] is None  # no PV file, no PV record


def test_bill_windows_are_means_of_the_trace(tmp_path):
    five_minutes = [float(i % 3) for i in range(288 * 2)]
    text = series(wall("2026-03-01"), 5, five_minutes)
    windows = Traces.read(load_file(tmp_path, text), None, SITE, DAY, 1).bill_windows()
    assert len(windows.start_utc) == 96
    assert windows.load_w == pytest.approx(np.full(96, 1_000.0))
    assert not windows.missing.any()


class TestPv:
    def test_column_of_the_load_file(self, tmp_path):
        lines = ["local_time,load_kw,pv_kw"]
        for i in range(192):
            at = wall("2026-03-01") + timedelta(minutes=15 * i)
            lines.append(f"{at.isoformat()},5,{-0.01 if at.hour < 6 else 2.5}")
        traces = Traces.read(load_file(tmp_path, "\n".join(lines)), None, SITE, DAY, 1)
        assert traces.pv_w(0.0) == 0.0  # night draw is not generation
        assert traces.pv_w(12 * 3600.0) == 2_500.0
        assert traces.history(1)[-1][2] == 2_500.0

    def test_per_kwp_file_of_another_year_matches_month_day_and_hour(self, tmp_path):
        values = [0.0] * (24 * 4)
        values[13] = 0.8  # 13:00 of 2 March 2019
        text = series(wall("2019-03-02"), 60, values[:24], "pv_kw_per_kwp")
        pv = load_file(tmp_path, text, "pv.csv")
        traces = Traces.read(load_file(tmp_path, RAMP_TEXT), pv, SITE, DAY, 1)
        assert traces.pv_w(13 * 3600.0) == pytest.approx(4_000.0)  # 0.8 x 5 kWp
        assert traces.pv_w(14 * 3600.0) == 0.0

    def test_29_february_takes_the_28th_of_a_common_year(self, tmp_path):
        load = series(wall("2028-02-28"), 60, [1.0] * 72)
        pv = series(wall("2019-02-28"), 60, range(24), "pv_kw")
        traces = Traces.read(
            load_file(tmp_path, load), load_file(tmp_path, pv, "pv.csv"), SITE, date(2028, 2, 29), 1
        )
        assert traces.pv_w(10 * 3600.0) == 10_000.0

    def test_a_site_without_pv_ignores_it(self, tmp_path):
        pv = load_file(tmp_path, series(wall("2026-03-01"), 60, range(72), "pv_kw"), "pv.csv")
        site = replace(SITE, pv=None)
        traces = Traces.read(load_file(tmp_path, RAMP_TEXT), pv, site, DAY, 1)
        assert traces.pv_w(12 * 3600.0) == 0.0


class TestTexture:
    def test_keeps_every_mean_and_is_seeded(self, tmp_path):
        path = load_file(tmp_path, RAMP_TEXT)
        plain = Traces.read(path, None, SITE, DAY, 1).bill_windows().load_w
        rough = Traces.read(path, None, SITE, DAY, 1, texture_frac=0.15, seed=4)
        assert rough.bill_windows().load_w == pytest.approx(plain)
        minutes = [rough.load_w(50 * 900.0 + 60.0 * i) for i in range(15)]
        assert np.std(minutes) > 0.02 * 50_000.0
        again = Traces.read(path, None, SITE, DAY, 1, texture_frac=0.15, seed=4)
        assert again.load_w(45_000.0) == rough.load_w(45_000.0)
        other = Traces.read(path, None, SITE, DAY, 1, texture_frac=0.15, seed=5)
        assert other.load_w(45_000.0) != rough.load_w(45_000.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", r"load.csv:1: the file is empty", id="empty"),
        pytest.param(
            "when,load_kw\n1,2\n", r":1: no column local_time or timestamp_utc", id="no time"
        ),
        pytest.param("local_time,kw\n1,2\n", r":1: no column load_kw", id="no load"),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\nyesterday,2\n",
            r":3: local_time 'yesterday' is no time",
            id="bad time",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n2026-03-02T00:15:00,1,5\n",
            r":3: 3 fields, the header has 2",
            id="decimal comma",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n2026-03-02T00:15:00,x\n",
            r":3: load_kw 'x' is no number",
            id="bad number",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n2026-03-02T00:15:00,nan\n",
            r":3: load_kw 'nan' is not finite",
            id="NaN",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:15:00,1\n2026-03-02T00:00:00,2\n",
            r":3: .* does not come after",
            id="backwards",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n2026-03-02T00:15:00,2\n"
            "2026-03-02T00:30:00,2\n2026-03-02T00:37:00,2\n",
            r":5: .* does not fit the step of 900 s",
            id="irregular",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,\n2026-03-02T00:15:00,\n",
            r"column load_kw holds no number",
            id="all empty",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1000000\n2026-03-02T00:15:00,1000001\n",
            r":3: load_kw 1000001 is outside -1e\+06 to 1e\+06",
            id="watts for kilowatts",
        ),
        pytest.param(
            "local_time,load_kw,pv_kw_per_kwp\n2026-03-02T00:00:00,1,2.0\n2026-03-02T00:15:00,1,2.1\n",
            r":3: pv_kw_per_kwp 2.1 is outside",
            id="per cent for a fraction",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n2026-03-02T00:15:00,-1\n"
            "2026-03-02T00:30:00,-1\n",
            r"load.csv: most of load_kw is negative",
            id="generation counts positive",
        ),
        pytest.param(
            "local_time,load_kw,pv_kwh\n2026-03-02T00:00:00,1,1\n",
            r":1: unknown column 'pv_kwh'; expected pv_kw or pv_kw_per_kwp",
            id="PV misspelt",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n\n2026-03-02T00:15:00,2\n"
            "9026-03-02T00:15:00,2\n",
            r"reach from 2026-03-01 to 9026-03-01; is a date mistyped",
            id="far future",
        ),
        pytest.param(
            "local_time,load_kw\n2026-03-02T00:00:00,1\n2026-03-02T00:00:00.5,2\n",
            r"a step of 0.5 s; 1 s to 1 day",
            id="finer than a second",
        ),
    ],
)
def test_bad_files_say_where_and_what(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        Traces.read(load_file(tmp_path, text), None, SITE, DAY, 1)


def test_an_export_now_and_then_is_read_and_the_plant_draws_nothing(tmp_path):
    """Meters of sites with PV behind them go a little below zero; a third of the file may."""
    values = [-2.0 if i % 3 == 0 else 4.0 for i in range(192)]
    traces = Traces.read(
        load_file(tmp_path, series(wall("2026-03-01"), 15, values)), None, SITE, DAY, 1
    )
    plant = Plant(SITE, 1, traces)
    plant.advance(600.0)
    assert plant.meter.site_load_w == 0.0


@pytest.mark.parametrize(("day", "days"), [(date(2025, 1, 1), 1), (date(2026, 3, 3), 2)])
def test_a_span_outside_the_trace_is_refused_with_its_range(tmp_path, day, days):
    with pytest.raises(
        InputError, match=r"covers 2026-03-01T00:00 to 2026-03-04T00:00 in Asia/Shanghai"
    ):
        Traces.read(load_file(tmp_path, RAMP_TEXT), None, SITE, day, days)


def test_the_plant_draws_what_the_trace_says(tmp_path):
    traces = Traces.read(load_file(tmp_path, RAMP_TEXT), None, SITE, DAY, 1)
    plant = Plant(SITE, 1, traces)
    plant.advance(7 * 900.0 - 1.0)
    assert plant.meter.site_load_w == pytest.approx(6_000.0)
    plant.advance(7 * 900.0 + 1.0)
    assert plant.meter.site_load_w == pytest.approx(7_000.0)
    assert plant.meter.import_wh == pytest.approx(sum(range(7)) * 250.0, abs=3.0)
