"""How to talk to a device, and what is read together."""

from typing import Annotated, Literal

from pydantic import Field

from ems.drivers.language.base import Strict, Table

AddressBase = Annotated[int, Field(ge=0)]
Transport = Literal["tcp", "rtu", "rtu_tcp", "tls"]


class Span(Strict):
    """Registers from `first` to `last`, both included."""

    table: Table = Field("holding", description="register table")
    sunspec_model: int | None = Field(
        None, description="SunSpec model inside which the addresses are offsets"
    )
    first: int = Field(ge=0, description="first register")
    last: int = Field(ge=0, description="last register")


class LinkSpec(Strict):
    """How to talk to the device. Times are what the device needs, not what the site wants."""

    protocol: Literal["modbus", "opcua"] = Field(description="what the device speaks")
    transports: tuple[Transport, ...] = Field(
        ("tcp", "rtu", "rtu_tcp", "tls"),
        min_length=1,
        description="Modbus: ways it can be reached by; a site file that names another is refused",
    )
    poll_ms: dict[str, Annotated[int, Field(ge=50, le=3_600_000)]] = Field(
        min_length=1,
        description=(
            "poll classes and their period in ms, such as `{fast: 500, slow: 1000}`; the first is "
            "the default of a point. Two classes need no period: `once` (at each connect) and "
            "`on_demand` (only `ems probe` asks)"
        ),
    )
    timeout_ms: int = Field(500, ge=50, le=1000, description="time limit of one request, ms")
    retries: int = Field(
        0, ge=0, le=3, description="repeats of an unanswered read; a write is never repeated"
    )
    gap_ms: int = Field(
        0,
        ge=0,
        le=1000,
        description="least pause between an answer and the next request, ms; over TCP too",
    )
    turnaround_ms: int = Field(
        0, ge=0, le=1000, description="time the device takes to begin its answer, ms"
    )
    latency_max_ms: int = Field(
        500,
        ge=50,
        le=5000,
        description="longest time after which an answer may still come, ms; a serial line is "
        "drained that long after a missing answer, so that it is not taken for the next one",
    )
    connect_delay_ms: int = Field(
        0, ge=0, le=10_000, description="pause between connecting and the first request, ms"
    )
    garbage_on_open: bool = Field(
        False, description="bytes that arrive before the first request mean nothing"
    )
    max_connections: int = Field(
        1, ge=1, le=64, description="connections the device serves at a time"
    )
    ttl_polls: float = Field(
        3.0, ge=1.5, description="polls after which a value is stale; never less than 3 s"
    )
    address_base: AddressBase | dict[Table, AddressBase] = Field(
        0,
        description="first address as the map counts: 0 for addresses as sent, 1, 30001 or 40001. "
        "For each table its own where the manual does so: `{holding: 40001, input: 0}`",
    )
    max_read_registers: int = Field(
        125, ge=1, le=125, description="most registers the device gives in one answer"
    )
    max_write_registers: int = Field(
        123, ge=1, le=123, description="most registers the device takes in one write"
    )
    write_function: Literal[6, 16] = Field(
        16, description="6 writes one register at a time: a value of two registers is then refused"
    )
    max_hole: int = Field(
        32,
        ge=0,
        le=124,
        description="most unused registers that a read may pass over between two points",
    )
    holes: tuple[Span, ...] = Field(
        (), description="registers that no read may touch, because the device refuses it"
    )
    atomic: tuple[tuple[str, ...], ...] = Field(
        (),
        description="points that belong to one moment and must come in one answer. A value and its "
        "scale factor, an array and its count always do",
    )
    sunspec_models: tuple[int, ...] = Field(
        (),
        description="models that must be there; the chain is looked for at 40000, 0 and 50000. It "
        "is the device's identity as well",
    )
    namespace_uri: str = Field(
        "", description="OPC UA namespace of the node ids; its index is looked up at each connect"
    )
    opcua_mode: Literal["batch", "subscription"] = Field(
        "batch", description="OPC UA: one read per poll, or the server reports changes"
    )
    publish_ms: int = Field(
        500, ge=50, le=60_000, description="OPC UA: publishing interval of a subscription, ms"
    )
    source_age_max_s: float | None = Field(
        None,
        gt=0,
        le=86_400,
        description="OPC UA: for servers that keep renewing source time stamps: a value is bad "
        "once its stamp has stood still, or lies behind the server's, for longer, s",
    )

    def base(self, table: Table, sunspec_model: int | None) -> int:
        """What to take off an address of the map to get the one that is sent."""
        if sunspec_model is not None:
            return 0
        if isinstance(self.address_base, int):
            return self.address_base
        return self.address_base.get(table, 0)


class BlockSpec(Strict):
    """Registers to be read exactly so, for devices that answer to certain ranges only.

    Without blocks the reads are planned from the points: fewest requests on TCP, least time
    on a serial line.
    """

    table: Table = Field("holding", description="register table")
    sunspec_model: int | None = Field(
        None, description="SunSpec model; `start` is then an offset inside it (its id is offset 0)"
    )
    start: int = Field(ge=0, description="first register")
    count: Annotated[int, Field(ge=1)] | Literal["reported_cells", "reported_temps"] = Field(
        description="registers; `reported_cells` and `reported_temps` come from the site file"
    )
    poll: str = Field(description="poll class")
