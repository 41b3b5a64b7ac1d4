"""A server that is not ours (node-opcua), encrypted: read, subscribed and written by us."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from ems.clock import SystemClock
from ems.drivers.link import DeviceRefusal, LinkDown, PointWrite
from ems.drivers.opcua import connection as connection_module
from ems.drivers.opcua.connection import OpcUaConnection
from ems.drivers.opcua.port import OpcUaPort
from ems.drivers.opcua.security import POLICIES
from ems.drivers.serving.image import DeviceImage
from ems.drivers.serving.member import Member
from ems.drivers.serving.owner import Owner
from ems.model import Contactor, Link, Quality
from tests.drivers.foreign.battery import TIMEOUT_S, connected, device

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(400)]

PATIENCE_S = 20.0
MODES = ("batch", "subscription")


async def everything(port: OpcUaPort) -> tuple[dict, dict]:
    """(scalars, arrays) of all blocks."""
    scalars, arrays = {}, {}
    for block in port.device.blocks:
        found = await port.read(block)
        scalars.update(found.scalars)
        arrays.update(found.arrays)
    return scalars, arrays


async def until(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    loop = asyncio.get_running_loop()
    until_s = loop.time() + PATIENCE_S
    while not await holds():
        assert loop.time() < until_s, f"never happened: {what}"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("policy", POLICIES)
def test_every_value_with_its_quality(node_site, node_server, policy, mode):
    async def scene() -> None:
        security = replace(node_site.by_password, policy=policy)
        async with connected(node_server, security, device(mode)) as (_, port):
            scalars, arrays = await everything(port)
        assert scalars["voltage_v"] == (52.9, Quality.GOOD)
        assert scalars["current_a"] == (-10.5, Quality.GOOD)
        assert scalars["soc_frac"] == (0.635, Quality.GOOD)
        assert scalars["contactor"] == (float(Contactor.CLOSED), Quality.GOOD)
        assert scalars["heartbeat"] == (41.0, Quality.GOOD)
        assert scalars["small"] == (-7.0, Quality.GOOD)
        assert scalars["word"] == (65_000.0, Quality.GOOD)
        assert scalars["single"] == (1.5, Quality.GOOD)
        assert scalars["flag"] == (1.0, Quality.GOOD)
        assert scalars["broken"] == (None, Quality.BAD), "Bad status: no value"
        assert scalars["doubtful"] == (2.5, Quality.UNCERTAIN)
        assert scalars["text"] == (None, Quality.BAD), "a text is no number"
        volts, quality = arrays["cell_voltage_v"]
        assert volts == pytest.approx([3.3 + 0.001 * k for k in range(16)])
        assert (quality == Quality.GOOD).all()
        assert list(arrays["cell_temp_c"][0]) == [24.5, 25.0, 25.5, -3.0]

    asyncio.run(scene())


@pytest.mark.parametrize("mode", MODES)
def test_values_and_qualities_that_change(node_site, node_server, mode):
    async def scene() -> None:
        async with connected(node_server, node_site.by_certificate, device(mode)) as (_, port):

            async def shows(name: str, value: object, quality: Quality) -> None:
                async def holds() -> bool:
                    return (await everything(port))[0][name] == (value, quality)

                await until(holds, f"{name} {value} {quality.name}")

            say = asyncio.to_thread
            await say(node_server.show, "voltage", 51.5)
            await shows("voltage_v", 51.5, Quality.GOOD)
            await say(node_server.show, "voltage", 51.5, "BadCommunicationError")
            await shows("voltage_v", None, Quality.BAD)
            await say(node_server.show, "voltage", 52.9, "UncertainInitialValue")
            await shows("voltage_v", 52.9, Quality.UNCERTAIN)
            await say(node_server.show, "voltage", 52.9)
            await shows("voltage_v", 52.9, Quality.GOOD)
            await say(node_server.show, "cell_voltages", [3.0] * 15)
            arrays = (await everything(port))[1]

            async def too_short() -> bool:
                nonlocal arrays
                arrays = (await everything(port))[1]
                return bool((arrays["cell_voltage_v"][1] == Quality.BAD).all())

            await until(too_short, "15 of 16 cells are no cells")
            await say(node_server.show, "cell_voltages", [3.3 + 0.001 * k for k in range(16)])

    asyncio.run(scene())


def test_unchanged_values_of_a_living_subscription_stay_good(node_site, node_server):
    async def scene() -> None:
        async with connected(node_server, node_site.base, device("subscription")) as (_, port):
            changes = port._subscription.changes
            await asyncio.sleep(2.5 * port._subscription.silent_after_s)
            assert (await everything(port))[0]["voltage_v"] == (52.9, Quality.GOOD)
            assert port._subscription.changes == changes, "nothing was sent meanwhile"

    asyncio.run(scene())


def test_a_subscription_that_falls_silent_ends_the_link(node_site):
    server = node_site.server("silent")
    server.start()

    async def scene() -> None:
        async with connected(server, node_site.base, device("subscription")) as (_, port):
            with server.paused():
                await asyncio.sleep(port._subscription.silent_after_s + 0.1)
                with pytest.raises(LinkDown, match="nothing from the subscription for"):
                    await port.read(port.device.blocks[0])

    try:
        asyncio.run(scene())
    finally:
        server.kill()


@pytest.mark.parametrize("policy", POLICIES)
def test_writes(node_site, node_server, policy):
    async def scene() -> None:
        security = replace(node_site.by_password, policy=policy)
        async with connected(node_server, security, device()) as (connection, port):
            points = port.device.points
            await port.write(
                [PointWrite(points["setpoint"], 12.5), PointWrite(points["limits"], 7.0, 1)]
            )
            scalars, arrays = await everything(port)
            assert scalars["setpoint"] == (12.5, Quality.GOOD)
            assert list(arrays["limits"][0]) == [1.0, 7.0, 3.0], "one element of an array"
            await port.write(
                [PointWrite(points["setpoint"], 0.0), PointWrite(points["limits"], 2.0, 1)]
            )
            assert connection.sent_writes == 2
            with pytest.raises(DeviceRefusal, match=r"voltage_v \(s=p1.voltage\): BadNotWritable"):
                await port.write([PointWrite(points["voltage_v"], 1.0)])
            wrong = replace(points["setpoint"], type="int32")
            with pytest.raises(DeviceRefusal, match=r"setpoint .*: BadTypeMismatch"):
                await port.write([PointWrite(wrong, 1)])
            absent = replace(points["setpoint"], node="s=p1.nothing")
            with pytest.raises(DeviceRefusal, match=r"setpoint \(s=p1.nothing\): BadNodeIdUnknown"):
                await port.write([PointWrite(absent, 1.0)])

    asyncio.run(scene())


@pytest.mark.parametrize("mode", MODES)
def test_the_keys_of_a_long_connection_are_renewed_without_a_gap(
    node_site, node_server, monkeypatch, mode
):
    renewed = []

    class Hasty(connection_module.Client):
        """A client whose secure channel lives 4 s instead of an hour."""

        def __init__(self, *args, **more):
            super().__init__(*args, **more)
            self.secure_channel_timeout = 4_000

        async def open_secure_channel(self, renew=False):
            await super().open_secure_channel(renew)
            renewed.append(renew)

    monkeypatch.setattr(connection_module, "Client", Hasty)

    async def scene() -> None:
        async with connected(node_server, node_site.base, device(mode)) as (connection, port):
            async with asyncio.timeout(PATIENCE_S):
                while True not in renewed:
                    await everything(port)
                    await asyncio.sleep(0.05)
            for _ in range(20):
                assert (await everything(port))[0]["voltage_v"] == (52.9, Quality.GOOD)
                await asyncio.sleep(0.05)
            assert connection.connected

    asyncio.run(scene())


def test_missing_nodes_are_named_once_and_the_others_live_on(node_site, node_server, caplog):
    made_device = device()
    fast = made_device.blocks[0]
    nodes = ("s=p1.nothing", *fast.nodes[1:])
    changed = replace(made_device, blocks=(replace(fast, nodes=nodes), *made_device.blocks[1:]))

    async def scene() -> None:
        async with connected(node_server, node_site.base, changed) as (_, port):
            await port.prepare()
            scalars, _ = await everything(port)
        name = fast.scalars[0][0].name
        assert scalars[name] == (None, Quality.BAD)
        assert [q for n, (_, q) in scalars.items() if n.endswith("_a")] == [Quality.GOOD] * 3

    asyncio.run(scene())
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert told == ["battery: not readable on the server: s=p1.nothing (BadNodeIdUnknown)"]


def test_a_source_that_stands_still_is_not_believed_where_asked(node_site, node_server):
    judged = device(source_age_max_s=0.5)

    async def scene() -> None:
        async with connected(node_server, node_site.base, judged) as (_, port):
            await asyncio.sleep(0.6)
            await asyncio.to_thread(node_server.show, "current", -10.5)
            scalars, arrays = await everything(port)
            assert scalars["current_a"] == (-10.5, Quality.GOOD), "stamped just now"
            assert scalars["voltage_v"] == (None, Quality.BAD), "stamped long ago"
            assert (arrays["cell_temp_c"][1] == Quality.BAD).all()

    asyncio.run(scene())


def test_a_write_that_was_not_answered_ends_the_connection(node_site):
    server = node_site.server("paused")
    server.start()

    async def scene() -> None:
        async with connected(server, node_site.base, device()) as (connection, port):
            told = []
            connection.on_lost = lambda: told.append("lost")
            point = port.device.points["setpoint"]
            with server.paused(), pytest.raises(LinkDown, match=r"write: no answer within 0\.9 s"):
                await port.write([PointWrite(point, 5.0)])
            assert not connection.connected
            assert told == ["lost"], "its owner is told at once, and once"
            with pytest.raises(LinkDown, match="not connected"):
                await port.write([PointWrite(point, 6.0)])
            assert connection.sent_writes == 1

    try:
        asyncio.run(scene())
    finally:
        server.kill()


@pytest.mark.parametrize("mode", MODES)
def test_a_server_killed_and_started_again_is_found_by_ourselves(node_site, mode):
    server = node_site.server(f"killed-{mode}", period_ms=100)
    server.start()
    compiled = device(mode)
    connection = OpcUaConnection(server.url, TIMEOUT_S, node_site.by_password)
    image = DeviceImage.of(compiled.blocks)
    member = Member("battery", OpcUaPort(connection, compiled), image, 10.0)
    clock = SystemClock()
    owner = Owner(connection, [member], clock, lambda _: None, random.Random(1))

    async def scene() -> None:
        task = asyncio.create_task(owner.run())

        async def link(wanted: Link) -> None:
            async def holds() -> bool:
                return image.link is wanted

            await until(holds, wanted.name)

        async def beats() -> None:
            seen = image.heartbeat(clock.monotonic_s()).value

            async def moved() -> bool:
                beat = image.heartbeat(clock.monotonic_s())
                return beat.quality is Quality.GOOD and beat.value != seen

            await until(moved, "a moving heartbeat")

        await link(Link.UP)
        await beats()
        await asyncio.to_thread(server.kill)
        await link(Link.REFUSED)
        assert image.read("voltage_v", clock.monotonic_s()).quality is Quality.MISSING
        await asyncio.to_thread(server.start)
        await link(Link.UP)
        await beats()
        assert image.read("voltage_v", clock.monotonic_s()).value == 52.9
        owner.request_stop()
        await task
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others, "nothing of the library is left running"

    try:
        asyncio.run(scene())
    finally:
        server.kill()
