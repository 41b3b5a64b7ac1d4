"""The in-memory SiteIO: what a snapshot holds when devices answer, refuse or fall silent."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from ems.model import (
    Contactor,
    Link,
    Quality,
    SetContactor,
    SetLoad,
    SetPower,
    SetRectifier,
)
from ems.site import SiteKind
from sim.io import SimIO
from sim.plant import Plant
from tests.builders import make_site

START_UTC = datetime(2026, 3, 2, tzinfo=UTC)
SITE = make_site(n_packs=2)


def bench(site=SITE):
    plant = Plant(site, 1)
    return plant, SimIO(plant)


def shot(io, now_s):
    return io.snapshot(now_s, START_UTC + timedelta(seconds=now_s), True, 0.0, ())


def test_snapshot_advances_the_plant_and_reads_everything_fresh():
    plant, io = bench()
    snapshot = shot(io, 5.0)
    assert plant.now_s == 5.0
    assert [p.link for p in snapshot.packs] == [Link.UP] * 2
    assert snapshot.packs[0].voltage_v.good == pytest.approx(16 * 3.31, abs=0.5)
    assert snapshot.packs[0].soc_frac.at_s == 5.0
    assert snapshot.cells.voltage_v.shape == (32,)
    assert not snapshot.cells.voltage_v.flags.writeable
    assert np.all(snapshot.cells.voltage_quality == Quality.GOOD)
    assert np.all(snapshot.cells.voltage_at_s == 5.0)
    assert snapshot.grid.voltage_v.good == pytest.approx(230.0, rel=0.02)
    assert snapshot.grid.power_w.good == pytest.approx(4_000.0)
    assert snapshot.load_on == (True, True, True)


def test_monotonic_time_may_start_anywhere():
    plant = Plant(SITE, 1)
    snapshot = shot(SimIO(plant, start_s=1_000.0), 1_003.0)
    assert plant.now_s == 3.0
    assert snapshot.packs[0].voltage_v.at_s == 1_003.0


def test_unmetered_loads_are_missing_and_metered_ones_read():
    loads = (replace(SITE.loads[0], device="feeder"), *SITE.loads[1:])
    snapshot = shot(bench(replace(SITE, loads=loads))[1], 2.0)
    assert snapshot.load_power_w[0].good == pytest.approx(2_000.0)
    assert snapshot.load_power_w[1].quality is Quality.MISSING
    assert snapshot.load_power_w[1].value is None


def test_commands_act_and_their_outcomes_come_back_once():
    _, io = bench()
    commands = (SetContactor(0, True), SetLoad(1, False), SetLoad(0, False), SetPower(0, 100.0))
    io.send(commands)
    snapshot = shot(io, 1.0)
    assert [r.command for r in snapshot.results] == list(commands)
    assert [r.ok for r in snapshot.results] == [True, True, False, False]
    assert "not sheddable" in snapshot.results[2].reason
    assert snapshot.packs[0].contactor.good == Contactor.PRECHARGE
    assert snapshot.load_on == (True, False, True)
    assert shot(io, 2.0).results == ()


def test_a_refusing_device_is_missing_at_once():
    plant, io = bench()
    shot(io, 5.0)
    plant.inject("pack_lost", "p1")
    plant.inject("pcs_lost", "pcs2")
    plant.inject("meter_lost")
    snapshot = shot(io, 6.0)
    assert snapshot.packs[0].link is Link.REFUSED
    assert snapshot.packs[0].voltage_v.quality is Quality.MISSING
    assert np.all(snapshot.cells.voltage_quality[:16] == Quality.MISSING)
    assert np.all(snapshot.cells.voltage_quality[16:] == Quality.GOOD)
    assert np.all(snapshot.cells.temp_quality == [4, 4, 4, 4, 0, 0, 0, 0])
    assert snapshot.converters[0].link is Link.UP
    assert snapshot.converters[1].link is Link.REFUSED
    assert snapshot.grid.link is Link.REFUSED
    # PV hangs on the same meter in this site.
    assert snapshot.pv_power_w.quality is Quality.MISSING


@pytest.mark.parametrize(
    ("age_s", "quality", "link"),
    [
        pytest.param(3.0, Quality.GOOD, Link.UP, id="3 s: still good"),
        pytest.param(4.0, Quality.STALE, Link.SILENT, id="4 s: stale"),
    ],
)
def test_a_silent_site_keeps_its_last_values_until_they_are_stale(age_s, quality, link):
    plant, io = bench()
    before = shot(io, 5.0)
    plant.inject("telemetry_gap", duration_s=60.0)
    for second in range(1, int(age_s) + 1):
        snapshot = shot(io, 5.0 + second)
    pack = snapshot.packs[0]
    assert pack.voltage_v == replace(before.packs[0].voltage_v, quality=quality)
    assert pack.link is link
    assert snapshot.grid.power_w.quality is quality
    assert np.all(snapshot.cells.voltage_quality == quality)
    assert np.all(snapshot.cells.voltage_at_s == 5.0)
    assert snapshot.load_on[0] is (True if quality is Quality.GOOD else None)


def test_a_stuck_heartbeat_keeps_its_age_while_values_look_fresh():
    plant, io = bench()
    shot(io, 5.0)
    plant.inject("sensor_stuck", "p1")
    pack = shot(io, 15.0).packs[0]
    assert pack.heartbeat.at_s == 5.0
    assert pack.voltage_v.at_s == 15.0
    assert pack.link is Link.UP


def test_a_failed_sensor_is_bad_and_its_neighbours_good():
    plant, io = bench()
    plant.inject("temp_sensor_fail", "p1", value=1.0)
    cells = shot(io, 2.0).cells
    assert cells.temp_quality.tolist() == [0, Quality.BAD, 0, 0, 0, 0, 0, 0]
    assert np.all(cells.voltage_quality == Quality.GOOD)


def test_stop_leaves_converters_at_zero():
    _, io = bench()
    io.send((SetContactor(0, True),))
    for second in range(1, 5):
        shot(io, float(second))
    io.send((SetPower(0, 800.0),))
    assert shot(io, 6.0).converters[0].power_w.good > 700.0
    asyncio.run(io.stop())
    assert shot(io, 7.0).converters[0].setpoint_w.good == 0.0


def test_stop_frees_the_rectifier():
    plant, io = bench(make_site(SiteKind.DIRECT_BUS, 2))
    io.send((SetRectifier(0, 500.0, 3.0),))
    assert shot(io, 2.0).converters[0].setpoint_w.good == 500.0
    asyncio.run(io.stop())
    assert shot(io, 3.0).converters[0].setpoint_w.good > 50_000.0
    assert plant.converters[0].charge_limit_a == 40.0


def test_operator_requests_and_lateness_pass_through():
    _, io = bench()
    snapshot = io.snapshot(1.0, START_UTC, False, 0.4, ())
    assert snapshot.lateness_s == 0.4
    assert not snapshot.clock_ok
