"""OPC UA over real sockets: status codes, deadlines, and nothing delivered late."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from asyncua import ua

from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice, ProfileMisfit
from ems.drivers.language import load
from ems.drivers.link import (
    BadAnswer,
    DeviceRefusal,
    LinkDown,
    NoAnswer,
    PointWrite,
    WriteForbidden,
)
from ems.drivers.opcua.port import OpcUaPort, connection_for
from ems.model import Contactor, Link, Quality, SetContactor
from ems.site import Site
from tests.drivers.bench import Bench, bench, demo_site
from tests.drivers.pki import made

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


def compiled(site: Site, **link: object) -> CompiledDevice:
    """The OPC UA battery of the demo site, with other rules for its link."""
    spec = site.devices["bms3"]
    counts = {"reported_cells": 48, "reported_temps": 12}
    device = compile_device(load(spec.profile), spec, counts)
    return replace(device, link=replace(device.link, **link))


def test_the_connection_by_itself():
    async def scene(b: Bench) -> None:
        device = compiled(b.site)
        (listener,) = b.servers._opcua.values()
        connection = connection_for([device], 0.5, observe=False)
        port = OpcUaPort(connection, device)
        empty = ua.ReadParameters()
        with pytest.raises(LinkDown):
            await connection.read(empty)
        await connection.connect()
        assert connection.days_left() == {}, "no certificates, no dates"
        await port.prepare()
        other = compiled(b.site, namespace_uri="urn:else")
        with pytest.raises(BadAnswer, match="no namespace urn:else"):
            await OpcUaPort(connection, other).prepare()
        command = device.points["contactor_command"]
        unknown = PointWrite(replace(command, node="s=p3.nothing"), 1)
        with pytest.raises(DeviceRefusal, match=r"contactor_command \(s=p3.nothing\): Bad"):
            await port.write([unknown])

        listener.silent = True
        await listener.refresh()
        with pytest.raises(NoAnswer, match=r"within 0\.5 s"):
            await port.read(device.blocks[0])
        listener.silent = False
        await listener.refresh()
        await connection.close()
        with pytest.raises(LinkDown):
            await port.read(device.blocks[0])

        observing = connection_for([device], 0.5, observe=True)
        await observing.connect()
        port = OpcUaPort(observing, device)
        await port.prepare()
        with pytest.raises(WriteForbidden):
            await port.write([PointWrite(command, 2)])
        assert (observing.refused_writes, observing.sent_writes) == (1, 0)
        await observing.close()

    play(scene)


def test_what_a_cut_connection_has_not_sent_yet_never_arrives():
    """A write too large for the buffers on the way: most of it is still ours at the deadline."""

    async def scene(b: Bench) -> None:
        device = compiled(b.site)
        (listener,) = b.servers._opcua.values()
        connection = connection_for([device], 0.5, observe=False)
        await connection.connect()
        index = await connection.namespace_index(device.link.namespace_uri)

        def write(node: str, content: ua.Variant) -> ua.WriteValue:
            return ua.WriteValue(
                NodeId=ua.NodeId.from_string(f"ns={index};s=p3.{node}"),
                AttributeId=ua.AttributeIds.Value,
                Value=ua.DataValue(content),
            )

        close = write("contactor_command", ua.Variant(int(Contactor.CLOSED), ua.VariantType.Int32))
        ballast = write("nothing", ua.Variant(bytes(32_000_000), ua.VariantType.ByteString))
        listener.silent = True
        await listener.refresh()
        with pytest.raises(LinkDown, match="connection cut"):
            await connection.write([ballast, close])
        listener.silent = False
        await listener.refresh()
        async with asyncio.timeout(10.0):
            while len(listener._server.bserver.clients) > 1:
                await asyncio.sleep(0.02)  # until the server has read it all and lost us
        await b.all_up()
        await b.advance(5.0)
        assert b.plant.bms[PACK].contactor is Contactor.OPEN
        await connection.connect()
        (code,) = await connection.write([close])
        assert code.is_good(), "the same write in time is carried out"
        await b.advance(5.0)
        assert b.plant.bms[PACK].contactor is Contactor.CLOSED
        await connection.close()

    play(scene)


def test_a_subscription_brings_every_value_and_its_changes():
    async def scene(b: Bench) -> None:
        device = compiled(b.site, opcua_mode="subscription", publish_ms=100)
        connection = connection_for([device], 0.5, observe=False)
        await connection.connect()
        port = OpcUaPort(connection, device)
        await port.prepare()
        fast, slow = device.blocks

        async def reads(name: str, wanted: object) -> None:
            async with asyncio.timeout(5.0):
                while (await port.read(fast)).scalars[name] != wanted:
                    await asyncio.sleep(0.02)

        bms = b.plant.bms[PACK]
        assert (await port.read(fast)).scalars["voltage_v"][0] == pytest.approx(bms.voltage_v)
        cells, quality = (await port.read(slow)).arrays["cell_voltage_v"]
        assert cells == pytest.approx(bms.cell_voltage_v)
        assert (quality == Quality.GOOD).all()
        await show(b, "voltage", ua.DataValue(ua.Variant(170.5)))
        await reads("voltage_v", (170.5, Quality.GOOD))
        bad = ua.StatusCode(ua.StatusCodes.BadSensorFailure)
        await show(b, "voltage", ua.DataValue(ua.Variant(171.0), StatusCode=bad))
        await reads("voltage_v", (None, Quality.BAD))
        await connection.close()
        with pytest.raises(LinkDown):
            await port.read(fast)

    play(scene)


@pytest.fixture
def keys(tmp_path) -> Path:
    """Keys and trust of both sides."""
    server = made("simulator", "urn:test:simulator", key=1)
    own = made("controller", "urn:test:ems", key=2)
    server.files(tmp_path / "sim", "server")
    (tmp_path / "sim" / "trusted").mkdir()
    (tmp_path / "sim" / "trusted" / "controller.pem").write_bytes(own.pem)
    (tmp_path / "sim" / "users").write_text("ems:correct\n")
    own.files(tmp_path, "own")
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "simulator.pem").write_bytes(server.pem)
    (tmp_path / "password").write_text("correct\n")
    return tmp_path


def secured(keys: Path) -> Site:
    """The demo site with an encrypted connection to its OPC UA battery."""
    site = demo_site()
    options = {
        **site.devices["bms3"].options, "policy": "Aes256Sha256RsaPss", "user": "ems",
        "certificate": str(keys / "own.pem"), "key": str(keys / "own.key"),
        "trust": str(keys / "trusted"), "password_file": str(keys / "password"),
    }  # fmt: skip
    bms3 = replace(site.devices["bms3"], options=options)
    return replace(site, devices={**site.devices, "bms3": bms3})


def test_a_whole_site_over_an_encrypted_connection(keys, caplog):
    async def scene() -> None:
        async with bench(secured(keys), pki=keys / "sim") as b:
            (result,) = await b.carry_out(SetContactor(PACK, close=True))
            assert result.reason == ""
            expiring = {(device, whose) for device, whose, _ in b.io.certificates()}
            assert expiring == {("bms3", "own"), ("bms3", "server")}
            await b.advance(5.0)
            pack = (await b.polled()).packs[PACK]
            assert pack.contactor.value == Contactor.CLOSED
            (keys / "password").write_text("changed\n")
            b.plant.inject("pack_lost", "p3", 5.0)
            await b.advance(1.0)
            await b.until(lambda s: s.packs[PACK].link is Link.REFUSED, "refused")
            await b.advance(10.0)
            await b.until(lambda s: s.packs[PACK].link is Link.SILENT, "the login refused")
            (keys / "password").write_text("correct\n")
            await b.all_up()

    asyncio.run(scene())


def test_devices_of_one_server_are_secured_alike(keys):
    device = compiled(secured(keys))
    openly = replace(device, spec=replace(device.spec, options={"security": "none"}))
    assert connection_for([device, device], 0.5, observe=False).security.user == "ems"
    with pytest.raises(ProfileMisfit, match="on the same server, but their security options diff"):
        connection_for([device, openly], 0.5, observe=False)


def test_the_certificate_a_server_shows_can_be_fetched(keys, tmp_path):
    async def scene() -> None:
        async with bench(secured(keys), pki=keys / "sim") as b:
            spec = b.site.devices["bms3"]
            url = f"opc.tcp://127.0.0.1:{spec.port}{spec.path}"
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "ems.drivers.opcua", url, str(tmp_path / "shown.pem"),
                stdout=subprocess.PIPE,
            )  # fmt: skip
            said, _ = await process.communicate()
            assert b"CN=simulator, SHA-256 " in said
        shown = (tmp_path / "shown.pem").read_bytes()
        assert shown == (keys / "trusted" / "simulator.pem").read_bytes()

    asyncio.run(scene())


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
