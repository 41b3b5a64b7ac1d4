"""PCS: latency, ramp, timeout, refusal, losses, islanding."""

from dataclasses import replace

import pytest

from ems.model import ConverterState
from ems.site import SiteKind
from sim.converter import LossCurve
from sim.plant import Plant
from tests.builders import make_site

SITE = make_site(n_packs=2)
RATED_W = SITE.converters[0].rated_discharge_w


def running(site=SITE, **options):
    """A plant with closed contactors and PCS in RUN."""
    plant = Plant(site, 1, **options)
    for k in range(site.n_packs):
        assert plant.set_contactor(k, True) == ""
    plant.advance(4.0)
    return plant


def hold(plant, seconds, power_w, converter=0):
    """Command the same power every second, as the daemon does."""
    for _ in range(seconds):
        plant.set_power(converter, power_w)
        plant.advance(plant.now_s + 1.0)


def test_starts_open_and_runs_once_the_contactor_has_closed():
    plant = Plant(SITE, 1)
    plant.advance(1.0)
    assert plant.converters[0].state is ConverterState.STANDBY
    assert plant.set_power(0, 500.0) != ""
    assert plant.set_power(0, 0.0) == ""
    assert running().converters[0].state is ConverterState.RUN


def test_ramp_after_latency():
    site = replace(SITE, converters=tuple(replace(c, ramp_w_per_s=100.0) for c in SITE.converters))
    plant = running(site)
    powers_w = []
    for _ in range(4):
        hold(plant, 1, 1_000.0)
        powers_w.append(plant.converters[0].power_w + 20.0)  # standby of 20 W comes from AC
    # 0.3 s of latency, then 100 W/s.
    assert powers_w == pytest.approx([70.0, 170.0, 270.0, 370.0], abs=0.2)


def test_latency_delays_and_does_not_slow_a_moving_setpoint():
    site = replace(SITE, converters=tuple(replace(c, ramp_w_per_s=100.0) for c in SITE.converters))
    plant = running(site)
    for second in range(1, 21):
        hold(plant, 1, 1_000.0 + second)
    assert plant.converters[0].power_w + 20.0 == pytest.approx(1_000.0, abs=25.0)


@pytest.mark.parametrize("power_w", [800.0, -800.0])
def test_settled_power_is_the_setpoint_less_standby(power_w):
    plant = running()
    hold(plant, 10, power_w)
    assert plant.converters[0].power_w == pytest.approx(power_w - 20.0, abs=0.2)
    assert plant.converters[0].setpoint_w == power_w
    assert (plant.bms[0].current_a > 0.0) == (power_w > 0.0)


def test_setpoint_beyond_the_rating_is_clipped_and_read_back():
    plant = running()
    hold(plant, 5, 10.0 * RATED_W)
    assert plant.converters[0].setpoint_w == RATED_W


def test_silence_ends_in_zero_after_the_timeout_and_not_before():
    plant = running()
    hold(plant, 5, 800.0)
    plant.advance(plant.now_s + 9.0)
    assert plant.converters[0].power_w == pytest.approx(780.0, abs=0.2)
    plant.advance(plant.now_s + 2.0)
    assert plant.converters[0].setpoint_w == 0.0
    assert plant.converters[0].power_w == pytest.approx(-20.0, abs=0.2)
    # The neighbour was never commanded and never moved.
    assert plant.converters[1].power_w == pytest.approx(-20.0, abs=0.2)


def test_the_ramp_of_setpoints_does_not_hold_up_the_stop_after_silence():
    slow = tuple(replace(c, ramp_w_per_s=RATED_W / 20.0) for c in SITE.converters)
    plant = running(replace(SITE, converters=slow))
    hold(plant, 25, RATED_W)
    plant.advance(plant.now_s + 9.0)
    assert plant.converters[0].power_w == pytest.approx(RATED_W - 20.0, abs=0.2)
    plant.advance(plant.now_s + 2.0)
    assert plant.converters[0].power_w == pytest.approx(-20.0, abs=0.2)
    hold(plant, 2, RATED_W)
    assert plant.converters[0].power_w < 0.1 * RATED_W, "and back it comes by its ramp"


def test_opening_the_contactor_stops_the_converter_at_once():
    plant = running()
    hold(plant, 5, 800.0)
    plant.set_contactor(0, False)
    plant.advance(plant.now_s + 1.0)
    assert plant.converters[0].power_w == 0.0
    assert plant.converters[0].state is ConverterState.STANDBY
    assert plant.converters[0].dc_voltage_v == 0.0


def test_half_load_efficiency_is_the_planned_one():
    curve = LossCurve(SITE.converters[0])
    half_w = RATED_W / 2
    total_w = half_w + curve.loss_w(half_w) + curve.standby_w
    assert half_w / total_w == pytest.approx(SITE.converters[0].efficiency_frac, rel=1e-6)


def test_efficiency_is_poor_at_low_power():
    curve = LossCurve(SITE.converters[0])
    low_w = RATED_W / 50
    assert low_w / (low_w + curve.loss_w(low_w) + curve.standby_w) < 0.8


@pytest.mark.parametrize("ac_w", [-RATED_W, -100.0, 0.0, 100.0, RATED_W])
def test_ac_from_dc_undoes_the_losses(ac_w):
    curve = LossCurve(SITE.converters[0])
    assert curve.ac_from_dc_w(ac_w + curve.loss_w(ac_w)) == pytest.approx(ac_w)


def test_shared_bus_shares_current_by_resistance_and_emf():
    plant = running(make_site(SiteKind.SHARED_DC_BUS, 3))
    hold(plant, 60, 2_000.0)
    emf_v = plant.cells.by_pack(plant.cells.emf_v)
    amps = plant.truth().pack_current_a
    assert sum(amps) == pytest.approx(plant.converters[0].dc_current_a, abs=0.1)
    assert len({round(a, 3) for a in amps}) == 3
    # b8 from the state one step later: EMF moves by less than 1 mV in a second.
    r_ohm = plant.cells.r0_by_pack_ohm + 0.05 * 16 * 0.001
    g_s = 1.0 / r_ohm
    mean_v = (g_s * emf_v).sum() / g_s.sum()
    rule = sum(amps) * g_s / g_s.sum() + g_s * (emf_v - mean_v)
    assert amps == pytest.approx(rule, abs=0.2)


def test_a_rectifier_shelf_is_not_given_a_power_nor_a_pcs_a_limit():
    assert "limits" in Plant(make_site(SiteKind.DIRECT_BUS), 1).set_power(0, 100.0)
    assert "power" in running().set_rectifier(0, 100.0, 10.0)
