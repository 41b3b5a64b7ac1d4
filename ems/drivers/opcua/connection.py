"""One connection to one server: deadlines, status codes, and nothing delivered late.

asyncua's own reconnecting is off: while it reconnects a write waits and is then
delivered late. Here a write is dropped when not connected, and a connection on which
a write was not answered in time is cut, together with what was not sent yet.
"""

import asyncio
import contextlib
import logging
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

from asyncua import Client, ua
from asyncua.client.ua_client import UaClientState
from asyncua.crypto import uacrypto
from asyncua.ua.ua_binary import struct_from_binary
from cryptography.exceptions import InvalidSignature

from ems.clock import SystemClock
from ems.drivers.link import BadAnswer, DeviceRefusal, LinkDown, NoAnswer, WriteForbidden
from ems.drivers.opcua import limits
from ems.drivers.opcua.handshake import explained, secure
from ems.drivers.opcua.limits import Limits
from ems.drivers.opcua.security import Security
from ems.drivers.opcua.trust import Untrusted
from ems.model import Link

log = logging.getLogger(__name__)

SESSION_TIMEOUT_MS: Final = 60_000
"""Short: a controller that restarts often must not fill the tables of a small PLC."""
WATCHDOG_S: Final = 5.0
"""How often the server is asked whether it lives, and how long it may take to say so."""
CONNECT_TIMEOUT_S: Final = 5.0
"""Connecting takes several round trips, some of them with signatures on a small PLC."""
EXPIRY_WARNING_DAYS: Final = 30
SECONDS_PER_DAY: Final = 86_400.0
_ABORT: Final = struct.pack("ii", 1, 0)
_GARBAGE: Final = (ua.UaError, ValueError, TypeError, LookupError, struct.error)
"""What asyncua raises on an answer that it cannot read."""
_NO_SESSION: Final = (*_GARBAGE, AssertionError, InvalidSignature, uacrypto.InvalidSignature)
"""The same while connecting. It asserts that a secure channel was granted, and a signature
that is wrong means a server without the key of the certificate it shows."""
_Result = TypeVar("_Result")

# A device is reported once when it fails and once when it is back, by its owner.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


class OpcUaConnection:
    """One connection to one server, used by one owner task.

    Args:
        url: Endpoint, ``opc.tcp://host:port/path``.
        timeout_s: Deadline of every request, s, < 1.
        security: Policy, certificates and login; default none.
        observe: Refuse and count every write.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        security: Security | None = None,
        observe: bool = False,
    ) -> None:
        self.url, self.timeout_s = url, timeout_s
        self.security = security or Security()
        self.refused_writes = self.sent_writes = 0
        self.loss = ""
        self.on_lost: Callable[[], None] = _nobody
        self.limits = Limits()
        """What the server takes in one request."""
        self.expires_utc: Mapping[str, datetime] = {}
        """When the ``own`` and the ``server`` certificate expire; empty without security."""
        self._observe = observe
        self._client: Any = None
        self._clock = SystemClock()

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.state is UaClientState.CONNECTED

    def require(self) -> None:
        """Raise ``LinkDown`` when not connected."""
        if not self.connected:
            raise LinkDown(Link.REFUSED, "not connected")

    def days_left(self) -> dict[str, float]:
        """Days until the ``own`` and the ``server`` certificate expire; negative once expired."""
        now_utc = self._clock.now_utc()
        return {
            whose: (until - now_utc).total_seconds() / SECONDS_PER_DAY
            for whose, until in self.expires_utc.items()
        }

    async def connect(self) -> None:
        """Connect once; the caller decides when to try again."""
        await self.close()
        client = Client(
            self.url,
            timeout=CONNECT_TIMEOUT_S,
            watchdog_intervall=WATCHDOG_S,
            auto_reconnect=False,
        )
        client.name = client.description = "secondlife-ems"
        client.session_timeout = SESSION_TIMEOUT_MS
        client.connection_lost_callback = partial(self._lost, client)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                self.expires_utc = await secure(client, self.security, self._clock.now_utc())
                await client.connect()
        except TimeoutError:
            self._cut(client)
            raise LinkDown(Link.SILENT, "no connection within the time limit") from None
        except Untrusted as error:
            self._cut(client)
            raise LinkDown(Link.SILENT, str(error)) from error
        except OSError as error:
            self._cut(client)
            why = error.strerror or str(error)
            raise LinkDown(Link.REFUSED, f"connection refused: {why}") from error
        except _NO_SESSION as error:
            self._cut(client)
            raise LinkDown(Link.SILENT, explained(error, self.security)) from error
        except asyncio.CancelledError:
            self._cut(client)
            raise
        self._client = client
        self._warn_of_expiry()
        try:
            self.limits = await limits.found(self)
        except NoAnswer as error:
            raise LinkDown(Link.SILENT, str(error)) from error

    async def close(self) -> None:
        """Close; harmless when not connected."""
        client, self._client = self._client, None
        if client is None:
            return
        # The server may be gone; what it keeps of us ends by its own time-out.
        with contextlib.suppress(TimeoutError, OSError, *_GARBAGE):
            async with asyncio.timeout(self.timeout_s):
                await client.disconnect()
        self._cut(client)

    async def namespace_index(self, uri: str) -> int:
        """Index of a namespace on this server.

        Raises:
            BadAnswer: the server does not know it.
        """
        try:
            index: int = await self.ask(lambda c: c.get_namespace_index(uri), known=ValueError)
        except ValueError as error:
            raise BadAnswer(f"the server has no namespace {uri}") from error
        return index

    async def read(self, request: Any) -> list[Any]:
        """DataValues of the nodes of a ``ReadParameters``, with status, in one request."""
        values: list[Any] = await self.ask(lambda c: c.uaclient.session.read(request))
        if len(values) != len(request.NodesToRead):
            raise BadAnswer(f"{len(values)} values where {len(request.NodesToRead)} were asked for")
        return values

    async def write(self, writes: list[Any]) -> list[Any]:
        """Write in one request, or not at all when not connected now.

        Args:
            writes: ``WriteValue`` of each node or array element.

        Returns:
            Status of each.

        Raises:
            WriteForbidden: we only observe.
            LinkDown: no answer in time; the connection is cut, for otherwise the
                server might still find the write in its mail when it wakes up.
        """
        if self._observe:
            self.refused_writes += 1
            raise WriteForbidden("this connection only observes")
        request = ua.WriteRequest(Parameters=ua.WriteParameters(NodesToWrite=writes))
        try:
            codes: list[Any] = await self.ask(partial(self._write, request))
        except NoAnswer as error:
            self._abandon()
            raise LinkDown(Link.SILENT, f"write: {error}; connection cut") from error
        except asyncio.CancelledError:
            self._abandon()
            raise
        if len(codes) != len(writes):
            raise BadAnswer(f"{len(codes)} results of {len(writes)} writes")
        return codes

    async def ask(
        self,
        call: Callable[[Any], Awaitable[_Result]],
        known: type[Exception] | tuple[type[Exception], ...] = (),
    ) -> _Result:
        """The answer to one request within the deadline.

        Args:
            call: Sends the request on the asyncua client it is given.
            known: Errors that the caller wants to see as they are.

        Raises:
            LinkDown, NoAnswer, BadAnswer, DeviceRefusal: as of :class:`ems.drivers.link.Port`.
        """
        self.require()
        try:
            async with asyncio.timeout(self.timeout_s):
                return await call(self._client)
        except known:
            raise
        except TimeoutError:
            raise NoAnswer(f"no answer within {self.timeout_s:g} s") from None
        except OSError as error:
            raise LinkDown(Link.REFUSED, f"connection closed: {error}") from error
        except ua.UaStatusCodeError as error:
            if not self.connected:
                raise LinkDown(Link.REFUSED, f"connection closed: {error}") from error
            raise DeviceRefusal(f"refused: {type(error).__name__}") from error
        except _GARBAGE as error:
            raise BadAnswer(f"an answer that cannot be read: {error}") from error

    async def _write(self, request: Any, client: Any) -> list[Any]:
        """Send a write that tells the server by its time limit until when it is meant."""
        self.sent_writes += 1
        data = await client.uaclient.protocol.send_request(request, self.timeout_s)
        response = struct_from_binary(ua.WriteResponse, data)
        response.ResponseHeader.ServiceResult.check()
        results: list[Any] = response.Results
        return results

    def _abandon(self) -> None:
        """Cut the connection so that nothing sent on it can still take effect by our doing."""
        if self._client is not None:
            self._cut(self._client)
            self._client.uaclient.notify_transport_lost()
            self.on_lost()

    async def _lost(self, client: Any, _error: Exception) -> None:
        if client is self._client:
            self.on_lost()

    @staticmethod
    def _cut(client: Any) -> None:
        """Drop the socket and what is still in its buffer, without a farewell."""
        protocol = client.uaclient.protocol
        transport = None if protocol is None else protocol.transport
        if transport is not None:
            raw = transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            transport.abort()

    def _warn_of_expiry(self) -> None:
        for whose, days in self.days_left().items():
            if days < EXPIRY_WARNING_DAYS:
                log.warning("%s: the %s certificate expires in %.0f days", self.url, whose, days)


def _nobody() -> None:
    """Until an owner listens, nobody has to be told that a connection broke."""
