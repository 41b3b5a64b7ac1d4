"""What can go wrong between us and a device, as types; and what a port must offer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from ems.drivers.coding.codec import Raw
from ems.drivers.device import Block, CompiledDevice, Located, Values
from ems.model import Link

Tap = Callable[[str, Any], None]
"""Takes the key of a block and what it brought as it came: bytes, or contents of nodes."""


class LinkDown(Exception):
    """The connection is gone or cannot be made; every device on it is affected."""

    def __init__(self, link: Link, why: str) -> None:
        super().__init__(why)
        self.link = link


class NoAnswer(Exception):
    """The device did not answer within its time limit."""


class BadAnswer(Exception):
    """Something came back that is not the answer to what was asked; none of it is used."""


class DeviceRefusal(Exception):
    """The device understood and said no: a Modbus exception or a bad OPC UA status."""


class WriteForbidden(Exception):
    """We only observe: nothing is ever written on this connection."""


@dataclass(frozen=True, slots=True)
class PointWrite:
    """One coded value on its way to a device."""

    point: Located
    raw: Raw
    element: int = 0

    @property
    def at(self) -> int:
        """Address of the element inside its table or SunSpec model."""
        return self.point.at + self.element * self.point.step


class Connection(Protocol):
    """One transport connection, used by one task only."""

    refused_writes: int
    """Writes stopped because we only observe."""
    sent_writes: int
    """Writes that left for the wire; stays 0 while we only observe."""
    on_lost: Callable[[], None]
    """Called as soon as the connection breaks."""
    loss: str
    """Why it broke last; empty when the transport does not know."""

    @property
    def connected(self) -> bool: ...

    async def connect(self) -> None:
        """Connect within the time limit.

        Raises:
            LinkDown: with the state to show for every device behind it.
        """
        ...

    async def close(self) -> None: ...


class Port(Protocol):
    """One device behind a connection.

    Every call raises ``LinkDown``, ``NoAnswer``, ``BadAnswer`` or ``DeviceRefusal``.
    """

    device: CompiledDevice
    tap: Tap | None
    """Sees every answer before it is decoded; only `ems probe` sets it."""

    async def prepare(self) -> None:
        """Find out what must be known before the first read, such as SunSpec addresses."""
        ...

    def has(self, point: Located) -> bool:
        """Whether this very device has the point (an optional SunSpec model may lack)."""
        ...

    async def read(self, block: Block) -> Values | None:
        """What the block says; ``None`` when this very device lacks it."""
        ...

    async def write(self, writes: list[PointWrite]) -> None:
        """Carry out the writes in order.

        Raises:
            WriteForbidden: we only observe.
        """
        ...
