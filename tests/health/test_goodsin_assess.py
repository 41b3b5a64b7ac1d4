"""Assessing tables that can be used: figures, bounds, reasons for refusal, fitting on the spot."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ems.health.goodsin import assess, fitting, frozen, tables, train
from ems.health.goodsin.tasks import TASKS
from tests.health.goodsin_tables import charge_features, early_curves, storage_cycles

MINE = ("cycle-life", "second-life-cycles")
"""Tasks of this file that have shipped coefficients."""


def answered(tmp_path, task, table, train_table=None):
    """The output for a table, read back from the file."""
    source, out, own = (tmp_path / name for name in ("in.csv", "out.csv", "train.csv"))
    table.to_csv(source, index=False)
    if train_table is not None:
        train_table.to_csv(own, index=False)
    assess.run(task, source, out, None if train_table is None else own)
    return pd.read_csv(out, keep_default_na=False, na_values={})


def number(column):
    return pd.to_numeric(column).to_numpy()


def test_every_cycle_gets_capacity_and_bounds_in_the_order_given(tmp_path):
    table = storage_cycles(cells=2).sample(frac=1.0, random_state=1)
    out = answered(tmp_path, "second-life-cycles", table)
    assert list(out) == [
        "cell_id", "cycle", "discharge_ah", "discharge_ah_low", "discharge_ah_high", "note",
    ]  # fmt: skip
    assert out["cell_id"].tolist() == table["cell_id"].tolist()
    assert out["cycle"].tolist() == table["cycle"].tolist()
    low, mid, high = (number(out[f"discharge_ah{end}"]) for end in ("_low", "", "_high"))
    later = out["cycle"] > 1
    assert (low[later] < mid[later]).all()
    assert (mid[later] < high[later]).all()
    assert (out["note"] == "").all()


def test_the_first_cycle_is_repeated_as_it_was_measured(tmp_path):
    out = answered(tmp_path, "second-life-cycles", storage_cycles(cells=2))
    first = out[out["cycle"] == 1]
    for end in ("_low", "", "_high"):
        assert number(first[f"discharge_ah{end}"]) == pytest.approx([12.0, 13.0])


def test_shipped_coefficients_answer_as_they_did():
    table = storage_cycles(cells=2)
    task = TASKS["second-life-cycles"]
    found = fitting.predict(task, assess.shipped(task), task.features(table))
    assert found.mean[[1, 30, 59, 61, 119]] == pytest.approx(
        [11.6202, 11.4327, 11.2612, 12.5465, 12.1083], abs=1e-3
    )
    assert found.low[[1, 119]] == pytest.approx([10.9890, 11.4506], abs=1e-3)
    assert found.high[[1, 119]] == pytest.approx([12.2876, 12.8038], abs=1e-3)
    life = assess.shipped(TASKS["cycle-life"])
    usual = np.exp(life.model.mean(life.domain.centre[None]))
    assert usual == pytest.approx([USUAL_LIFE], rel=1e-3)


USUAL_LIFE = 601.88
"""Cycles of a cell with average features."""


def disturbed():
    table = storage_cycles(cycles=80)
    table.loc[40, "mid_voltage_v"] -= 0.2
    table.loc[50, "energy_efficiency_frac"] = np.nan
    table.loc[60, "mid_voltage_v"] = 2.1
    return table


def test_disturbed_empty_and_impossible_cycles_are_refused_one_by_one(tmp_path):
    out = answered(tmp_path, "second-life-cycles", disturbed())
    refused = out[out["discharge_ah"] == ""]
    assert refused["cycle"].tolist() == [41, 51, 61]
    assert refused["note"].tolist() == [
        "a disturbed cycle, or near some",
        "energy_efficiency_frac is empty",
        "mid_voltage_v 2.1 is not within 3 to 4 in V",
    ]
    assert (refused["discharge_ah_low"] == "").all()


def test_a_frozen_sensor_gives_no_figures(tmp_path):
    table = storage_cycles(cycles=40)
    for name in ("mid_voltage_v", "energy_efficiency_frac"):
        table.loc[20:30, name] = table.loc[20, name]
    out = answered(tmp_path, "second-life-cycles", table)
    stuck = out[out["note"] == "efficiency and mid voltage do not move"]
    assert stuck["cycle"].tolist() == list(range(21, 32))
    assert (stuck["discharge_ah"] == "").all()


def test_a_cell_without_its_first_capacity_is_refused_whole(tmp_path):
    table = storage_cycles(cells=2)
    table.loc[0, "discharge_ah"] = np.nan
    out = answered(tmp_path, "second-life-cycles", table)
    lacking = out[out["cell_id"] == "c0"]
    assert (lacking["discharge_ah"] == "").all()
    assert lacking["note"].str.startswith("the first cycle of this cell lacks").all()
    assert (out[out["cell_id"] == "c1"]["discharge_ah"] != "").all()


def test_efficiency_of_another_kind_of_cell_is_outside_the_domain(tmp_path):
    table = storage_cycles()
    table["energy_efficiency_frac"] -= np.linspace(0.0, 0.3, len(table))
    out = answered(tmp_path, "second-life-cycles", table)
    assert out["note"].iloc[-1].startswith("outside the training domain")
    assert out["discharge_ah"].iloc[-1] == ""


@pytest.mark.parametrize(
    ("table", "note"),
    [
        pytest.param(early_curves(), "outside the training domain", id="curves never seen"),
        pytest.param(
            early_curves(cycles=(2, 8, 10, 50)),
            "no whole discharge curve of a cycle from 95 to 100",
            id="no late cycle",
        ),
        pytest.param(early_curves(moved_ah=0.0), "early and late curves are the same", id="frozen"),
    ],
)
def test_cells_without_usable_curves_are_refused(tmp_path, table, note):
    out = answered(tmp_path, "cycle-life", table)
    assert out["cell_id"].tolist() == ["c0"]
    assert out["cycle_life"].tolist() == [""]
    assert out["note"].iloc[0].startswith(note)


def test_fitting_on_the_spot_learns_the_users_own_cells(tmp_path):
    known, new = charge_features(cells=8), charge_features(cells=9, seed=5)
    new = new[new["cell_id"] == "c8"]
    out = answered(tmp_path, "charge-features", new.drop(columns="capacity_ah"), known)
    said = out["capacity_ah"].to_numpy() != ""
    assert (~said).sum() <= 3
    assert all("outside the training domain" in note for note in out["note"][~said])
    truth = new["capacity_ah"].to_numpy()[said]
    error = number(out["capacity_ah"][said]) - truth
    assert np.sqrt((error**2).mean()) < 0.03
    inside = (number(out["capacity_ah_low"][said]) <= truth) & (
        truth <= number(out["capacity_ah_high"][said])
    )
    assert inside.mean() > 0.5


def test_one_charge_of_a_new_cell_is_enough_for_charge_features(tmp_path):
    known = charge_features(cells=8)
    out = answered(tmp_path, "charge-features", known.iloc[[80]], known)
    assert float(out["capacity_ah"].iloc[0]) == pytest.approx(
        known["capacity_ah"].iloc[80], abs=0.1
    )


def test_an_aged_cell_whose_past_is_not_given_is_refused(tmp_path):
    known = charge_features(cells=8)
    aged = known.iloc[[119]].assign(cycle=400)
    out = answered(tmp_path, "charge-features", aged, known)
    assert out["capacity_ah"].tolist() == [""]
    assert out["note"].tolist() == [
        "the cell's table starts at cycle 400, too late to know its past"
    ]


def test_a_cells_future_does_not_change_what_was_said_of_it(tmp_path):
    known = charge_features(cells=8)
    whole = known[known["cell_id"] == "c3"]
    said = answered(tmp_path, "charge-features", whole, known)["capacity_ah"]
    said_half = answered(tmp_path, "charge-features", whole.iloc[:20], known)["capacity_ah"]
    assert said_half.tolist() == said.iloc[:20].tolist()


def test_too_few_cells_to_learn_from_are_refused(tmp_path):
    with pytest.raises(tables.TableError, match=r"found 3 cells with a capacity_ah; at least 4"):
        answered(tmp_path, "charge-features", charge_features(2), charge_features(3))


def test_coefficients_of_another_version_are_refused():
    with pytest.raises(ValueError, match="coefficients of version 99, not 1"):
        fitting.Fitted.load({"version": 99})


@pytest.mark.parametrize("name", MINE)
def test_a_coefficient_file_says_where_it_comes_from(name):
    file = train.FOLDER / f"{name}.json"
    about = json.loads(file.read_text(encoding="utf-8"))["about"]
    assert file.stat().st_size <= train.MOST_BYTES
    assert all("hust" not in source and "xjtu" not in source for source in about["sources"])
    assert 0.85 <= about["left_out"]["coverage_frac"] <= 0.95
    assert about["left_out"]["refused_frac"] <= 0.10
    card = (train.FOLDER.parent / "cards" / f"{name}.md").read_text(encoding="utf-8")
    assert all(source.removeprefix("ageing/") in card for source in about["sources"])


@pytest.mark.data
@pytest.mark.parametrize("name", MINE)
def test_shipped_coefficients_come_out_of_the_data_again(name):
    if not os.environ.get(train.DATA):
        pytest.skip("SECONDLIFE_EMS_DATA is not set")
    task, kept = TASKS[name], assess.shipped(TASKS[name])
    folder = Path(os.environ[train.DATA])
    assert train.sources(task, folder) == dict(kept.about["sources"])
    features, truth = fitting.usable(task, task.training(folder))
    again = fitting.predict(task, fitting.fit(task, features, truth, {}), features)
    shipped = fitting.predict(task, kept, features)
    assert shipped.mean == pytest.approx(again.mean, rel=1e-3)
    assert shipped.low == pytest.approx(again.low, rel=2e-3)
    assert shipped.high == pytest.approx(again.high, rel=2e-3)


def test_a_first_cycle_without_its_mid_voltage_borrows_from_the_next(tmp_path):
    table = storage_cycles()
    whole = answered(tmp_path, "second-life-cycles", table)
    table.loc[0, "mid_voltage_v"] = np.nan
    lacking = answered(tmp_path, "second-life-cycles", table)
    assert lacking["discharge_ah"].iloc[0] == ""
    assert lacking["note"].iloc[0] == "mid_voltage_v is empty"
    assert number(lacking["discharge_ah"])[1:] == pytest.approx(
        number(whole["discharge_ah"])[1:], rel=0.01
    )


def test_a_coefficient_file_keeps_its_day_until_something_changes(tmp_path):
    file = tmp_path / "task.json"
    first = train.dated({"about": {}, "model": [1.0]}, file, "2026-01-01")
    assert '"trained":"2026-01-01"' in first
    file.write_text(first, encoding="utf-8")
    assert train.dated({"about": {}, "model": [1.0]}, file, "2026-02-02") == first
    assert '"2026-02-02"' in train.dated({"about": {}, "model": [2.0]}, file, "2026-02-02")


@pytest.mark.parametrize(
    ("alike", "found"),
    [
        pytest.param(4, 0, id="four rows alike: chance"),
        pytest.param(5, 5, id="five rows alike: frozen"),
    ],
)
def test_rows_that_repeat_are_frozen(alike, found):
    table = pd.DataFrame({"cell_id": "a", "v": np.arange(12.0), "i": 1.0})
    table.loc[3 : 2 + alike, "v"] = 3.0
    assert frozen.repeats(table, "cell_id", ("v", "i"), 4).sum() == found


def test_a_frozen_run_does_not_reach_into_the_next_cell():
    table = pd.DataFrame({"cell_id": list("aaabbb"), "v": 3.0})
    assert not frozen.repeats(table, "cell_id", ("v",), 4).any()
    assert frozen.repeats(table, "cell_id", ("v",), 2).all()


def test_a_target_in_the_input_changes_nothing(tmp_path):
    known = charge_features(cells=6)
    with_target = answered(tmp_path, "charge-features", known.iloc[:5], known)
    without = answered(
        tmp_path, "charge-features", known.iloc[:5].drop(columns="capacity_ah"), known
    )
    pd.testing.assert_frame_equal(with_target, without)
