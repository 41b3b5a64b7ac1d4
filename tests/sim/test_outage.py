"""Grid outages: islands of PCS, and a −48 V bus with its LVD."""

from dataclasses import replace

import pytest

from ems.model import ConverterState
from ems.site import SiteKind
from sim.plant import Plant
from tests.builders import make_site


def prepared(site):
    plant = Plant(site, 1, protection=False)
    for k in range(site.n_packs):
        plant.set_contactor(k, True)
    plant.advance(4.0)
    return plant


def with_load(site, load_w):
    return replace(site, sim=replace(site.sim, load_w=load_w))


@pytest.mark.parametrize("kind", [SiteKind.OWN_CONVERTERS, SiteKind.SHARED_DC_BUS])
def test_converters_carry_the_listed_loads(kind):
    plant = prepared(make_site(kind, 3))
    plant.inject("grid_outage", duration_s=60.0)
    plant.advance(plant.now_s + 10.0)
    assert all(c.state is ConverterState.ISLAND for c in plant.converters)
    assert sum(c.power_w for c in plant.converters) == pytest.approx(4_000.0, abs=0.5)
    assert plant.meter.voltage_v == 0.0
    assert plant.meter.power_w == 0.0
    assert plant.truth().backup_shortfall_s == 0.0


def test_shares_are_in_proportion_to_rating():
    site = make_site(n_packs=2)
    small = replace(site.converters[1], rated_discharge_w=site.converters[1].rated_discharge_w / 2)
    plant = prepared(with_load(replace(site, converters=(site.converters[0], small)), 2_000.0))
    plant.inject("grid_outage")
    plant.advance(plant.now_s + 5.0)
    large_w, small_w = (c.power_w for c in plant.converters)
    assert large_w == pytest.approx(2.0 * small_w, rel=0.01)


def test_base_load_is_cut_off_by_the_transfer_switch():
    site = make_site(n_packs=3)
    loads = tuple(replace(load, share_frac=load.share_frac / 2) for load in site.loads)
    plant = prepared(replace(site, loads=loads))
    assert plant.meter.power_w == pytest.approx(4_060.0, abs=2.0)  # 3 x 20 W standby
    plant.inject("grid_outage")
    plant.advance(plant.now_s + 5.0)
    assert plant.meter.site_load_w == pytest.approx(2_000.0, abs=1.0)


def test_an_overloaded_island_is_dark_until_load_is_shed():
    site = make_site(n_packs=1)  # 2.6 kW of converter for 4 kW of load
    plant = prepared(site)
    plant.inject("grid_outage")
    plant.advance(plant.now_s + 10.0)
    truth = plant.truth()
    assert truth.backup_shortfall_s == pytest.approx(10.0)
    assert truth.backup_shortfall_wh == pytest.approx(2_000.0 * 10 / 3600, rel=0.01)
    assert plant.meter.load_power_w == (0.0, 0.0, 0.0)
    for load in (1, 2):
        assert plant.set_load(load, False) == ""
    plant.advance(plant.now_s + 10.0)
    assert plant.converters[0].power_w == pytest.approx(2_000.0, abs=0.5)
    assert plant.truth().backup_shortfall_s == pytest.approx(10.0)


def test_the_critical_load_cannot_be_shed():
    plant = prepared(make_site())
    assert "not sheddable" in plant.set_load(0, False)
    assert plant.meter.load_on == (True, True, True)


def test_island_ends_when_the_packs_are_empty():
    plant = prepared(with_load(make_site(n_packs=1, cycle_s=4.0), 2_000.0))
    plant.inject("grid_outage")
    plant.advance(plant.now_s + 3 * 3600.0)
    assert plant.truth().backup_shortfall_s > 0.0
    # With protection off the damage is done and seen, not hidden.
    assert plant.truth().window_violation_s > 0.0


def test_grid_return_hands_back_to_the_setpoint():
    plant = prepared(make_site())
    plant.inject("grid_outage", duration_s=20.0)
    plant.advance(plant.now_s + 20.0)
    for _ in range(10):
        plant.set_power(0, 500.0)
        plant.advance(plant.now_s + 1.0)
    assert plant.converters[0].state is ConverterState.RUN
    assert plant.converters[0].power_w == pytest.approx(480.0, abs=0.2)
    assert plant.meter.voltage_v == pytest.approx(230.0, rel=0.02)


class TestDirectBus:
    SITE = make_site(SiteKind.DIRECT_BUS, 2)

    def test_float_charges_the_packs_under_the_limit(self):
        plant = Plant(self.SITE, 1)
        plant.advance(120.0)
        assert -40.0 <= plant.converters[0].dc_current_a < 0.0
        assert plant.converters[0].power_w < 0.0

    @pytest.mark.parametrize("held_w", [1_000.0, 2_500.0])
    def test_holding_the_rectifier_back_makes_the_packs_carry_the_rest(self, held_w):
        plant = Plant(self.SITE, 1)
        for _ in range(10):
            plant.set_rectifier(0, held_w, 40.0)
            plant.advance(plant.now_s + 1.0)
        assert plant.converters[0].power_w == pytest.approx(4_000.0 - held_w, abs=5.0)
        spec = self.SITE.converters[0]
        assert held_w < plant.meter.power_w < held_w / spec.efficiency_frac + 2 * spec.standby_w
        balance_w = plant.meter.power_w + plant.converters[0].power_w
        assert balance_w == pytest.approx(plant.meter.site_load_w, abs=2.0)

    def test_charge_limit_is_kept(self):
        plant = Plant(self.SITE, 1)
        for _ in range(30):
            plant.set_rectifier(0, 50_000.0, 7.0)
            plant.advance(plant.now_s + 1.0)
        assert plant.converters[0].dc_current_a == pytest.approx(-7.0, abs=0.1)

    def test_silence_restores_float_and_full_power(self):
        plant = Plant(self.SITE, 1)
        plant.set_rectifier(0, 1_000.0, 5.0)
        plant.advance(9.0)
        assert plant.converters[0].power_limit_w == 1_000.0
        plant.advance(14.0)
        assert plant.converters[0].power_limit_w > 50_000.0
        assert plant.converters[0].charge_limit_a == 40.0
        assert plant.converters[0].power_w < 0.0

    def test_packs_carry_the_bus_and_the_lvd_opens_at_the_end(self):
        plant = Plant(make_site(SiteKind.DIRECT_BUS, 2, cycle_s=5.0), 1, protection=False)
        plant.inject("grid_outage", duration_s=5 * 3600.0)
        plant.advance(60.0)
        assert plant.converters[0].power_w == pytest.approx(4_000.0, abs=1.0)
        assert plant.truth().backup_shortfall_s == 0.0
        plant.advance(5 * 3600.0)
        rectifier = plant.network.rectifier
        assert not rectifier.lvd_closed
        assert plant.truth().backup_shortfall_s > 0.0
        assert plant.truth().pack_current_a == (0.0, 0.0)
        # Back on grid: the shelf lifts the bus, the LVD closes, charging is limited.
        plant.advance(plant.now_s + 120.0)
        assert rectifier.lvd_closed
        assert plant.converters[0].dc_current_a == pytest.approx(-40.0, abs=0.2)

    def test_one_open_contactor_leaves_the_other_pack_on_the_bus(self):
        plant = Plant(self.SITE, 1)
        plant.inject("grid_outage")
        plant.set_contactor(0, False)
        plant.advance(10.0)
        first_a, second_a = plant.truth().pack_current_a
        assert first_a == 0.0
        assert second_a > 60.0
