"""Control channel of the simulated devices: one JSON object a line over a UNIX socket.

``{"inject": {"event": "pack_lost", "target": "p1", "duration_s": 30, "value": 0}}``,
``{"truth": true}`` and ``{"events": true}``; the answer is one line, with ``error``
when the question was wrong. From a shell::

    python -m sim.control SOCKET pack_lost p1 30
    python -m sim.control SOCKET truth
"""

import argparse
import asyncio
import json
import socket
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sim.plant import Plant

ASK_TIMEOUT_S = 5.0
_LINE_MAX = 65_536


async def serve(path: Path, plant: Plant) -> asyncio.Server:
    """A server on ``path``; whoever may open the socket may break the plant."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(answer(plant, line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            pass  # the asker left, or sent a line without end: nobody to answer
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    return await asyncio.start_unix_server(talk, path, limit=_LINE_MAX)


def answer(plant: Plant, line: bytes) -> dict[str, Any]:
    """Carry out one request."""
    try:
        message = json.loads(line)
        if "inject" in message:
            wish = message["inject"]
            plant.inject(
                str(wish["event"]),
                str(wish.get("target", "*")),
                float(wish.get("duration_s", 0.0)),
                float(wish.get("value", 0.0)),
            )
            return {"ok": True, "at_s": plant.now_s}
        if "truth" in message:
            return {"now_s": plant.now_s, "truth": asdict(plant.truth())}
        if "events" in message:
            return {"events": plant.events()}
    except (ValueError, TypeError, KeyError) as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"error": "expected inject, truth or events"}


def ask(path: Path | str, message: dict[str, Any]) -> dict[str, Any]:
    """Send one message and return the answer.

    Raises:
        OSError: nobody serves the socket, or no answer within ``ASK_TIMEOUT_S``.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ASK_TIMEOUT_S)
        connection.connect(str(path))
        connection.sendall(json.dumps(message).encode() + b"\n")
        with connection.makefile("rb") as lines:
            line = lines.readline()
    if not line:
        raise ConnectionError("the simulator closed the connection without an answer")
    found: dict[str, Any] = json.loads(line)
    return found


def main() -> int:
    """Command line: ask once and print the answer."""
    parser = argparse.ArgumentParser(prog="python -m sim.control", description=__doc__)
    parser.add_argument("socket", type=Path)
    parser.add_argument("event", help="an event, or: truth, events")
    parser.add_argument("target", nargs="?", default="*")
    parser.add_argument("duration_s", nargs="?", type=float, default=0.0)
    parser.add_argument("value", nargs="?", type=float, default=0.0)
    args = parser.parse_args()
    message: dict[str, Any] = {args.event: True}
    if args.event not in ("truth", "events"):
        fields = ("event", "target", "duration_s", "value")
        message = {"inject": {name: getattr(args, name) for name in fields}}
    try:
        found = ask(args.socket, message)
    except OSError as error:
        print(f"{args.socket}: {error}", file=sys.stderr)  # noqa: T201
        return 1
    print(json.dumps(found, indent=2))  # noqa: T201
    return 1 if "error" in found else 0


if __name__ == "__main__":
    sys.exit(main())
