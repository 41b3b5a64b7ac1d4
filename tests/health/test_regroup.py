"""Strings out of unequal packs: valid, disjoint, no worse than chance, near the bound."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from ems.cli import app
from ems.health.grading.packs import Pack
from ems.health.grading.regroup import regroup
from ems.health.grading.strings import Kind, Limits, kwh, spread
from ems.site import Chemistry

FREE = Limits(2, 1, 1.0, 10.0)


def packs(*soh: float, chemistry: Chemistry = Chemistry.LFP, volts: float = 50.0) -> list[Pack]:
    return [
        Pack(f"P{at}", chemistry, 100.0, volts, soh_frac=each, resistance_ratio=1.5)
        for at, each in enumerate(soh)
    ]


def heap(n: int, seed: int) -> list[Pack]:
    draw = np.random.default_rng(seed)
    soh = np.clip(draw.normal(0.75, 0.07, n), 0.55, 0.95)
    ratio = np.maximum(1.0 + (1.0 - soh) * 2.0 + draw.normal(0, 0.12, n), 1.0)
    return [
        Pack(f"P{at}", Chemistry.LFP if at % 3 else Chemistry.NMC, 100.0, 50.0,
             soh_frac=float(soh[at]), resistance_ratio=float(ratio[at]))
        for at in range(n)
    ]  # fmt: skip


def test_like_goes_to_like():
    found = regroup(packs(0.9, 0.6, 0.88, 0.62), FREE)
    strings = {frozenset(row for group in s.groups for row in group) for s in found.strings}
    assert strings == {frozenset({0, 2}), frozenset({1, 3})}
    # 50 V, two in series, 88 Ah and 60 Ah: 8.8 + 6.0 kWh.
    assert found.usable_kwh == pytest.approx(14.8)
    assert found.bound_kwh == pytest.approx(14.8)
    assert found.gap_frac == pytest.approx(0.0)
    assert found.gain_frac > 0.0


def test_parallel_groups_come_out_equal():
    found = regroup(packs(0.9, 0.8, 0.7, 0.6), Limits(2, 2, 1.0, 10.0))
    (string,) = found.strings
    assert {frozenset(group) for group in string.groups} == {frozenset({0, 3}), frozenset({1, 2})}
    assert string.usable_kwh == pytest.approx(15.0)


def test_the_smallest_is_left_over_when_the_count_does_not_fit():
    found = regroup(packs(0.9, 0.6, 0.88), FREE)
    assert found.left_over == {1: "no string of like packs has room"}


@pytest.mark.parametrize(
    ("limit", "strings"),
    [
        pytest.param(0.11, 1, id="above the difference"),
        pytest.param(0.10, 1, id="at the difference"),
        pytest.param(0.09, 0, id="below the difference"),
    ],
)
def test_packs_too_unlike_make_no_string(limit, strings):
    assert len(regroup(packs(0.9, 0.8), Limits(2, 1, limit, 10.0)).strings) == strings


def test_resistance_binds_too():
    two = packs(0.9, 0.9)
    two[1] = Pack("Q", Chemistry.LFP, 100.0, 50.0, soh_frac=0.9, resistance_ratio=2.0)
    assert len(regroup(two, Limits(2, 1, 1.0, 0.5)).strings) == 1
    assert len(regroup(two, Limits(2, 1, 1.0, 0.4)).strings) == 0


def test_chemistry_and_voltage_class_are_never_mixed():
    mixed = [*packs(0.9), *packs(0.9, chemistry=Chemistry.NMC), *packs(0.9, volts=48.0)]
    found = regroup(mixed, FREE)
    assert found.strings == ()
    assert all("fewer than 2" in why for why in found.left_over.values())


def test_rejected_and_unmeasured_packs_stay_out():
    rows = [
        *packs(0.9, 0.9),
        Pack("R", Chemistry.LFP, 100.0, 50.0, soh_frac=0.9, resistance_ratio=1.5, grade="reject"),
        Pack("S", Chemistry.LFP, 100.0, 50.0),
        Pack("T", Chemistry.LFP, 100.0, 50.0, soh_frac=0.9),
    ]
    assert regroup(rows, FREE).left_over == {
        2: "rejected", 3: "SoH not measured", 4: "resistance not measured"
    }  # fmt: skip


@settings(deadline=None, max_examples=12)
@given(st.integers(0, 10_000), st.integers(2, 4), st.integers(1, 2), st.sampled_from([0.06, 1.0]))
def test_every_proposal_is_valid_and_no_worse_than_chance(seed, series, parallel, spread_frac):
    limits = Limits(series, parallel, spread_frac, 0.4)
    table = heap(30, seed)
    found = regroup(table, limits, time_limit_s=5.0)
    used = [row for string in found.strings for group in string.groups for row in group]
    assert len(used) == len(set(used))
    assert set(used) | set(found.left_over) == set(range(len(table)))
    for string in found.strings:
        members = [table[row] for group in string.groups for row in group]
        assert len(string.groups) == series
        assert all(len(group) == parallel for group in string.groups)
        assert len({pack.chemistry for pack in members}) == 1
        assert np.ptp([pack.soh_frac for pack in members]) <= spread_frac + 1e-9
        assert np.ptp([pack.resistance_ratio for pack in members]) <= 0.4 + 1e-9
        weakest = min(sum(table[r].soh_frac * 100.0 for r in g) for g in string.groups)
        assert string.usable_kwh == pytest.approx(50.0 * series * weakest / 1000.0)
    assert found.random_kwh <= found.usable_kwh + 1e-9 <= found.bound_kwh + 1e-6


def test_without_limits_the_sorted_cut_is_reached():
    table = heap(60, 7)
    found = regroup(table, Limits(4, 1, 1.0, 10.0), time_limit_s=10.0)
    assert found.gap_frac < 1e-3


def test_the_same_table_and_seed_give_the_same_proposal():
    table = heap(24, 3)
    first, again = (regroup(table, Limits(3, 1, 0.1, 0.4), seed=1) for _ in range(2))
    assert first.strings == again.strings
    assert first.random_kwh == again.random_kwh


def test_swaps_balance_what_filling_up_leaves_uneven():
    ah = np.array([8.0, 7.0, 6.0, 5.0, 4.0, 1.0])
    kind = Kind(Chemistry.LFP, 1000.0, np.arange(6), ah, ah, ah)
    groups = spread(kind, np.arange(6), Limits(2, 3, 99.0, 99.0))
    assert kwh(kind, groups) == pytest.approx(2 * 15.0)


def test_the_command_writes_a_row_for_every_pack(tmp_path):
    file, out = tmp_path / "packs.csv", tmp_path / "strings.csv"
    rows = [f"P{at},LFP,100,50,{soh},1.5" for at, soh in enumerate((0.9, 0.6, 0.88, 0.62, 0.5))]
    heading = "pack_id,chemistry,rated_ah,nominal_v,soh_frac,resistance_ratio"
    file.write_text("\n".join([heading, *rows]) + "\n")
    words = ["health", "regroup", str(file), "--out", str(out), "--series", "2", "--parallel", "1"]
    result = CliRunner().invoke(app, [*words, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["usable_kwh"] == pytest.approx(14.8)
    table = list(csv.DictReader(out.open()))
    assert [row["pack_id"] for row in table] == ["P0", "P1", "P2", "P3", "P4"]
    assert table[0]["string"] == table[2]["string"] != table[1]["string"]
    assert table[4]["left_over"]


def test_no_string_at_all_is_a_bad_result(tmp_path):
    file = tmp_path / "packs.csv"
    file.write_text(
        "pack_id,chemistry,rated_ah,nominal_v,soh_frac,resistance_ratio\nA,LFP,100,50,0.9,1\n"
    )
    words = ["health", "regroup", str(file), "--out", str(tmp_path / "o.csv")]
    result = CliRunner().invoke(app, [*words, "--series", "2", "--parallel", "1"])
    assert result.exit_code == 1
    assert "no string can be built" in result.output
