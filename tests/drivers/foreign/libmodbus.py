"""The libmodbus server of ``server.c``, compiled when first needed."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("server.c")
PATIENCE_S = 10.0


@cache
def program() -> Path:
    """The compiled server; the directory goes with the process.

    Raises:
        RuntimeError: no compiler or no libmodbus; says what to install.
    """
    compiler, config = shutil.which("gcc"), shutil.which("pkg-config")
    if compiler is None or config is None:
        raise RuntimeError("the libmodbus server needs gcc, pkg-config and libmodbus-dev")
    # Kept by the cache of this function, removed at the end of the process.
    program.directory = tempfile.TemporaryDirectory(prefix="ems-libmodbus-")  # type: ignore[attr-defined]
    target = Path(program.directory.name) / "server"  # type: ignore[attr-defined]
    flags = subprocess.run(
        [config, "--cflags", "--libs", "libmodbus"], capture_output=True, text=True, check=True
    ).stdout.split()
    subprocess.run([compiler, "-O2", "-Wall", "-o", target, SOURCE, *flags], check=True)
    return target


@contextlib.asynccontextmanager
async def _running(*arguments: str) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        program(), *arguments, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), PATIENCE_S)
        yield line.decode().strip()
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), PATIENCE_S)


@contextlib.asynccontextmanager
async def tcp_server() -> AsyncIterator[int]:
    """Port of a running server that answers for every unit."""
    async with _running("tcp") as port:
        yield int(port)


@contextlib.asynccontextmanager
async def rtu_server(path: str, baud: int, unit: int) -> AsyncIterator[None]:
    """A server for one unit on a serial port."""
    async with _running("rtu", path, str(baud), str(unit)) as word:
        assert word == "ready"
        yield


@contextlib.asynccontextmanager
async def live_server(framing: str, clock: Path) -> AsyncIterator[int]:
    """Port of a server whose registers move with the clock in a file; see ``server.c``.

    Args:
        framing: ``tcp``, or ``rtu`` for serial frames over TCP.
        clock: Two bytes shared with whoever lets it tick.
    """
    async with _running("live", framing, str(clock)) as port:
        yield int(port)
