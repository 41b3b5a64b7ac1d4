"""The table itself: codes, order, golden numbers, the generated page, overrides."""

from dataclasses import replace
from pathlib import Path

import pytest

from ems.safety import markdown, row, table
from ems.safety.program import compile_table, may_be_waived, thresholds
from ems.site import Chemistry, SafetySpec, Site, ThresholdOverride
from tests.builders import make_site

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "interlocks.md"
ROWS = [pytest.param(r, id=r.id) for r in table.ROWS]


def test_page_is_what_the_table_says() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown.to_markdown(), "run: ems table"


def test_ids_and_names_are_unique() -> None:
    assert len({r.id for r in table.ROWS}) == len({r.name for r in table.ROWS}) == len(table.ROWS)


@pytest.mark.parametrize("r", ROWS)
def test_row_is_complete(r: row.Row) -> None:
    assert all((r.en, r.zh, r.hazard, r.missing, r.source, r.unit))
    for chemistry in Chemistry:
        for level, limit in enumerate(r.limit[chemistry]):
            # A level has a number if and only if it has an effect.
            assert (limit is None) == (r.effect[level] == "-"), f"level {level + 1}"
            assert row.effect_of(r.effect[level]) >= 0
            assert row.samples_of(r.debounce[level], 1.0) >= 1
            assert r.latch[level] in ("A", "O", "P", "P2", "Z")


@pytest.mark.parametrize("r", ROWS)
def test_trip_of_a_pack_never_comes_back_by_itself(r: row.Row) -> None:
    for effect, latch in zip(r.effect, r.latch, strict=True):
        if row.effect_of(effect) & row.Effect.TRIP:
            assert latch != "A"


@pytest.mark.parametrize("r", ROWS)
def test_backup_only_relaxes_what_the_concept_allows(r: row.Row) -> None:
    """Over-temperature, cell voltage and current are never relaxed in an outage."""
    if r.backup_effect is not None:
        assert r.id in ("C22", "C35", "C35b", "C38", "C41b", "C41c", "C41d")


GOLDEN_V = {
    # h: derate, stop, trip of over-voltage and of under-voltage
    (Chemistry.LFP, 1.0): ((3.500, 3.600, 3.650), (3.000, 2.800, 2.600)),
    (Chemistry.LFP, 0.7): ((3.470, 3.570, 3.635), (3.045, 2.845, 2.6225)),
    (Chemistry.LFP, 0.4): ((3.440, 3.540, 3.620), (3.090, 2.890, 2.645)),
    (Chemistry.LFP, 0.0): ((3.400, 3.500, 3.600), (3.150, 2.950, 2.675)),
    (Chemistry.NMC, 1.0): ((4.080, 4.150, 4.200), (3.300, 3.200, 3.000)),
    (Chemistry.NMC, 0.7): ((4.056, 4.126, 4.188), (3.345, 3.245, 3.0225)),
    (Chemistry.NMC, 0.4): ((4.032, 4.102, 4.176), (3.390, 3.290, 3.045)),
    (Chemistry.NMC, 0.0): ((4.000, 4.070, 4.160), (3.450, 3.350, 3.075)),
}


@pytest.mark.parametrize(("chemistry", "health"), GOLDEN_V)
def test_golden_voltages(chemistry: Chemistry, health: float) -> None:
    over, under = GOLDEN_V[chemistry, health]
    assert tightened("C01", chemistry, health)[1:] == pytest.approx(over)
    assert tightened("C02", chemistry, health)[1:] == pytest.approx(under)


@pytest.mark.parametrize(("health", "l2", "l3"), [(1.0, 40, 45), (0.7, 38.5, 43.5), (0.0, 35, 40)])
def test_golden_hot_charge(health: float, l2: float, l3: float) -> None:
    assert tightened("C04", Chemistry.LFP, health)[1:3] == pytest.approx((l2, l3))


@pytest.mark.parametrize(
    ("health", "zero", "full"),
    [(1.0, 2.0, 10.0), (0.7, 5.0, 12.4), (0.4, 8.0, 14.8), (0.0, 12.0, 18.0)],
)
def test_golden_cold_charge(health: float, zero: float, full: float) -> None:
    _, l2, l3, trip = tightened("C06", Chemistry.LFP, health)
    assert (l3, l2) == pytest.approx((zero, full))
    assert trip == 0.0


@pytest.mark.parametrize("chemistry", Chemistry)
@pytest.mark.parametrize("tenths", range(11))
def test_levels_keep_their_order_at_every_health(chemistry: Chemistry, tenths: int) -> None:
    program = compile_table(make_site(chemistry=chemistry))
    limit = program.base + program.slope * (1.0 - tenths / 10)
    for r, levels in zip(program.rows, limit.tolist(), strict=True):
        there = [v for v in levels if v < 1e9]
        assert there == sorted(there), r.id


def tightened(cause: str, chemistry: Chemistry, health: float) -> list[float]:
    """Thresholds of a row at a health index, through the compiled table."""
    site = make_site(chemistry=chemistry)
    program = compile_table(site)
    index = next(k for k, r in enumerate(program.rows) if r.id == cause)
    limit = program.base[index] + program.slope[index] * (1.0 - health)
    return [float(v) for v in limit * program.sign[index, 0]]


# What a site may change.


def site_with(*overrides: ThresholdOverride, **not_applicable: str) -> Site:
    return replace(make_site(), safety=SafetySpec(overrides, not_applicable))


def test_site_may_tighten() -> None:
    site = site_with(ThresholdOverride("C01", 3, 3.55, "cells of batch 7"))
    assert thresholds(table.ROW_OF_ID["C01"], Chemistry.LFP, site)[2] == 3.55
    assert "3.55 V (cells of batch 7)" in markdown.to_markdown(site)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        pytest.param(("C01", 3, 3.61), "can only tighten", id="high limit raised"),
        pytest.param(("C02", 3, 2.79), "can only tighten", id="low limit lowered"),
        pytest.param(("C03", 1, 2.5), "no such level", id="level the row does not have"),
        pytest.param(("C01", 5, 3.5), "no such level", id="level that does not exist"),
        pytest.param(("C01", 3, 3.45), "out of order", id="stop below derate"),
        pytest.param(("C01", 3, 3.50), "out of order", id="no span left to derate in"),
        pytest.param(("C06", 3, 9.0), "out of order", id="only at low health: 19 over 18 degC"),
        pytest.param(("C99", 3, 1.0), "no interlock row", id="unknown row"),
    ],
)
def test_site_may_not_loosen_or_confuse(override: tuple[str, int, float], message: str) -> None:
    site = site_with(ThresholdOverride(*override, reason="because"))
    with pytest.raises(ValueError, match=message):
        compile_table(site)


def test_row_declared_not_applicable_is_left_out_and_shown_with_its_reason() -> None:
    site = site_with(C38="no meter at this hut")
    assert "C38" not in {r.id for r in compile_table(site).rows}
    assert "no meter at this hut" in markdown.to_markdown(site)


@pytest.mark.parametrize(
    ("cause", "reason", "message"),
    [
        ("C02", "we know better", "always applies"),
        ("C38", " ", "needs a reason"),
        ("C0", "x", "no interlock"),
    ],
)
def test_row_that_cannot_be_waived(cause: str, reason: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_table(site_with(**{cause: reason}))


def test_what_watches_cells_always_applies() -> None:
    waivable = {r.id for r in table.ROWS if may_be_waived(r)}
    assert not waivable & {
        "C01",
        "C02",
        "C03",
        "C04",
        "C05",
        "C06",
        "C07",
        "C10",
        "C11",
        "C31",
        "C33",
        "C34",
    }


def test_table_hash_changes_with_any_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    before = table.table_sha256()
    assert len(before) == 64
    monkeypatch.setattr(table, "ROWS", (replace(table.ROWS[0], clear_s=61), *table.ROWS[1:]))
    assert table.table_sha256() != before


def test_age_below_three_polls_says_nothing() -> None:
    slow = replace(make_site(), cycle_s=2.0)
    assert thresholds(table.ROW_OF_ID["C33"], Chemistry.LFP, slow)[:3] == [6.0, 6.0, 10.0]


@pytest.mark.parametrize(
    ("debounce", "poll_s", "samples"),
    [
        ("2n", 1.0, 2),
        ("1n", 1.0, 1),
        ("3s", 1.0, 3),
        ("1s", 1.0, 2),
        ("5s", 2.0, 3),
        ("5s", 0.5, 10),
    ],
)
def test_seconds_become_samples(debounce: str, poll_s: float, samples: int) -> None:
    assert row.samples_of(debounce, poll_s) == samples
