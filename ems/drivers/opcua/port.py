"""One device (a set of nodes) on an OPC UA server: what it says, and what it is told."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

from asyncua import ua

from ems.drivers.device import Block, CompiledDevice, Located, ProfileMisfit, Values
from ems.drivers.link import BadAnswer, DeviceRefusal, PointWrite, Tap
from ems.drivers.opcua.connection import OpcUaConnection
from ems.drivers.opcua.limits import parts
from ems.drivers.opcua.nodes import NodeDecoder
from ems.drivers.opcua.security import Security
from ems.drivers.opcua.subscription import Subscription

log = logging.getLogger(__name__)

FIRST_VALUES_S: Final = 3.0
"""Time for the first value of every node after subscribing, besides publishing intervals."""
_LOOK_S: Final = 0.02
_NO_STAMPS: Final = ua.TimestampsToReturn.Neither
_VARIANT: Final = {
    "int16": ua.VariantType.Int16, "uint16": ua.VariantType.UInt16,
    "int32": ua.VariantType.Int32, "uint32": ua.VariantType.UInt32,
    "int64": ua.VariantType.Int64, "uint64": ua.VariantType.UInt64,
    "float32": ua.VariantType.Float, "float64": ua.VariantType.Double,
    "bool": ua.VariantType.Boolean,
}  # fmt: skip
_ABSENT: Final = frozenset(
    {
        ua.StatusCodes.BadNodeIdUnknown,
        ua.StatusCodes.BadNodeIdInvalid,
        ua.StatusCodes.BadAttributeIdInvalid,
        ua.StatusCodes.BadNotReadable,
        ua.StatusCodes.BadUserAccessDenied,
    }
)
"""A node that will not come by waiting: the profile, the device or our rights must change."""


class OpcUaPort:
    """One device behind a connection, read in batches or by subscription.

    Args:
        connection: Shared with the other devices of the server.
        device: Its ``link.opcua_mode`` says how it is read.

    Raises:
        ProfileMisfit: an option of the device cannot be used.
    """

    def __init__(self, connection: OpcUaConnection, device: CompiledDevice) -> None:
        self.device = device
        self._connection = connection
        self._index = 0
        self._requests: dict[str, list[Any]] = {}
        """Of each block; several where it is more than the server takes at a time."""
        self._start: dict[str, int] = {}
        self._subscription: Subscription | None = None
        self._decoded: dict[str, tuple[int, Values]] = {}
        self._decoders = {block.key: NodeDecoder(block) for block in device.all_blocks()}
        self._freshness = _Freshness(device.link.source_age_max_s)
        self._missing: tuple[str, ...] = ()
        self.tap: Tap | None = None

    async def prepare(self) -> None:
        """Resolve the namespace, find missing nodes, and subscribe where that is the mode.

        A namespace may have another index on another server or after a restart.

        Raises:
            BadAnswer: no such namespace, or not one of the nodes exists.
        """
        self._index = await self._connection.namespace_index(self.device.link.namespace_uri)
        blocks = list(self.device.all_blocks())
        stamps = ua.TimestampsToReturn.Both if self._freshness.wanted else _NO_STAMPS
        self._requests = {
            block.key: [
                ua.ReadParameters(TimestampsToReturn=stamps, NodesToRead=list(part))
                for part in parts(
                    [
                        ua.ReadValueId(NodeId=self._node_id(n), AttributeId=ua.AttributeIds.Value)
                        for n in block.nodes
                    ],
                    self._connection.limits.reads,
                )
            ]
            for block in blocks
        }
        self._freshness.forget()
        self._decoded.clear()
        self._subscription = None
        if self.device.link.opcua_mode == "subscription":
            values = await self._subscribe(self.device.blocks)
        else:
            values = []
            for block in self.device.blocks:
                values += await self._ask(block)
        self._note_missing([node for block in self.device.blocks for node in block.nodes], values)

    def has(self, point: Located) -> bool:
        return bool(point.node)

    async def read(self, block: Block) -> Values:
        """What the block says.

        Of a subscription this is what the server sent last; it sends only what
        changes, and what it does not send holds as long as it says anything.
        """
        start = self._start.get(block.key)
        if self._subscription is None or start is None:
            values = await self._ask(block)
            return self._decode(block, values)
        self._connection.require()
        self._subscription.check()
        changes = self._subscription.changes
        before = self._decoded.get(block.key)
        if before is not None and before[0] == changes and not self._freshness.wanted:
            return before[1]
        values = self._subscription.values[start : start + len(block.nodes)]
        found = self._decode(block, values)
        self._decoded[block.key] = (changes, found)
        return found

    async def write(self, writes: list[PointWrite]) -> None:
        """All writes in as few requests as the server takes, carried out in this order.

        Raises:
            DeviceRefusal: the server refused one; says which point and why. What would
                have come in a later request is not sent then.
        """
        coded = [self._write_value(write) for write in writes]
        for part in parts(list(zip(writes, coded, strict=True)), self._connection.limits.writes):
            codes = await self._connection.write([value for _, value in part])
            refused = [
                f"{write.point.codec.name} ({write.point.node}): {code.name}"
                for (write, _), code in zip(part, codes, strict=True)
                if not code.is_good()
            ]
            if refused:
                raise DeviceRefusal(f"write refused: {', '.join(refused)}")

    async def _ask(self, block: Block) -> list[Any]:
        """DataValue of each node of a block."""
        values: list[Any] = []
        for request in self._requests[block.key]:
            values += await self._connection.read(request)
        return values

    def _write_value(self, write: PointWrite) -> Any:
        point = write.point
        variant = _VARIANT.get(point.type)
        if variant is None:
            raise DeviceRefusal(f"{point.codec.name}: type {point.type} cannot be written")
        if point.step:
            # One element of an array: the server leaves the others as they are.
            value = ua.Variant([write.raw], variant, is_array=True)
            part: str | None = str(write.element)
        else:
            value, part = ua.Variant(write.raw, variant), None
        return ua.WriteValue(
            NodeId=self._node_id(point.node),
            AttributeId=ua.AttributeIds.Value,
            IndexRange=part,
            Value=ua.DataValue(value),
        )

    async def _subscribe(self, blocks: Sequence[Block]) -> list[Any]:
        """One subscription for all blocks; returns the first value of each node."""
        nodes: list[Any] = []
        for block in blocks:
            self._start[block.key] = len(nodes)
            nodes += [self._node_id(node) for node in block.nodes]
        made = Subscription(
            nodes,
            publish_s=self.device.link.publish_ms / 1000,
            silence_max_s=min(block.ttl_s for block in blocks),
            stamped=self._freshness.wanted,
        )
        time = asyncio.get_running_loop().time
        await self._connection.ask(lambda client: made.start(client, time))
        for places in parts(range(len(nodes)), self._connection.limits.monitored):
            await self._connection.ask(partial(made.watch, places=places))
        until_s = time() + FIRST_VALUES_S + made.silent_after_s
        while not made.complete and time() < until_s:
            await asyncio.sleep(_LOOK_S)
            made.check()
        if not made.complete:
            late = [node.to_string() for node, v in zip(nodes, made.values, strict=True) if not v]
            raise BadAnswer(f"subscribed, but no first value of {', '.join(late)}")
        self._subscription = made
        return made.values

    def _decode(self, block: Block, values: Sequence[Any]) -> Values:
        if self.tap is not None:
            self.tap(block.key, [value.Value and value.Value.Value for value in values])
        stale = self._freshness.judge(block.key, values) if self._freshness.wanted else ()
        return self._decoders[block.key].decode(values, stale)

    def _note_missing(self, nodes: list[str], values: Sequence[Any]) -> None:
        """Say once which nodes the server does not have or does not let us read.

        Raises:
            BadAnswer: all of them; this is not the device that the profile describes.
        """
        missing = tuple(
            f"{node} ({value.StatusCode.name})"
            for node, value in zip(nodes, values, strict=True)
            if value.StatusCode is not None and value.StatusCode.value in _ABSENT
        )
        if missing and missing != self._missing:
            log.warning("%s: not readable on the server: %s", self.device.id, ", ".join(missing))
        self._missing = missing
        if len(missing) == len(nodes):
            raise BadAnswer(f"no node can be read, the first is {missing[0]}")

    def _node_id(self, node: str) -> Any:
        return ua.NodeId.from_string(f"ns={self._index};{node}")


class _Freshness:
    """Judges values by their source time stamps, for servers that keep moving them.

    A stamp is compared with the server's own and with how long we have seen it stand
    still, never with our clock: the two need not agree.
    """

    def __init__(self, limit_s: float) -> None:
        self.wanted = limit_s > 0.0
        self._limit_s = limit_s
        self._limit = timedelta(seconds=limit_s)
        self._seen: dict[tuple[str, int], tuple[Any, float]] = {}

    def forget(self) -> None:
        self._seen.clear()

    def judge(self, block: str, values: Sequence[Any]) -> set[int]:
        """Indices of the values whose source is silent."""
        now_s = asyncio.get_running_loop().time()
        silent = set()
        for k, value in enumerate(values):
            stamp, served = value.SourceTimestamp, value.ServerTimestamp
            before = self._seen.get((block, k))
            if before is None or before[0] != stamp:
                before = self._seen[(block, k)] = (stamp, now_s)
            old = stamp is None or now_s - before[1] > self._limit_s
            if old or (served is not None and served - stamp > self._limit):
                silent.add(k)
        return silent


def connection_for(
    devices: Sequence[CompiledDevice], timeout_s: float, observe: bool
) -> OpcUaConnection:
    """The connection that all devices of one server share.

    Raises:
        ProfileMisfit: their security options are wrong, or differ.
    """
    spec = devices[0].spec
    security = Security.of(spec)
    for device in devices[1:]:
        if Security.of(device.spec) != security:
            raise ProfileMisfit(
                f"devices {spec.id} and {device.spec.id} are on the same server, "
                "but their security options differ"
            )
    url = f"opc.tcp://{spec.host}:{spec.port}/{spec.path.lstrip('/')}"
    return OpcUaConnection(url, timeout_s, security, observe)
