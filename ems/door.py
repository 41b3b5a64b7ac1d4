"""The one audited door: a UNIX socket for operators, the page and scripts.

One JSON object per line in, one per line out. ``{"op": "status"}`` reads;
``{"op": "request", "kind": …, "reason": …}`` asks the gate. The actor of a request
is the peer's user as the kernel reports it, never what the peer says about itself.
"""

import asyncio
import contextlib
import json
import logging
import pwd
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ems.model import OperatorRequest, RequestKind

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 64 * 1024
MIN_REASON_CHARS = 3
LONGEST_S = 7 * 86_400.0
"""No set-point or notice outlives a week; a duration of 0 ends the one in force."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    refusal: str
    """Why it was refused; empty when granted."""
    note: str = ""
    """What the operator must know besides; empty when all is well."""


Status = Callable[[], dict[str, Any]]
Ask = Callable[[OperatorRequest], Awaitable[Answer]]


class Door:
    """Serves operator requests on a UNIX socket that only its group may open.

    Args:
        path: Where the socket is created; an old one is replaced.
        status: Returns the present status.
        ask: Logs a request, puts it before the gate and says what became of it.
        boot: Id of this run: no request of any other has the id of one of this.
    """

    def __init__(self, path: Path, status: Status, ask: Ask, boot: str) -> None:
        self.path = path
        self._boot = boot
        self._status = status
        self._ask = ask
        self._server: asyncio.Server | None = None
        self._count = 0

    async def start(self) -> None:
        """Open the door."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
        self._server = await asyncio.start_unix_server(
            self._serve, path=str(self.path), limit=MAX_LINE_BYTES
        )
        self.path.chmod(0o660)

    async def stop(self) -> None:
        """Close it and remove the socket."""
        if self._server is not None:
            self._server.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        actor = _peer(writer)
        try:
            while line := await reader.readline():
                answer = await self._answer(line, actor)
                writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError) as error:
            # An over-long line or a peer that left; the door stays open for others.
            log.info("operator connection of %s ended: %s", actor, error)
        finally:
            writer.close()

    async def _answer(self, line: bytes, actor: str) -> dict[str, Any]:
        try:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError("expected a JSON object")
            if message.get("op") == "status":
                return {"ok": True, "status": self._status()}
            if message.get("op") == "request":
                self._count += 1
                request = parse_request(message, actor, f"op-{self._boot}-{self._count}")
            else:
                raise ValueError("op must be 'status' or 'request'")
        except (ValueError, TypeError) as error:
            return {"ok": False, "error": str(error)}
        answer = await self._ask(request)
        shown = {"ok": not answer.refusal, "id": request.id, "actor": actor}
        return shown | {"error": answer.refusal} | ({"note": answer.note} if answer.note else {})


def parse_request(message: dict[str, Any], actor: str, request_id: str) -> OperatorRequest:
    """Request from a door message.

    Raises:
        ValueError: an unknown kind, a missing reason or a number that is none.
    """
    try:
        kind = RequestKind(message.get("kind", ""))
    except ValueError:
        kinds = ", ".join(k.value for k in RequestKind)
        raise ValueError(f"kind must be one of: {kinds}") from None
    reason = str(message.get("reason", "")).strip()
    target = str(message.get("target", "")).strip()
    if len(reason) < MIN_REASON_CHARS:
        raise ValueError(f"a reason of at least {MIN_REASON_CHARS} characters is mandatory")
    if not (reason.isprintable() and target.isprintable()):
        raise ValueError("reason and target must be plain text on one line")
    if kind in (RequestKind.ACK, RequestKind.RESET) and not target:
        raise ValueError("a target is mandatory: a cause, a pack, C01@p1, or all")
    target = "" if target == "all" else target
    value, duration_s = (_number(message, key) for key in ("value", "duration_s"))
    if not 0.0 <= duration_s <= LONGEST_S:
        raise ValueError(f"duration_s must not be negative nor above {LONGEST_S:.0f} (7 days)")
    return OperatorRequest(request_id, kind, actor, reason, target, value, duration_s)


def _number(message: dict[str, Any], key: str) -> float:
    value = message.get(key, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key} must be a number")
    if not abs(value) < 1e9:
        raise ValueError(f"{key} is out of range")
    return float(value)


def _peer(writer: asyncio.StreamWriter) -> str:
    """User at the other end, from the kernel's peer credentials."""
    sock: socket.socket = writer.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", credentials)
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"


def call(path: Path, message: dict[str, Any], timeout_s: float = 15.0) -> dict[str, Any]:
    """Ask the door once; what the command line uses.

    Raises:
        OSError: nobody serves the door.
        ValueError: the answer is not one of ours.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        sock.sendall(json.dumps(message).encode() + b"\n")
        with sock.makefile("rb") as file:
            answer = json.loads(file.readline() or b"null")
    if not isinstance(answer, dict):
        raise ValueError("the door closed without an answer")
    return answer
