"""Energy is conserved and runs repeat."""

from dataclasses import replace

import numpy as np
import pytest

from ems.site import Chemistry, SiteKind
from sim.plant import Plant
from tests.builders import make_site

QUARTER_S = 900.0


def random_day(kind, seed, chemistry=Chemistry.LFP, hours=24, cycle_s=9.0):
    """A plant after a day of random set-points, with a grid outage at noon."""
    site = make_site(kind, 3, chemistry, cycle_s=cycle_s)
    site = replace(site, sim=replace(site.sim, ambient_swing_c=6.0))
    plant = Plant(site, seed, protection=False)
    rng = np.random.default_rng(seed)
    for k in range(site.n_packs):
        plant.set_contactor(k, True)
    for quarter in range(int(hours * 4)):
        if quarter == 48:
            plant.inject("grid_outage", duration_s=QUARTER_S)
        powers = [rng.uniform(-0.4, 0.4) * c.rated_discharge_w for c in site.converters]
        for _ in range(100):
            for c, power_w in enumerate(powers):
                plant.set_power(c, power_w)
                plant.set_rectifier(c, abs(power_w) * 2.0, 30.0)
            plant.advance(plant.now_s + QUARTER_S / 100)
    return plant


@pytest.mark.parametrize("kind", SiteKind)
def test_books_close_to_a_thousandth_over_a_random_day(kind):
    plant = random_day(kind, seed=11)
    balance = plant.balance()
    assert balance.throughput_wh > 5_000.0
    assert balance.loss_wh > 0.0
    assert abs(balance.error_wh) < 0.001 * balance.throughput_wh


@pytest.mark.parametrize("chemistry", [Chemistry.NMC, Chemistry.LMO, Chemistry.LTO])
def test_books_close_tighter_with_short_steps_for_every_chemistry(chemistry):
    # Tight enough to miss the wiring, the smallest of the losses, if it were not booked.
    balance = random_day(SiteKind.OWN_CONVERTERS, 5, chemistry, hours=3, cycle_s=3.0).balance()
    assert abs(balance.error_wh) < 0.0001 * balance.throughput_wh


def test_meter_balance_holds_at_every_moment():
    plant = random_day(SiteKind.OWN_CONVERTERS, seed=3, hours=1)
    truth, meter = plant.truth(), plant.meter
    battery_w = sum(c.power_w for c in plant.converters)
    assert truth.battery_power_w == pytest.approx(battery_w, abs=1.0)
    assert meter.power_w + battery_w + meter.pv_power_w == pytest.approx(meter.site_load_w, abs=2.0)


@pytest.mark.parametrize("kind", SiteKind)
def test_same_seed_same_trace(kind):
    first = random_day(kind, seed=7, hours=1).trace_hash()
    assert random_day(kind, seed=7, hours=1).trace_hash() == first
    assert random_day(kind, seed=8, hours=1).trace_hash() != first


def test_self_discharge_alone_is_booked():
    site = make_site(n_packs=1, cycle_s=60.0)
    plant = Plant(site, 1)
    plant.advance(24 * 3600.0)
    balance = plant.balance()
    assert balance.stored_wh < 0.0
    assert balance.stored_wh == pytest.approx(-plant.ledger.self_discharge / 3600.0, rel=0.01)
