"""OPC UA over real sockets: status codes, deadlines, and nothing delivered late."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from asyncua import ua

from ems.drivers import profile
from ems.drivers.compiler import compile_device
from ems.drivers.link import BadAnswer, DeviceRefusal, LinkDown, NoAnswer, WriteForbidden
from ems.drivers.opcua import OpcUaConnection, OpcUaPort
from ems.model import Contactor, Link, Quality, SetContactor
from tests.drivers.bench import Bench, bench, demo_site

pytestmark = pytest.mark.sockets
PACK = 2
"""The pack of the demo site behind OPC UA."""


def play(scene: Callable[[Bench], Awaitable[None]]) -> None:
    async def run() -> None:
        async with bench(demo_site()) as made:
            await scene(made)

    asyncio.run(run())


async def show(b: Bench, node: str, value: ua.DataValue) -> None:
    """Put a value of our choice on the server, past the plant."""
    (listener,) = b.servers._opcua.values()
    index = await listener._server.get_namespace_index("urn:secondlife-ems:sim")
    await listener._server.write_attribute_value(
        ua.NodeId.from_string(f"ns={index};s=p3.{node}"), value
    )


def test_values_commands_and_losses():
    async def scene(b: Bench) -> None:
        (result,) = await b.carry_out(SetContactor(PACK, close=True))
        assert result.reason == ""
        await b.advance(5.0)
        assert b.plant.bms[PACK].contactor is Contactor.CLOSED
        found, bms = await b.polled(), b.plant.bms[PACK]
        pack = found.packs[PACK]
        assert pack.voltage_v.value == pytest.approx(bms.voltage_v)
        assert pack.current_a.value == pytest.approx(bms.current_a)
        assert pack.soc_frac.value == pytest.approx(bms.soc_frac)
        assert pack.heartbeat.value == bms.heartbeat
        assert pack.contactor.value == Contactor.CLOSED
        cells = found.cells.voltage_v[b.site.layout.cell_slices[PACK]]
        assert cells == pytest.approx(bms.cell_voltage_v)

        b.plant.inject("pack_lost", "p3", 20.0)
        await b.advance(1.0)
        found = await b.until(lambda s: s.packs[PACK].link is Link.REFUSED, "refused")
        assert found.packs[PACK].voltage_v.quality is Quality.MISSING
        (result,) = await b.carry_out(SetContactor(PACK, close=False))
        assert result.reason == "the device is not connected"
        await b.advance(30.0)
        await b.all_up()
        await b.polled()
        await b.advance(3.0)
        assert b.plant.bms[PACK].contactor is Contactor.CLOSED, "never delivered late"

    play(scene)


def test_a_bad_status_is_never_shown_as_a_good_value():
    async def scene(b: Bench) -> None:
        bad = ua.StatusCode(ua.StatusCodes.BadSensorFailure)
        doubt = ua.StatusCode(ua.StatusCodes.UncertainLastUsableValue)
        await show(b, "voltage", ua.DataValue(ua.Variant(170.0), StatusCode=bad))
        await show(b, "current", ua.DataValue(ua.Variant(5.0), StatusCode=doubt))
        await show(b, "soc", ua.DataValue(ua.Variant(float("nan"))))
        await show(b, "cell_voltages", ua.DataValue(ua.Variant([3.9] * 48), StatusCode=bad))
        await show(b, "cell_temps", ua.DataValue(ua.Variant([25.0] * 11)))
        pack = (found := await b.polled()).packs[PACK]
        assert (pack.voltage_v.value, pack.voltage_v.quality) == (None, Quality.BAD)
        assert (pack.current_a.value, pack.current_a.quality) == (5.0, Quality.UNCERTAIN)
        assert (pack.soc_frac.value, pack.soc_frac.quality) == (None, Quality.BAD), "NaN stays out"
        layout = b.site.layout
        assert (found.cells.voltage_quality[layout.cell_slices[PACK]] == Quality.BAD).all()
        assert (found.cells.temp_quality[layout.temp_slices[PACK]] == Quality.BAD).all(), "11 of 12"
        assert pack.soh_frac.quality is Quality.GOOD, "its neighbours are not touched"

    play(scene)


def test_the_connection_by_itself():
    async def scene(b: Bench) -> None:
        spec = b.site.devices["bms3"]
        url = f"opc.tcp://{spec.host}:{spec.port}{spec.path}"
        counts = {"reported_cells": 48, "reported_temps": 12}
        device = compile_device(profile.load(spec.profile), spec, counts)
        (listener,) = b.servers._opcua.values()

        connection = OpcUaConnection(url, 0.5)
        port = OpcUaPort(connection, device)
        with pytest.raises(LinkDown):
            await connection.read([])
        await connection.connect()
        await port.prepare()
        other = replace(device, conduct=replace(device.conduct, namespace_uri="urn:else"))
        with pytest.raises(BadAnswer, match="no namespace urn:else"):
            await OpcUaPort(connection, other).prepare()
        unknown = ua.NodeId.from_string("ns=2;s=p3.nothing")
        (value,) = await connection.read([unknown])
        assert not value.StatusCode.is_good(), "an unknown node is an error, not a None"
        with pytest.raises(DeviceRefusal, match="write refused: Bad"):
            await connection.write([unknown], [ua.Variant(1, ua.VariantType.Int32)])

        listener.silent = True
        await listener.refresh()
        with pytest.raises(NoAnswer, match=r"within 0\.5 s"):
            await port.read(device.blocks[0])
        listener.silent = False
        await listener.refresh()
        await connection.close()
        with pytest.raises(LinkDown):
            await port.read(device.blocks[0])

        observing = OpcUaConnection(url, 0.5, observe=True)
        await observing.connect()
        with pytest.raises(WriteForbidden):
            await observing.write([unknown], [ua.Variant(1, ua.VariantType.Int32)])
        assert observing.refused_writes == 1
        await observing.close()

    play(scene)


def test_a_site_without_opc_ua_does_not_load_its_library():
    code = (
        "import asyncio, sys\n"
        "from ems.drivers.field import FieldIO\n"
        "from ems.drivers.roles import compile_site\n"
        "from tests.drivers.bench import demo_site, modbus_only\n"
        "async def main():\n"
        "    site = modbus_only(demo_site())\n"
        "    io = FieldIO(site, compile_site(site))\n"
        "    await io.start()\n"
        "    await io.stop()\n"
        "asyncio.run(main())\n"
        "print([m for m in ('asyncua', 'pandas', 'scipy', 'cvxpy') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
