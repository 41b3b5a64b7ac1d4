"""Absolute windows lie outside everything that should act before them."""

import pytest

from ems.health import ocv
from ems.site import Chemistry
from sim.chemistry import BMS, CELL, WINDOW

# L4 of the interlock table at full health: over-voltage, under-voltage, over-temperature
# charging and discharging, under-temperature charging and discharging.
L4 = {
    Chemistry.LFP: (3.65, 2.60, 55.0, 60.0, 0.0, -20.0),
    Chemistry.NMC: (4.20, 3.00, 50.0, 58.0, 0.0, -20.0),
    Chemistry.LMO: (4.18, 3.00, 50.0, 55.0, 0.0, -20.0),
    Chemistry.LTO: (2.80, 1.70, 60.0, 65.0, -25.0, -35.0),
}


@pytest.mark.parametrize("chemistry", Chemistry)
def test_window_is_wider_than_every_l4(chemistry):
    window, (high_v, low_v, hot_c, hotter_c, cold_charge_c, cold_c) = (
        WINDOW[chemistry],
        L4[chemistry],
    )
    assert window.voltage_high_v > high_v
    assert window.voltage_low_v < low_v
    assert window.temp_high_c > max(hot_c, hotter_c)
    assert window.charge_temp_low_c < cold_charge_c
    assert window.temp_low_c < cold_c


@pytest.mark.parametrize("chemistry", Chemistry)
def test_bms_protects_between_l4_and_the_window(chemistry):
    limits, window = BMS[chemistry], WINDOW[chemistry]
    high_v, low_v, *_ = L4[chemistry]
    assert high_v < limits.over_voltage_v[2] < window.voltage_high_v
    assert window.voltage_low_v < limits.under_voltage_v[2] < low_v
    assert limits.over_temp_c[2] < window.temp_high_c
    assert list(limits.over_voltage_v) == sorted(limits.over_voltage_v)
    assert list(limits.under_voltage_v) == sorted(limits.under_voltage_v, reverse=True)


@pytest.mark.parametrize("chemistry", Chemistry)
def test_a_full_and_an_empty_cell_at_rest_are_inside_the_window(chemistry):
    low_v, high_v = ocv.ocv_v(chemistry, [0.001, 1.0])
    assert WINDOW[chemistry].voltage_low_v < low_v
    assert high_v < WINDOW[chemistry].voltage_high_v


@pytest.mark.parametrize("chemistry", Chemistry)
def test_shares_add_up_to_the_10_s_resistance(chemistry):
    model = CELL[chemistry]
    decay = [2.718281828 ** (-10.0 / tau) for tau in (model.tau1_s, model.tau2_s)]
    ten_s = model.r0_share + model.r1_share * (1 - decay[0]) + model.r2_share * (1 - decay[1])
    assert ten_s == pytest.approx(1.0, abs=0.03)
