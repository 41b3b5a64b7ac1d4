"""``ems simulate``: what it writes, that it repeats itself, and what it says when misused."""

import json

import jsonschema
import pytest
from typer.testing import CliRunner

from ems.cli import app
from ems.config import load_site
from ems.journal import verify
from sim.faults import EVENTS
from sim.recorder import columns
from tests.integration import runs

HALF_DAY = 0.5
HOUR = 1.0 / 24.0
STOP = 3

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def half_day(tmp_path_factory):
    """Half a working day of the demo site; two weeks of the same before it are known."""
    folder = tmp_path_factory.mktemp("half-day")
    load = runs.write_load(folder / "load.csv", runs.workshop_kw, runs.date(2026, 10, 19), 15)
    summary = runs.simulate(runs.DEMO, folder / "out", load_csv=load, days=HALF_DAY)
    return folder / "out", summary


def test_every_row_fits_the_published_schema(half_day):
    out, _ = half_day
    validator = jsonschema.Draft202012Validator(runs.schema("timeseries"))
    table = list(runs.rows(out))
    assert len(table) == HALF_DAY * 24 * 60
    for row in table:
        validator.validate(row)
    assert list(table[0]) == columns(load_site(runs.DEMO))


def test_summary_fits_the_published_schema_and_the_file(half_day):
    out, summary = half_day
    written = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(runs.schema("summary")).validate(written)
    assert written == json.loads(json.dumps(summary))


def test_half_a_day_keeps_the_promises_and_shaves(half_day):
    _, summary = half_day
    assert summary["backup_shortfall_s"] == 0.0
    assert summary["reserve_shortfall_s"] == 0.0
    assert summary["limit_violations"] == 0
    assert summary["protection_trips"] == 0
    assert summary["final_mode"] == "run"
    assert summary["peak_with_w"] < summary["peak_without_w"]
    assert summary["saving"] > 0.0
    assert all(int(level) <= 6 for level in summary["planner"]["levels"])
    optimised = sum(n for level, n in summary["planner"]["levels"].items() if int(level) <= 3)
    assert optimised >= 0.9 * sum(summary["planner"]["levels"].values())


def test_powers_balance_in_every_row(half_day):
    out, _ = half_day
    for row in runs.rows(out):
        fed_w = row["grid_power_w"] + row["pv_power_w"] + row["battery_power_w"]
        assert fed_w == pytest.approx(row["load_power_w"], abs=1.0)


def test_quiet_day_sees_no_stop_and_no_trip(half_day):
    out, _ = half_day
    records = [
        json.loads(line)
        for file in sorted((out / "log").glob("interlock-*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    causes = [r["data"] for r in records if r["kind"].startswith("CAUSE_")]
    assert [c["text"] for c in causes if c["level_to"] >= STOP] == []
    assert [r["data"]["to"] for r in records if r["kind"] == "MODE"][-1] == "run"


def test_log_of_the_run_verifies(half_day):
    out, _ = half_day
    report = verify.verify(out / "log")
    assert report.ok, str(report)
    assert len(report.boots) == 1


def test_same_seed_repeats_every_number_and_another_seed_does_not(tmp_path):
    load = runs.write_load(tmp_path / "load.csv", runs.workshop_kw, runs.START, 1)

    def run(name, seed):
        return runs.simulate(runs.DEMO, tmp_path / name, load_csv=load, days=0.5 * HOUR, seed=seed)

    first, again, other = run("a", 7), run("b", 7), run("c", 8)
    assert first["trace_sha256"] == again["trace_sha256"]
    assert first["timeseries_sha256"] == again["timeseries_sha256"]
    assert {**first, "wall_s": 0} == {**again, "wall_s": 0}
    assert first["trace_sha256"] != other["trace_sha256"]


def test_outage_lost_pack_silence_and_wrong_prices_are_ridden_through(tmp_path):
    events = runs.write_events(
        tmp_path / "events.csv",
        "2026-11-02 00:00:00,price_noise,*,0,0.2",
        "2026-11-02 00:17:00,grid_outage,*,600,",
        "2026-11-02 00:35:00,pack_lost,p1,6,",
        "2026-11-02 00:45:00,telemetry_gap,*,4,",
    )
    load = runs.write_load(tmp_path / "load.csv", runs.workshop_kw, runs.date(2026, 10, 19), 15)
    summary = runs.simulate(
        runs.DEMO,
        tmp_path / "out",
        load_csv=load,
        events_csv=events,
        days=1.25 * HOUR,
        record_s=1.0,
    )
    jsonschema.Draft202012Validator(runs.schema("summary")).validate(
        json.loads(json.dumps(summary))
    )
    table = list(runs.rows(tmp_path / "out"))
    outage = [row for row in table if row["mode"] == "backup"]
    assert 590 <= len(outage) <= 630
    assert summary["backup_shortfall_s"] == 0.0
    lost = [row for row in table if row["pack_p1_limit_reason"] == "bms_not_connected"]
    assert lost
    assert all(row["pack_p1_discharge_limit_w"] == 0.0 for row in lost)
    assert summary["limit_violations"] == 0
    assert summary["final_mode"] == "run"
    for window in (table[i : i + 900] for i in range(0, len(table), 900)):
        mean_w = sum(row["grid_power_w"] for row in window) / len(window)
        assert mean_w <= max(row["demand_target_w"] for row in window), "a new peak"


@runs.needs_data
@pytest.mark.data
def test_two_hours_of_the_steel_plant(tmp_path):
    summary = runs.simulate(
        runs.PEAK_SHAVING,
        tmp_path,
        load_csv=runs.data("load/factory_steel_kr_15min.csv.gz"),
        start=runs.date(2018, 3, 1),
        days=2.0 * HOUR,
    )
    jsonschema.Draft202012Validator(runs.schema("summary")).validate(
        json.loads(json.dumps(summary))
    )
    validator = jsonschema.Draft202012Validator(runs.schema("timeseries"))
    for row in runs.rows(tmp_path):
        validator.validate(row)
    assert summary["limit_violations"] == 0
    assert summary["reserve_shortfall_s"] == 0.0
    assert summary["backup_shortfall_s"] == 0.0


def cli(*arguments):
    """(exit code, everything printed) of the command line; a traceback fails."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_command_line_runs_and_answers_in_json(tmp_path):
    code, output = cli(
        *("simulate", runs.DEMO, "--start", "2026-11-02", "--days", "0.01"),
        *("--out", tmp_path / "out", "--json"),
    )
    assert code == 0
    assert json.loads(output)["cycles"] == 864


def test_events_are_listed_with_their_meaning():
    code, output = cli("simulate", "--list-events")
    assert code == 0
    lines = output.splitlines()
    assert [line.split()[0] for line in lines] == sorted(EVENTS)
    assert all(len(line.split()) > 3 for line in lines)


TEN_MISTAKES = {
    "kind: own_converters": "kind: own_converter",
    "timezone: Asia/Shanghai": "timezone: Asia/Shangai",
    "demand_window_min: 15": "demand_window_min: fifteen",
    "import_limit_kw: 60": "import_limit_kw: -60",
    "nominal_hz: 50": "nominal_herz: 50",
    "confidence_pct: 95": "confidence_pct: 195",
    "packs: [p2]": "packs: [p9]",
    "device: bms1": "device: bms7",
    "rated_ah: 66": 'rated_ah: "66"',
    "soh_pct: 84,": "soh_pct: 184,",
}


def test_ten_mistakes_in_a_site_file_are_ten_lines_with_their_places(tmp_path):
    text = runs.DEMO.read_text(encoding="utf-8")
    for right, wrong in TEN_MISTAKES.items():
        assert right in text
        text = text.replace(right, wrong, 1)
    site = tmp_path / "broken.yaml"
    site.write_text(text, encoding="utf-8")
    code, output = cli("simulate", site, "--start", "2026-11-02", "--out", tmp_path / "out")
    assert code == 2
    placed = [line for line in output.splitlines() if line.startswith(f"{site}:")]
    assert len(placed) >= len(TEN_MISTAKES)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        pytest.param(["nowhere.yaml", "--start", "2026-11-02"], 2, "nowhere.yaml", id="no site"),
        pytest.param(
            [runs.DEMO, "--start", "2026-11-02", "--load", "absent.csv"],
            2,
            "absent.csv",
            id="no load file",
        ),
        pytest.param(
            [runs.DEMO, "--start", "2026-11-02", "--events", "absent.csv"],
            2,
            "absent.csv",
            id="no events file",
        ),
        pytest.param([runs.DEMO], 2, "--start", id="no start"),
        pytest.param(["--start", "2026-11-02"], 2, "site file", id="no site named"),
        pytest.param([runs.DEMO, "--start", "2.11.2026"], 2, "not a date", id="German date"),
        pytest.param([runs.DEMO, "--start", "2026-11-02", "--days", "0"], 2, "days", id="no days"),
        pytest.param([runs.DEMO, "--start", "2026-11-02", "--sed", "1"], 2, "--sed", id="option"),
    ],
)
def test_misuse_is_answered_in_words(tmp_path, arguments, code, words):
    found, output = cli("simulate", *arguments, "--out", tmp_path)
    assert found == code
    assert words in output


def test_start_outside_the_trace_names_what_it_covers(tmp_path):
    load = runs.write_load(tmp_path / "load.csv", runs.workshop_kw, runs.START, 1)
    code, output = cli(
        "simulate", runs.DEMO, "--load", load, "--start", "2026-12-24", "--out", tmp_path / "out"
    )
    assert code == 2
    assert "outside the trace" in output.replace("\n", " ")
    assert "2026-11-02" in output


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param("2026-11-02 01:00,grid_outge,*,60,", "unknown event 'grid_outge'", id="event"),
        pytest.param("2026-11-01 01:00,grid_outage,*,60,", "before the start", id="too early"),
        pytest.param("noon,grid_outage,*,60,", "'noon'", id="time"),
        pytest.param("2026-11-02 01:00,grid_outage,*,-1,", "negative", id="duration"),
        pytest.param("2026-11-02 01:00,grid_outage,*,long,", "long", id="number"),
        pytest.param("2026-11-02 01:00,pack_lost,p9,60,", "p9", id="target"),
    ],
)
def test_bad_event_is_named_with_file_and_line(tmp_path, line, words):
    good = "2026-11-02 00:30:00,pack_lost,p1,60,"
    events = runs.write_events(tmp_path / "events.csv", good, line)
    code, output = cli(
        "simulate", runs.DEMO, "--events", events, "--start", "2026-11-02", "--out", tmp_path / "o"
    )
    assert code == 2
    assert f"{events}:3:" in output
    assert words in output


def test_all_bad_events_are_named_at_once(tmp_path):
    events = runs.write_events(tmp_path / "events.csv", "noon,grid_outage,*,1,", "x,y,z,1,")
    code, output = cli(
        "simulate", runs.DEMO, "--events", events, "--start", "2026-11-02", "--out", tmp_path / "o"
    )
    assert code == 2
    assert f"{events}:2:" in output
    assert f"{events}:3:" in output


def test_events_file_without_its_columns_says_what_they_are(tmp_path):
    events = tmp_path / "events.csv"
    events.write_text("when,what\n1,2\n")
    code, output = cli(
        "simulate", runs.DEMO, "--events", events, "--start", "2026-11-02", "--out", tmp_path / "o"
    )
    assert code == 2
    assert f"{events}:1: no column local_time, event, target" in output
