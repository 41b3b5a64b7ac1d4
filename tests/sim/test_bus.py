"""Sharing of current on a DC bus against the closed formulas."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim import bus

EMF = st.floats(48.0, 54.0)
OHM = st.floats(0.005, 0.1)
PACKS = st.lists(st.tuples(EMF, OHM), min_size=1, max_size=6)


@given(PACKS, st.floats(-3_000.0, 3_000.0))
def test_pack_currents_follow_rule_b8_and_deliver_the_power(packs, power_w):
    emf_v = [e for e, _ in packs]
    g_s = [1.0 / r for _, r in packs]
    se, g = bus.sums(emf_v, g_s)
    voltage_v = bus.voltage_at_power_v(se, g, power_w)
    amps = bus.currents_a(emf_v, g_s, voltage_v)
    total_a, mean_v = sum(amps), se / g
    for current_a, e, conductance in zip(amps, emf_v, g_s, strict=True):
        rule = total_a * conductance / g + conductance * (e - mean_v)
        assert current_a == pytest.approx(rule, abs=1e-6)
    assert total_a * voltage_v == pytest.approx(power_w, abs=1e-4)


def test_unequal_packs_exchange_current_at_zero_power():
    # The example of section b8: 0.8 V apart behind 40 and 60 mohm: 8 A.
    emf_v, g_s = [52.8, 52.0], [1 / 0.040, 1 / 0.060]
    voltage_v = bus.voltage_at_power_v(*bus.sums(emf_v, g_s), 0.0)
    assert bus.currents_a(emf_v, g_s, voltage_v) == pytest.approx([8.0, -8.0])


def test_more_than_the_packs_can_push_out_has_no_solution():
    se, g = bus.sums([50.0], [20.0])
    most_w = bus.power_max_w(se, g)
    assert bus.voltage_at_power_v(se, g, most_w) == pytest.approx(25.0)
    assert bus.voltage_at_power_v(se, g, most_w * 1.001) is None


@pytest.mark.parametrize(
    ("load_w", "limit_w", "charge_limit_a", "voltage_v", "battery_a"),
    [
        pytest.param(1000.0, 9000.0, 50.0, 54.0, -20.0, id="float voltage, packs charge"),
        pytest.param(1000.0, 9000.0, 20.0, 54.0, -20.0, id="exactly at the charge limit"),
        pytest.param(1000.0, 9000.0, 10.0, 53.5, -10.0, id="charge limit sinks the bus"),
        pytest.param(1000.0, 1000.0, 50.0, 53.0, 0.0, id="shelf carries just the load"),
        pytest.param(1000.0, 0.0, 50.0, None, 19.22, id="no shelf: packs carry all"),
    ],
)
def test_rectifier_regulates_what_binds_first(
    load_w, limit_w, charge_limit_a, voltage_v, battery_a
):
    se, g = bus.sums([53.0], [20.0])
    solved_v = bus.rectifier_voltage_v(se, g, load_w, 54.0, limit_w, charge_limit_a)
    amps = bus.currents_a([53.0], [20.0], solved_v)[0]
    assert amps == pytest.approx(battery_a, abs=0.01)
    if voltage_v is not None:
        assert solved_v == pytest.approx(voltage_v)


def test_packs_above_float_voltage_carry_the_load_alone():
    se, g = bus.sums([55.0], [20.0])
    solved_v = bus.rectifier_voltage_v(se, g, 500.0, 54.0, 9000.0, 50.0)
    assert solved_v * bus.currents_a([55.0], [20.0], solved_v)[0] == pytest.approx(500.0)


def test_shelf_and_packs_together_may_be_too_weak():
    se, g = bus.sums([50.0], [1.0])
    assert bus.rectifier_voltage_v(se, g, 3000.0, 54.0, 1000.0, 50.0) is None
