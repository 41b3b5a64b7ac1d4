"""CPU of an OPC UA value in our hands, against bare asyncua in the same process.

Servers (asyncua, and node-opcua where npm can install it) run in processes of their own;
only the CPU of this one counts. Each round measures bare asyncua and ours in turn; the best
round of each counts. Ours includes status codes, quality, scaling, plausible range and the
process image; bare is what asyncua hands over.
"""

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from asyncua import Client, ua

from benchmarks.opcua_server import CHANGE_S, NAMESPACE, VALUES
from benchmarks.sections import Figure
from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice
from ems.drivers.language import read
from ems.drivers.opcua.connection import OpcUaConnection
from ems.drivers.opcua.port import OpcUaPort
from ems.drivers.serving.image import DeviceImage
from ems.site import DeviceSpec
from tests.drivers.foreign import node
from tests.drivers.pki import made

TITLE = f"{VALUES} doubles over OPC UA, CPU of the client"
GOAL = 1.2
ROUNDS = 5
READS = 60
WATCH_S = 3.0
Poll = Callable[[], Awaitable[None]]
PROFILE = """
schema: 2
kind: meter
vendor: benchmark
device: many doubles
summary: Nodes of the benchmark's servers.
maturity: simulated
provenance: [{{source: this file, licence: Apache-2.0, facts: everything}}]
link:
  protocol: opcua
  namespace_uri: {uri}
  poll_ms: {{fast: 100}}
  timeout_ms: 1000
  publish_ms: 100
points:
{points}
golden:
  - {{name: one, nodes: {{v0: 1.5}}, expect: {{v0: 1.5}}}}
"""


def device(folder: Path, mode: str) -> CompiledDevice:
    """A device of many doubles."""
    points = "\n".join(
        f'  v{k}: {{node: "s=p1.v{k}", poll: fast, type: float64, range: [-1000000, 1000000000]}}'
        for k in range(VALUES)
    )
    path = folder / "many.yaml"
    path.write_text(PROFILE.format(uri=NAMESPACE, points=points))
    spec = DeviceSpec("many", str(path), "opcua", "127.0.0.1", 1, 1, "", {})
    compiled = compile_device(read(path), spec)
    return replace(compiled, link=replace(compiled.link, opcua_mode=mode))


@contextlib.contextmanager
def asyncua_server() -> Iterator[str]:
    """URL of an asyncua server in another process."""
    port = node.free_port()
    command = [sys.executable, "-m", "benchmarks.opcua_server", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "READY"
        yield f"opc.tcp://127.0.0.1:{port}/UA"
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def node_server(folder: Path) -> Iterator[str]:
    """URL of a node-opcua server in another process."""
    files = made("benchmark", "urn:test:benchmark").files(folder, "server")
    server = node.NodeServer(
        folder, *files, uri="urn:test:benchmark", many=VALUES, period_ms=int(1000 * CHANGE_S)
    )
    server.start()
    try:
        yield server.url
    finally:
        server.kill()


@contextlib.asynccontextmanager
async def ours(url: str, compiled: CompiledDevice) -> AsyncIterator[tuple[Poll, OpcUaPort]]:
    """A function that polls every value once into a process image, and its port."""
    connection = OpcUaConnection(url, 1.0)
    port, image = OpcUaPort(connection, compiled), DeviceImage.of(compiled.blocks)
    await connection.connect()
    await port.prepare()
    (block,) = compiled.blocks

    async def poll() -> None:
        image.store(block, await port.read(block), time.monotonic())

    try:
        yield poll, port
        found = [reading.value for reading in image.readings.values()]
        assert len(found) - found.count(None) == VALUES, "a benchmark of nothing"
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def bare(url: str) -> AsyncIterator[tuple[Client, list[Any]]]:
    """An asyncua client and the nodes."""
    async with Client(url, timeout=4, watchdog_intervall=5) as client:
        index = await client.get_namespace_index(NAMESPACE)
        yield client, [ua.NodeId.from_string(f"ns={index};s=p1.v{k}") for k in range(VALUES)]


async def cpu_us(call: Callable[[], Awaitable[object]], times: int) -> float:
    """CPU of this process for one value, µs."""
    began_s = time.process_time()
    for _ in range(times):
        await call()
    return 1e6 * (time.process_time() - began_s) / (times * VALUES)


async def batch(url: str, compiled: CompiledDevice) -> tuple[float, float]:
    """One read of all values, back to back: bare and ours, µs."""
    found: list[tuple[float, float]] = []
    async with bare(url) as (client, nodes), ours(url, compiled) as (poll, _):
        for _ in range(ROUNDS):
            plain = await cpu_us(
                lambda: client.uaclient.read_attributes(nodes, ua.AttributeIds.Value), READS
            )
            found.append((plain, await cpu_us(poll, READS)))
    return _best(found)


async def watch_bare(url: str) -> float:
    """CPU of a value that comes through asyncua's iterator, µs."""
    async with bare(url) as (client, nodes):
        subscription = await client.create_subscription(1000 * CHANGE_S, queue_maxsize=10_000)
        await subscription.subscribe_data_change([client.get_node(n) for n in nodes])
        last: dict[Any, Any] = {}
        await asyncio.sleep(0.5)
        began_s, until_s, count = time.process_time(), time.monotonic() + WATCH_S, 0
        async for event in subscription:
            last[event.node] = event.data.monitored_item.Value
            count += 1
            if time.monotonic() > until_s:
                break
        return 1e6 * (time.process_time() - began_s) / count


class Counted(list[Any]):
    """The slots of a subscription that count what comes in; charged to ours."""

    count = 0

    def __setitem__(self, index: Any, value: Any) -> None:
        self.count += 1
        super().__setitem__(index, value)


async def watch_ours(url: str, compiled: CompiledDevice) -> float:
    """The same through our subscription, polled as its owner does, µs."""
    async with ours(url, compiled) as (poll, port):
        assert port._subscription is not None
        slots = port._subscription.values = Counted(port._subscription.values)
        await asyncio.sleep(0.5)
        slots.count = 0
        began_s, until_s = time.process_time(), time.monotonic() + WATCH_S
        while time.monotonic() < until_s:
            await asyncio.sleep(CHANGE_S)
            await poll()
        return 1e6 * (time.process_time() - began_s) / slots.count


async def subscribed(url: str, compiled: CompiledDevice) -> tuple[float, float]:
    """All values change ten times a second and are sent by the server: bare and ours, µs."""
    return _best([(await watch_bare(url), await watch_ours(url, compiled)) for _ in range(ROUNDS)])


def run() -> list[Figure]:
    """CPU of a value both ways and the ratio, for each server that can be had."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as where, contextlib.ExitStack() as servers:
        folder = Path(where)
        urls = {"asyncua server": servers.enter_context(asyncua_server())}
        if not node.install():
            urls["node-opcua server"] = servers.enter_context(node_server(folder))
        for name, url in urls.items():
            for mode, measure in (("batch", batch), ("subscription", subscribed)):
                plain_us, ours_us = asyncio.run(measure(url, device(folder, mode)))
                figures += [
                    Figure(f"{mode}, {name}: bare asyncua", plain_us, "µs a value"),
                    Figure(f"{mode}, {name}: ours", ours_us, "µs a value"),
                    Figure(f"{mode}, {name}: ours / bare", ours_us / plain_us, "×", GOAL),
                ]
    return figures


def _best(rounds: list[tuple[float, float]]) -> tuple[float, float]:
    return min(plain for plain, _ in rounds), min(own for _, own in rounds)
