"""Every fault hook changes what it should, only that, and ends when it should."""

from dataclasses import replace

import numpy as np
import pytest

from ems.model import Contactor, ConverterState
from ems.site import SiteKind
from sim import faults
from sim.outputs import TEMP_FAILED_C
from sim.plant import Plant
from tests.builders import make_site

SITE = make_site(n_packs=2)


@pytest.fixture
def plant():
    """Two packs, contactors closed, 500 W of discharge each."""
    plant = Plant(SITE, 1, protection=False)
    for k in range(2):
        plant.set_contactor(k, True)
    plant.advance(4.0)
    run(plant, 5)
    return plant


def run(plant, seconds, power_w=500.0):
    """Advance with both PCS commanded every second; returns the last refusals."""
    refusals = []
    for _ in range(seconds):
        refusals = [plant.set_power(c, power_w) for c in range(2)]
        plant.advance(plant.now_s + 1.0)
    return refusals


def test_every_event_has_a_description_and_a_test():
    assert Plant.events() == faults.EVENTS
    assert all(text.endswith(".") for text in faults.EVENTS.values())
    with open(__file__, encoding="utf-8") as own:
        text = own.read()
    missing = [name for name in faults.EVENTS if f'inject("{name}"' not in text]
    assert missing == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(("grid_outge", "*", 1.0, 0.0), "did you mean 'grid_outage'", id="typo"),
        pytest.param(("pack_lost", "p9", 1.0, 0.0), "no pack 'p9'; known: p1, p2", id="no pack"),
        pytest.param(("pcs_lost", "p1", 1.0, 0.0), "no converter 'p1'", id="pack for converter"),
        pytest.param(("grid_outage", "*", -1.0, 0.0), "not usable", id="negative duration"),
        pytest.param(("load_step", "*", 1.0, float("nan")), "not usable", id="NaN"),
        pytest.param(("meter_lost", "p1", 1.0, 0.0), "whole site: target 'p1'", id="not the site"),
        pytest.param(("temp_sensor_fail", "p1", 1.0, -1.0), "outside 0 to", id="no sensor -1"),
    ],
)
def test_bad_events_are_refused_with_what_would_be_right(plant, arguments, message):
    with pytest.raises(ValueError, match=message):
        plant.inject(*arguments)


def test_grid_outage_ends_after_its_duration(plant):
    plant.inject("grid_outage", "*", 10.0)
    run(plant, 9)
    assert plant.meter.voltage_v == 0.0
    assert plant.meter.frequency_hz == 0.0
    run(plant, 2)
    assert plant.meter.voltage_v > 200.0


def test_a_meter_fed_by_the_mains_dies_with_them(plant):
    plant.inject("grid_outage", "*", 10.0, 0.0)
    run(plant, 3)
    assert plant.meter.online
    plant.inject("grid_outage", "*", 4.0, 1.0)
    run(plant, 3)
    assert not plant.meter.online
    run(plant, 2)
    assert plant.meter.online
    assert plant.meter.voltage_v == 0.0


def test_overlapping_events_last_as_long_as_the_longest(plant):
    plant.inject("grid_outage", "*", 5.0)
    plant.inject("grid_outage", "*", 20.0)
    run(plant, 10)
    assert plant.meter.voltage_v == 0.0


def test_duration_0_lasts_until_the_end(plant):
    plant.inject("load_step", "*", 0.0, 1_000.0)
    run(plant, 500)
    assert plant.meter.site_load_w == pytest.approx(5_000.0)


def test_pack_lost_refuses_but_works_on(plant):
    plant.inject("pack_lost", "p1", 10.0)
    run(plant, 3)
    assert not plant.bms[0].online
    assert plant.bms[1].online
    assert plant.truth().pack_current_a[0] > 5.0
    assert plant.set_contactor(0, False) == "BMS does not answer"
    run(plant, 8)
    assert plant.bms[0].online
    assert plant.bms[0].sampled_at_s == plant.now_s


def test_telemetry_gap_silences_everything_and_the_pcs_time_out(plant):
    plant.inject("telemetry_gap", "*", 30.0)
    before = plant.now_s
    assert run(plant, 20) == ["converter does not answer"] * 2
    assert plant.silent
    assert {b.sampled_at_s for b in plant.bms} == {before}
    assert {c.sampled_at_s for c in plant.converters} == {before}
    assert plant.meter.sampled_at_s == before
    assert plant.truth().battery_power_w == pytest.approx(-40.0, abs=0.1)
    run(plant, 12)
    assert plant.bms[0].sampled_at_s == plant.now_s


def test_price_noise_does_not_touch_the_plant():
    quiet, noisy = Plant(SITE, 1), Plant(SITE, 1)
    noisy.inject("price_noise", "*", 100.0, 0.3)
    for plant in (quiet, noisy):
        run(plant, 20)
    assert quiet.trace_hash() == noisy.trace_hash()


def test_cell_short_drains_the_tired_group(plant):
    site = replace(
        SITE, sim=replace(SITE.sim, packs=(replace(SITE.sim.packs[0], tired_group=3),) * 2)
    )
    plant = Plant(site, 1)
    plant.inject("cell_short", "p1", 0.0, 5.0)
    before = plant.cells.soc_frac.copy()
    plant.advance(3600.0)
    lost = before - plant.cells.soc_frac
    assert lost[3] == pytest.approx(5.0 / plant.cells.capacity_ah[3], rel=0.01)
    assert np.delete(lost, 3).max() < 0.001


def test_sensor_stuck_repeats_the_whole_frame(plant):
    plant.inject("sensor_stuck", "p1", 60.0)
    frozen = plant.bms[0]
    cells_v, current_a, beat = frozen.cell_voltage_v, frozen.current_a, frozen.heartbeat
    run(plant, 30, power_w=1_500.0)
    assert np.array_equal(plant.frame_v[:16], cells_v)
    assert (frozen.current_a, frozen.heartbeat) == (current_a, beat)
    assert frozen.sampled_at_s == plant.now_s  # it answers, always the same
    assert plant.bms[1].current_a > 2 * current_a
    run(plant, 35, power_w=1_500.0)
    assert frozen.current_a > 2 * current_a


def test_sensor_stuck_with_value_1_keeps_the_heartbeat(plant):
    plant.inject("sensor_stuck", "p1", 60.0, 1.0)
    current_a, beat = plant.bms[0].current_a, plant.bms[0].heartbeat
    run(plant, 10, power_w=1_500.0)
    assert plant.bms[0].current_a == current_a
    assert plant.bms[0].heartbeat == beat + 10


def test_cell_voltage_offset_moves_one_reading(plant):
    before = plant.bms[0].cell_voltage_v
    plant.inject("cell_voltage_offset", "p1", 10.0, 0.2)
    run(plant, 1)
    moved = plant.bms[0].cell_voltage_v - before
    assert moved[0] == pytest.approx(0.2, abs=0.005)
    assert np.abs(moved[1:]).max() < 0.005


def test_temp_sensor_fail_reads_the_impossible(plant):
    plant.inject("temp_sensor_fail", "p2", 10.0, 2.0)
    run(plant, 1)
    assert plant.bms[1].cell_temp_c[2] == TEMP_FAILED_C
    assert plant.bms[1].cell_temp_c[[0, 1, 3]].min() > 20.0
    assert plant.bms[0].cell_temp_c.min() > 20.0


def test_bms_soc_reset_lies_once_and_counts_on(plant):
    plant.inject("bms_soc_reset", "p1")
    run(plant, 1)
    assert plant.bms[0].soc_frac == pytest.approx(1.0, abs=0.002)
    run(plant, 600, power_w=2_000.0)
    assert plant.bms[0].soc_frac < 0.97
    assert plant.bms[1].soc_frac < 0.65


def test_pcs_ignore_keeps_its_power(plant):
    plant.inject("pcs_ignore", "pcs1", 60.0)
    run(plant, 10, power_w=-1_000.0)
    assert plant.converters[0].power_w == pytest.approx(480.0, abs=0.2)
    assert plant.converters[0].setpoint_w == -1_000.0
    assert plant.converters[1].power_w == pytest.approx(-1_020.0, abs=0.2)


def test_pcs_wrong_sign_charges_when_told_to_discharge(plant):
    plant.inject("pcs_wrong_sign", "pcs1", 60.0)
    run(plant, 10)
    assert plant.converters[0].power_w == pytest.approx(-520.0, abs=0.2)
    assert plant.converters[0].setpoint_w == 500.0
    assert plant.bms[0].current_a < 0.0
    assert plant.converters[1].power_w == pytest.approx(480.0, abs=0.2)


def test_pcs_fault_delivers_nothing_and_refuses(plant):
    plant.inject("pcs_fault", "pcs1", 10.0)
    refusals = run(plant, 3)
    assert refusals == ["converter is in fault", ""]
    assert plant.converters[0].state is ConverterState.FAULT
    assert plant.converters[0].power_w == 0.0
    run(plant, 12)
    assert plant.converters[0].state is ConverterState.RUN


def test_a_failed_pcs_does_not_carry_the_island(plant):
    plant.inject("pcs_fault", "pcs1", 100.0)
    plant.inject("grid_outage", "*", 100.0)
    for load in (1, 2):
        plant.set_load(load, False)
    run(plant, 3)
    assert plant.converters[0].power_w == 0.0
    assert plant.converters[1].power_w == pytest.approx(2_000.0, abs=0.5)


def test_pcs_lost_falls_back_by_its_own_timeout(plant):
    plant.inject("pcs_lost", "pcs1", 60.0)
    assert run(plant, 5) == ["converter does not answer", ""]
    assert not plant.converters[0].online
    assert plant.truth().pack_current_a[0] > 5.0
    run(plant, 10)
    assert abs(plant.truth().pack_current_a[0]) < 0.1


def test_meter_lost_only_concerns_the_meter(plant):
    plant.inject("meter_lost", "*", 10.0)
    run(plant, 1)
    assert not plant.meter.online
    assert plant.converters[0].online
    run(plant, 12)
    assert plant.meter.online


def test_contactor_weld_stays_closed_against_the_command(plant):
    plant.inject("contactor_weld", "p1", 60.0)
    for k in range(2):
        assert plant.set_contactor(k, False) == ""
    run(plant, 3)
    assert plant.bms[0].contactor is Contactor.CLOSED
    assert plant.bms[1].contactor is Contactor.OPEN
    assert plant.truth().pack_current_a[0] > 5.0
    run(plant, 60)
    assert plant.bms[0].contactor is Contactor.OPEN


def test_ambient_step_cools_the_packs():
    plant = Plant(make_site(n_packs=2, cycle_s=10.0), 1)
    plant.inject("ambient_step", "*", 0.0, -40.0)
    plant.advance(plant.now_s + 4 * 3600.0)
    assert plant.truth().cell_temp_max_c < -5.0
    assert plant.bms[0].charge_limit_a == 0.0


def test_overheat_warms_one_pack(plant):
    plant.inject("overheat", "p1", 0.0, 20.0)
    plant.advance(plant.now_s + 1800.0)
    assert plant.bms[0].cell_temp_c.min() > 35.0
    assert plant.bms[1].cell_temp_c.max() < 30.0


def test_overheat_of_a_direct_bus_is_counted_when_it_leaves_the_window():
    plant = Plant(make_site(SiteKind.DIRECT_BUS, 2, cycle_s=10.0), 1, protection=False)
    plant.inject("overheat", "p2", 0.0, 60.0)
    plant.advance(2 * 3600.0)
    assert plant.truth().window_violation_s > 60.0


def test_a_deaf_rectifier_keeps_its_limit():
    plant = Plant(make_site(SiteKind.DIRECT_BUS, 2), 1)
    plant.inject("pcs_ignore", "pcs1", 60.0)
    for _ in range(5):
        plant.set_rectifier(0, 1_000.0, 5.0)
        plant.advance(plant.now_s + 1.0)
    assert plant.converters[0].power_limit_w == 1_000.0
    assert plant.converters[0].power_w < 0.0  # still floats and charges
    assert plant.converters[0].dc_current_a < -5.0


def test_a_failed_rectifier_leaves_the_load_to_the_packs():
    plant = Plant(make_site(SiteKind.DIRECT_BUS, 2), 1)
    plant.inject("pcs_fault", "pcs1", 60.0)
    plant.advance(5.0)
    assert plant.converters[0].state is ConverterState.FAULT
    assert plant.converters[0].power_w == pytest.approx(4_000.0, abs=1.0)
    assert plant.meter.power_w == 0.0
