"""Host the simulated devices of a site in real time.

``python -m sim.serve SITE.yaml [--seed S] [--speed 1] [--control SOCK] [--protection on|off]
[--pki FOLDER]``

Prints one line ``READY {"device": port, ...}`` when every device listens; ends cleanly
on SIGTERM or Ctrl-C. The control socket appears only after that.
"""

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from pathlib import Path
from typing import Final

from ems.clock import SystemClock
from ems.config import load_site
from ems.yamlfile import FileErrors
from sim import control
from sim.plant import Plant
from sim.servers import Servers

TICK_S: Final = 0.25
"""Longest time the devices show the same instant."""
CATCH_UP_S: Final = 60.0
"""Plant time recovered at most after the machine slept; the rest is lost."""


async def run(plant: Plant, servers: Servers, speed: float, socket: Path | None) -> None:
    """Serve until a signal asks to stop.

    Args:
        plant: The simulated site, at its start.
        servers: Its devices.
        speed: Plant seconds per wall second.
        socket: Where to offer the control channel.
    """
    clock, stop = SystemClock(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await servers.start()
    channel = None if socket is None else await control.serve(socket, plant)
    print("READY", json.dumps(servers.ports), flush=True)  # noqa: T201
    last_s = clock.monotonic_s()
    try:
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await stop.wait()
            now_s = clock.monotonic_s()
            plant.advance(plant.now_s + min(CATCH_UP_S, (now_s - last_s) * speed))
            last_s = now_s
            await servers.refresh()
    finally:
        if channel is not None and socket is not None:
            channel.close()
            socket.unlink(missing_ok=True)
        await servers.stop()


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m sim.serve", description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=1.0, help="plant seconds per second")
    parser.add_argument("--control", type=Path, help="UNIX socket of the control channel")
    parser.add_argument("--protection", choices=("on", "off"), default="on")
    parser.add_argument(
        "--pki", type=Path, help="keys of an encrypted OPC UA server, see sim/opcua_pki.py"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        site = load_site(args.site)
        plant = Plant(site, args.seed, None, args.protection == "on")
        asyncio.run(run(plant, Servers(site, plant, args.pki), args.speed, args.control))
    except FileErrors as errors:
        print(errors, file=sys.stderr)  # noqa: T201
        return 1
    except (OSError, RuntimeError, ValueError) as error:
        print(f"{args.site}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
