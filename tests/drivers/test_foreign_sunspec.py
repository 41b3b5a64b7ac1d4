"""A foreign SunSpec client, the SunSpec Alliance's own, finds and reads our simulated PCS."""

import asyncio
from typing import Any

import pytest

from ems.model import SetPower
from tests.drivers.bench import Bench, bench, demo_site, modbus_only

client = pytest.importorskip("sunspec2.modbus.client")

pytestmark = pytest.mark.sockets


def scan(b: Bench, name: str) -> dict[int, Any]:
    """Models of a device by id, found by walking its chain, with what they read."""
    spec = b.site.devices[name]
    device = client.SunSpecModbusClientDeviceTCP(
        slave_id=spec.unit_id, ipaddr=spec.host, ipport=spec.port, timeout=5.0
    )
    try:
        device.scan()
        return {model.model_id: model for model in device.model_list}
    finally:
        device.close()


def test_the_chain_is_walked_to_its_end_and_every_value_is_the_plants():
    async def scene() -> None:
        async with bench(modbus_only(demo_site())) as b:
            await b.close_contactors()
            (result,) = await b.carry_out(SetPower(0, 2000.0))
            assert result.ok, result
            await b.advance(5.0)
            found = await asyncio.to_thread(scan, b, "pcs1")
            output = b.plant.converters[0]
            assert {1, 701, 704, 714} <= found.keys()
            assert found[1].points["Mn"].value
            assert found[701].points["W"].cvalue == pytest.approx(output.power_w, abs=1.0)
            assert found[704].points["WSet"].cvalue == 2000
            assert found[704].points["WSetEna"].value == 1
            assert found[704].points["WSetRvrtTms"].value > 0, "the dead-man runs"
            port = found[714].groups["Prt"][0]
            assert port.points["DCV"].cvalue == pytest.approx(output.dc_voltage_v, abs=0.1)
            assert port.points["DCA"].cvalue == pytest.approx(output.dc_current_a, abs=0.1)

    asyncio.run(scene())
