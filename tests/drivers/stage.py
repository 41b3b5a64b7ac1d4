"""One owner with one device whose registers the test holds in its hand."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from ems.clock import SystemClock
from ems.drivers.coding.block import Block, Values
from ems.drivers.device import CompiledDevice
from ems.drivers.link import LinkDown, PointWrite
from ems.drivers.serving.image import DeviceImage
from ems.drivers.serving.owner import Context, Member, Order, Owner
from ems.model import CommandResult, SetContactor


class Clock(SystemClock):
    """Monotonic time that the test can push ahead."""

    ahead_s = 0.0

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


class Peer:
    """A connection and port in one: a device that keeps what is written to it."""

    def __init__(self, device: CompiledDevice) -> None:
        self.device = device
        self.registers: dict[int, int] = {}
        self.refused_writes = self.sent_writes = 0
        self.on_lost: Callable[[], None] = lambda: None
        self.loss = ""
        self.connected = False
        self.error: Exception | None = None
        self.connects = 0
        self.reads = 0
        self.written: list[list[PointWrite]] = []
        self.writing: Callable[[], Awaitable[None]] | None = None
        self.takes = True
        """Whether the device keeps what is written."""

    async def connect(self) -> None:
        self.connects += 1
        if isinstance(self.error, LinkDown):
            raise self.error
        self.connected = True

    async def close(self) -> None:
        self.connected = False

    async def prepare(self) -> None: ...

    def has(self, point: object) -> bool:
        return True

    async def read(self, block: Block) -> Values | None:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return block.decode(
            b"".join(
                (self.registers.get(a, 0) & 0xFFFF).to_bytes(2, "big") for a in block.addresses()
            )
        )

    async def write(self, writes: list[PointWrite]) -> None:
        if self.writing is not None:
            await self.writing()
        self.written.append(writes)
        if self.takes:
            self.registers.update((write.at, int(write.raw)) for write in writes)

    @property
    def raws(self) -> list[list[tuple[str, int]]]:
        """What was written: point and content, request by request."""
        return [[(w.point.codec.name, int(w.raw)) for w in request] for request in self.written]


class Stage:
    """One owner with one device."""

    def __init__(self, device: CompiledDevice, device_timeout_s: float = 10.0) -> None:
        self.peer, self.clock = Peer(device), Clock()
        self.image = DeviceImage.of(device.blocks, device.alarm_parts)
        self.member = Member("dev", self.peer, self.image, device_timeout_s)
        self.results: list[CommandResult] = []
        self.saves = 0
        self.owner = Owner(
            self.peer, [self.member], self.clock, self.results.append, random.Random(0), self._saved
        )

    def _saved(self) -> None:
        self.saves += 1

    def order(
        self, age_s: float = 0.0, write: str = "contactor", context: Context | None = None
    ) -> None:
        """Submit a command."""
        at_s = self.clock.monotonic_s() - age_s
        values = {"contactor": 0.0} if context is None else context
        command = SetContactor(0, close=False)
        self.owner.submit(self.member, Order(command, write, values, 0, at_s))

    async def outcome(self, write: str = "contactor", **context: float) -> str:
        """Submit a command and wait for its reason; empty when it is in force."""
        self.results.clear()
        self.order(write=write, context=context)
        await self.until(lambda: bool(self.results))
        return self.results[0].reason

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(10.0):
            while not holds():
                await asyncio.sleep(0.005)


def play(
    device: CompiledDevice,
    scene: Callable[[Stage], Awaitable[None]],
    registers: dict[int, int] | None = None,
) -> None:
    """Run a scene with the owner at work; ``registers`` are the device's at first."""

    async def run() -> None:
        stage = Stage(device)
        stage.peer.registers.update(registers or {})
        task = asyncio.create_task(stage.owner.run())
        await scene(stage)
        stage.owner.request_stop()
        await asyncio.wait_for(task, 5.0)

    asyncio.run(run())
