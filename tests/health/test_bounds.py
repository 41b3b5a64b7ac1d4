"""Learned health may tighten the envelope and never loosens it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.health.learning import bounds, groups
from ems.health.prepare import prepare
from ems.safety.envelope import health_index
from tests.builders import make_site
from tests.health.drive import reshape_packs

SITE = reshape_packs(
    make_site(n_packs=1, series_cells=4), soh_frac=0.75, soh_sigma_frac=0.02, resistance_ratio=1.2
)
PREPARED = prepare(SITE)
DAY = int(PREPARED.intake_day[0])
RATED_AH = SITE.packs[0].rated_ah


def handed(weakest_soh, sigma, before=None, ratio=None, day=DAY):
    """What is handed out when the weakest of four groups is learned to be this."""
    state = groups.initial(SITE, PREPARED)
    soh = np.array([weakest_soh, 0.85, 0.86, 0.84])
    learned = replace(
        state.learned,
        capacity_ah=soh * RATED_AH,
        capacity_sigma_ah=np.full(4, sigma * RATED_AH),
        capacity_good=np.ones(4, np.bool_),
    )
    learning = state.resistance
    if ratio is not None:
        parts = learning.parts_ohm * (ratio / 1.2)
        learning = replace(
            learning,
            parts_ohm=parts,
            sigma10_frac=np.full(1, 0.05),
            steps=np.full(1, 100.0),
        )
    return bounds.hand_out(before, learned, learning, day, PREPARED)


def index(out):
    return health_index(out.soh_frac, out.soh_sigma_frac, out.resistance_ratio, np.full(1, 0.5))[0]


def low(out):
    return (out.soh_frac - 2.0 * out.soh_sigma_frac)[0]


INTAKE = bounds.hand_out(
    None, groups.initial(SITE, PREPARED).learned, groups.initial(SITE, PREPARED).resistance,
    DAY, PREPARED,
)  # fmt: skip


def test_nothing_learned_is_intake():
    assert INTAKE.soh_frac[0] == 0.75
    assert INTAKE.soh_sigma_frac[0] == pytest.approx(0.02)
    assert INTAKE.capacity_ah[0] == pytest.approx(0.75 * RATED_AH)
    assert INTAKE.resistance_ratio[0] == 1.2


def test_the_intake_test_ages():
    later = bounds.hand_out(
        INTAKE, groups.initial(SITE, PREPARED).learned,
        groups.initial(SITE, PREPARED).resistance, DAY + 365, PREPARED,
    )  # fmt: skip
    assert later.soh_sigma_frac[0] == pytest.approx(0.02 + 0.06, abs=0.001)


@pytest.mark.parametrize("soh", [0.75, 0.80, 0.95])
def test_better_news_changes_nothing(soh):
    out = handed(soh, 0.005)
    assert out.soh_frac[0] == 0.75
    assert low(out) <= low(INTAKE) + 1e-12
    assert index(out) <= index(INTAKE) + 1e-12


def test_a_clearly_weaker_group_tightens():
    out = handed(0.65, 0.01)
    assert out.soh_frac[0] == pytest.approx(0.65)
    assert out.capacity_ah[0] == pytest.approx(0.65 * RATED_AH)
    assert low(out) == pytest.approx(0.63)
    assert index(out) < index(INTAKE)


def test_what_was_tightened_stays_tight():
    worse = handed(0.65, 0.01)
    better = handed(0.78, 0.005, before=worse)
    assert low(better) == pytest.approx(low(worse))


def test_a_coarse_first_figure_hardly_tightens():
    assert low(handed(0.72, 0.08)) == pytest.approx(low(INTAKE), abs=0.005)


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [pytest.param(1.0, 1.2, id="better"), pytest.param(1.6, 1.6, id="worse")],
)
def test_the_resistance_ratio_only_rises(ratio, shown):
    out = handed(0.75, 0.01, ratio=ratio)
    assert out.resistance_ratio[0] == pytest.approx(shown)
    assert handed(0.75, 0.01, before=out, ratio=1.0).resistance_ratio[0] == pytest.approx(shown)


def test_without_a_reference_no_ratio_is_made_up():
    site = reshape_packs(SITE, resistance_ratio=None)
    prepared = prepare(site)
    state = groups.initial(site, prepared)
    learning = replace(state.resistance, sigma10_frac=np.full(1, 0.05), steps=np.full(1, 100.0))
    out = bounds.hand_out(None, state.learned, learning, DAY, prepared)
    assert out.resistance_ratio[0] == 0.0, "a known ratio would loosen h above 0.5"


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.2, 1.1), st.floats(0.001, 0.15), st.floats(0.5, 4.0)),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_is_learned_the_limits_only_tighten(story):
    before = INTAKE
    for soh, sigma, ratio in story:
        out = handed(soh, sigma, before, ratio)
        assert index(out) <= index(before) + 1e-9
        assert low(out) <= low(before) + 1e-9
        assert out.capacity_ah[0] <= INTAKE.capacity_ah[0] + 1e-9
        assert out.soh_sigma_frac[0] >= 0.0
        before = out
