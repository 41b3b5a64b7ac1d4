"""Many links in parallel, each asking and comparing until the deck of faults is empty."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from pymodbus import FramerType

from tests.drivers.faults.clients import Bare, Client, Ours
from tests.drivers.faults.liar import FAULTS, Deck, Exchange, Session
from tests.drivers.faults.world import draw
from tests.drivers.foreign.ptyline import pty_line


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
        rtu: Serial framing; for us a quarter of the links are serial ports, else over TCP.
        links: Connections in parallel.
        seed: Of the order of faults and questions.
    """
    deck = Deck(each, random.Random(seed))
    tally = Tally(deck.met)
    exchange = Exchange()
    async with (
        _server(rtu, deck, exchange) as (port, sessions),
        contextlib.AsyncExitStack() as stack,
    ):
        jobs = []
        for number in range(links):
            rng = random.Random(f"{seed}/{number}")
            client, last = _link(who, rtu, number, port, deck, exchange, sessions, stack)
            jobs.append(_ask(client, last, deck, rng, tally))
        await asyncio.gather(*jobs)
    return tally


def _link(
    who: str,
    rtu: bool,
    number: int,
    port: int,
    deck: Deck,
    exchange: Exchange,
    sessions: dict[int, Session],
    stack: contextlib.AsyncExitStack,
) -> tuple[Client, Callable[[], str]]:
    """A client, and how to learn the last fault on its link."""
    if who == "pymodbus":
        bare = Bare(port, FramerType.RTU if rtu else FramerType.SOCKET)
        return bare, lambda: _last(sessions, _own_port(bare._client))
    if rtu and number % 4 == 0:
        held: list[Session] = []
        line = stack.enter_context(pty_line(on_ours=lambda data: held[0].feed(data)))
        held.append(Session(True, deck, exchange, line.to_ours, lambda: None))
        return Ours.serial(line.ours), lambda: held[0].last_fault
    ours = Ours.rtu_tcp(port) if rtu else Ours.tcp(port)
    return ours, lambda: _last(sessions, _own_port(ours.connection))


def _own_port(client: Any) -> int:
    """Local port of a connection, which is how the server knows it."""
    wire = getattr(client, "_wire", None) or getattr(
        getattr(client, "ctx", None), "transport", None
    )
    name = wire.get_extra_info("sockname") if wire is not None else None
    return int(name[1]) if name else 0


def _last(sessions: dict[int, Session], port: int) -> str:
    return sessions[port].last_fault if port in sessions else "unknown"


async def _ask(
    client: Client, last: Callable[[], str], deck: Deck, rng: random.Random, tally: Tally
) -> None:
    try:
        while not deck.empty:
            ask = draw(rng)
            found = await client.read(ask)
            if found is None:
                tally.refused += 1
            elif found == ask.content:
                tally.right += 1
            else:
                fault = last()
                tally.wrong[fault] += 1
                if len(tally.first_wrong) < 5:
                    tally.first_wrong.append(f"{fault}: {ask} gave {found.hex()}")
    finally:
        await client.close()


@contextlib.asynccontextmanager
async def _server(
    rtu: bool, deck: Deck, exchange: Exchange
) -> AsyncIterator[tuple[int, dict[int, Session]]]:
    sessions: dict[int, Session] = {}

    class Accepted(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self._session = Session(rtu, deck, exchange, transport.write, transport.abort)
            sessions[transport.get_extra_info("peername")[1]] = self._session

        def data_received(self, data: bytes) -> None:
            self._session.feed(data)

    server = await asyncio.get_running_loop().create_server(Accepted, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], sessions
    finally:
        server.close()


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
