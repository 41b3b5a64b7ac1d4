"""The whole profile of a device."""

from typing import Final, Literal

from pydantic import Field, field_validator

from ems.drivers.language.base import (
    CONVERTER_POINTS,
    METER_POINTS,
    PACK_POINTS,
    Strict,
    Table,
)
from ems.drivers.language.link import BlockSpec, LinkSpec
from ems.drivers.language.points import BitfieldSpec, PointSpec
from ems.drivers.language.writes import (
    Heartbeats,
    IdentitySpec,
    StepSpec,
    TimeoutSpec,
    WriteSpec,
)
from ems.drivers.rules import Kind, Maturity

SCHEMA: Final = 2
"""Version of the language."""


class Provenance(Strict):
    """Where facts come from and on what terms."""

    source: str = Field(min_length=1, description="document, file or measurement, with its version")
    licence: str = Field(min_length=1, description="terms under which the facts are used")
    facts: str = Field(min_length=1, description="which facts were taken from it")


class Golden(Strict):
    """Raw contents and what they must mean: the profile's own proof.

    Each vector is decoded and compared, then encoded again and compared register by register. A
    profile whose vectors do not hold is not loaded. A vector is about one register table; a reading
    that spans both tables is two vectors.
    """

    name: str = Field(min_length=1, description="what the device was doing")
    sunspec_model: int | None = Field(None, description="SunSpec model of the addresses")
    table: Table = Field("holding", description="register table of the addresses")
    registers: dict[int, int] = Field(
        default_factory=dict, description="address to raw content, 0 to 65535"
    )
    nodes: dict[str, float | bool | str | list[float]] = Field(
        default_factory=dict, description="OPC UA: point to the content of its node"
    )
    expect: dict[str, float | str | list[float | None] | None] = Field(
        default_factory=dict,
        description="point to value; empty for 'bad'. A bit field expects its word",
    )
    commands: dict[str, float] = Field(
        default_factory=dict,
        description="point to commanded value: these registers are what must be sent",
    )


class Profile(Strict):
    """A device profile."""

    schema_version: int = Field(alias="schema", description="version of this language, 2")
    kind: Kind = Field(description="which reading the device feeds")
    vendor: str = Field(min_length=1, description="who makes it")
    device: str = Field(min_length=1, description="what it is, models included")
    firmware: str = Field("", description="versions for which the map is known to hold")
    summary: str = Field(min_length=1, description="one sentence for people")
    maturity: Maturity = Field(description="how far the profile has been proven")
    provenance: tuple[Provenance, ...] = Field(
        min_length=1, description="where each fact comes from"
    )
    link: LinkSpec = Field(description="how to talk to it")
    identity: tuple[IdentitySpec, ...] = Field((), description="how it is recognised")
    blocks: dict[str, BlockSpec] = Field(
        default_factory=dict, description="reads that must be exactly so; planned when left out"
    )
    points: dict[str, PointSpec] = Field(min_length=1, description="the values, by name")
    bitfields: dict[str, BitfieldSpec] = Field(
        default_factory=dict, description="words of alarm and fault flags, by name"
    )
    not_provided: dict[str, str] = Field(
        default_factory=dict,
        description="values the map lacks, and what follows from it; every value of the kind must "
        "be either a point or here",
    )
    on_connect: tuple[StepSpec, ...] = Field(
        (), description="points to hold at a value; written only where they differ"
    )
    device_timeout: TimeoutSpec | None = Field(None, description="the device's own dead-man")
    heartbeats: Heartbeats = Field(
        default_factory=lambda: Heartbeats(read=None, write=None), description="signs of life"
    )
    writes: dict[Literal["power", "rectifier", "contactor", "load"], WriteSpec] = Field(
        default_factory=dict, description="how commands are carried out"
    )
    safe_state: tuple[StepSpec, ...] = Field(
        (), description="ordered writes when the EMS leaves; they need no read before"
    )
    golden: tuple[Golden, ...] = Field((), description="raw contents and what they must mean")
    simulator: dict[str, float | str] = Field(
        default_factory=dict, description="what a simulated device shows where the plant is silent"
    )

    @field_validator("schema_version")
    @classmethod
    def _known(cls, version: int) -> int:
        if version != SCHEMA:
            raise ValueError(
                f"must be {SCHEMA}; docs/reference/device-profiles.md says what changed"
            )
        return version

    @property
    def provides(self) -> frozenset[str]:
        """Names of ``ems.model`` that this device delivers."""
        known = {*PACK_POINTS, *CONVERTER_POINTS, *METER_POINTS}
        alarm = {"alarm_level"} if self.bitfields else set()
        readable = {
            name
            for name, point in self.points.items()
            if point.access != "w" and point.poll != "on_demand"
        }
        return frozenset(known & (readable | alarm))

    @property
    def coded(self) -> frozenset[str]:
        """Points whose words are codes of ``ems.model``, not just labels."""
        commanded = {
            step.point
            for write in self.writes.values()
            for step in write.steps
            if step.value == "contactor"
        }
        own = {Kind.PACK: {"contactor", "alarm_level"}, Kind.CONVERTER: {"state"}}
        return frozenset((own.get(self.kind, set()) | commanded) & self.points.keys())
