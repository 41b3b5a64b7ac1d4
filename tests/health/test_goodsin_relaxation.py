"""Capacity from rest voltages: series and single rows, refusals and answers."""

import os
from pathlib import Path

import numpy as np
import pytest

from ems.health.goodsin import assess, fitting, tables
from ems.health.goodsin.quadratic import Surface, thin
from ems.health.goodsin.tasks import relaxation
from ems.health.goodsin.tasks.relaxation import TASK
from tests.health.goodsin_usual import rests


@pytest.fixture(scope="module")
def fitted():
    return assess.shipped(TASK)


def answered(table, fitted):
    table = table.reset_index(drop=True)
    return assess.assess(TASK, tables.Read(table, tuple(range(2, len(table) + 2)), {}), fitted)


def test_a_row_alone_is_answered_with_bounds(fitted):
    out = answered(rests(cycles=1, first_cycle=300), fitted)
    assert out["note"].iloc[0] == ""
    assert out["capacity_ah"].iloc[0] == pytest.approx(2.92, abs=0.08)
    assert out["capacity_ah_low"].iloc[0] < out["capacity_ah"].iloc[0]
    assert out["capacity_ah"].iloc[0] < out["capacity_ah_high"].iloc[0]


def test_the_same_rest_later_in_life_means_less_capacity_and_new_means_more(fitted):
    said = [
        float(answered(rests(cycles=1, first_cycle=cycle), fitted)["capacity_ah"].iloc[0])
        for cycle in (2, 300, 500)
    ]
    assert said[0] > said[1] > said[2]


@pytest.mark.parametrize("row", [0, 14, 29])
def test_a_series_in_steady_change_does_not_lag_at_its_ends(row):
    table = rests(cycles=30, lost=0.3)
    smooth = TASK.features(table).matrix[row, relaxation.FIRST : relaxation.CHANGE]
    alone = TASK.features(table.iloc[[row]]).matrix[0, relaxation.FIRST : relaxation.CHANGE]
    assert smooth == pytest.approx(alone, abs=0.02)


def test_one_odd_row_of_a_series_is_smoothed_away():
    table, odd = rests(cycles=30), rests(cycles=30)
    odd.loc[15, list(relaxation.SAMPLES[1:])] -= 0.002
    usual, seen = TASK.features(table).matrix, TASK.features(odd).matrix
    assert seen[15] == pytest.approx(usual[15], abs=0.02)


def test_settling_deeper_means_less_capacity(fitted):
    deep = rests(cycles=1)
    names = list(relaxation.SAMPLES)
    deep[names] = deep[["v_rest_00_v"]].to_numpy() - 1.15 * (
        deep[["v_rest_00_v"]].to_numpy() - deep[names].to_numpy()
    )
    usual, worn = answered(rests(cycles=1), fitted), answered(deep, fitted)
    assert worn["capacity_ah"].iloc[0] < usual["capacity_ah"].iloc[0]


@pytest.mark.parametrize(
    ("cycles", "first_cycle", "way"),
    [
        pytest.param(12, 2, relaxation.SERIES, id="just enough rows"),
        pytest.param(11, 2, relaxation.ROW, id="one row too few"),
        pytest.param(30, 40, relaxation.SERIES, id="latest start"),
        pytest.param(30, 41, relaxation.ROW, id="start not in the table"),
    ],
)
def test_a_series_needs_rows_and_its_start(cycles, first_cycle, way):
    features = TASK.features(rests(cycles=cycles, first_cycle=first_cycle))
    assert set(features.matrix[:, 0]) == {way}


def test_a_series_starts_from_no_change_and_keeps_rows_in_place():
    table = rests(cycles=30, lost=0.3).sample(frac=1.0, random_state=0).reset_index(drop=True)
    features = TASK.features(table)
    assert features.order.tolist() == sorted(table["cycle"])
    assert table["cycle"].to_numpy()[features.rows].tolist() == features.order.tolist()
    start = features.matrix[: relaxation.START_ROWS, relaxation.CHANGE :]
    assert np.median(start, axis=0) == pytest.approx(0.0, abs=0.05)
    assert features.matrix[-1, relaxation.CHANGE + 1] < 0.0


def test_a_table_with_answers_is_learned_from_as_series_and_as_rows():
    table = rests(cycles=50).assign(capacity_ah=3.0)
    assert set(TASK.features(table).matrix[:, 0]) == {relaxation.SERIES}
    ways = TASK.lessons(table).matrix[:, 0]
    assert np.bincount(ways.astype(int)).tolist() == [relaxation.REHEARSED, 50]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        pytest.param({"ambient_c": 5.0}, "at 5 °C", id="colder than measured"),
        pytest.param({"charge_c_rate": 3.0}, "charged at 3 C", id="faster charge"),
        pytest.param({"discharge_c_rate": 0.2}, "discharged at 0.2 C", id="other discharge"),
        pytest.param({"v_rest_05_v": np.nan}, "a value is missing", id="missing sample"),
        pytest.param({"v_rest_13_v": 4.2}, "rises", id="not a rest after charge"),
        pytest.param(dict.fromkeys(relaxation.SAMPLES, 4.17), "frozen", id="frozen sensor"),
    ],
)
def test_a_row_that_cannot_be_judged_is_refused_with_the_reason(fitted, change, note):
    out = answered(rests(cycles=1).assign(**change), fitted)
    assert note in out["note"].iloc[0]
    assert np.isnan(out["capacity_ah"].iloc[0])


def test_another_chemistry_is_outside_the_domain(fitted):
    table = rests(cycles=1)
    table[list(relaxation.SAMPLES)] -= 0.7
    out = answered(table, fitted)
    assert "outside the training domain" in out["note"].iloc[0]


def test_thinning_keeps_both_ends_of_every_cell():
    groups = np.array(["a"] * 100 + ["b"] * 3)
    kept = thin(groups, 10)
    assert {0, 99, 100, 101, 102} <= set(kept.tolist())
    assert len(kept) == 13


def test_a_surface_finds_products_and_is_held_near_what_it_saw():
    rng = np.random.Generator(np.random.PCG64(0))
    x = rng.normal(size=(400, 3))
    y = 3.0 + 0.1 * x[:, 0] - 0.2 * x[:, 1] * x[:, 2]
    model = Surface(1e-6).fit(x, y, np.arange(400).astype(str))
    assert model.mean(x) == pytest.approx(y, abs=0.02)
    far = model.mean(np.array([[0.0, 50.0, 50.0]]))
    assert far[0] >= y.min() - 0.05 * np.ptp(y) - 1e-9


@pytest.mark.data
def test_cells_left_out_are_found_within_the_goal():
    if not os.environ.get("SECONDLIFE_EMS_DATA"):
        pytest.skip("SECONDLIFE_EMS_DATA is not set")
    table = TASK.training(Path(os.environ["SECONDLIFE_EMS_DATA"]))
    table = table[table.groupby("cell_id").cumcount() % 3 == 0].reset_index(drop=True)
    features, truth = fitting.usable(TASK, table)
    x, groups, answer = features.matrix, features.groups, np.zeros(len(truth))
    for out in fitting.folds(groups, 6, seed=7):
        kept = np.setdiff1d(np.arange(len(truth)), out)
        answer[out] = TASK.recipe().fit(x[kept], truth[kept], groups[kept]).mean(x[out])
    apart = (answer - truth)[x[:, 0] == relaxation.SERIES]
    assert 100.0 / 3.5 * np.sqrt((apart**2).mean()) <= 1.0
