"""CPU of one read of 125 registers, against a bare pymodbus client on the same loop.

Both ask the same libmodbus server (a C program in a process of its own). Ours once as
the transport alone, with its validation, and once as the whole poll: read, validate,
decode 125 points, judge their quality, put them into the process image.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from pymodbus.client import AsyncModbusTcpClient

from benchmarks.sections import Figure
from ems.drivers.modbus.port import ModbusPort
from ems.drivers.modbus.tcp import TcpConnection
from ems.drivers.serving.image import DeviceImage
from tests.drivers.foreign.libmodbus import tcp_server
from tests.drivers.handmade import block, made

TITLE = "one read of 125 registers over TCP"
GOAL = 1.15
STRETCH = 0.6
COUNT = 125
READS = 2000
ROUNDS = 5


def run() -> list[Figure]:
    """CPU in µs and ratios; the best of several interleaved rounds of each."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    device = made(block("all", *(f"p{n}" for n in range(COUNT)), start=100))
    image = DeviceImage.of(device.blocks)
    async with tcp_server() as port:
        bare = AsyncModbusTcpClient("127.0.0.1", port=port)
        await bare.connect()
        ours = TcpConnection("127.0.0.1", port, 0.5)
        await ours.connect()
        unit = ModbusPort(ours, device)

        async def poll() -> None:
            values = await unit.read(device.blocks[0])
            assert values is not None
            image.store(device.blocks[0], values, 0.0)

        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "bare": lambda: bare.read_holding_registers(100, count=COUNT, device_id=1),
            "read": lambda: ours.read(1, "holding", 100, COUNT),
            "poll": poll,
        }
        best_us = dict.fromkeys(calls, float("inf"))
        for _ in range(ROUNDS):
            for name, call in calls.items():
                best_us[name] = min(best_us[name], await _cpu_us(call))
        await ours.close()
        bare.close()
    return [
        Figure("bare pymodbus async, CPU", best_us["bare"], "µs"),
        Figure("ours: read and validate, CPU", best_us["read"], "µs"),
        Figure("ours: whole poll, CPU", best_us["poll"], "µs"),
        Figure("read and validate / bare", best_us["read"] / best_us["bare"], "×", STRETCH),
        Figure("whole poll / bare", best_us["poll"] / best_us["bare"], "×", GOAL),
    ]


async def _cpu_us(call: Callable[[], Awaitable[object]]) -> float:
    began_s = time.process_time()
    for _ in range(READS):
        await call()
    return 1e6 * (time.process_time() - began_s) / READS
