"""How much a server takes in one request, as it says itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from asyncua import ua

from ems.drivers.link import BadAnswer, DeviceRefusal

_IDS: Final = ua.ObjectIds
_NODES: Final = (
    _IDS.Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    _IDS.Server_ServerCapabilities_OperationLimits_MaxNodesPerWrite,
    _IDS.Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
)
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Limits:
    """Most nodes in one request; 0 where the server sets no limit.

    Source:
        OPC UA Part 5, 6.3.11, OperationLimitsType.
    """

    reads: int = 0
    writes: int = 0
    monitored: int = 0


async def found(connection: Any) -> Limits:
    """The limits of the server at the other end; none where it does not tell.

    Each is asked for by itself: a server may take no more than one node in a request.

    Args:
        connection: An ``OpcUaConnection`` that is connected.

    Raises:
        LinkDown, NoAnswer: as of :class:`ems.drivers.link.Port`.
    """
    numbers = []
    for node in _NODES:
        asked = ua.ReadValueId(NodeId=ua.NodeId(node), AttributeId=ua.AttributeIds.Value)
        try:
            (answer,) = await connection.read(ua.ReadParameters(NodesToRead=[asked]))
        except (BadAnswer, DeviceRefusal):
            answer = None
        content = answer and answer.Value and answer.Value.Value
        numbers.append(content if isinstance(content, int) and content > 0 else 0)
    return Limits(*numbers)


def parts(items: Sequence[_Item], most: int) -> Iterator[Sequence[_Item]]:
    """The items in order, at most so many at a time; all at once where there is no limit."""
    step = most or max(1, len(items))
    return (items[k : k + step] for k in range(0, len(items), step))
