"""``ems health forecast``: what it prints, and what it says of a bad history."""

import json

import pytest
from typer.testing import CliRunner

from ems.cli import app

GOOD = "date,soh_frac,sigma\n2024-01-01,0.82,0.01\n2025-01-01,0.79,0.01\n2026-01-01,0.76,\n"


def run(tmp_path, text: str, *words: str):
    file = tmp_path / "pack.csv"
    file.write_text(text, encoding="utf-8")
    return file, CliRunner().invoke(
        app, ["health", "forecast", str(file), "--chemistry", "LFP", *words]
    )


def test_the_answer_as_json(tmp_path):
    _, result = run(tmp_path, GOOD, "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    low, middle, high = answer["life_days"]
    assert 0 < low < middle < high
    assert answer["n_measurements"] == 3
    assert answer["wear_cny_per_kwh"] > 0


def test_the_answer_in_words(tmp_path):
    _, result = run(tmp_path, GOOD)
    assert "remaining life 5 / 50 / 95 %" in result.stdout
    assert "CNY per kWh of throughput" in result.stdout
    assert "Naumann" in result.stdout


def test_more_use_leaves_less_life(tmp_path):
    answers = [
        json.loads(run(tmp_path, GOOD.rsplit("2025")[0], "--json", "--efc-per-day", efc)[1].stdout)
        for efc in ("0.1", "1", "3")
    ]
    middles = [answer["life_days"][1] for answer in answers]
    assert middles == sorted(middles, reverse=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(GOOD.replace("0.79", "79"), ":3:12: soh_frac: found 79", id="percent"),
        pytest.param(GOOD.replace("2025-01-01", "1.1.2025"), ":3:1: date: found '1.1.2025'",
                     id="date"),
        pytest.param(GOOD.replace("2025-01-01", "2023-01-01"), ":3:1: date: found 2023-01-01 after",
                     id="order"),
        pytest.param(GOOD.replace("soh_frac", "soh"), ":1:1: soh_frac: found no such column",
                     id="column"),
        pytest.param("", ":1:1: found an empty file", id="empty"),
    ],
)  # fmt: skip
def test_a_bad_history_says_where(tmp_path, text, message):
    file, result = run(tmp_path, text)
    assert result.exit_code == 2
    assert f"{file}{message}" in result.output
