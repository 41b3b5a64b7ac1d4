"""A server that takes only a few nodes at a time (node-opcua), read, watched and written."""

import asyncio

import pytest
from asyncua import ua

from ems.drivers.link import DeviceRefusal, PointWrite
from ems.drivers.opcua.limits import Limits, parts
from ems.model import Quality
from tests.drivers.foreign.battery import connected, device

READS, WRITES, MONITORED = 3, 1, 4


@pytest.fixture(scope="module")
def small_server(node_site):
    limits = {
        "maxNodesPerRead": READS,
        "maxNodesPerWrite": WRITES,
        "maxMonitoredItemsPerCall": MONITORED,
    }
    server = node_site.server("small", limits=limits)
    server.start()
    yield server
    server.kill()


def run(scene) -> None:
    asyncio.run(scene())


@pytest.mark.sockets
@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", ["batch", "subscription"])
def test_every_value_comes_although_the_server_takes_few_nodes_at_a_time(
    node_site, small_server, mode
):
    async def scene() -> None:
        async with connected(small_server, node_site.base, device(mode)) as (connection, port):
            assert connection.limits == Limits(READS, WRITES, MONITORED)
            found = [await port.read(block) for block in port.device.blocks]
            scalars = {name: value for part in found for name, value in part.scalars.items()}
            assert len(scalars) > max(READS, MONITORED)
            assert scalars["voltage_v"] == (52.9, Quality.GOOD)
            assert scalars["small"] == (-7.0, Quality.GOOD)
            assert scalars["broken"] == (None, Quality.BAD)

    run(scene)


@pytest.mark.sockets
@pytest.mark.timeout(400)
def test_writes_go_one_by_one_and_end_at_the_first_that_is_refused(node_site, small_server):
    async def scene() -> None:
        async with connected(small_server, node_site.base, device()) as (connection, port):
            points = port.device.points
            two = [PointWrite(points["setpoint"], 3.5), PointWrite(points["limits"], 9.0, 1)]
            await port.write(two)
            assert connection.sent_writes == 2
            with pytest.raises(DeviceRefusal, match="voltage_v"):
                await port.write([PointWrite(points["voltage_v"], 1.0), *two])
            assert connection.sent_writes == 3, "what comes after a refusal is not sent"

    run(scene)


@pytest.mark.sockets
@pytest.mark.timeout(400)
def test_the_server_of_these_tests_does_refuse_more(node_site, small_server):
    async def scene() -> None:
        async with connected(small_server, node_site.base, device()) as (connection, port):
            one = port._requests[port.device.blocks[0].key][0].NodesToRead[0]
            with pytest.raises(DeviceRefusal, match="BadTooManyOperations"):
                await connection.read(ua.ReadParameters(NodesToRead=[one] * (READS + 1)))

    run(scene)


@pytest.mark.parametrize(
    ("most", "split"),
    [
        pytest.param(0, ["abcde"], id="no limit"),
        pytest.param(6, ["abcde"], id="more than there are"),
        pytest.param(5, ["abcde"], id="just enough"),
        pytest.param(4, ["abcd", "e"], id="one too many"),
        pytest.param(1, ["a", "b", "c", "d", "e"], id="one by one"),
    ],
)
def test_parts_keep_the_order_and_the_limit(most, split):
    assert list(parts("abcde", most)) == split
    assert list(parts("", most)) == []
