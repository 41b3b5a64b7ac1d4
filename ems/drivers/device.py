"""A profile compiled for one device of the site: blocks to read, points to write, rules.

Compiling happens once, before the control process starts (``ems.drivers.compiling.compile``);
per poll only the codecs run. Everything here can be pickled, and neither pydantic
nor YAML is needed to load or use it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ems.drivers.coding.block import Block, Flag, Values, Word
from ems.drivers.coding.codec import Outcome, PointCodec
from ems.drivers.rules import (
    Bit,
    Bitfield,
    Effect,
    HeartbeatRead,
    HeartbeatWrite,
    IdentityCheck,
    Kind,
    LinkRules,
    Maturity,
    Precondition,
    Readback,
    Severity,
    Step,
    TimeoutRule,
    WriteRules,
)
from ems.site import DeviceSpec

__all__ = [
    "ALARM",
    "Bit",
    "Bitfield",
    "Block",
    "CompiledDevice",
    "Effect",
    "Flag",
    "HeartbeatRead",
    "HeartbeatWrite",
    "IdentityCheck",
    "Kind",
    "LinkRules",
    "Located",
    "Maturity",
    "Outcome",
    "Precondition",
    "ProfileMisfit",
    "Readback",
    "Severity",
    "Step",
    "TimeoutRule",
    "Values",
    "Word",
    "WriteRules",
]

ALARM: Final = "alarm_level"


class ProfileMisfit(ValueError):
    """A profile cannot be used for this device of this site; says why."""


@dataclass(frozen=True, slots=True)
class Located:
    """A number of the map: its codec, and where it is written."""

    codec: PointCodec
    table: str
    sunspec_model: int | None
    at: int
    """Address inside its table or SunSpec model, counted from 0."""
    step: int
    """Registers from one element of an array to the next; 0 for a scalar."""
    node: str
    type: str
    access: str = "r"
    unit: str = ""
    count: int = 1
    """Elements; 1 for a scalar."""
    labels: Mapping[int, str] = field(default_factory=dict)
    """Raw code to the word the profile has for it."""

    @property
    def writable(self) -> bool:
        return "w" in self.access


@dataclass(frozen=True, slots=True)
class CompiledDevice:
    """Everything the owner of a connection needs to serve one device."""

    spec: DeviceSpec
    kind: Kind
    vendor: str
    model: str
    summary: str
    maturity: Maturity
    link: LinkRules
    blocks: tuple[Block, ...]
    """Polled, each at its own period; infinite for what is read once per connection."""
    points: Mapping[str, Located]
    on_demand: tuple[Block, ...] = ()
    """Read only by ``ems probe``."""
    identity: tuple[IdentityCheck, ...] = ()
    bitfields: Mapping[str, Bitfield] = field(default_factory=dict)
    alarm_parts: tuple[str, ...] = ()
    """Names whose worst value is the ``alarm_level``; one unknown part makes it unknown."""
    writes: Mapping[str, WriteRules] = field(default_factory=dict)
    """How ``power``, ``rectifier``, ``contactor`` and ``load`` are carried out."""
    on_connect: tuple[Step, ...] = ()
    """Points to hold at a value; written only where they differ."""
    timeout: TimeoutRule | None = None
    heartbeat: HeartbeatRead | None = None
    heartbeat_write: HeartbeatWrite | None = None
    safe_state: tuple[Step, ...] = ()
    """Ordered writes that need no read before."""
    provides: frozenset[str] = frozenset()
    """Names of ``ems.model`` that this device delivers."""
    not_provided: Mapping[str, str] = field(default_factory=dict)
    simulator: Mapping[str, float | str] = field(default_factory=dict)
    """What a simulated device of this profile shows where the plant says nothing."""

    @property
    def id(self) -> str:
        return self.spec.id

    def block_of(self, point: str) -> Block | None:
        """The block that delivers a point, a text or a bit field."""
        return next((block for block in self.all_blocks() if block.brings(point)), None)

    def all_blocks(self) -> Iterator[Block]:
        """Polled blocks, then those read on demand."""
        yield from self.blocks
        yield from self.on_demand
