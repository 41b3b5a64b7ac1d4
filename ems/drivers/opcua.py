"""OPC UA: asyncua does the protocol, this layer sets deadlines and reads status codes.

Imported only when a site has an OPC UA device: asyncua costs some 25 MB. Its own
reconnecting is off, because while it reconnects a write waits and is then
delivered late; here a write is dropped when not connected.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from asyncua import Client, ua
from asyncua.client.ua_client import UaClientState

from ems.drivers.device import Block, Located, ServedDevice, Values
from ems.drivers.link import (
    BadAnswer,
    DeviceRefusal,
    LinkDown,
    NoAnswer,
    PointWrite,
    WriteForbidden,
)
from ems.model import Link, Quality

SESSION_TIMEOUT_MS: Final = 60_000
"""Short: a controller that restarts often must not fill the tables of a small PLC."""
WATCHDOG_S: Final = 5.0
CONNECT_TIMEOUT_S: Final = 3.0
"""Connecting takes several round trips and, later, cryptography."""

_VARIANT: Final = {
    "int16": ua.VariantType.Int16, "uint16": ua.VariantType.UInt16,
    "int32": ua.VariantType.Int32, "uint32": ua.VariantType.UInt32,
    "int64": ua.VariantType.Int64, "uint64": ua.VariantType.UInt64,
    "float32": ua.VariantType.Float, "float64": ua.VariantType.Double,
    "bool": ua.VariantType.Boolean,
}  # fmt: skip
_Result = TypeVar("_Result")

# A device is reported once when it fails and once when it is back, by its owner.
logging.getLogger("asyncua").setLevel(logging.CRITICAL)


class OpcUaConnection:
    """One connection to one server, used by one owner task.

    Args:
        url: Endpoint, ``opc.tcp://host:port/path``.
        timeout_s: Deadline of every request, s, < 1.
        security: asyncua security string
            (``policy,mode,certificate,key[,server certificate]``); empty for none.
        observe: Refuse and count every write.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float,
        security: str = "",
        observe: bool = False,
    ) -> None:
        self.url, self.timeout_s, self.security = url, timeout_s, security
        self.refused_writes = 0
        self.on_lost: Callable[[], None] = _nobody
        self._observe = observe
        self._client: Any = None

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.state is UaClientState.CONNECTED

    async def connect(self) -> None:
        """Connect once; the caller decides when to try again."""
        await self.close()
        client = Client(
            self.url,
            timeout=self.timeout_s,
            watchdog_intervall=WATCHDOG_S,
            auto_reconnect=False,
        )
        client.session_timeout = SESSION_TIMEOUT_MS
        client.connection_lost_callback = self._lost
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if self.security:
                    await client.set_security_string(self.security)
                await client.connect()
        except TimeoutError:
            self._drop(client)
            raise LinkDown(Link.SILENT, "no connection within the time limit") from None
        except OSError as error:
            self._drop(client)
            raise LinkDown(Link.REFUSED, f"connection refused: {error.strerror}") from error
        except (ua.UaError, ValueError) as error:
            self._drop(client)
            raise LinkDown(Link.SILENT, f"no connection: {error}") from error
        self._client = client

    async def close(self) -> None:
        """Close; harmless when not connected."""
        client, self._client = self._client, None
        if client is None:
            return
        # The server may be gone; what it keeps of us ends by its own time-out.
        with contextlib.suppress(TimeoutError, OSError, ua.UaError):
            async with asyncio.timeout(self.timeout_s):
                await client.disconnect()
        self._drop(client)

    async def namespace_index(self, uri: str) -> int:
        """Index of a namespace on this server.

        Raises:
            BadAnswer: the server does not know it.
        """
        try:
            index: int = await self._bounded(lambda c: c.get_namespace_index(uri))
        except ValueError as error:
            raise BadAnswer(f"the server has no namespace {uri}") from error
        return index

    async def read(self, nodes: list[Any]) -> list[Any]:
        """DataValues of the nodes, with status and time stamps, in one request."""
        values: list[Any] = await self._bounded(
            lambda c: c.uaclient.read_attributes(nodes, ua.AttributeIds.Value)
        )
        if len(values) != len(nodes):
            raise BadAnswer(f"{len(values)} values where {len(nodes)} were asked for")
        return values

    async def write(self, nodes: list[Any], variants: list[Any]) -> None:
        """Write the nodes in one request, or not at all when not connected now.

        Raises:
            WriteForbidden: we only observe.
        """
        if self._observe:
            self.refused_writes += 1
            raise WriteForbidden("this connection only observes")
        data = [ua.DataValue(variant) for variant in variants]
        codes = await self._bounded(lambda c: c.uaclient.write_attributes(nodes, data))
        bad = [code.name for code in codes if not code.is_good()]
        if bad or len(codes) != len(nodes):
            raise DeviceRefusal(f"write refused: {', '.join(bad) or 'no status'}")

    async def _bounded(self, call: Callable[[Any], Awaitable[_Result]]) -> _Result:
        if not self.connected:
            raise LinkDown(Link.REFUSED, "not connected")
        try:
            async with asyncio.timeout(self.timeout_s):
                return await call(self._client)
        except TimeoutError:
            raise NoAnswer(f"no answer within {self.timeout_s:g} s") from None
        except (OSError, ConnectionError) as error:
            raise LinkDown(Link.REFUSED, f"connection closed: {error}") from error
        except ua.UaError as error:
            if not self.connected:
                raise LinkDown(Link.REFUSED, f"connection closed: {error}") from error
            if isinstance(error, ua.UaStatusCodeError):
                raise DeviceRefusal(str(error)) from error
            raise BadAnswer(str(error)) from error

    async def _lost(self, _: Exception) -> None:
        self.on_lost()

    @staticmethod
    def _drop(client: Any) -> None:
        with contextlib.suppress(OSError, AttributeError, ua.UaError):
            client.disconnect_socket()


class OpcUaPort:
    """One device (a set of nodes) on an OPC UA server."""

    def __init__(self, connection: OpcUaConnection, device: ServedDevice) -> None:
        self.device = device
        self._connection = connection
        self._index = 0
        self._nodes: dict[str, list[Any]] = {}

    async def prepare(self) -> None:
        """Resolve the namespace; its index may differ from server to server and run to run."""
        uri = self.device.conduct.namespace_uri
        self._index = await self._connection.namespace_index(uri)
        self._nodes = {
            block.key: [self._node_id(node) for node in block.nodes] for block in self.device.blocks
        }

    def has(self, point: Located) -> bool:
        return bool(point.node)

    async def read(self, block: Block) -> Values:
        values = await self._connection.read(self._nodes[block.key])
        content = [
            (value.Value.Value if value.Value else None, _quality(value)) for value in values
        ]
        return block.decode_nodes(content)

    async def write(self, writes: list[PointWrite]) -> None:
        if any(write.element for write in writes):
            raise DeviceRefusal("an element of an OPC UA array cannot be written")
        await self._connection.write(
            [self._node_id(write.point.node) for write in writes],
            [ua.Variant(write.raw, _VARIANT[write.point.type]) for write in writes],
        )

    def _node_id(self, node: str) -> Any:
        return ua.NodeId.from_string(f"ns={self._index};{node}")


def _nobody() -> None:
    """Until an owner listens, nobody has to be told that a connection broke."""


def _quality(value: Any) -> Quality:
    """Quality by status code; a value without a good status is never shown as good."""
    status = value.StatusCode
    if status is None or status.is_good():
        return Quality.GOOD if value.Value is not None else Quality.BAD
    return Quality.UNCERTAIN if status.is_uncertain() else Quality.BAD
