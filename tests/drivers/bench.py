"""A site with every device simulated behind real sockets on loopback, driven step by step."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

from ems.clock import SystemClock
from ems.config import load_site
from ems.drivers.device import CompiledDevice
from ems.drivers.field import FieldIO
from ems.drivers.roles import compile_site
from ems.model import Command, CommandResult, Link, SetContactor, SiteSnapshot
from ems.site import DeviceSpec, Site
from sim.plant import Plant
from sim.servers import Servers

DEMO = Path(__file__).parents[2] / "configs" / "sites" / "demo.yaml"
PATIENCE_S = 10.0
"""Far longer than anything awaited here takes, even on a busy machine."""


def free_port() -> int:
    """A port nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def demo_site() -> Site:
    """The demo site on free ports of this machine."""
    site = load_site(DEMO)
    devices = {
        name: replace(spec, host="127.0.0.1", port=free_port())
        for name, spec in site.devices.items()
    }
    return replace(site, devices=devices)


def modbus_only(site: Site) -> Site:
    """The same site with pack 3 on the rack map too; starts a second faster."""
    bms3 = replace(
        site.devices["bms3"], profile="bms_rack_0x2000", transport="modbus_tcp", path="", unit_id=9
    )
    return replace(site, devices={**site.devices, "bms3": bms3})


def device(name: str, profile: str, **changes: object) -> DeviceSpec:
    """A Modbus device on loopback."""
    spec = DeviceSpec(name, profile, "modbus_tcp", "127.0.0.1", free_port(), 1, "")
    return replace(spec, **changes)  # type: ignore[arg-type]


def _hurried(compiled: CompiledDevice) -> CompiledDevice:
    """The device polled ten times a second, so that nobody waits for the next poll."""
    blocks = tuple(replace(block, period_s=0.1) for block in compiled.blocks)
    return replace(compiled, blocks=blocks)


class Bench:
    """Plant, servers and ``FieldIO``; plant time moves only when told."""

    def __init__(self, site: Site, observe: bool = False, pki: Path | None = None) -> None:
        self.site = site
        self.plant = Plant(site, 1, None, protection=True)
        self.servers = Servers(site, self.plant, pki)
        self.clock = SystemClock()
        devices = {name: _hurried(d) for name, d in compile_site(site).items()}
        self.io = FieldIO(site, devices, self.clock, observe)
        self.results: list[CommandResult] = []

    def snapshot(self) -> SiteSnapshot:
        """What the EMS knows now."""
        found = self.io.snapshot(self.clock.monotonic_s(), self.clock.now_utc(), True, 0.0, ())
        self.results.extend(found.results)
        return found

    async def advance(self, duration_s: float) -> None:
        """Move the plant and show it on the sockets."""
        self.plant.advance(self.plant.now_s + duration_s)
        await self.servers.refresh()

    async def until(self, holds: Callable[[SiteSnapshot], bool], what: str) -> SiteSnapshot:
        """The first snapshot for which a condition holds."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + PATIENCE_S
        while not holds(found := self.snapshot()):
            assert loop.time() < deadline_s, f"never happened: {what}"
            await asyncio.sleep(0.02)
        return found

    async def all_up(self) -> SiteSnapshot:
        """Wait until every device has answered."""
        images = self.io.images.values()
        return await self.until(
            lambda _: all(image.link is Link.UP for image in images), "every device up"
        )

    async def polled(self) -> SiteSnapshot:
        """Wait until every point of every device that answers has been read again."""
        since_s = self.clock.monotonic_s()

        def again(_: SiteSnapshot) -> bool:
            images = [i for i in self.io.images.values() if i.link is Link.UP]
            times = [r.at_s for i in images for r in (*i.readings.values(), *i.arrays.values())]
            return min(times) > since_s

        return await self.until(again, "every point read again")

    async def carry_out(self, *commands: Command) -> list[CommandResult]:
        """Send commands and wait for all their results."""
        self.results.clear()
        self.io.send(commands)
        await self.until(lambda _: len(self.results) >= len(commands), f"results of {commands}")
        return list(self.results)

    async def close_contactors(self) -> None:
        """Bring every pack on line, so that the converters can run."""
        closing = [SetContactor(i, close=True) for i in range(self.site.n_packs)]
        results = await self.carry_out(*closing)
        assert all(result.ok for result in results), results
        await self.advance(5.0)


@contextlib.asynccontextmanager
async def bench(site: Site, observe: bool = False, pki: Path | None = None) -> AsyncIterator[Bench]:
    """A running bench with all devices up; OPC UA encrypted with keys of ``pki``."""
    made = Bench(site, observe, pki)
    await made.servers.start()
    await made.io.start()
    try:
        await made.all_up()
        yield made
    finally:
        await made.io.stop()
        await made.servers.stop()
