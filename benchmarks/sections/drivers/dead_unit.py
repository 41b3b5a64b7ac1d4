"""What one dead unit of 16 behind a gateway costs the other 15.

The line is kept busy: every unit is polled as fast as it answers. Compared is the time
from one answer of a living unit to its next, with the dead unit in the site and with the
15 others alone, to which nothing could be faster.
"""

import asyncio
import random
from itertools import pairwise

from benchmarks.gateway import gateway
from benchmarks.sections import Figure
from ems.clock import SystemClock
from ems.drivers.coding.block import Block, Values
from ems.drivers.connect import connection
from ems.drivers.rules import LinkRules
from ems.drivers.serving.image import DeviceImage
from ems.drivers.serving.owner import Member, Owner
from ems.site import DeviceSpec
from tests.drivers.handmade import block, made

TITLE = "one dead unit of 16 behind a gateway"
GOAL = 1.2
UNITS = 16
DEAD = 7
LATENCY_S = 0.01
SETTLE_S = 3.0
"""The first questions to a dead unit, until it is set aside, are not steady state."""
WATCH_S = 30.0
LINK = LinkRules("modbus", timeout_s=0.5)


class Watched(DeviceImage):
    """An image that notes when its device was heard."""

    heard: list[float]

    def store(self, of: Block, values: Values, now_s: float) -> None:
        """Note the time, and take over the answer."""
        self.heard.append(now_s)
        super().store(of, values, now_s)


def run() -> list[Figure]:
    """Mean and worst cycle of a living unit in s, and the ratio."""
    living = [unit for unit in range(1, UNITS + 1) if unit != DEAD]
    alone_s, longest_alone_s = asyncio.run(_cycle(living))
    with_dead_s, longest_s = asyncio.run(_cycle([*living, DEAD]))
    return [
        Figure("cycle of a unit, 15 alive", 1e3 * alone_s, "ms"),
        Figure("longest cycle, 15 alive", 1e3 * longest_alone_s, "ms"),
        Figure("cycle of a unit, 15 alive and one dead", 1e3 * with_dead_s, "ms"),
        Figure("longest cycle, 15 alive and one dead", 1e3 * longest_s, "ms"),
        Figure("with / without the dead one, mean", with_dead_s / alone_s, "×", GOAL),
    ]


async def _cycle(units: list[int]) -> tuple[float, float]:
    """Mean and longest time between answers of the living units, s."""
    async with gateway(LATENCY_S, (DEAD,)) as port:
        fast = block("fast", "a", "b", "c", period_s=0.05)
        devices = [
            made(
                fast,
                spec=DeviceSpec(f"u{unit}", "", "modbus_tcp", "127.0.0.1", port, unit, ""),
                link=LINK,
            )
            for unit in units
        ]
        line, port_type = connection(devices, observe=True)
        members = []
        for device in devices:
            image = Watched.of(device.blocks)
            assert isinstance(image, Watched)
            image.heard = []
            members.append(Member(device.id, port_type(line, device), image, 10.0))
        clock = SystemClock()
        owner = Owner(line, members, clock, lambda _: None, random.Random(0))
        task = asyncio.create_task(owner.run())
        await asyncio.sleep(SETTLE_S)
        from_s = clock.monotonic_s()
        await asyncio.sleep(WATCH_S)
        owner.request_stop()
        await task
    pauses = []
    for member in members:
        if member.port.device.spec.unit_id != DEAD:
            assert isinstance(member.image, Watched)
            times = [at_s for at_s in member.image.heard if at_s >= from_s]
            pauses += [b - a for a, b in pairwise(times)]
    return sum(pauses) / len(pauses), max(pauses)
