"""Peak target and shaving need, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.dispatch.target import Bucket, holdable_peak_kw, paying_peak_kw, shaving_need_kwh

IDEAL = Bucket(capacity_kwh=10.0, charge_kw=20.0, discharge_kw=20.0, efficiency_frac=1.0)


def test_one_hour_of_peak_is_held_by_its_energy() -> None:
    # 10 kWh against one hour of 50 kW on a base of 10 kW: 40 kW can be held.
    load = np.array([10.0] * 8 + [50.0] * 4 + [10.0] * 8)
    assert holdable_peak_kw(load, IDEAL, 0.25) == pytest.approx(40.0, abs=0.11)


def test_a_short_peak_is_held_by_power() -> None:
    load = np.array([10.0] * 8 + [50.0] + [10.0] * 8)
    assert holdable_peak_kw(load, IDEAL, 0.25) == pytest.approx(30.0, abs=0.11)


def test_two_peaks_with_too_little_time_to_recharge() -> None:
    # Each takes 10 kWh at 40 kW; one quarter between them gives back at most 5 kWh.
    load = np.array([50.0] * 4 + [20.0] + [50.0] * 4)
    level = holdable_peak_kw(load, IDEAL, 0.25)
    spare = 10.0 + min(20.0, level - 20.0) * 0.25
    assert 8 * (50.0 - level) * 0.25 == pytest.approx(spare, abs=0.3)


def test_losses_raise_what_can_be_held() -> None:
    load = np.array([10.0] * 8 + [50.0] * 4)
    lossy = Bucket(10.0, 20.0, 20.0, 0.9)
    assert holdable_peak_kw(load, lossy, 0.25) == pytest.approx(41.0, abs=0.11)


def test_missing_windows_are_skipped_and_none_at_all_is_zero() -> None:
    load = np.array([10.0, np.nan, 50.0, np.nan, 10.0])
    assert holdable_peak_kw(load, IDEAL, 0.25) == pytest.approx(30.0, abs=0.11)
    assert holdable_peak_kw(np.full(4, np.nan), IDEAL, 0.25) == 0.0


@settings(max_examples=30, deadline=None)
@given(load=st.lists(st.floats(0.0, 100.0), min_size=4, max_size=60))
def test_a_bigger_store_never_holds_less(load: list[float]) -> None:
    bigger = Bucket(20.0, 20.0, 20.0, 1.0)
    series = np.array(load)
    assert holdable_peak_kw(series, bigger, 0.25) <= holdable_peak_kw(series, IDEAL, 0.25) + 1e-9


def test_room_to_charge_can_be_worth_a_higher_peak() -> None:
    # A flat load: nothing to shave, but a week of cheap nights to buy in.
    load = np.full(7 * 96, 3.0)
    prices = np.tile(np.where(np.arange(96) < 28, 0.3, 1.1), 7)
    store = Bucket(8.0, 8.0, 8.0, 0.95)
    assert holdable_peak_kw(load, store, 0.25) == pytest.approx(3.0, abs=0.05)
    cheap_demand = paying_peak_kw(load, prices, store, 0.25, demand_rate=1.0, wear=0.16)
    dear_demand = paying_peak_kw(load, prices, store, 0.25, demand_rate=125.0, wear=0.16)
    assert cheap_demand > 4.0
    assert dear_demand == pytest.approx(3.0, abs=0.05)


def test_without_a_battery_the_peak_is_the_peak() -> None:
    nothing = Bucket(0.0, 0.0, 0.0, 1.0)
    load = np.array([10.0, 50.0, 10.0])
    assert paying_peak_kw(load, np.ones(3), nothing, 0.25, 50.0, 0.16) == pytest.approx(50.0)


def test_need_is_the_energy_still_to_come() -> None:
    # Two quarters 5 kW above 90 % of the target; 20 kW of room before them.
    day = np.array([25.0, 25.0, 50.0, 50.0, 25.0, 25.0])
    need = shaving_need_kwh([day], 50.0, IDEAL, 0.25)
    assert need == pytest.approx([0.0, 2.5, 1.25, 0.0, 0.0, 0.0])


def test_need_grows_back_in_time_as_far_as_recharging_cannot_cover_it() -> None:
    day = np.array([44.0, 44.0, 60.0, 60.0])
    need = shaving_need_kwh([day], 50.0, IDEAL, 0.25)
    # 2 x 15 kW x 1/4 h = 7.5; each quarter before gives at most 1 kW x 1/4 h back.
    assert need == pytest.approx([7.25, 7.5, 3.75, 0.0])


def test_the_worst_day_counts_and_never_more_than_there_is() -> None:
    quiet, wild = np.full(8, 10.0), np.full(8, 500.0)
    need = shaving_need_kwh([quiet, wild], 50.0, IDEAL, 0.25)
    assert need[0] == pytest.approx(9.5)
    assert shaving_need_kwh([quiet], 50.0, IDEAL, 0.25).max() == 0.0
    assert len(shaving_need_kwh([], 50.0, IDEAL, 0.25)) == 0
