"""64 devices with 4 blocks each, once a second: what it takes, and how old the values are."""

import asyncio
import random
import time

from benchmarks.sections import Figure
from ems.clock import SystemClock
from ems.drivers.connect import connection
from ems.drivers.serving.image import DeviceImage
from ems.drivers.serving.owner import Member, Owner
from ems.site import DeviceSpec
from tests.drivers.foreign.libmodbus import tcp_server
from tests.drivers.handmade import block, made

TITLE = "64 devices, 4 blocks each at 1 Hz"
DEVICES = 64
BLOCKS = 4
POINTS = 60
PERIOD_S = 1.0
SETTLE_S = 3.0
WATCH_S = 30.0
LOOK_S = 0.1
CORE_MAX = 0.05


def run() -> list[Figure]:
    """Share of one core, and ages at random moments."""
    return asyncio.run(_measure())


async def _measure() -> list[Figure]:
    blocks = [
        block(f"b{k}", *(f"p{k}_{n}" for n in range(POINTS)), start=200 * k, period_s=PERIOD_S)
        for k in range(BLOCKS)
    ]
    clock, owners, members = SystemClock(), [], []
    async with tcp_server() as port:
        for number in range(DEVICES):
            spec = DeviceSpec(f"d{number}", "", "modbus_tcp", "127.0.0.1", port, 1, "")
            device = made(*blocks, spec=spec)
            line, port_type = connection([device], observe=True)
            image = DeviceImage.of(blocks)
            phase = (number % 8) / 8
            members.append(Member(spec.id, port_type(line, device), image, 10.0, phase))
            rng = random.Random(number)
            owners.append(Owner(line, [members[-1]], clock, lambda _: None, rng))
        tasks = [asyncio.create_task(owner.run()) for owner in owners]
        await asyncio.sleep(SETTLE_S)
        ages_s: list[float] = []
        looking_s = 0.0
        cpu_s, wall_s = time.process_time(), time.monotonic()
        while time.monotonic() - wall_s < WATCH_S:
            await asyncio.sleep(LOOK_S)
            began_s, now_s = time.process_time(), clock.monotonic_s()
            for member in members:
                found = (member.image.age_s(of, now_s) for of in blocks)
                ages_s += [age_s for age_s in found if age_s is not None]
            looking_s += time.process_time() - began_s
        cpu_s = time.process_time() - cpu_s - looking_s
        wall_s = time.monotonic() - wall_s
        for owner in owners:
            owner.request_stop()
        await asyncio.gather(*tasks)
    ages_s.sort()
    return [
        Figure("share of one core", 100.0 * cpu_s / wall_s, "%", 100.0 * CORE_MAX),
        Figure("CPU per poll of 60 points", 1e6 * cpu_s / (wall_s * DEVICES * BLOCKS), "µs"),
        Figure("age of a reading, median", ages_s[len(ages_s) // 2], "s"),
        Figure("age of a reading, p99", ages_s[int(0.99 * len(ages_s))], "s"),
        Figure("age of a reading, oldest", ages_s[-1], "s"),
    ]
