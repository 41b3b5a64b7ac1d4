"""A foreign server, libmodbus, polled and commanded by our driver over TCP and a serial line."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ems.clock import SystemClock
from ems.drivers.connect import connection
from ems.drivers.link import DeviceRefusal
from ems.drivers.modbus.port import ModbusPort
from ems.drivers.rules import LinkRules, Readback, Step, WriteRules
from ems.drivers.serving.image import DeviceImage
from ems.drivers.serving.owner import Member, Order, Owner
from ems.model import CommandResult, SetPower
from ems.site import DeviceSpec
from tests.drivers.foreign.libmodbus import rtu_server, tcp_server
from tests.drivers.foreign.ptyline import pty_line
from tests.drivers.handmade import array_block, block, made

pytestmark = pytest.mark.sockets
UNIT = 7
BAUD = 115_200
STATUS = block("status", "power_w", "setpoint_w", start=1000, period_s=0.05)
CELLS = array_block("cells", "cell_voltage_v", 125, start=2000)
WRITES = {"power": WriteRules((Step("setpoint_w", "power_w"),), Readback("setpoint_w", 0.0))}


@contextlib.asynccontextmanager
async def over_tcp() -> AsyncIterator[DeviceSpec]:
    async with tcp_server() as port:
        yield DeviceSpec("foreign", "", "modbus_tcp", "127.0.0.1", port, UNIT, "")


@contextlib.asynccontextmanager
async def over_a_serial_line() -> AsyncIterator[DeviceSpec]:
    with pty_line() as line:
        async with rtu_server(line.theirs, BAUD, UNIT):
            options = {"baud": str(BAUD)}
            yield DeviceSpec("foreign", "", "modbus_rtu", "", 0, UNIT, line.ours, options)


Peer = Callable[[], contextlib.AbstractAsyncContextManager[DeviceSpec]]
peers = pytest.mark.parametrize("peer", [over_tcp, over_a_serial_line])


def play(peer: Peer, write_function: int, scene: Callable[..., Awaitable[None]]) -> None:
    async def run() -> None:
        async with peer() as spec:
            link = LinkRules("modbus", write_function=write_function)
            device = made(STATUS, CELLS, spec=spec, writes=WRITES, link=link)
            line, port_type = connection([device], observe=False)
            assert port_type is ModbusPort
            image = DeviceImage.of(device.blocks)
            member = Member("foreign", port_type(line, device), image, 10.0)
            results: list[CommandResult] = []
            clock = SystemClock()
            owner = Owner(line, [member], clock, results.append, random.Random(0))
            task = asyncio.create_task(owner.run())
            async with asyncio.timeout(10.0):
                while not member.prepared:
                    await asyncio.sleep(0.01)
                await scene(owner, member, results, clock)
            owner.request_stop()
            await asyncio.wait_for(task, 5.0)

    asyncio.run(run())


@peers
@pytest.mark.parametrize("function", [6, 16])
def test_a_foreign_server_is_read_and_written(peer, function):
    async def scene(owner, member, results, clock) -> None:
        now_s = clock.monotonic_s()
        assert member.image.read("power_w", now_s).value == 1000.0
        assert list(member.image.arrays["cell_voltage_v"].values) == list(range(2000, 2125))
        for power_w in (500.0, -500.0):
            results.clear()
            context = {"power_w": power_w}
            order = Order(SetPower(0, power_w), "power", context, 0, clock.monotonic_s())
            owner.submit(member, order)
            while not results:
                await asyncio.sleep(0.01)
            assert results[0].reason == ""
            shown = member.image.read("setpoint_w", clock.monotonic_s()).value
            assert shown == power_w, "written by us, kept and shown by libmodbus"

    play(peer, function, scene)


@peers
def test_its_refusal_is_understood(peer):
    async def alone() -> None:
        async with peer() as spec:
            device = made(STATUS, spec=spec)
            line, _ = connection([device], observe=False)
            await line.connect()
            beyond = block("beyond", "a", "b", start=65_535)
            with pytest.raises(DeviceRefusal, match="exception 2"):
                await ModbusPort(line, device).read(beyond)
            await line.close()

    asyncio.run(alone())
