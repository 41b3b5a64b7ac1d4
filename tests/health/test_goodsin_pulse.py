"""State of health from pulses: what is seen, what is refused and what is answered."""

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ems.health.goodsin import assess, fitting, tables
from ems.health.goodsin.tasks import pulse
from ems.health.goodsin.tasks.pulse import TASK
from tests.health.goodsin_usual import LFP, LMO, usual_test


@pytest.fixture(scope="module")
def fitted():
    return assess.shipped(TASK)


def answered(table, fitted):
    table = table.reset_index(drop=True)
    lines = tuple(range(2, len(table) + 2))
    return assess.assess(TASK, tables.Read(table, lines, {}), fitted)


def made_up_lot(cells=8, seed=0):
    """A lot whose steps and rest voltage follow the state of health exactly, but for 0.1 mV."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = pulse.RISES * np.array(
        [40, 16, 39, 13, 39, 15, 39, 13, 80, 34, 79, 30, 80, 29, 79, 25, 119, 52, 118, 48]
    )
    rows = []
    for cell in range(cells):
        soh = 0.70 + 0.25 * cell / (cells - 1)
        for soc in pulse.LEVELS_PCT:
            steps_v = shape * (1.6 - soh) * (1.5 - soc / 100.0) / 1e3
            first_v = 3.0 + 0.6 * soc / 100.0 / soh
            volts = first_v + np.concatenate([[0.0], np.cumsum(steps_v)])
            volts = volts + rng.normal(0.0, 1e-4, len(volts))
            rows.append(
                ["own", f"c{cell}", 1.0, "NMC", 5.0, soc, 5.0, soh, *volts.round(5).tolist()]
            )
    names = ["lot", "cell_id", "sample_no", "chemistry", "nominal_ah", "soc_nominal_pct"]
    return pd.DataFrame(rows, columns=[*names, "pulse_width_s", "soh_frac", *pulse.VOLTAGES])


@pytest.mark.parametrize(
    ("lot", "way", "soh"),
    [
        pytest.param(LFP, "whole", 0.848, id="LFP, whole test"),
        pytest.param(LFP, "whole without SoC", 0.844, id="LFP, whole test without SoC"),
        pytest.param(LFP, "row", 0.847, id="LFP, one row"),
        pytest.param(LFP, "row without SoC", 0.841, id="LFP, one row without SoC"),
        pytest.param(LMO, "whole", 0.806, id="LMO, whole test"),
        pytest.param(LMO, "row without SoC", 0.792, id="LMO, one row without SoC"),
    ],
)
def test_the_usual_cell_of_a_lot_is_known(fitted, lot, way, soh):
    table = usual_test(fitted, lot)
    table = table if way.startswith("whole") else table.iloc[[9]]
    if way.endswith("without SoC"):
        table = table.drop(columns="soc_nominal_pct").assign(soc_nominal_pct=np.nan)
    out = answered(table, fitted)
    assert out["soh_frac"].to_numpy() == pytest.approx(soh, abs=2e-3)
    assert (out["soh_frac_low"] < out["soh_frac"]).all()
    assert (out["soh_frac"] < out["soh_frac_high"]).all()


def test_a_whole_test_is_surer_than_a_row_and_a_known_level_surer_than_none(fitted):
    whole = usual_test(fitted)
    blind = whole.assign(soc_nominal_pct=np.nan)

    def width(table):
        out = answered(table, fitted)
        return float((out["soh_frac_high"] - out["soh_frac_low"]).mean())

    assert width(whole) < width(blind) < width(blind.iloc[[9]])
    assert width(whole) < width(whole.iloc[3:8]) < width(whole.iloc[[9]])


def test_rows_of_one_test_share_one_answer_and_tests_do_not_mix(fitted):
    both = pd.concat([usual_test(fitted), usual_test(fitted, LMO, cell="other")])
    mixed = both.sample(frac=1.0, random_state=0)
    out = answered(mixed, fitted)
    assert out["cell_id"].tolist() == mixed["cell_id"].tolist()
    apart = out.groupby("cell_id")["soh_frac"].agg(["min", "max"])
    assert apart["min"].to_numpy() == pytest.approx(apart["max"].to_numpy())
    alone = answered(usual_test(fitted), fitted)
    assert apart.loc["new", "min"] == pytest.approx(alone["soh_frac"].iloc[0])


@pytest.mark.parametrize(
    ("change", "note"),
    [
        pytest.param({"pulse_width_s": 10.0}, "pulse of 10 s", id="longer pulse"),
        pytest.param({"soc_nominal_pct": 90.0}, "at 90 % of nominal", id="level never trained"),
        pytest.param({"u3_v": 3.0}, "from u2_v to u3_v goes the wrong way", id="spike"),
        pytest.param({"u7_v": np.nan}, "a value is missing", id="missing voltage"),
        pytest.param({"lot": "Unseen"}, "outside the training domain", id="unknown lot"),
        pytest.param({"nominal_ah": 36.0}, "outside the training domain", id="another size"),
        pytest.param({"chemistry": "NMC"}, "outside the training domain", id="another chemistry"),
    ],
)
def test_a_row_that_cannot_be_judged_is_refused_with_the_reason(fitted, change, note):
    out = answered(usual_test(fitted).iloc[[9]].assign(**change), fitted)
    assert note in out["note"].iloc[0]
    assert out[["soh_frac", "soh_frac_low", "soh_frac_high"]].isna().all(axis=None)


def test_a_pulse_at_half_the_current_is_refused(fitted):
    row = usual_test(fitted).iloc[[9]].copy()
    row["u2_v"] = row["u1_v"] + (row["u2_v"] - row["u1_v"]) / 2.0
    assert "about 2 would be right" in answered(row, fitted)["note"].iloc[0]


def test_a_bad_row_takes_the_test_from_whole_to_rows(fitted):
    table = usual_test(fitted)
    table.loc[4, "pulse_width_s"] = 10.0
    out = answered(table, fitted)
    assert out["soh_frac"].isna().tolist() == [row == 4 for row in range(10)]
    whole = answered(usual_test(fitted), fitted)
    assert (out["soh_frac_high"] - out["soh_frac_low"]).mean() > (
        whole["soh_frac_high"] - whole["soh_frac_low"]
    ).mean()


@pytest.mark.parametrize(
    "levels",
    [
        pytest.param([9] * 10, id="one level ten times"),
        pytest.param([5, 5, 6, 6, 7, 7, 8, 8, 9, 9], id="upper half twice"),
    ],
)
def test_ten_rows_without_level_that_are_no_whole_test_are_refused(fitted, levels):
    table = usual_test(fitted).assign(soc_nominal_pct=np.nan).iloc[levels]
    out = answered(table, fitted)
    assert out["soh_frac"].isna().all()
    assert out["note"].str.contains("outside the training domain").all()


def test_a_fraction_instead_of_percent_is_one_clear_error(fitted, tmp_path):
    table = usual_test(fitted)
    table["soc_nominal_pct"] /= 100.0
    table.to_csv(tmp_path / "in.csv", index=False)
    with pytest.raises(tables.TableError, match=r"soc_nominal_pct: found .*0 to 100 in percent"):
        tables.read(tmp_path / "in.csv", TASK, with_target=False)


def test_the_level_may_be_left_out_of_the_file(fitted, tmp_path):
    usual_test(fitted).drop(columns="soc_nominal_pct").to_csv(tmp_path / "in.csv", index=False)
    assess.run("pulse", tmp_path / "in.csv", tmp_path / "out.csv", None)
    out = pd.read_csv(tmp_path / "out.csv")
    assert len(out) == 10
    assert out["soh_frac"].notna().all()
    assert out["note"].isna().all()


def test_a_table_with_answers_is_learned_from_in_every_way_rows_may_arrive():
    table = made_up_lot(cells=2)
    ways = TASK.lessons(table).matrix[:, pulse.WAY]
    assert np.bincount(ways.astype(int)).tolist() == [20, 20, 20, 20]
    seen = TASK.features(table)
    assert set(seen.matrix[:, pulse.WAY]) == {pulse.KNOWN_WHOLE}
    assert np.array_equal(seen.matrix, TASK.features(table.drop(columns="soh_frac")).matrix)


def test_coefficients_of_an_own_lot_answer_for_it_and_survive_json():
    table = made_up_lot()
    features, truth = fitting.usable(TASK, table)
    own = fitting.fit(TASK, features, truth, {})
    again = fitting.Fitted.load(json.loads(json.dumps(own.dump())))
    unseen = made_up_lot(cells=7, seed=1)
    for blind in (False, True):
        given = unseen.drop(columns="soh_frac")
        given = given.assign(soc_nominal_pct=np.nan) if blind else given
        out = answered(given, again)
        assert out["soh_frac"].to_numpy() == pytest.approx(unseen["soh_frac"], abs=0.02)


@pytest.mark.data
def test_cells_left_out_are_found_within_the_goals():
    if not os.environ.get("SECONDLIFE_EMS_DATA"):
        pytest.skip("SECONDLIFE_EMS_DATA is not set")
    table = TASK.training(Path(os.environ["SECONDLIFE_EMS_DATA"]))
    features, truth = fitting.usable(TASK, table)
    mean, spread = np.zeros((2, len(truth)))
    for out in fitting.folds(features.groups, 6, seed=7):
        kept = np.setdiff1d(np.arange(len(truth)), out)
        x, groups = features.matrix, features.groups
        model = TASK.recipe().fit(x[kept], truth[kept], groups[kept])
        mean[out], spread[out] = model.mean(x[out]), model.spread(x[out])
    answer, _ = TASK.finish(features, mean, spread)
    found = pd.Series((100.0 * (answer - truth)) ** 2).groupby(features.strata).mean() ** 0.5
    ways = found.groupby(found.index.str.split(", ").str[1]).mean()
    assert ways["whole test"] <= 1.5
    assert ways["whole test without SoC"] <= 2.5
