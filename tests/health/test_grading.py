"""Grades, uses and residual value from the shipped rules, and what a bad file says."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ems.cli import app
from ems.health.grading.grade import grade
from ems.health.grading.packs import Pack, load
from ems.health.grading.rules import DEFAULT_RULES, GRADES, RECYCLE, REJECT
from ems.health.grading.rules import load as load_rules
from ems.health.grading.value import assess
from ems.site import Chemistry
from ems.yamltext import FileErrors

RULES = load_rules()
RANK = {name: rank for rank, name in enumerate((*GRADES, REJECT))}
GOOD = Pack("P1", Chemistry.LFP, 100.0, 51.2, 0.86, 0.83, 0.89, 1.2, 0.03, 0.01, 6.0, 1500.0)
HEADING = (
    "pack_id,chemistry,rated_ah,nominal_v,soh_frac,soh_frac_low,soh_frac_high,resistance_ratio,"
    "capacity_spread_frac,self_discharge_frac_per_month,age_years,cycles_efc"
)
ROW = "P1,LFP,100,51.2,0.86,0.83,0.89,1.2,0.03,0.01,6,1500"


def with_soh(pack: Pack, soh: float) -> Pack:
    return replace(
        pack, soh_frac=soh, soh_frac_low=max(soh - 0.03, 0.0), soh_frac_high=min(soh + 0.03, 1.2)
    )


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        pytest.param(0.81, "A", id="above A"),
        pytest.param(0.80, "A", id="at A"),
        pytest.param(0.799, "B", id="just below A"),
        pytest.param(0.72, "B", id="at B"),
        pytest.param(0.719, "C", id="just below B"),
        pytest.param(0.64, "C", id="at C"),
        pytest.param(0.639, "D", id="just below C"),
        pytest.param(0.56, "D", id="at D"),
        pytest.param(0.559, REJECT, id="below D"),
    ],
)
def test_the_lower_bound_of_soh_decides(low, expected):
    pack = replace(GOOD, soh_frac_low=low, soh_frac=0.9, soh_frac_high=0.95)
    assert grade(pack, RULES).grade == expected


@pytest.mark.parametrize(
    ("change", "expected", "word"),
    [
        pytest.param({"resistance_ratio": 1.4}, "A", "", id="resistance at A"),
        pytest.param({"resistance_ratio": 1.41}, "B", "resistance_ratio 1.41 above 1.4",
                     id="resistance above A"),
        pytest.param({"resistance_ratio": 2.6}, REJECT, "above 2.5", id="resistance above D"),
        pytest.param({"capacity_spread_frac": 0.16}, REJECT, "capacity_spread_frac", id="spread"),
        pytest.param({"age_years": 11.0}, "C", "age_years 11 above 10", id="age"),
        pytest.param({"cycles_efc": 2500.0}, "B", "cycles_efc 2.5e+03", id="cycles"),
        pytest.param({"resistance_ratio": None}, "D", "not measured: the worst that D allows",
                     id="resistance never measured"),
        pytest.param({"soh_frac_low": None}, "B", "no lower bound of SoH", id="no bounds"),
        pytest.param({"soh_frac": None, "soh_frac_low": None}, REJECT, "SoH not assessed",
                     id="never assessed"),
        pytest.param({"defect": "swollen"}, REJECT, "defect: swollen", id="swollen"),
    ],
)  # fmt: skip
def test_every_line_counts_and_says_so(change, expected, word):
    found = grade(replace(GOOD, **change), RULES)
    assert found.grade == expected
    assert word in "; ".join(found.reasons)


PACKS = st.builds(
    lambda chemistry, soh, resistance, spread, leak, age, cycles: with_soh(
        Pack("P", chemistry, 100.0, 51.2, None, None, None, resistance, spread, leak, age, cycles),
        soh,
    ),
    st.sampled_from(list(Chemistry)),
    st.floats(0.4, 1.05),
    st.one_of(st.none(), st.floats(0.9, 3.0)),
    st.one_of(st.none(), st.floats(0.0, 0.2)),
    st.one_of(st.none(), st.floats(0.0, 0.08)),
    st.one_of(st.none(), st.floats(0.0, 16.0)),
    st.one_of(st.none(), st.floats(0.0, 8000.0)),
)


@settings(deadline=None, max_examples=80)
@given(PACKS, st.floats(0.0, 0.4))
def test_a_lower_soh_never_earns_a_better_grade_or_more_money(pack, less):
    better, worse = assess((pack, with_soh(pack, pack.soh_frac - less)), RULES)
    assert RANK[worse.graded.grade] >= RANK[better.graded.grade]
    for bound in ("low", "value", "high"):
        assert getattr(worse.residual, bound) <= getattr(better.residual, bound) + 1e-6
    assert worse.residual.low <= worse.residual.value <= worse.residual.high
    for a, b in zip(worse.uses, better.uses, strict=True):
        assert a.score <= b.score + 1e-6


@settings(deadline=None, max_examples=60)
@given(PACKS, st.sampled_from(["resistance_ratio", "capacity_spread_frac", "age_years",
                               "self_discharge_frac_per_month", "cycles_efc"]))  # fmt: skip
def test_what_nobody_measured_never_helps(pack, name):
    known, unknown = assess((replace(pack, **{name: 0.0}), replace(pack, **{name: None})), RULES)
    assert RANK[unknown.graded.grade] >= RANK[known.graded.grade]
    assert unknown.residual.value <= known.residual.value + 1e-6


@settings(deadline=None, max_examples=60)
@given(PACKS)
def test_no_pack_is_worth_less_than_its_scrap(pack):
    (found,) = assess((pack,), RULES)
    assert found.residual.value >= found.recycling.value >= 0.0
    if found.graded.grade == REJECT:
        assert found.recommended == RECYCLE
        assert not any(use.allowed for use in found.uses)
    for use in found.uses:
        assert use.allowed is not bool(use.why_not)


def test_the_golden_pack_with_every_term():
    (found,) = assess((GOOD,), RULES)
    use = next(use for use in found.uses if use.name == found.recommended)
    # 5.12 kWh rated; 0.86 of it at 230 CNY, whole life; 30 + 5 a kWh; 80 a kWh; 6 % put by.
    assert use.usable_kwh.value == pytest.approx(4.4032)
    assert use.life_factor.value == 1.0
    assert use.gross.value == pytest.approx(1012.736)
    assert use.test.value == pytest.approx(55.6)
    assert use.refit.value == pytest.approx(409.6)
    assert use.warranty.value == pytest.approx(60.764, abs=1e-3)
    assert use.value.value == pytest.approx(486.772, abs=1e-3)
    assert found.residual.value == use.value.value
    assert found.recycling.value == pytest.approx(281.6)


def test_the_reasons_for_exclusion_are_all_given():
    (found,) = assess((replace(with_soh(GOOD, 0.80), chemistry=Chemistry.NMC),), RULES)
    backup = next(use for use in found.uses if use.name == "base-station-backup")
    assert any("NMC is not used here" in word for word in backup.why_not)
    mobile = next(use for use in found.uses if use.name == "mobile-charging")
    assert any("grade C, B or better" in word for word in mobile.why_not)


@pytest.mark.parametrize(
    ("old", "new", "place", "word"),
    [
        pytest.param("{is: 0.10, from: judgement}", "{is: -1, from: judgement}", ":30:",
                     "soh_margin_frac.is", id="negative"),
        pytest.param("soh_margin_frac: {is: 0.10, from: judgement}",
                     "soh_margin_frac: {is: 0.10, from: hearsay}", ":",
                     "source 'hearsay' is used but not described", id="no such source"),
        pytest.param("LFP: {is: 0.80, from: vehicle-end}", "LFP: {is: 0.50, from: vehicle-end}",
                     ":", "soh_min_frac of A is below that of B for LFP", id="A easier than B"),
        pytest.param("name: street-light", "name: street-lamp", ":", "must be one of", id="use"),
        pytest.param("{is: 230, low: 150, high: 310", "{is: 230, low: 250, high: 310", ":",
                     "not within low 250", id="bounds crossed"),
        pytest.param("  refit_per_kwh", "  refitt_per_kwh", ":", "did you mean", id="typing slip"),
    ],
)  # fmt: skip
def test_a_wrong_rule_file_says_where(tmp_path, old, new, place, word):
    text = DEFAULT_RULES.read_text(encoding="utf-8")
    assert old in text
    file = tmp_path / "rules.yaml"
    file.write_text(text.replace(old, new, 1), encoding="utf-8")
    line = 1 + text[: text.index(old)].count("\n")
    with pytest.raises(FileErrors) as caught:
        load_rules(file)
    assert word in str(caught.value)
    assert f"{file}:" in str(caught.value)
    if place != ":":
        assert f"{file}:{line}:" in str(caught.value)


@pytest.mark.parametrize(
    ("heading", "rows", "message"),
    [
        pytest.param(HEADING, [ROW.replace("0.86", "86")],
                     ":2:17: soh_frac: found 86, would be right 0 to 1.2 (86 percent is 0.86)",
                     id="percent"),
        pytest.param(HEADING, [ROW.replace("LFP", "NCA")],
                     ":2:4: chemistry: found 'NCA', would be right one of LFP, NMC, LMO, LTO",
                     id="chemistry"),
        pytest.param(HEADING, [ROW, ROW],
                     ":3:1: pack_id: found 'P1' again, first in line 2", id="twice"),
        pytest.param(HEADING, [ROW.replace("0.83", "0.88")],
                     ":2:17: soh_frac: found 0.88 0.86 0.89", id="bounds crossed"),
        pytest.param(HEADING, [ROW + ",7"], ":2:1: found 13 fields, would be right 12",
                     id="a field too many"),
        pytest.param(HEADING.replace("rated_ah", "rated_Ah"), [ROW],
                     ":1:1: rated_ah: found no such column but 'rated_Ah'", id="column name"),
        pytest.param(HEADING, [], ":2:1: found no row below the heading", id="no rows"),
        pytest.param(HEADING, [ROW.replace(",1.2,", ",nan,")],
                     ":2:32: resistance_ratio: found 'nan'", id="not a number"),
        pytest.param(HEADING.replace(",", ";"), [ROW.replace(",", ";")],
                     ":1:1: found ';' between columns", id="semicolons"),
        pytest.param('"' + HEADING, [ROW], ":1:1: found broken CSV", id="open quote"),
    ],
)  # fmt: skip
def test_a_wrong_table_says_where(tmp_path, heading, rows, message):
    file = tmp_path / "packs.csv"
    file.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    result = CliRunner().invoke(
        app, ["health", "grade", str(file), "--out", str(tmp_path / "out.csv")]
    )
    assert result.exit_code == 2
    assert f"{file}{message}" in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out.csv").exists()


def test_columns_may_be_left_out(tmp_path):
    file = tmp_path / "packs.csv"
    file.write_text("pack_id,chemistry,rated_ah,nominal_v,soh_frac\nX,LFP,100,51.2,0.9\n")
    packs, _ = load(file)
    found = grade(packs[0], RULES)
    assert found.grade == "D"
    assert sum("not measured: the worst" in word for word in found.reasons) == 5


def test_the_graded_table_keeps_order_and_shows_every_term(tmp_path):
    file, out = tmp_path / "packs.csv", tmp_path / "out.csv"
    file.write_text("\n".join([HEADING, ROW.replace("P1", "Z"), ROW.replace("0.83", "0.5"),
                               "E,LTO,40,48,,,,,,,,"]) + "\n")  # fmt: skip
    result = CliRunner().invoke(app, ["health", "grade", str(file), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(out.open()))
    assert [row["pack_id"] for row in rows] == ["Z", "P1", "E"]
    assert [row["grade"] for row in rows] == ["A", REJECT, REJECT]
    first = rows[0]
    terms = (float(first[f"{name}_cny"]) for name in ("gross", "test", "refit", "warranty"))
    gross, *costs = terms
    assert float(first["reuse_value_cny"]) == pytest.approx(gross - sum(costs), rel=1e-3)
    assert float(first["residual_value_cny"]) == pytest.approx(486.77)
    answer = json.loads(result.stdout)
    assert answer["packs"][0]["uses"][0]["name"] == "base-station-backup"


def test_the_rules_ship_with_the_package():
    assert Path("configs/grading/default.yaml").resolve() == DEFAULT_RULES.resolve()
