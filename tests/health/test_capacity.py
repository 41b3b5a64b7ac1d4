"""Capacity from anchors: how near it comes, and what keeps it from being believed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.health import ocv
from ems.health.learning import capacity, segments
from ems.site import Chemistry
from tests.health.anchored import RATED_AH, anchors, without

TRUE_AH = np.array([80.0, 82.0, 79.0, 70.0, 81.0, 83.0])


def prior(soc_frac, capacity_ah=70.0, sigma=0.03):
    return capacity.Prior(capacity_ah, sigma, soc_frac, 0.003, RATED_AH)


def fitted(chemistry, true_ah=TRUE_AH, **how):
    made, soc = anchors(chemistry, true_ah, **how)
    return capacity.fit(chemistry, made, prior(soc))


@pytest.mark.parametrize("chemistry", list(Chemistry))
def test_every_group_is_found_within_two_percent(chemistry):
    fit = fitted(chemistry)
    assert fit.good.all()
    assert fit.capacity_ah == pytest.approx(TRUE_AH, rel=0.02)
    assert fit.capacity_ah.argmin() == 3


@pytest.mark.parametrize("intake_ah", [60.0, 70.0, 80.0])
def test_a_wrong_intake_is_outvoted(intake_ah):
    made, soc = anchors(Chemistry.NMC, TRUE_AH)
    fit = capacity.fit(Chemistry.NMC, made, prior(soc, intake_ah))
    assert fit.capacity_ah == pytest.approx(TRUE_AH, rel=0.02)


def test_the_offset_of_the_current_sensor_becomes_drift_and_not_capacity():
    fit = fitted(Chemistry.NMC, offset_a=0.1)
    assert fit.capacity_ah == pytest.approx(TRUE_AH, rel=0.02)
    # The sensor counts 0.1 A too much discharge: the groups seem to gain.
    assert fit.drift_per_h == pytest.approx(-0.1 / TRUE_AH, rel=0.15)


def test_a_wrong_gain_is_within_sigma():
    fit = fitted(Chemistry.NMC, gain=1.006)
    assert (np.abs(fit.capacity_ah - TRUE_AH) < 2.0 * fit.sigma_ah).all()


def test_where_the_curve_fits_sigma_is_hardly_more_than_the_gain_of_the_sensor():
    for chemistry in (Chemistry.NMC, Chemistry.LMO, Chemistry.LTO):
        fit = fitted(chemistry)
        assert (fit.sigma_ah / fit.capacity_ah < 0.0065).all()
        assert (fit.sigma_ah / fit.capacity_ah >= capacity.GAIN_SIGMA).all()


def bent(made, chemistry, amplitude_v, length_frac, phase):
    """The anchors of cells whose OCV curve has waves the table does not have."""
    used = np.flatnonzero(segments.filled(made))
    at_frac = ocv.soc_from_ocv(chemistry, np.nan_to_num(made.volts[used], nan=3.0))
    volts = made.volts.copy()
    volts[used] += amplitude_v * np.sin(2.0 * np.pi * at_frac / length_frac + phase)
    return replace(made, volts=volts)


@pytest.mark.parametrize("chemistry", [Chemistry.NMC, Chemistry.LMO, Chemistry.LTO])
def test_bounds_hold_where_the_curve_is_another_makers(chemistry):
    """Waves of 12 mV and 20 to 50 points: five in six of the 90 % bounds hold the truth."""
    rng = np.random.Generator(np.random.PCG64(5))
    made, soc = anchors(chemistry, TRUE_AH)
    within = []
    for _ in range(40):
        length, phase = rng.uniform(0.2, 0.5), rng.uniform(0.0, 2.0 * np.pi)
        other = bent(made, chemistry, 0.012, length, phase)
        fit = capacity.fit(chemistry, other, prior(soc))
        within.append(np.abs(fit.capacity_ah - TRUE_AH) <= capacity.Z90 * fit.sigma_ah)
    assert np.mean(within) >= 0.85


@pytest.mark.parametrize(
    ("high", "good"),
    [
        pytest.param(0.50, True, id="25 points: enough"),
        pytest.param(0.40, False, id="15 points: too few"),
    ],
)
def test_a_narrow_range_is_not_believed(high, good):
    fit = fitted(Chemistry.NMC, low=0.28, high=high, days=6.0)
    assert (fit.doubt_frac < 0.05).all()
    assert fit.good.all() == good
    assert fit.good.any() == good


def test_on_the_plateau_alone_nothing_is_believed():
    fit = fitted(Chemistry.LFP, low=0.42, high=0.58, noise_v=0.002, days=4.0)
    assert not fit.good.any()
    assert (fit.sigma_ah / fit.capacity_ah > 0.01).all()


@pytest.mark.parametrize("missing", ["discharges", "charges"])
def test_segments_in_both_directions_are_asked_for(missing):
    made, soc = anchors(Chemistry.NMC, TRUE_AH)
    three = replace(made, discharges=3, charges=3)
    assert capacity.fit(Chemistry.NMC, three, prior(soc)).good.all()
    two = replace(three, **{missing: 2})
    assert not capacity.fit(Chemistry.NMC, two, prior(soc)).good.any()


def test_too_few_anchors_give_nothing():
    made, soc = anchors(Chemistry.NMC, TRUE_AH, days=0.15)
    assert made.added < capacity.LEAST_ANCHORS
    assert capacity.fit(Chemistry.NMC, made, prior(soc)) is None


def test_a_reversed_current_is_not_believed():
    made, soc = anchors(Chemistry.NMC, TRUE_AH, days=4.0)
    fit = capacity.fit(Chemistry.NMC, replace(made, ah=-made.ah), prior(soc))
    assert not fit.good.any()


def test_frozen_voltages_are_not_believed():
    made, soc = anchors(Chemistry.NMC, TRUE_AH, days=4.0)
    frozen = np.where(np.isfinite(made.volts), 3.7, np.nan)
    fit = capacity.fit(Chemistry.NMC, replace(made, volts=frozen), prior(soc))
    assert not fit.good.any()


def test_a_group_that_was_never_seen_keeps_the_prior_and_the_others_learn():
    made, soc = anchors(Chemistry.NMC, TRUE_AH)
    fit = capacity.fit(Chemistry.NMC, without(made, 2), prior(soc))
    assert fit.good.tolist() == [True, True, False, True, True, True]
    assert np.delete(fit.capacity_ah, 2) == pytest.approx(np.delete(TRUE_AH, 2), rel=0.02)
    assert np.isfinite(fit.capacity_ah).all()


def test_charge_is_not_compared_across_a_break():
    made, soc = anchors(Chemistry.NMC, TRUE_AH)
    order = np.argsort(made.at_h)
    late = made.at_h > 7 * 24.0
    ah = np.where(late, made.ah + 500.0, made.ah)
    broken = replace(made, ah=ah, epoch=late.astype(np.int64))
    assert order.size == late.size
    fit = capacity.fit(Chemistry.NMC, broken, prior(soc))
    assert fit.capacity_ah == pytest.approx(TRUE_AH, rel=0.025)


def test_one_wild_anchor_changes_little():
    made, soc = anchors(Chemistry.NMC, TRUE_AH)
    volts = made.volts.copy()
    volts[int(np.flatnonzero(np.isfinite(made.at_h))[5])] += 0.2
    fit = capacity.fit(Chemistry.NMC, replace(made, volts=volts), prior(soc))
    assert fit.capacity_ah == pytest.approx(TRUE_AH, rel=0.03)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(Chemistry)),
    st.lists(st.floats(45.0, 100.0), min_size=1, max_size=5),
    st.integers(0, 1000),
    st.floats(0.0, 0.3),
    st.floats(0.4, 1.0),
)
def test_whatever_the_anchors_the_fit_is_finite_and_positive(chemistry, true_ah, seed, low, high):
    made, soc = anchors(chemistry, np.array(true_ah), 2.0, low, high, noise_v=0.01, seed=seed)
    fit = capacity.fit(chemistry, made, prior(np.clip(soc, 0.0, 1.0)))
    if fit is None:
        return
    for values in (fit.capacity_ah, fit.sigma_ah, fit.drift_per_h, fit.drift_sigma_per_h):
        assert np.isfinite(values).all()
    assert (fit.capacity_ah > 0.0).all()
    assert (fit.sigma_ah > 0.0).all()
