"""A device that we do not ship, brought up from its manual and our documents alone.

The profile beside the manual was written by somebody who had seen neither the driver
nor the device; here it meets the device.
"""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from ems.clock import SystemClock
from ems.drivers.field import FieldIO
from ems.drivers.roles import compile_site
from ems.model import Contactor, Link, SetContactor
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
