"""``ems simulate`` on input it cannot use: one error in words, exit code 2, nothing written."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ems.cli import app

ROOT = Path(__file__).resolve().parents[2]
DEMO = str(ROOT / "configs" / "sites" / "demo.yaml")
LOAD = "local_time,load_kw\n" + "".join(f"2026-11-{d:02}T00:00:00,5\n" for d in range(1, 9))


def refused(tmp_path, *arguments, site=DEMO, start="2026-11-02"):
    """What the command says on standard error; anything but a clean refusal fails."""
    out = tmp_path / "out"
    command = ["simulate", site, "--start", start, "--out", str(out), *map(str, arguments)]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert result.stdout == ""
    assert not out.exists()
    return " ".join(result.stderr.replace("│", " ").split())


@pytest.fixture
def load(tmp_path):
    path = tmp_path / "load.csv"
    path.write_text(LOAD)
    return path


@pytest.mark.parametrize("days", ["inf", "nan", "0", "-1", "1e9", "many"])
def test_days_must_be_a_length(tmp_path, days):
    assert "--days" in refused(tmp_path, "--days", days)


@pytest.mark.parametrize("record_s", ["inf", "nan", "0", "-1"])
def test_recorded_rows_must_have_a_length(tmp_path, record_s):
    assert "--record-s" in refused(tmp_path, "--record-s", record_s)


def test_a_seed_is_not_negative(tmp_path):
    assert "--seed" in refused(tmp_path, "--seed", "-1")


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ("2018-02-30", "'2018-02-30' is not a date like 2018-03-01"),
        ("today", "'today' is not a date"),
        ("0001-01-01", "the year must be 1970 to 2100"),
        ("1969-12-31", "the year must be 1970 to 2100"),
        ("2101-01-01", "the year must be 1970 to 2100"),
    ],
)
def test_a_start_is_a_day_of_our_time(tmp_path, start, words):
    assert words in refused(tmp_path, start=start)


def test_a_start_or_an_end_outside_the_load_file_says_what_the_file_covers(tmp_path, load):
    covered = "covers 2026-11-01T00:00 to 2026-11-09T00:00 in Asia/Shanghai"
    early = refused(tmp_path, "--load", load, start="2026-10-31")
    assert early == f"{load}: start 2026-10-31 is outside the trace, which {covered}"
    late = refused(tmp_path, "--load", load, "--days", "7.5")
    assert "7.5 days from 2026-11-02 reach beyond the end" in late
    assert covered in late


def test_pv_without_a_load_is_refused_and_not_ignored(tmp_path, load):
    assert f"{load}: --pv needs --load" in refused(tmp_path, "--pv", load)


def test_bad_files_are_named(tmp_path, load):
    assert "none.csv: cannot be read: no such file" in refused(tmp_path, "--load", "none.csv")
    assert f"{tmp_path}: cannot be read: is a directory" in refused(tmp_path, "--events", tmp_path)
    assert "no column pv_kw" in refused(tmp_path, "--load", load, "--pv", load)
    assert "none.yaml:1:1: cannot be read" in refused(tmp_path, site="none.yaml")


def test_what_a_simulation_did_not_write_is_left_alone(tmp_path):
    log = tmp_path / "mine" / "log"
    log.mkdir(parents=True)
    (log / "interlock-000001.jsonl").write_text('{"data": {"software": "1.0"}}\n')
    words = refused(tmp_path, "--out", log.parent)
    assert f"{log} is not the log of a simulation" in words
    assert [path.name for path in log.parent.iterdir()] == ["log"]
    assert len(list(log.iterdir())) == 1


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path, load):
    words = refused(tmp_path, "--out", load)
    assert words == f"--out {load}: cannot be written: file exists"
    assert load.read_text() == LOAD


@pytest.mark.parametrize(
    "arguments",
    [
        ["setpoint", "nan", "-m", "test"],
        ["setpoint", "inf", "-m", "test"],
        ["setpoint", "5", "--minutes", "inf", "-m", "test"],
        ["notice", "inf", "-m", "test"],
        ["notice", "2", "--for-hours", "nan", "-m", "test"],
    ],
)
def test_an_operators_number_is_finite(tmp_path, arguments):
    result = CliRunner().invoke(app, [*arguments, "--socket", str(tmp_path / "none.sock")])
    assert result.exit_code == 2
    assert "no EMS answers" not in result.stderr
