"""Self-discharge against the pack's median: what is found, how soon, and what is not."""

import numpy as np
import pytest

from ems.health.learning import capacity, selfdischarge
from ems.health.learning.selfdischarge import OUTLIER_PER_H
from ems.site import Chemistry
from tests.health.anchored import RATED_AH, anchors

TRUE_AH = np.array([80.0, 82.0, 79.0, 74.0, 81.0, 83.0, 80.5, 78.0])
LEAKY = 4


def leaks(chemistry, per_h, since_h, days=14.0, offset_a=0.0, seed=1):
    leak = np.full(TRUE_AH.size, 1.0 / 36_000.0)
    leak[LEAKY] += per_h
    made, soc = anchors(
        chemistry,
        TRUE_AH,
        days,
        leak_per_h=leak,
        leak_from_h=days * 24.0 - since_h,
        offset_a=offset_a,
        seed=seed,
    )
    given = capacity.Prior(74.0, 0.03, soc, 0.003, RATED_AH)
    fit = capacity.fit(chemistry, made, given)
    return selfdischarge.find(fit), fit


@pytest.mark.parametrize("chemistry", list(Chemistry))
def test_a_short_of_c_over_1000_is_found_within_three_days(chemistry):
    leak, _ = leaks(chemistry, 1e-3, 72.0)
    assert leak.outlier.nonzero()[0].tolist() == [LEAKY]
    assert leak.excess_per_h[LEAKY] == pytest.approx(1e-3, rel=0.35)


@pytest.mark.parametrize("chemistry", list(Chemistry))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_healthy_groups_are_left_alone(chemistry, seed):
    leak, _ = leaks(chemistry, 0.0, 0.0, offset_a=0.05, seed=seed)
    assert not leak.outlier.any()


@pytest.mark.parametrize(
    ("times", "found"),
    [
        pytest.param(0.6, False, id="below the limit"),
        pytest.param(1.5, True, id="above it"),
    ],
)
def test_only_more_than_the_limit_is_an_outlier(times, found):
    leak, _ = leaks(Chemistry.NMC, times * OUTLIER_PER_H, 14 * 24.0)
    assert leak.outlier[LEAKY] == found
    assert leak.excess_per_h[LEAKY] == pytest.approx(times * OUTLIER_PER_H, rel=0.3)


def test_a_short_does_not_spoil_the_capacity_for_good():
    leak, fit = leaks(Chemistry.NMC, 1e-3, 96.0)
    expected_ah = 74.0 * capacity.PRIOR_MEAN
    corrected = 1.0 / (1.0 / fit.capacity_ah + leak.k_shift / expected_ah)
    assert corrected[LEAKY] == pytest.approx(TRUE_AH[LEAKY], rel=0.03)
