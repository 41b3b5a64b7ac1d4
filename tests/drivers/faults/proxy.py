"""A man in the middle: carries questions to an honest server, and its answers badly back.

The server is another process. Every question reaches it, if not always the unit and the
table it was meant for, and what comes back is its genuine answer, passed on as it is or
spoiled by the next fault of a deck that all links share.
"""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from tests.drivers.faults.deck import Deck
from tests.drivers.faults.framing import Framing
from tests.drivers.faults.spoil import Exchange, WayBack
from tests.drivers.faults.world import UNITS
from tests.drivers.foreign.ptyline import pty_line

_OTHER_UNITS = (*UNITS, 17, 247)


class Proxy:
    """One link; a client may connect to it again and again.

    Args:
        framing: Of both sides.
        server: TCP port of the server.
        deck: Faults, shared by all links.
        exchange: Partners for swapped answers, shared too.
        tasks: Carry the connections; an error of the proxy ends the whole campaign.
    """

    def __init__(
        self,
        framing: Framing,
        server: int,
        deck: Deck,
        exchange: Exchange,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._framing, self._server = framing, server
        self._deck, self._exchange, self._tasks = deck, exchange, tasks
        self.last_fault = "none yet"

    @contextlib.asynccontextmanager
    async def port(self) -> AsyncIterator[int]:
        """TCP port for the client."""

        def accept(client: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._start(client, writer.write, writer.transport.abort)

        listener = await asyncio.start_server(accept, "127.0.0.1", 0)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()

    @contextlib.contextmanager
    def serial_port(self) -> Iterator[str]:
        """Path of a serial port for the client; nothing can break this connection."""
        client = asyncio.StreamReader()
        with pty_line(on_ours=client.feed_data) as line:
            self._start(client, line.to_ours, lambda: None)
            try:
                yield line.ours
            finally:
                client.feed_eof()

    def _start(
        self, client: asyncio.StreamReader, put: Callable[[bytes], None], reset: Callable[[], None]
    ) -> None:
        way_back = WayBack(self._framing, self._deck.rng, self._exchange, put, reset)
        self._tasks.create_task(self._carry(client, way_back, reset))

    async def _carry(
        self, client: asyncio.StreamReader, way_back: WayBack, hang_up: Callable[[], None]
    ) -> None:
        """Serve one connection of the client until one side is gone."""
        loop = asyncio.get_running_loop()
        reader, server = await asyncio.open_connection("127.0.0.1", self._server)
        try:
            while True:
                request = await client.readexactly(self._framing.request_size)
                asked_s = loop.time()
                fault = self._deck.next(partial(way_back.can, asked_s=asked_s))
                self.last_fault = fault or self.last_fault
                server.write(self._misdirected(fault, request))
                way_back.take(fault, await self._framing.answer(reader), asked_s)
        except (asyncio.IncompleteReadError, ConnectionError):
            hang_up()
        finally:
            server.close()

    def _misdirected(self, fault: str, request: bytes) -> bytes:
        """The request as it comes to the server: now and then to another unit or table."""
        unit, function, *rest = self._framing.body(request)
        rng: random.Random = self._deck.rng
        if fault == "wrong unit":
            unit = rng.choice([other for other in _OTHER_UNITS if other != unit])
        elif fault == "wrong function":
            function = rng.choice((1, 2, 7 - function, 7 - function))  # 7 - function: 3 for 4
        else:
            return request
        return self._framing.like(request, bytes((unit, function, *rest)))
