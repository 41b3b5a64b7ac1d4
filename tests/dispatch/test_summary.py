"""Settlement: what the batteries saved and what could have been saved."""

from datetime import timedelta

import numpy as np
import pytest

from ems.dispatch.bound import Store, perfect_foresight, pooled
from ems.dispatch.summary import Span, settle
from ems.model import FloatArray
from tests.dispatch import worlds
from tests.dispatch.worlds import BEIJING, FLAT_UTC, SHANGHAI

STORE = Store(10_000.0, 5_000.0, 5_000.0, 5_000.0, 0.95)
MIDNIGHT_UTC = FLAT_UTC - timedelta(hours=14)


def span(load_w: FloatArray, import_w: FloatArray, **changes: float) -> Span:
    values = {
        "throughput_wh": 0.0,
        "stored_start_wh": 5_000.0,
        "stored_end_wh": 5_000.0,
        "reserve_wh": 1_000.0,
    } | changes
    zeros = np.zeros(len(load_w))
    return Span(MIDNIGHT_UTC, 900.0, load_w, zeros, import_w, stores=(STORE,), **values)


def test_batteries_that_did_nothing_saved_nothing() -> None:
    load = np.where(np.arange(96) == 44, 20e3, 5e3)
    result = settle(worlds.site(), BEIJING, span(load, load))
    assert result["saving"] == pytest.approx(0.0)
    assert result["capture_frac"] == pytest.approx(0.0)
    assert result["peak_without_w"] == result["peak_with_w"] == 20e3
    assert result["bill_without"]["wear"] == 0.0
    assert result["bill_without"]["demand"] == pytest.approx(20 * 51.0)


def test_following_the_bound_captures_all_of_it() -> None:
    load = np.where(np.arange(96) == 44, 20e3, 5e3)
    bound = perfect_foresight(BEIJING, SHANGHAI, MIDNIGHT_UTC, 900.0, load, STORE, 1_000.0, 0.0)
    assert bound.import_w.max() == pytest.approx(15e3), "power is what limits it"
    done = span(
        load,
        bound.import_w,
        throughput_wh=float(np.abs(bound.power_w).sum()) / 4,
        stored_end_wh=5_000.0 + bound.stored_gain_wh,
    )
    result = settle(worlds.site(), BEIJING, done)
    assert result["capture_frac"] == pytest.approx(1.0)
    assert result["peak_bound_w"] == pytest.approx(15e3)


def test_emptying_the_packs_is_no_saving() -> None:
    load = np.full(96, 5e3)
    used = load.copy()
    used[68:72] -= 3_800.0
    result = settle(
        worlds.site(),
        BEIJING,
        span(load, used, throughput_wh=3_800.0, stored_end_wh=1_000.0),
    )
    # 3.8 kWh at 1.152 less wear at 0.16, less 4 kWh to be bought again at 0.288 / 0.95.
    assert result["saving"] == pytest.approx(3.8 * (1.152 - 0.16) - 4.0 * 0.288 / 0.95)


def test_the_bound_keeps_the_reserve() -> None:
    load = np.where(np.arange(96) >= 40, 12e3, 2e3)
    bound = perfect_foresight(BEIJING, SHANGHAI, MIDNIGHT_UTC, 900.0, load, STORE, 4_000.0, 0.0)
    power = bound.power_w
    stored = 5_000.0 - np.cumsum(np.where(power > 0, power / 0.95, power * 0.95)) / 4
    assert stored.min() * 0.95 >= 4_000.0 - 1.0
    assert stored.max() <= 10_000.0 + 1.0


def test_a_fleet_below_its_reserve_still_has_a_bound() -> None:
    load = np.full(96, 5e3)
    low = Store(10_000.0, 500.0, 5_000.0, 5_000.0, 0.95)
    bound = perfect_foresight(BEIJING, SHANGHAI, MIDNIGHT_UTC, 900.0, load, low, 4_000.0, 0.0)
    assert np.isfinite(bound.bill.total)


def test_nothing_to_save_has_no_share() -> None:
    load = np.full(96, 5e3)
    nothing = Span(
        MIDNIGHT_UTC, 900.0, load, np.zeros(96), load, 0.0, 0.0, 0.0,
        (Store(0.0, 0.0, 0.0, 0.0, 0.95),), 0.0,
    )  # fmt: skip
    assert settle(worlds.site(), BEIJING, nothing)["capture_frac"] is None


def test_a_pooled_fleet_is_never_worse_than_its_parts() -> None:
    both = pooled((STORE, Store(4_000.0, 4_500.0, 1_000.0, 2_000.0, 0.9)))
    assert both == Store(14_500.0, 9_500.0, 6_000.0, 7_000.0, 0.95)


def test_surplus_pv_that_may_not_be_exported_is_no_income() -> None:
    load, pv = np.full(96, 1e3), np.full(96, 5e3)
    day = Span(MIDNIGHT_UTC, 900.0, load, pv, np.zeros(96), 0.0, 5e3, 5e3, (STORE,), 0.0)
    result = settle(worlds.site(), BEIJING, day)
    assert result["bill_without"]["energy"] == 0.0
    assert result["peak_without_w"] == 0.0
