"""A pack as it must be judged today: both sides of every bound."""

from dataclasses import replace
from datetime import timedelta

import pytest

from ems.judge.aged import aged
from ems.site import Chemistry
from tests.builders import make_pack


def test_a_fresh_test_leaves_two_sigma():
    pack = aged(make_pack(0), None, make_pack(0).intake_date)
    assert pack.soh_low_frac == pytest.approx(0.78 - 2 * 0.01)
    # s = 0.26 / 0.30, 1 - rho = 1 - 0.2 / 1.5: both 0.867 for SoH 0.76 and r 1.2
    assert pack.health == pytest.approx(0.867, abs=0.001)


def test_worked_example_of_the_reference():
    """LFP, SoH 0.62, r 1.7: h 0.40, so the floor is 16 % before the spread of SoC."""
    pack = replace(make_pack(0), soh_frac=0.62, soh_sigma_frac=0.0, resistance_ratio=1.7)
    result = aged(pack, None, pack.intake_date)
    assert result.health == pytest.approx(0.40)
    assert result.soc_low_frac == pytest.approx(0.16 + 0.04)
    assert result.soc_high_frac == pytest.approx(0.89 - 0.04)


def test_every_month_adds_half_a_point_of_sigma():
    pack = make_pack(0)
    later = aged(pack, None, pack.intake_date + timedelta(days=round(6 * 30.44)))
    assert later.soh_low_frac == pytest.approx(0.78 - 2 * (0.01 + 0.03), abs=5e-4)


@pytest.mark.parametrize(("days", "capped"), [(365, False), (366, True), (400, True)])
def test_after_twelve_months_health_is_capped(days, capped):
    pack = replace(make_pack(0), soh_frac=1.0, soh_sigma_frac=0.0, resistance_ratio=1.0)
    assert aged(pack, None, pack.intake_date + timedelta(days=days)).health == (
        0.5 if capped else 1.0
    )


def test_unknown_resistance_caps_health():
    pack = replace(make_pack(0), soh_frac=1.0, resistance_ratio=None)
    assert aged(pack, None, pack.intake_date).health == 0.5


def test_a_test_of_the_future_makes_nothing_younger():
    pack = make_pack(0)
    before = aged(pack, None, pack.intake_date - timedelta(days=300))
    assert before == aged(pack, None, pack.intake_date)


@pytest.mark.parametrize(
    ("chemistry", "ceiling", "high"),
    [
        (Chemistry.LFP, None, 0.90),
        (Chemistry.LFP, 0.60, 0.60),
        (Chemistry.NMC, None, 0.80),
        (Chemistry.LMO, 0.95, 0.81),
        (Chemistry.LTO, None, 0.90),
    ],
)
def test_the_standby_ceiling_and_the_window_bound_the_top(chemistry, ceiling, high):
    pack = replace(make_pack(0, chemistry), soh_frac=1.0, soh_sigma_frac=0.0, resistance_ratio=1.0)
    assert aged(pack, ceiling, pack.intake_date).soc_high_frac == pytest.approx(high)
