"""The simulated BMS: readings, own SoC, limits, alarms, contactor."""

from dataclasses import replace

import numpy as np
import pytest

from ems.model import Contactor
from ems.site import Chemistry
from sim.plant import Plant
from tests.builders import make_site


def discharged_below(plant, floor_v, power_w):
    """Discharge until the lowest cell is under ``floor_v``; returns the seconds taken."""
    for second in range(20_000):
        if plant.truth().cell_voltage_min_v < floor_v:
            return second
        plant.set_power(0, power_w)
        plant.advance(plant.now_s + 1.0)
    raise AssertionError("the pack never reached the floor")


def closed(site, seed=1, **options):
    plant = Plant(site, seed, **options)
    plant.set_contactor(0, True)
    plant.advance(4.0)
    return plant


def test_contactor_closes_through_precharge():
    plant = Plant(make_site(n_packs=1), 1)
    seen = []
    plant.set_contactor(0, True)
    for second in range(1, 5):
        plant.advance(float(second))
        seen.append(plant.bms[0].contactor)
    assert seen == [Contactor.PRECHARGE, Contactor.PRECHARGE, Contactor.CLOSED, Contactor.CLOSED]


def test_readings_are_quantised_noisy_and_close_to_the_truth():
    plant = closed(make_site(n_packs=1))
    reported_v = plant.bms[0].cell_voltage_v
    true_v = plant.cells.emf_v - plant.truth().pack_current_a[0] * plant.cells.r0_ohm
    assert reported_v * 1000.0 == pytest.approx(np.rint(reported_v * 1000.0), abs=1e-6)
    error_v = reported_v - true_v
    assert 0.0 < np.abs(error_v).max() < 0.004
    assert plant.bms[0].voltage_v == pytest.approx(true_v.sum(), abs=0.06)
    assert plant.bms[0].cell_temp_c == pytest.approx(np.full(4, 25.0), abs=2.0)
    assert plant.bms[0].sampled_at_s == 4.0


def test_a_bms_of_extremes_reports_lowest_and_highest():
    site = make_site(n_packs=2)
    packs = (replace(site.packs[0], reported_cells=2), site.packs[1])
    plant = Plant(replace(site, packs=packs), 1)
    plant.advance(1.0)
    low_v, high_v = plant.bms[0].cell_voltage_v
    truth = plant.truth()
    assert low_v == pytest.approx(truth.pack_cell_min_v[0], abs=0.003)
    assert high_v == pytest.approx(truth.pack_cell_max_v[0], abs=0.003)
    assert plant.bms[1].cell_voltage_v.size == 16
    assert plant.frame_v.size == 18


def test_heartbeat_moves_every_sample():
    plant = Plant(make_site(n_packs=1), 1)
    beats = []
    for second in range(1, 4):
        plant.advance(float(second))
        beats.append(plant.bms[0].heartbeat)
    assert np.diff(beats).tolist() == [1, 1]


def test_own_soc_counts_and_drifts_away_from_the_truth():
    site = make_site(n_packs=1)
    plant = closed(site)
    start = plant.bms[0].soc_frac
    discharged_below(plant, 3.0, site.converters[0].rated_discharge_w)
    fallen = start - plant.bms[0].soc_frac
    assert fallen == pytest.approx(0.6, abs=0.1)
    # Two BMS of the same make are wrong differently.
    others = [Plant(make_site(n_packs=3), 1).bms[k].soc_frac for k in range(3)]
    assert len(set(others)) == 3


@pytest.mark.parametrize(
    ("ambient_c", "charge", "discharge"),
    [
        pytest.param(25.0, "full", "full", id="mild: both full"),
        pytest.param(6.0, "less", "full", id="cool: charge derated"),
        pytest.param(-5.0, "none", "full", id="frost: no charge, still discharges"),
        pytest.param(52.0, "less", "less", id="hot: both derated"),
    ],
)
def test_current_limits_follow_the_temperature(ambient_c, charge, discharge):
    site = make_site(n_packs=1)
    plant = Plant(replace(site, sim=replace(site.sim, ambient_c=ambient_c)), 1)
    plant.advance(1.0)

    def graded(value_a, full_a):
        return "none" if value_a == 0.0 else "full" if value_a == full_a else "less"

    assert graded(plant.bms[0].charge_limit_a, 50.0) == charge
    assert graded(plant.bms[0].discharge_limit_a, 100.0) == discharge


def test_discharge_limit_shrinks_and_alarms_rise_towards_the_floor():
    site = make_site(n_packs=1)
    plant = closed(site, protection=False)
    levels = []
    for floor_v in (3.0, 2.85, 2.7, 2.5):
        discharged_below(plant, floor_v, site.converters[0].rated_discharge_w)
        levels.append(plant.bms[0].alarm_level)
    assert levels == [0, 1, 2, 3]
    assert plant.bms[0].discharge_limit_a == 0.0


def test_protection_on_opens_and_off_only_reports():
    site = make_site(n_packs=1)
    for protection in (True, False):
        plant = closed(site, protection=protection)
        discharged_below(plant, 2.60, site.converters[0].rated_discharge_w)
        for _ in range(30):
            plant.set_power(0, site.converters[0].rated_discharge_w)
            plant.advance(plant.now_s + 1.0)
        expected = Contactor.OPEN if protection else Contactor.CLOSED
        assert plant.bms[0].contactor is expected
        assert plant.truth().protection_trips == int(protection)


def test_protection_refuses_to_close_while_the_alarm_lasts():
    site = make_site(n_packs=1)
    hot = replace(site, sim=replace(site.sim, ambient_c=63.0))
    plant = Plant(hot, 1)
    plant.advance(5.0)
    assert plant.bms[0].alarm_level == 3
    assert "protection" in plant.set_contactor(0, True)
    assert Plant(site, 1).set_contactor(0, True) == ""


@pytest.mark.parametrize("chemistry", Chemistry)
def test_a_rested_pack_of_each_chemistry_raises_no_alarm(chemistry):
    plant = Plant(make_site(n_packs=1, chemistry=chemistry), 1)
    plant.advance(5.0)
    assert plant.bms[0].alarm_level == 0
    assert plant.bms[0].charge_limit_a > 0.0
    assert plant.bms[0].discharge_limit_a > 0.0
