"""Device profiles: everything we know about a device's register map, as data.

A profile is one YAML file. It says where each value of ``ems.model`` lies, how it
is coded, how often to read it, how to command the device, what its safe state is,
and where each fact comes from. It holds no code. The guide is
``docs/howto/add-a-device.md``, the language ``docs/reference/device-profiles.md``.
"""

from decimal import Decimal
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ems import yamlfile
from ems.drivers.device import Kind

PROFILE_DIR: Final = Path(__file__).parent / "profiles"

PACK_POINTS: Final = (
    "voltage_v", "current_a", "soc_frac", "soh_frac", "charge_limit_a", "discharge_limit_a",
    "alarm_level", "contactor", "heartbeat", "cell_voltage_v", "cell_temp_c",
)  # fmt: skip
CONVERTER_POINTS: Final = ("power_w", "setpoint_w", "state", "dc_voltage_v", "dc_current_a")
METER_POINTS: Final = (
    "power_w", "voltage_v", "frequency_hz", "import_wh", "load_power_w", "load_on", "pv_power_w",
)  # fmt: skip

UNIT_OF_TOKEN: Final = {
    "v": "V", "a": "A", "w": "W", "wh": "Wh", "hz": "Hz", "c": "degC", "s": "s", "frac": "1",
}  # fmt: skip
"""Unit that a point must have after scaling, by the last token of its name."""

_REGISTERS: Final = {
    "int32": 2, "uint32": 2, "float32": 2, "int64": 4, "uint64": 4, "float64": 4,
}  # fmt: skip


class Strict(BaseModel):
    """Unknown keys are errors; nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Maturity(StrEnum):
    """How far the profile has been proven."""

    TEMPLATE = "template"
    """Written from documents or sources; never met the device."""
    SIMULATED = "simulated"
    """Describes our own simulator."""
    BENCH = "bench"
    FIELD = "field"


class Provenance(Strict):
    """Where facts come from and on what terms."""

    source: str
    licence: str
    facts: str = Field(description="which facts were taken from it")


class LinkRules(Strict):
    """How to talk to the device."""

    protocol: Literal["modbus", "opcua"]
    poll_ms: dict[str, Annotated[int, Field(ge=50, le=3_600_000)]] = Field(
        description="period of each poll class, in ms"
    )
    timeout_ms: int = Field(500, ge=50, le=1000)
    ttl_polls: float = Field(3.0, ge=1.5, description="polls after which a value is stale")
    address_base: int = Field(0, ge=0, description="first address as the map counts; 0 for PDU")
    max_read_registers: int = Field(125, ge=1, le=125)
    max_write_registers: int = Field(123, ge=1, le=123)
    write_function: Literal[6, 16] = 16
    sunspec_models: tuple[int, ...] = Field((), description="models that must be there")
    namespace_uri: str = Field("", description="OPC UA namespace of the node ids")


class BlockSpec(Strict):
    """Registers that are read together."""

    table: Literal["holding", "input"] = "holding"
    sunspec_model: int | None = None
    start: int = Field(ge=0, description="first address, or offset inside the SunSpec model")
    count: Annotated[int, Field(ge=1)] | Literal["reported_cells", "reported_temps"]
    poll: str


PointType = Literal[
    "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bool"
]


class Override(Strict):
    """A flag elsewhere that refines an enumerated point."""

    at: int
    mask: int
    type: Literal["uint16", "uint32"] = "uint32"
    when: str = Field(description="applies only when the point itself says this")
    code: str


class PointSpec(Strict):
    """One value, or an array of equal values. ``value = sign × (raw × scale + offset)``."""

    at: int | None = Field(None, ge=0, description="address, or offset inside the SunSpec model")
    table: Literal["holding", "input"] = "holding"
    sunspec_model: int | None = None
    node: str = Field("", description="OPC UA node id without namespace, e.g. s={prefix}.soc")
    poll: str = Field("", description="poll class of an OPC UA point")
    type: PointType
    word_order: Literal["big", "little"] = "big"
    scale: Decimal = Decimal(1)
    offset: Decimal = Decimal(0)
    scale_factor: str = Field("", description="point holding a SunSpec scale factor")
    unit: str = ""
    sign: Literal[1, -1] = 1
    sentinels: tuple[int, ...] = Field((), description="raw contents that mean 'no value'")
    range: tuple[float, float] | None = Field(None, description="plausible values")
    enum: dict[int, str] = Field(default_factory=dict)
    override: Override | None = None
    count: Annotated[int, Field(ge=1)] | Literal["reported_cells", "reported_temps"] | None = None
    stride: int = Field(1, ge=1, description="registers from one element to the next")
    access: Literal["r", "w", "rw"] = "r"
    quantum: Decimal | None = Field(None, gt=0, description="step of a command")
    write_range: tuple[float, float] | None = None


class AlarmWord(Strict):
    """A register of alarm bits; any bit of the mask raises ``alarm_level`` to ``level``."""

    at: int
    table: Literal["holding", "input"] = "holding"
    mask: int = 0xFFFF
    level: Literal[1, 2, 3]


class Step(Strict):
    """One write: a number, or a value the command brings along."""

    point: str
    value: (
        float
        | Literal[
            "power_w", "power_limit_w", "charge_limit_a", "contactor", "load_on", "device_timeout_s"
        ]
    )


class Readback(Strict):
    """How the device confirms a command."""

    point: str
    tolerance: float = Field(ge=0)


class WriteSpec(Strict):
    """How a command is carried out, step by step."""

    steps: tuple[Step, ...] = Field(min_length=1)
    readback: Readback | None = None
    repeat_s: float = Field(
        0.0, ge=0, description="an unchanged value is not rewritten more often; 0 is a lease"
    )


class Golden(Strict):
    """Raw contents and what they must mean, checked by the tests in both directions."""

    name: str
    sunspec_model: int | None = None
    table: Literal["holding", "input"] = "holding"
    registers: dict[int, int] = Field(default_factory=dict)
    nodes: dict[str, float | bool | list[float]] = Field(default_factory=dict)
    expect: dict[str, float | list[float | None] | None] = Field(
        min_length=1, description="point to value; empty for 'bad'"
    )


class Profile(Strict):
    """A device profile."""

    schema_version: Literal[1] = Field(alias="schema")
    kind: Kind
    vendor: str
    device: str
    summary: str
    maturity: Maturity
    provenance: tuple[Provenance, ...] = Field(min_length=1)
    link: LinkRules
    blocks: dict[str, BlockSpec] = Field(default_factory=dict)
    points: dict[str, PointSpec]
    alarms: tuple[AlarmWord, ...] = ()
    not_provided: dict[str, str] = Field(
        default_factory=dict, description="values the map lacks, and what follows from it"
    )
    on_connect: tuple[Step, ...] = Field(
        (), description="registers to hold at a value; written only when they differ"
    )
    heartbeat_write: str = Field("", description="point that gets our own counter")
    writes: dict[Literal["power", "rectifier", "contactor", "load"], WriteSpec] = Field(
        default_factory=dict
    )
    safe_state: tuple[Step, ...] = Field((), description="ordered writes; need no read before")
    golden: tuple[Golden, ...] = ()

    @property
    def provides(self) -> frozenset[str]:
        """Names of ``ems.model`` that this device delivers."""
        known = {*PACK_POINTS, *CONVERTER_POINTS, *METER_POINTS}
        alarm = {"alarm_level"} if self.alarms else set()
        readable = {name for name, point in self.points.items() if point.access != "w"}
        return frozenset(known & (readable | alarm))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = [*self._point_problems(), *self._reference_problems(), *self._absences()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _point_problems(self) -> list[str]:
        problems = []
        opcua = self.link.protocol == "opcua"
        for name, point in self.points.items():
            if (point.at is None) is not opcua or bool(point.node) is not opcua:
                problems.append(f"{name}: {'node' if opcua else 'at'} is needed, and only that")
            if opcua and point.poll not in self.link.poll_ms:
                problems.append(f"{name}: poll class {point.poll!r} is not in link.poll_ms")
            wanted = UNIT_OF_TOKEN.get(name.rsplit("_", 1)[-1])
            if wanted is not None and point.unit != wanted:
                problems.append(f"{name}: unit is {wanted!r} after scaling, found {point.unit!r}")
            factor = self.points.get(point.scale_factor)
            if point.scale_factor and factor is None:
                problems.append(f"{name}: scale_factor {point.scale_factor!r} is not a point")
            registers = _REGISTERS.get(point.type, 1)
            limit = 1 if self.link.write_function == 6 else self.link.max_write_registers
            if not opcua and "w" in point.access and registers > limit:
                problems.append(f"{name}: {registers} registers; it does not fit one write")
            if point.scale == 0:
                problems.append(f"{name}: scale must not be 0")
        for key, block in self.blocks.items():
            if block.poll not in self.link.poll_ms:
                problems.append(f"block {key}: poll class {block.poll!r} is not in link.poll_ms")
        return problems

    def _reference_problems(self) -> list[str]:
        problems = []
        steps = [step for write in self.writes.values() for step in write.steps]
        for step in (*steps, *self.on_connect, *self.safe_state):
            point = self.points.get(step.point)
            if point is None or "w" not in point.access:
                problems.append(f"step writes {step.point!r}, which is not a writable point")
        for write in self.writes.values():
            if write.readback is not None and write.readback.point not in self.points:
                problems.append(f"read-back point {write.readback.point!r} is unknown")
        if self.heartbeat_write and self.heartbeat_write not in self.points:
            problems.append(f"heartbeat_write {self.heartbeat_write!r} is not a point")
        if "power" in self.writes and not self.safe_state:
            problems.append("a device that takes power commands needs a safe_state")
        return problems

    def _absences(self) -> list[str]:
        wanted: tuple[str, ...] = ()
        if self.kind is Kind.PACK:
            wanted = PACK_POINTS
        elif self.kind is Kind.CONVERTER:
            wanted = CONVERTER_POINTS
        silent = [n for n in wanted if n not in self.provides and n not in self.not_provided]
        both = [n for n in self.not_provided if n in self.provides]
        return [f"{n}: neither a point nor explained in not_provided" for n in silent] + [
            f"{n}: provided and also listed in not_provided" for n in both
        ]


@cache
def load(name: str) -> Profile:
    """The profile with a shipped name, or in the YAML file of that path.

    Raises:
        ems.yamlfile.FileErrors: everything wrong with the file, with positions.
        FileNotFoundError: neither a shipped profile nor a file; names the shipped ones.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else PROFILE_DIR / f"{name}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"no device profile {name!r}{yamlfile.nearest(name, shipped())}")
    return yamlfile.load_model(path, Profile)


def shipped() -> tuple[str, ...]:
    """Names of the profiles that come with the program."""
    return tuple(sorted(path.stem for path in PROFILE_DIR.glob("*.yaml")))
