"""A device that we do not ship, brought up from its manual and our documents alone.

The profile beside the manual was written by somebody who had seen neither the driver
nor the device; here it meets the device.
"""

import asyncio
import io as io_module
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ems import probe
from ems.clock import SystemClock
from ems.drivers.field import FieldIO
from ems.drivers.roles import compile_site
from ems.model import Contactor, Link, SetContactor
from ems.probe import view
from tests.drivers import bench as b
from tests.drivers.stranger.device import HanluBmu

PROFILE = Path(__file__).parent / "stranger" / "hanlu_hl_bmu3.yaml"


def site_with(port: int):
    """The demo site with the stranger in place of its first BMS, and nothing else awake."""
    site = b.modbus_only(b.demo_site())
    bms = replace(site.devices["bms1"], profile=str(PROFILE), port=port, unit_id=1)
    packs = (replace(site.packs[0], series_cells=16, reported_cells=16, reported_temps=3),)
    packs += site.packs[1:]
    return replace(site, devices={**site.devices, "bms1": bms}, packs=packs)


async def until(io: FieldIO, holds, what: str):
    clock = SystemClock()
    for _ in range(150):
        pack = io.snapshot(clock.monotonic_s(), clock.now_utc(), True, 0.0, ()).packs[0]
        if holds(pack):
            return pack
        await asyncio.sleep(0.1)
    pytest.fail(f"never: {what}; {pack}")


def test_what_is_read_is_true_and_a_command_wears_the_memory_once():
    async def scene():
        truth = HanluBmu()
        truth.current_a, truth.current_exponent = -12.34, -2
        truth.cell_v = [4.15] * 16
        await truth.start()
        site = site_with(truth.port)
        io = FieldIO(site, compile_site(site))
        await io.start()
        try:
            pack = await until(io, lambda p: p.link is Link.UP and p.soc_frac.good, "a reading")
            assert pack.voltage_v.good == pytest.approx(truth.pack_v, abs=0.01)
            assert pack.soc_frac.good == pytest.approx(truth.soc_percent / 100)
            assert pack.charge_limit_a.good == pytest.approx(truth.charge_limit_a)
            assert pack.discharge_limit_a.good == pytest.approx(truth.discharge_limit_a)
            assert pack.contactor.good == Contactor.OPEN
            io.send((SetContactor(0, close=True),))
            await until(io, lambda p: p.contactor.good == Contactor.CLOSED, "closed")
            assert truth.relay_closed
            assert truth.eeprom_writes == 1
            truth.current_a = -12.34
            pack = await until(io, lambda p: (p.current_a.good or 0.0) > 1.0, "discharge")
            assert pack.current_a.good == pytest.approx(12.34)
            beat = truth.host_beat
            await asyncio.sleep(3.0)
            assert truth.host_beat != beat
            assert truth.host_timeout_s == pytest.approx(10.0)
        finally:
            await io.stop()
            await truth.stop()

    asyncio.run(scene())


def test_a_probe_reads_all_of_it_and_says_what_to_do_about_a_sensor_that_is_not_fitted():
    async def scene():
        truth = HanluBmu()
        await truth.start()
        site = site_with(truth.port)
        packs = (replace(site.packs[0], reported_temps=4), *site.packs[1:])
        site = replace(site, packs=packs)
        devices = {"bms1": compile_site(site)["bms1"]}
        try:
            report = await probe.look(site, devices, SystemClock(), 0.2, 8.0)
            assert truth.eeprom_writes == 0
        finally:
            await truth.stop()
        (bms,) = report.devices
        assert bms.problem == ""
        advice = "if nothing is fitted there, say reported_temps: 3 in the site file"
        assert f"cell_temp_c: no good value in place 4 of 4; {advice}" in bms.notes
        assert not any("no good value of" in note for note in bms.notes)
        assert bms.withheld == ("our_beat (our counter)",), "its time-out is right already"
        console = Console(record=True, width=120, file=io_module.StringIO())
        console.print(view.render(report))
        shown = console.export_text()
        assert "serial_number 2303110417 " in " ".join(shown.split())
        assert "0 writes sent, 1 to bms1 stopped before the wire, as it should be" in shown

    asyncio.run(scene())


def test_another_model_behind_the_address_is_not_believed():
    async def scene():
        truth = HanluBmu()
        truth.model = "XX-1"
        await truth.start()
        site = site_with(truth.port)
        io = FieldIO(site, compile_site(site))
        await io.start()
        try:
            await asyncio.sleep(2.0)
            clock = SystemClock()
            seen = io.snapshot(clock.monotonic_s(), clock.now_utc(), True, 0.0, ()).packs[0]
            assert seen.soc_frac.good is None
            io.send((SetContactor(0, close=True),))
            await asyncio.sleep(1.0)
            assert truth.eeprom_writes == 0
        finally:
            await io.stop()
            await truth.stop()

    asyncio.run(scene())
