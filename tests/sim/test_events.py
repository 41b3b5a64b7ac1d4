"""The events file of a simulation: order, defaults, and what is refused with its line."""

from datetime import UTC, datetime

import pytest

from sim import events
from sim.csvfile import InputError
from tests.builders import make_site

SITE = make_site(n_packs=2)  # Asia/Shanghai, UTC+8
START = datetime(2026, 3, 1, 16, tzinfo=UTC)  # local midnight of 2 March
HOUR_S = 3600.0
HEADER = "local_time,event,target,duration_s,value"


def read(tmp_path, *lines, header=HEADER):
    path = tmp_path / "events.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return events.read(path, START, HOUR_S, SITE)


def test_events_come_in_order_of_time_with_defaults(tmp_path):
    found = read(
        tmp_path,
        "2026-03-02T00:30:00,pack_lost,p2,60,",
        "2026-03-02 00:10,grid_outage,,,",
        "2026-03-01T16:20:00Z,load_step,*,0,-500",
    )
    assert [(e.at_s, e.name, e.target, e.duration_s, e.value) for e in found] == [
        (600.0, "grid_outage", "*", 0.0, 0.0),
        (1_200.0, "load_step", "*", 0.0, -500.0),
        (1_800.0, "pack_lost", "p2", 60.0, 0.0),
    ]


def test_a_header_alone_is_no_event_and_two_columns_may_be_left_out(tmp_path):
    assert read(tmp_path) == ()
    assert read(tmp_path, header="Local_Time, Event ,target") == ()
    assert len(read(tmp_path, "2026-03-02T00:00,grid_outage,*", header=HEADER[:23])) == 1


def test_the_run_includes_its_start_and_excludes_its_end(tmp_path):
    for inside in ("00:00:00", "00:59:59"):
        assert len(read(tmp_path, f"2026-03-02T{inside},grid_outage,*,5,0")) == 1
    with pytest.raises(InputError, match=r":2: .* lies before the start .* from 2026-03-02T00:00"):
        read(tmp_path, "2026-03-01T23:59:59,grid_outage,*,5,0")
    with pytest.raises(InputError, match=r":2: .* lies after the end"):
        read(tmp_path, "2026-03-02T01:00:00,grid_outage,*,5,0")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("grid_outage", "1 fields, the header has 5", id="missing fields"),
        pytest.param("T,grid_outage,*,1,2,3", "6 fields", id="too many fields"),
        pytest.param("noon,grid_outage,*,1,", "local_time 'noon' is no time", id="time"),
        pytest.param("T,grid_outag,*,1,", "did you mean 'grid_outage'", id="event"),
        pytest.param("T,pack_lost,p9,1,", "no pack 'p9'; known: p1, p2", id="target"),
        pytest.param("T,pcs_lost,p1,1,", "no converter 'p1'", id="pack for a converter"),
        pytest.param("T,grid_outage,p1,1,", "concerns the whole site", id="pack for the site"),
        pytest.param("T,grid_outage,*,-1,", "duration_s -1 must not be negative", id="negative"),
        pytest.param("T,grid_outage,*,nan,", "duration_s 'nan' is not finite", id="NaN"),
        pytest.param("T,grid_outage,*,long,", "duration_s 'long' is no number", id="word"),
        pytest.param("T,load_step,*,1,inf", "value 'inf' is not finite", id="infinite"),
        pytest.param("T,price_noise,*,1,-0.1", "value -0.1 is outside 0 to 1", id="noise low"),
        pytest.param("T,price_noise,*,1,1.1", "value 1.1 is outside 0 to 1", id="noise high"),
        pytest.param("T,cell_short,p1,1,-2", "value -2 is outside", id="negative leak"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path, line, message):
    good = "2026-03-02T00:00,price_noise,*,1,1"
    with pytest.raises(InputError, match=rf"events\.csv:3: .*{message}") as caught:
        read(tmp_path, good, line.replace("T,", "2026-03-02T00:00,", 1))
    assert str(caught.value).count("\n") == 0


def test_all_bad_lines_are_told_but_no_more_than_a_screenful(tmp_path):
    with pytest.raises(InputError) as caught:
        read(tmp_path, *["noon,grid_outage,*,1,"] * 2, "grid_outage")
    assert len(str(caught.value).splitlines()) == 3
    with pytest.raises(InputError, match=r"and 5 more lines$") as caught:
        read(tmp_path, *["noon,grid_outage,*,1,"] * (events.SHOWN_PROBLEMS + 5))
    assert len(str(caught.value).splitlines()) == events.SHOWN_PROBLEMS + 1


@pytest.mark.parametrize(
    ("header", "message"),
    [
        pytest.param("time,event,target", "no column local_time .is 'time' meant", id="missing"),
        pytest.param("when,target", "no column local_time, event; found", id="two missing"),
        pytest.param("local_time,event,target,duration", "unknown column 'duration'", id="unknown"),
        pytest.param("local_time,event,target,Event", "column event is there twice", id="twice"),
    ],
)
def test_a_bad_header_is_one_error(tmp_path, header, message):
    with pytest.raises(InputError, match=rf"events\.csv:1: .*{message}"):
        read(tmp_path, header=header)
