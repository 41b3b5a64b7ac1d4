"""The Sinexcel map behind a real socket: steps of 100 W, one register per write, its time-out."""

import asyncio
from dataclasses import replace

import pytest

from ems.model import ConverterState, SetPower
from ems.site import Site
from tests.drivers.bench import bench, demo_site, modbus_only

pytestmark = pytest.mark.sockets


def sinexcel_site() -> Site:
    """The demo site with its first PCS on the Sinexcel map."""
    site = modbus_only(demo_site())
    pcs1 = replace(site.devices["pcs1"], profile="pcs_sinexcel")
    return replace(site, devices={**site.devices, "pcs1": pcs1})


@pytest.mark.parametrize(
    ("wanted_w", "told_w"),
    [
        pytest.param(1999.0, 1900.0, id="discharge, rounded towards zero"),
        pytest.param(-1999.0, -1900.0, id="charge, rounded towards zero"),
        pytest.param(99.0, 0.0, id="less than a step"),
        pytest.param(1900.0, 1900.0, id="a whole step"),
    ],
)
def test_a_command_reaches_the_plant_in_its_step_and_is_read_back(wanted_w, told_w):
    async def scene() -> None:
        async with bench(sinexcel_site()) as b:
            await b.close_contactors()
            (result,) = await b.carry_out(SetPower(0, wanted_w))
            assert result.ok, result
            await b.advance(3.0)
            assert b.plant.converters[0].setpoint_w == told_w
            found = (await b.polled()).converters[0]
            assert found.setpoint_w.value == told_w
            assert found.power_w.value == pytest.approx(b.plant.converters[0].power_w, abs=5.0)

    asyncio.run(scene())


def test_its_time_out_is_set_before_it_gets_power():
    async def scene() -> None:
        site = sinexcel_site()
        async with bench(site) as b:
            wanted_s = site.converters[0].device_timeout_s
            read = b.io.images["pcs1"].read
            await b.until(
                lambda s: read("ems_timeout_s", s.now_s).value == wanted_s, "register 327 is set"
            )

    asyncio.run(scene())


def test_an_inverter_at_fault_is_told_nothing_but_zero():
    async def scene() -> None:
        async with bench(sinexcel_site()) as b:
            await b.close_contactors()
            b.plant.inject("pcs_fault", b.site.converters[0].id, 60.0)
            await b.advance(2.0)
            await b.until(
                lambda s: s.converters[0].state.value == ConverterState.FAULT, "the fault is seen"
            )
            (refused,) = await b.carry_out(SetPower(0, 1000.0))
            assert (refused.ok, refused.reason) == (
                False,
                "state is 4, not standby or run or island",
            )
            assert b.plant.converters[0].setpoint_w == 0.0

    asyncio.run(scene())
