"""A knee in the capacity history, and what is none."""

import numpy as np
import pytest

from ems.health.learning import knee
from ems.site import Chemistry


def history(slopes, per=10.0, noise=0.0, seed=1):
    """Capacity falling by these points per 100 EFC over 100 EFC each, noted every ``per``."""
    rng = np.random.Generator(np.random.PCG64(seed))
    found, soh, efc = knee.empty(), 0.80, 0.0
    for slope in slopes:
        for _ in range(round(100.0 / per)):
            efc += per
            soh -= slope / 100.0 * per / 100.0
            found = knee.note(found, efc, soh + noise * float(rng.standard_normal()), 700_000)
    return found


@pytest.mark.parametrize(
    ("after", "level"),
    [
        pytest.param(1.4, 0, id="faster, but below the first level"),
        pytest.param(1.6, 1, id="first level"),
        pytest.param(2.6, 2, id="second"),
        pytest.param(4.1, 3, id="third"),
    ],
)
def test_the_levels_of_lfp(after, level):
    found = knee.find(history([0.5, 0.5, after]), Chemistry.LFP)
    assert found.level == level
    assert found.rate_per_100_efc == pytest.approx(after, rel=0.05)


def test_the_bend_is_where_it_is():
    found = knee.find(history([0.4, 0.4, 3.0], noise=0.0005), Chemistry.NMC)
    assert found.level == 2
    assert found.at_efc == pytest.approx(200.0, abs=20.0)


@pytest.mark.parametrize(
    ("slopes", "why"),
    [
        pytest.param([3.0, 3.0, 3.0], "fast, but never faster", id="straight"),
        pytest.param([2.0, 2.0, 3.5], "not twice as fast", id="a little faster"),
        pytest.param([5.0, 2.0, 1.0], "slowing down", id="flattening"),
    ],
)
def test_no_knee(slopes, why):
    assert knee.find(history(slopes), Chemistry.LFP).level == 0, why


def test_a_bend_less_than_fifty_efc_old_does_not_count_yet():
    young = history([0.4, 0.4])
    for k in range(1, 3):
        young = knee.note(young, 200.0 + 10.0 * k, 0.792 - 0.004 * k, 700_000)
    assert knee.find(young, Chemistry.LFP).level == 0


@pytest.mark.parametrize("seed", range(10))
def test_noise_alone_is_no_knee(seed):
    noisy = history([0.5, 0.5, 0.5], noise=0.005, seed=seed)
    assert knee.find(noisy, Chemistry.LFP).level == 0


def test_notes_are_spaced_and_bounded():
    found = knee.note(knee.empty(), 0.0, 0.8, 1)
    assert knee.note(found, 9.9, 0.8, 2) is found
    for k in range(1, 1000):
        found = knee.note(found, 10.0 * k, 0.8, k)
    assert found.efc.size <= knee.MOST_NOTES
    assert (np.diff(found.efc) > 0.0).all()
    assert (found.efc[0], found.efc[-1]) == (0.0, 9990.0)


def test_an_empty_history_has_none():
    assert knee.find(knee.empty(), Chemistry.LFP) is knee.NONE
