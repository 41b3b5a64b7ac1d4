"""A Modbus gateway as a process of its own: units behind one serial line, some of them dead.

``python -m benchmarks.gateway LATENCY_S DEAD_UNIT,…`` prints its port. Requests of
all clients wait for each other, as on a line; a dead unit holds it for the gateway's
own time limit and then gets exception 11. Ends with its input.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator

TIMEOUT_S = 0.3
"""After this long a gateway gives a unit up."""


@contextlib.asynccontextmanager
async def gateway(latency_s: float, dead: tuple[int, ...] = ()) -> AsyncIterator[int]:
    """Port of a running gateway."""
    numbers = ",".join(map(str, dead)) or "-"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.gateway", str(latency_s), numbers,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await process.stdout.readline())
    finally:
        process.stdin.close()
        await process.wait()


async def serve(latency_s: float, dead: frozenset[int]) -> None:
    """Answer reads of holding registers until the input ends."""
    line = asyncio.Lock()

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await reader.readexactly(12)
                async with line:
                    lost = request[6] in dead
                    await asyncio.sleep(TIMEOUT_S if lost else latency_s)
                content = bytes(2 * int.from_bytes(request[10:12], "big"))
                body = bytes((request[6], 0x83, 11))
                if not lost:
                    body = bytes((request[6], 3, len(content))) + content
                writer.write(request[:4] + len(body).to_bytes(2, "big") + body)
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    silent = frozenset(int(n) for n in sys.argv[2].split(",") if n != "-")
    asyncio.run(serve(float(sys.argv[1]), silent))
