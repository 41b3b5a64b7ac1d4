"""Many links in parallel, each asking and comparing until the deck of faults is empty."""

import asyncio
import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.drivers.faults import world
from tests.drivers.faults.clients import Bare, Client, Ours
from tests.drivers.faults.deck import FAULTS, Deck
from tests.drivers.faults.framing import Rtu, Tcp
from tests.drivers.faults.proxy import Proxy
from tests.drivers.faults.spoil import Exchange
from tests.drivers.faults.world import Clock, draw
from tests.drivers.foreign.libmodbus import live_server


@dataclass
class Tally:
    """What one client made of the faults of one framing."""

    frames: Counter[str]
    right: int = 0
    refused: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    """By the fault met last on the link."""
    first_wrong: list[str] = field(default_factory=list)


async def run(who: str, rtu: bool, each: int, links: int, seed: int) -> Tally:
    """Meet every class of fault ``each`` times.

    Args:
        who: ``ours`` or ``pymodbus``.
        rtu: Serial frames, a quarter of the links over serial ports; else Modbus TCP.
        links: Connections in parallel.
        seed: Of the order of faults and questions.
    """
    make = Ours if who == "ours" else Bare
    framing = Rtu() if rtu else Tcp()
    deck, exchange = Deck(each, random.Random(seed)), Exchange()
    tally = Tally(deck.met)
    async with contextlib.AsyncExitStack() as stack:
        clock = stack.enter_context(world.clock())
        server = await stack.enter_async_context(live_server(framing.name, clock.path))
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        jobs = []
        for number in range(links):
            proxy = Proxy(framing, server, deck, exchange, tasks)
            client: Client
            if rtu and number % 4 == 0:
                client = make.serial(stack.enter_context(proxy.serial_port()))
            else:
                port = await stack.enter_async_context(proxy.port())
                client = make.rtu_tcp(port) if rtu else make.tcp(port)
            rng = random.Random(f"{seed}/{number}")
            jobs.append(_ask(client, proxy, clock, deck, rng, tally))
        await asyncio.gather(*jobs)
    return tally


async def _ask(
    client: Client, proxy: Proxy, clock: Clock, deck: Deck, rng: random.Random, tally: Tally
) -> None:
    """One link: ask and judge."""
    try:
        while not deck.empty:
            ask = draw(rng)
            since = clock.tick()
            found = await client.read(ask)
            if found is None:
                tally.refused += 1
            elif ask.held(found, since, clock.now):
                tally.right += 1
            else:
                fault = proxy.last_fault
                tally.wrong[fault] += 1
                if len(tally.first_wrong) < 5:
                    tally.first_wrong.append(
                        f"{fault}: {ask} at tick {since} to {clock.now} gave {found.hex()}, "
                        f"not {ask.content(since).hex()}"
                    )
    finally:
        await client.close()


async def both(each_tcp: int, each_rtu: int, links: int, seed: int) -> dict[str, dict[str, Tally]]:
    """The same campaign for us and for bare pymodbus, over both framings."""
    return {
        who: {
            "tcp": await run(who, False, each_tcp, links, seed),
            "rtu": await run(who, True, each_rtu, links, seed),
        }
        for who in ("ours", "pymodbus")
    }


def table(found: dict[str, dict[str, Tally]]) -> str:
    """Class, frames, and wrong values accepted by each."""
    lines = [
        f"{'fault':<20}{'framing':>8}{'frames ours':>14}{'wrong ours':>12}"
        f"{'frames bare':>14}{'wrong bare':>12}"
    ]
    for framing in ("tcp", "rtu"):
        ours, bare = found["ours"][framing], found["pymodbus"][framing]
        lines += [
            f"{fault:<20}{framing:>8}{ours.frames[fault]:>14}{ours.wrong[fault]:>12}"
            f"{bare.frames[fault]:>14}{bare.wrong[fault]:>12}"
            for fault in FAULTS
        ]
        lines.append(
            f"{'all':<20}{framing:>8}{ours.frames.total():>14}{ours.wrong.total():>12}"
            f"{bare.frames.total():>14}{bare.wrong.total():>12}"
        )
    return "\n".join(lines)


def as_data(found: dict[str, dict[str, Tally]]) -> dict[str, Any]:
    """The same for a JSON file."""
    return {
        who: {
            framing: {
                "frames": dict(tally.frames),
                "wrong": dict(tally.wrong),
                "answers_right": tally.right,
                "answers_refused": tally.refused,
            }
            for framing, tally in framings.items()
        }
        for who, framings in found.items()
    }
