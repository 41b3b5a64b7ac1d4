"""Ageing laws, their correction by a pack's history, remaining life and wear cost."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.health.ageing.forecast import HORIZON_DAYS, forecast, life_days, present
from ems.health.ageing.history import History, binned, pace
from ems.health.ageing.laws import DAYS_PER_YEAR, LAWS, Path, Usage
from ems.health.ageing.wear import dwell_per_kwh_day, wear_per_kwh
from ems.safety.table import SOH_END_OF_LIFE
from ems.site import Chemistry

CHEMISTRIES = st.sampled_from(list(Chemistry))
USAGES = st.builds(
    Usage,
    efc_per_day=st.floats(0.02, 5.0),
    mean_soc_frac=st.floats(0.1, 0.95),
    dod_frac=st.floats(0.1, 1.0),
    temp_c=st.floats(-5.0, 45.0),
    c_rate=st.floats(0.05, 1.0),
)
A_YEAR = np.array(DAYS_PER_YEAR)


def rest(temp_c: float = 25.0, soc: float = 0.5) -> Usage:
    return Usage(efc_per_day=0.0, mean_soc_frac=soc, temp_c=temp_c)


def dated(path: Path, times_faster: float, years: float, n: int = 12) -> History:
    """A history that follows the law from SoH 0.85, so many times faster."""
    day = np.linspace(0.0, years * DAYS_PER_YEAR, n)
    entry = 0.85 if path.law.restarts else 1.0
    start = float(path.days(np.array(entry - 0.85)))
    return History(day, entry - path.loss_frac(start + times_faster * day), np.full(n, 0.005))


@pytest.mark.parametrize(
    ("chemistry", "usage", "loss"),
    [
        # 1.2571e-5 per root second at 25 degC, times 0.60225 at half charge, times root of a year.
        pytest.param(Chemistry.LFP, rest(), 0.04253, id="LFP at rest, Naumann 2018"),
        # (7.543 * 3.687 V - 23.75) * 1e6 * exp(-6976 / 298.15) * 365.25 ** 0.75
        pytest.param(Chemistry.NMC, rest(), None, id="NMC at rest, Schmalstieg 2014"),
        # 0.7 * 3.25e8 * exp((81 - 7580) / 298.15) * 365.25 ** 0.464
        pytest.param(Chemistry.LMO, rest(), 0.041952, id="LMO at rest, Braco 2022"),
        pytest.param(Chemistry.LTO, rest(), 0.005, id="LTO at rest, judgement"),
    ],
)
def test_a_year_at_rest_costs_what_the_source_says(chemistry, usage, loss):
    found = float(Path(LAWS[chemistry], usage).loss_frac(A_YEAR))
    if loss is None:
        from ems.health.ocv import ocv_v

        volts = float(ocv_v(Chemistry.NMC, 0.5))
        loss = (7.543 * volts - 23.75) * 1e6 * math.exp(-6976 / 298.15) * 365.25**0.75
        assert 0.015 < loss < 0.06
    assert found == pytest.approx(loss, rel=2e-3)


def test_a_thousand_lfp_cycles_cost_what_the_source_says():
    rate = LAWS[Chemistry.LFP].cycling(*(np.array(x) for x in (0.5, 1.0, 0.5, 25.0)))
    expected = (4.38e-8 + 1.55e-8 + 0.84e-7) * math.exp(2190 / 298.15)
    assert float(rate) == pytest.approx(expected)
    assert float(rate) * 1000**0.828 == pytest.approx(0.0678, rel=0.01)


def test_the_failure_criterion_is_that_of_the_interlocks():
    assert {c: law.end_soh_frac for c, law in LAWS.items()} == dict(SOH_END_OF_LIFE)


@settings(deadline=None, max_examples=60)
@given(CHEMISTRIES, USAGES)
def test_a_path_falls_steadily_and_turns_back_into_days(chemistry, usage):
    path = Path(LAWS[chemistry], usage)
    loss = np.array([0.02, 0.1, 0.19, 0.21, 0.3, 0.45])
    days = path.days(loss)
    assert np.all(np.diff(days) > 0.0)
    assert path.loss_frac(days) == pytest.approx(loss, rel=2e-3)


def test_beyond_what_the_tests_reached_a_law_goes_straight_on():
    path = Path(LAWS[Chemistry.LFP], Usage())
    at_20, at_30, at_40 = path.days(np.array([0.20, 0.30, 0.40]))
    assert at_40 - at_30 == pytest.approx(at_30 - at_20, rel=1e-6)


def test_a_pack_above_its_rating_is_as_new_and_not_an_error():
    assert Path(LAWS[Chemistry.LFP], Usage()).days(np.array([-0.05])) == pytest.approx([0.0])


@settings(deadline=None, max_examples=25)
@given(CHEMISTRIES, USAGES, st.floats(0.4, 1.05))
def test_quantiles_are_ordered_and_never_negative(chemistry, usage, soh):
    found = forecast(chemistry, present(soh), usage)
    low, middle, high = found.life_days
    assert 0.0 <= low <= middle <= high <= HORIZON_DAYS
    assert found.life_efc[1] == pytest.approx(middle * usage.efc_per_day)


@settings(deadline=None, max_examples=60)
@given(CHEMISTRIES, USAGES, st.floats(0.4, 1.1), st.floats(0.0, 0.3), st.floats(-2.0, 2.0))
def test_a_lower_soh_never_lives_longer(chemistry, usage, soh, less, z):
    law = LAWS[chemistry]
    assert life_days(law, soh - less, usage, z) <= life_days(law, soh, usage, z) + 1e-6


@pytest.mark.parametrize("chemistry", list(Chemistry))
def test_at_the_criterion_nothing_is_left(chemistry):
    end = LAWS[chemistry].end_soh_frac
    assert life_days(LAWS[chemistry], end, Usage()) == 0.0
    # At the criterion the measurement itself may be off, half of it upwards.
    assert forecast(chemistry, present(end - 0.05), Usage()).life_days == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("chemistry", [Chemistry.LFP, Chemistry.NMC])
@pytest.mark.parametrize("times", [0.5, 1.0, 2.0])
def test_a_history_finds_the_pace_of_the_pack(chemistry, times):
    path = Path(LAWS[chemistry], Usage())
    years = 0.5 * life_days(path.law, 0.85, Usage()) / DAYS_PER_YEAR / times
    found = forecast(chemistry, dated(path, times, years), Usage())
    plain = forecast(chemistry, present(found.soh_frac), Usage())
    assert found.pace == pytest.approx(times, rel=0.5)
    assert found.pace_ln_sigma < plain.pace_ln_sigma
    left = float(path.days(np.array(1.0 - path.law.end_soh_frac)))
    left = (left - float(path.days(np.array(1.0 - found.soh_frac)))) / times
    assert found.life_days[0] < left < found.life_days[2]
    found_width, plain_width = (math.log(f.life_days[2] / f.life_days[0]) for f in (found, plain))
    assert found_width < 1.05 * plain_width, "a history never leaves one less sure; 4000 draws"


def test_a_pack_that_lost_nothing_yet_does_not_look_immortal():
    day = np.linspace(0.0, 3 * DAYS_PER_YEAR, 12)
    flat = History(day, np.full(12, 0.85), np.full(12, 0.005))
    found = forecast(Chemistry.LFP, flat, Usage())
    plain = forecast(Chemistry.LFP, present(0.85), Usage())
    assert found.life_days[1] < 4 * plain.life_days[1]


def test_the_same_history_gives_the_same_answer():
    history = dated(Path(LAWS[Chemistry.LFP], Usage()), 1.3, 2.0)
    assert forecast(Chemistry.LFP, history, Usage(), seed=3) == forecast(
        Chemistry.LFP, history, Usage(), seed=3
    )


def test_many_readings_do_not_look_like_certainty():
    n = 1000
    history = History(np.linspace(0, 700, n), np.linspace(0.85, 0.83, n), np.full(n, 0.01))
    assert np.all(binned(history)[2] >= 0.012)
    assert len(binned(history)[0]) == 10


def test_weights_are_a_distribution():
    found = pace(Path(LAWS[Chemistry.LFP], Usage()), present(0.8), 0.5)
    assert found.weight.sum() == pytest.approx(1.0)
    assert found.pace == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize(
    ("day", "soh", "sigma"),
    [
        pytest.param([], [], [], id="empty"),
        pytest.param([1.0, 0.0], [0.8, 0.8], [0.01, 0.01], id="newest first"),
        pytest.param([0.0], [math.nan], [0.01], id="not a number"),
        pytest.param([0.0], [0.8], [0.0], id="no doubt at all"),
    ],
)
def test_a_history_that_makes_no_sense_is_refused(day, soh, sigma):
    with pytest.raises(ValueError, match=r"history|SoH"):
        History(np.array(day), np.array(soh), np.array(sigma))


def test_a_usage_outside_physics_is_refused():
    with pytest.raises(ValueError, match=r"dod_frac 1\.2"):
        Usage(dod_frac=1.2)


@settings(deadline=None, max_examples=60)
@given(
    CHEMISTRIES, USAGES, st.floats(0.3, 1.0), st.floats(0, 1), st.floats(0.02, 2),
    st.floats(-10, 50),
)  # fmt: skip
def test_wear_always_costs_something_finite(chemistry, usage, soh, soc, c_rate, temp_c):
    cost = wear_per_kwh(chemistry, soh, usage, soc, c_rate, temp_c, 200.0, 50.0)
    assert np.all(cost > 0.0)
    assert np.all(np.isfinite(cost))
    assert np.all(dwell_per_kwh_day(chemistry, soh, usage, soc, temp_c, 200.0, 50.0) >= 0.0)


def test_wear_broadcasts_over_what_an_optimiser_asks():
    cost = wear_per_kwh(
        Chemistry.LFP, 0.8, Usage(), np.linspace(0.1, 0.9, 4)[:, None], [0.25, 0.5, 1.0], 25.0,
        200.0, 50.0,
    )  # fmt: skip
    assert cost.shape == (4, 3)
    assert np.all(np.diff(cost, axis=1) > 0.0), "LFP wears faster at a higher rate"


def test_wear_goes_with_the_money_at_stake_and_the_pace_of_the_pack():
    def cost(replacement: float, pace: float) -> float:
        return float(
            wear_per_kwh(Chemistry.LFP, 0.8, Usage(), 0.5, 0.25, 25.0, replacement, 50.0, pace)
        )

    assert cost(350.0, 1.0) == pytest.approx(2.0 * cost(200.0, 1.0))
    assert cost(200.0, 1.5) == pytest.approx(1.5 * cost(200.0, 1.0))
    assert cost(40.0, 1.0) == 0.0, "a pack worth less than its scrap loses nothing by use"


def test_wear_of_a_whole_life_adds_up_to_the_money_at_stake():
    usage = Usage()
    path = Path(LAWS[Chemistry.LFP], usage)
    now, end = path.days(np.array([0.20, 0.50]))
    share = path.cycling_share(float(now), float(end))
    kwh = (end - now) * usage.efc_per_day * 2.0 * 0.80
    cost = wear_per_kwh(Chemistry.LFP, 0.80, usage, 0.5, usage.c_rate, 25.0, 200.0, 50.0)
    assert float(cost) * kwh == pytest.approx(150.0 * share, rel=1e-3)


def test_stress_counts_as_it_does_on_the_same_point_of_the_path():
    def cost(soc: float) -> float:
        return float(wear_per_kwh(Chemistry.NMC, 0.8, Usage(), soc, 0.25, 25.0, 200.0, 50.0))

    law = LAWS[Chemistry.NMC]
    at_50, at_90 = law.cycling(np.array([0.5, 0.9]), np.array(0.6), np.array(0.25), np.array(25.0))
    # A root law with twice the rate is at the same loss after a quarter of the cycles.
    assert cost(0.9) / cost(0.5) == pytest.approx((at_90 / at_50) ** 2)
    assert cost(0.9) > 1.2 * cost(0.5)
