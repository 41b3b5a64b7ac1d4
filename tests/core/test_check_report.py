"""`ems check` as a script reads it: one shape, whatever is wrong."""

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ems.check import report
from ems.cli import app
from ems.judge.plant import judge_import
from tests.builders import make_site

DEMO = Path(__file__).parents[2] / "configs" / "sites" / "demo.yaml"
TODAY = date(2026, 11, 22)


def test_a_good_file_has_findings_and_no_errors():
    found = report(DEMO, TODAY)
    assert found.keys() == {"ok", "errors", "findings"}
    assert (found["ok"], found["errors"]) == (True, [])
    assert {f["severity"] for f in found["findings"]} == {"info"}


def test_a_file_that_cannot_be_judged_has_errors_with_their_places(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text("site: {}\nnonsense: 1\n")
    found = report(path, TODAY)
    assert found.keys() == {"ok", "errors", "findings"}
    assert (found["ok"], found["findings"]) == (False, [])
    error = next(e for e in found["errors"] if e["path"] == "nonsense")
    assert (error["file"], error["line"], error["col"]) == (str(path), 2, 1)
    assert error["text"].startswith(f"{path}:2:1: nonsense: ")


def test_a_promise_that_cannot_be_kept_is_a_finding_and_not_ok(tmp_path):
    text = DEMO.read_text().replace("  hours: 1\n", "  hours: 72\n")
    for folder in ("sites", "tariffs"):
        (tmp_path / folder).mkdir()
    for tariff in (DEMO.parents[1] / "tariffs").glob("*.yaml"):
        (tmp_path / "tariffs" / tariff.name).write_text(tariff.read_text())
    path = tmp_path / "sites" / "site.yaml"
    path.write_text(text)
    found = report(path, TODAY)
    assert found["errors"] == []
    assert not found["ok"]
    assert found["findings"][0]["rule"] == "backup_hours"


def test_the_command_says_for_each_file_the_same_with_json(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("site: {}\n")
    answer = CliRunner().invoke(app, ["check", str(DEMO), str(bad), "--json"])
    found = json.loads(answer.stdout)
    assert answer.exit_code == 1
    assert {name: result["ok"] for name, result in found.items()} == {
        str(DEMO): True,
        str(bad): False,
    }
    assert {frozenset(result) for result in found.values()} == {
        frozenset({"ok", "errors", "findings"})
    }
    assert CliRunner().invoke(app, ["check", str(DEMO), "--json"]).exit_code == 0


@pytest.mark.parametrize(
    ("limit_w", "words"),
    [
        pytest.param(4_000.0, None, id="carries everything"),
        pytest.param(3_999.0, "4 kW of all loads together", id="not with every load on"),
        pytest.param(2_000.0, "4 kW of all loads together", id="just what cannot be shed"),
        pytest.param(1_999.0, "2 kW of what cannot be shed", id="not even that"),
    ],
)
def test_an_import_limit_below_the_loads_is_a_warning(limit_w, words):
    site = make_site()
    assert [(load.sheddable, load.nominal_w) for load in site.loads] == [
        (False, 2000.0),
        (True, 1000.0),
        (True, 1000.0),
    ]
    found = list(judge_import(replace(site, grid=replace(site.grid, import_limit_w=limit_w))))
    assert [f.severity for f in found] == ["warning"] * (words is not None)
    assert all(words in f.why for f in found)


def test_the_promised_critical_load_counts_when_it_is_more_than_the_loads_listed():
    site = make_site()
    site = replace(
        site,
        grid=replace(site.grid, import_limit_w=5_500.0),
        backup=replace(site.backup, critical_w=4_000.0),
    )
    (found,) = judge_import(site)
    assert "6 kW of all loads together" in found.why
