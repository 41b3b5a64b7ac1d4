"""What comes out of a record: figures within their sigma, or the reason why none."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ems.commands.health import app
from tests.health.records import R0_OHM, RATED_AH, TRUE_AH, pulses, write

RUNNER = CliRunner()
OPTIONS = ["--chemistry", "LMO", "--rated-ah", str(RATED_AH), "--json"]


def estimate(path: Path, sign: str = "discharge-positive", *more: str) -> Any:
    return RUNNER.invoke(app, ["estimate", str(path), *OPTIONS, "--current-sign", sign, *more])


@pytest.fixture(scope="module")
def pulsed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("record")
    answer = estimate(
        write(pulses(), folder), "discharge-positive", "--plot", str(folder / "p.png")
    )
    assert answer.exit_code == 0, answer.output
    assert (folder / "p.png").stat().st_size > 10_000
    found: dict[str, Any] = json.loads(answer.output)[0]
    return found


def test_capacity_of_four_tenths_of_a_discharge(pulsed: dict[str, Any]) -> None:
    assert pulsed["capacity_ah"] == pytest.approx(TRUE_AH, rel=0.04)
    assert abs(pulsed["capacity_ah"] - TRUE_AH) < 2.5 * pulsed["capacity_sigma_ah"]
    assert pulsed["capacity_source"] in {"fit", "anchors"}


def test_r0_is_that_of_the_pulses_and_the_online_one_agrees(pulsed: dict[str, Any]) -> None:
    assert pulsed["r0_ohm"] == pytest.approx(R0_OHM, rel=0.05)
    assert pulsed["r0_source"] == "steps"
    assert pulsed["r0_quality"] == "good"


def test_soc_path_keeps_within_its_sigma(pulsed: dict[str, Any]) -> None:
    soc, sigma = (np.array(pulsed["soc_path"][k]) for k in ("soc_frac", "soc_sigma_frac"))
    assert abs(soc[-1] - (0.95 - 4 * 2.7 / TRUE_AH)) < max(3.0 * sigma[-1], 0.03)


def test_charge_positive_file_gives_the_same(tmp_path: Path, pulsed: dict[str, Any]) -> None:
    table = pulses()
    table["current_a"] *= -1.0
    answer = estimate(write(table, tmp_path), "charge-positive")
    assert json.loads(answer.output)[0]["capacity_ah"] == pytest.approx(pulsed["capacity_ah"])


def test_r0_is_given_at_the_temperature_of_the_record_and_at_25(tmp_path: Path) -> None:
    table = pulses(blocks=2)
    table["temperature_c"] = 10.0
    found = json.loads(estimate(write(table, tmp_path)).output)[0]
    assert found["r0_ohm"] == pytest.approx(R0_OHM, rel=0.05)
    assert found["r0_25c_ohm"] == pytest.approx(R0_OHM * 0.653, rel=0.07)


def test_several_records_in_a_file_are_estimated_one_by_one(tmp_path: Path) -> None:
    first, second = pulses(blocks=3), pulses(blocks=3, seed=2)
    first["cell_id"], second["cell_id"] = "a", "b"
    found = json.loads(estimate(write(pd.concat((first, second)), tmp_path)).output)
    assert [one["record"] for one in found] == ["a", "b"]


def test_a_window_too_narrow_gives_no_capacity_but_says_why(tmp_path: Path) -> None:
    table = pulses(blocks=1).iloc[:150]
    found = json.loads(estimate(write(table, tmp_path)).output)[0]
    assert found["capacity_ah"] is None
    assert "Ah" in found["capacity_reason"]


def test_a_whole_discharge_is_counted_from_full_to_empty(tmp_path: Path) -> None:
    table = pulses(blocks=11, start_frac=1.0)
    down = table.voltage_v.to_numpy() <= 3.0
    table = table.iloc[: int(down.argmax()) + 1]
    found = json.loads(estimate(write(table, tmp_path)).output)[0]
    assert found["capacity_source"] == "counted"
    assert found["capacity_ah"] == pytest.approx(TRUE_AH, rel=0.02)


@pytest.mark.data
@pytest.mark.skipif(
    "SECONDLIFE_EMS_DATA" not in os.environ, reason="SECONDLIFE_EMS_DATA is not set"
)
def test_leaf_hppc_four_steps_give_capacity_and_pulse_resistance(tmp_path: Path) -> None:
    path = Path(os.environ["SECONDLIFE_EMS_DATA"]) / "cells/leaf_hppc_25c.csv.gz"
    whole = pd.read_csv(path)
    cut = whole[(whole.time_s >= 29_730) & (whole.time_s <= 48_765)]
    found = json.loads(estimate(write(cut, tmp_path), "charge-positive").output)[0]
    assert found["capacity_ah"] == pytest.approx(30.5, rel=0.04)
    assert found["r0_ohm"] == pytest.approx(1.61e-3, rel=0.10)
