"""Each mistake in a record is named once, and nothing of it is shown as good."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.health.records import pulses, write
from tests.health.test_record_estimate import estimate

TABLE = pulses(blocks=3)


def spoiled(**columns: Any) -> pd.DataFrame:
    return TABLE.assign(**columns)


SWAPPED = TABLE.rename(columns={"current_a": "voltage_v", "voltage_v": "current_a"})
WARM_SWAP = TABLE.rename(columns={"temperature_c": "voltage_v", "voltage_v": "temperature_c"})


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (spoiled(voltage_v=TABLE.voltage_v * 1000), ("record.csv:2: voltage_v", "mV instead of V")),
        (spoiled(current_a=TABLE.current_a * 1000), ("record.csv:63: current_a", "mA instead")),
        (spoiled(temperature_c=298.15), ("record.csv:2: temperature_c", "K instead of degC")),
        (spoiled(temperature_c=77.0), ("temperature_c", "degF instead of degC")),
        (spoiled(t_s=TABLE.t_s * 1000), ("current_a", "ms instead of s")),
        (spoiled(current_a=-TABLE.current_a), ("looks charge-positive", "--current-sign")),
        (SWAPPED, ("voltage_v", "swapped with current_a")),
        (WARM_SWAP, ("voltage_v", "swapped with temperature_c")),
        (pd.concat((TABLE, TABLE)), (f"record.csv:{len(TABLE) + 2}: t_s", "times that rise")),
        (TABLE.rename(columns={"voltage_v": "voltage_mv"}), ("another unit, 'voltage_mv'",)),
        (spoiled(voltage_v=TABLE.voltage_v * 96), ("voltage_v", "whole pack")),
    ],
)
def test_a_file_that_cannot_be_right_is_one_error(
    tmp_path: Path, table: pd.DataFrame, says: tuple[str, ...]
) -> None:
    answer = estimate(write(table, tmp_path))
    assert answer.exit_code == 2
    assert len(answer.output.strip().splitlines()) == 1
    for words in says:
        assert words in answer.output


def frozen(column: str, first: int) -> pd.DataFrame:
    held = TABLE[column].to_numpy(copy=True)
    held[first:] = held[first]
    return spoiled(**{column: held})


@pytest.mark.parametrize(
    ("table", "kind"),
    [
        (frozen("voltage_v", 700), "frozen voltage"),
        (frozen("current_a", 400), "frozen current"),
        (spoiled(voltage_v=3.9), "constant voltage"),
        (spoiled(current_a=0.0), "no current"),
        (TABLE.iloc[:5], "few rows"),
    ],
)
def test_a_dead_sensor_is_named_and_nothing_is_estimated(
    tmp_path: Path, table: pd.DataFrame, kind: str
) -> None:
    answer = estimate(write(table, tmp_path))
    assert answer.exit_code == 1
    found = json.loads(answer.output)[0]
    assert kind in [flaw["kind"] for flaw in found["flaws"]]
    assert found["capacity_ah"] is None
    assert found["r0_ohm"] is None


def test_a_gap_is_named_counted_and_takes_the_capacity_its_good_standing(tmp_path: Path) -> None:
    table = TABLE[(TABLE.t_s < 4000) | (TABLE.t_s >= 5000)]
    found = json.loads(estimate(write(table, tmp_path)).output)[0]
    assert found["flaws"][0]["kind"] == "gap"
    assert "1 gap" in found["flaws"][0]["text"]
    assert "1005 s after line" in found["flaws"][0]["text"]
    assert found["capacity_quality"] != "good"


@pytest.mark.parametrize("factor", [60.0, 3600.0])
@pytest.mark.parametrize("blocks", [1, 3, 11])
def test_time_in_a_longer_unit_is_named_and_nothing_is_good(
    tmp_path: Path, blocks: int, factor: float
) -> None:
    table = pulses(blocks=blocks, start_frac=1.0)
    answer = estimate(write(table.assign(t_s=table.t_s / factor), tmp_path))
    assert answer.exit_code == 1
    found = json.loads(answer.output)[0]
    assert "time unit" in [flaw["kind"] for flaw in found["flaws"]]
    assert found["capacity_quality"] != "good"
    assert found["r0_quality"] != "good"
    assert found["r0_25c_ohm"] is None or "instead of s" in found["r0_reason"]


@pytest.mark.parametrize("decimals", [4, 3, 2])
def test_minutes_are_no_good_however_they_are_rounded(tmp_path: Path, decimals: int) -> None:
    table = pulses(blocks=2)
    answer = estimate(write(table.assign(t_s=(table.t_s / 60.0).round(decimals)), tmp_path))
    assert answer.exit_code == 1
    found = json.loads(answer.output)[0]
    assert found["r0_quality"] == "coarse"
    assert "instead of s" in found["r0_reason"]


@pytest.mark.parametrize("shift", [0.0, 0.123, 0.5])
def test_seconds_of_any_clock_are_no_minutes(tmp_path: Path, shift: float) -> None:
    table = pulses(blocks=2)
    found = json.loads(estimate(write(table.assign(t_s=table.t_s + shift), tmp_path)).output)[0]
    assert found["flaws"] == []
    assert found["r0_quality"] == "good"


def test_a_whole_discharge_of_hardly_any_charge_is_no_capacity(tmp_path: Path) -> None:
    table = pulses(blocks=11, start_frac=1.0)
    down = table.voltage_v.to_numpy() <= 3.0
    table = table.iloc[: int(down.argmax()) + 1]
    small = table.assign(current_a=table.current_a / 10.0)
    found = json.loads(estimate(write(small, tmp_path)).output)[0]
    assert found["capacity_ah"] is None
    assert "no plausible capacity" in found["capacity_reason"]
    assert found["r0_quality"] != "good"


def test_empty_cells_are_skipped_and_counted(tmp_path: Path) -> None:
    volts = TABLE.voltage_v.to_numpy(copy=True)
    volts[100:105] = np.nan
    found = json.loads(estimate(write(spoiled(voltage_v=volts), tmp_path)).output)[0]
    assert found["flaws"][0]["text"] == "5 rows with empty cells skipped"
    assert found["r0_quality"] == "good"


def test_relaxation_after_a_deep_discharge_is_no_frozen_current(tmp_path: Path) -> None:
    t_s = np.arange(400.0)
    amps = np.where(t_s < 200.0, 60.0, 0.0)
    relaxing = 3.40 - 0.30 * np.exp(-(t_s - 200.0) / 10.0)
    volts = np.where(t_s < 200.0, 3.45 - 0.002 * t_s, relaxing)
    table = pd.DataFrame({"t_s": t_s, "current_a": amps, "voltage_v": volts.round(3)})
    found = json.loads(estimate(write(table, tmp_path)).output)[0]
    assert found["flaws"] == []
