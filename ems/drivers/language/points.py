"""Points, arrays and bit fields: where a value lies, how it is coded, when it is believed."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field

from ems.drivers.language.base import Strict, Table

PointType = Literal[
    "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64", "bool",
    "bcd16", "bcd32", "string",
]  # fmt: skip
SeverityName = Literal["info", "warn", "derate", "trip"]
Direction = Literal["discharge", "charge", "import", "export", "generation", "consumption"]
_Sentinel = int | Annotated[tuple[int, int], Field(description="from, to")]


class Override(Strict):
    """A flag elsewhere that turns the code `when` of this point into `code`."""

    at: int = Field(ge=0, description="register of the flag")
    mask: int = Field(gt=0, description="bits of which any raises it")
    type: Literal["uint16", "uint32"] = Field("uint32", description="type of the flag's word")
    when: str = Field(description="applies only while the point itself says this")
    code: str = Field(description="what it then means")


class CountFrom(Strict):
    """A number of elements that the device tells itself."""

    point: str = Field(description="point with the number; it is read in the same request")
    max: int = Field(ge=1, description="most elements there can be; so many are read")


class Groups(Strict):
    """The same array once per module, string or rack, further apart."""

    count: int = Field(ge=1, description="groups; `count` of the point then counts in each group")
    stride: int = Field(ge=1, description="registers from one group to the next")


class ValidIf(Strict):
    """A condition without which the content means nothing."""

    point: str = Field(description="the other point; it is read in the same request")
    one_of: tuple[float | str, ...] = Field(
        min_length=1, description="its values, or the words of its `enum`, that make this one valid"
    )


class PointSpec(Strict):
    """One value, or an array of equal values.

    `value = sign × (raw × scale × 10^scale_factor + offset)`, exact until the last division. One
    codec serves reading and writing. What cannot be a value (a sentinel, an unknown code, anything
    outside `range`) is *bad*: nobody ever sees a number for it.
    """

    at: int | None = Field(
        None, ge=0, description="address, or offset inside the SunSpec model (its id is offset 0)"
    )
    words: tuple[int, ...] = Field(
        (), description="instead of `at`: addresses of the words, most significant first"
    )
    table: Table = Field("holding", description="register table")
    sunspec_model: int | None = Field(None, description="SunSpec model in which it lies")
    node: str = Field(
        "",
        description="OPC UA node id without namespace, such as `s={prefix}.soc`; `{prefix}` and "
        "other options of the device in the site file are filled in",
    )
    poll: str = Field("", description="poll class; the first one of `link.poll_ms` when left out")
    ttl_s: float | None = Field(
        None, gt=0, description="age at which it is stale, s; by its poll class when left out"
    )
    type: PointType = Field(description="what the registers (or the node) hold")
    length: int = Field(
        0,
        ge=0,
        le=64,
        description="registers of a string; it ends at its first zero byte, and blanks around it "
        "are taken off",
    )
    encoding: Literal["ascii", "utf-8", "latin-1"] = Field("ascii", description="of a string")
    word_order: Literal["big", "little"] = Field(
        "big", description="`little`: the low word comes first"
    )
    byte_order: Literal["big", "little"] = Field(
        "big", description="`little`: the low byte of each register comes first"
    )
    bits: tuple[int, int] | None = Field(
        None, description="lowest and highest bit of a part of a word; bit 0 is the least"
    )
    scale: Decimal = Field(Decimal(1), description="value of one step, an exact decimal")
    offset: Decimal = Field(Decimal(0), description="added after scaling")
    scale_factor: str = Field(
        "", description="point that holds a decimal exponent, -10 to 10, as in SunSpec"
    )
    unit: str = Field(
        "", description="after scaling; it must fit the last token of the name, see below"
    )
    positive: Direction | None = Field(
        None,
        description="what a positive content of a power or current means to the device; here "
        "discharge, import and generation are positive, and the sign is turned where needed. For "
        "values that go both ways; a limit is a magnitude, see `sign`",
    )
    sign: Literal[1, -1] = Field(
        1,
        description="-1 turns the sign of anything else, such as a discharge limit that the device "
        "counts as a negative number",
    )
    sentinels: tuple[_Sentinel, ...] = Field(
        (),
        description="raw contents, or [from, to] ranges of them, that mean 'no value'. SunSpec's "
        "own are known by type, NaN always",
    )
    range: tuple[float, float] | None = Field(
        None, description="plausible values; it is what catches a wrong word order"
    )
    max_rate_per_s: float | None = Field(
        None,
        gt=0,
        description="fastest plausible change, in units a second; a faster one is not believed "
        "until three answers agree with it",
    )
    valid_if: ValidIf | None = Field(None, description="the content counts only on a condition")
    enum: dict[int, str] = Field(
        default_factory=dict, description="raw code to word; see the codes with a meaning below"
    )
    unknown: Literal["bad", "uncertain"] = Field(
        "bad", description="quality of a code that `enum` does not list"
    )
    override: Override | None = Field(None, description="a flag elsewhere that refines a code")
    count: (
        Annotated[int, Field(ge=1)]
        | Literal["reported_cells", "reported_temps"]
        | CountFrom
        | (None)
    ) = Field(
        None,
        description="makes it an array: a number, what the site file reports, or a point that "
        "holds the number",
    )
    stride: int | None = Field(
        None, ge=1, description="registers from one element to the next; dense when left out"
    )
    groups: Groups | None = Field(None, description="the array repeated per module or string")
    access: Literal["r", "w", "rw"] = Field("r", description="read, write, or both")
    quantum: Decimal | None = Field(
        None, gt=0, description="step of a command where it is coarser than `scale`"
    )
    write_range: tuple[float, float] | None = Field(
        None, description="values that may be commanded; anything else is refused, never clamped"
    )
    alias: bool = Field(False, description="shares its registers with another point on purpose")
    tag: str = Field("", description="the same point in another vocabulary, such as `802.SoC`")
    note: str = Field("", description="a remark for people")


class BitSpec(Strict):
    """One flag."""

    name: str = Field(min_length=1, description="the fault in words, as the manual has it")
    severity: SeverityName | None = Field(None, description="that of the bit field when left out")


class BitfieldSpec(Strict):
    """A word of flags. Its worst flag raises `alarm_level`.

    The order of alarm levels is declared here and nowhere guessed: `info` (0) is no alarm and only
    `ems probe` shows it, `warn` (1) notifies, `derate` (2) asks for less power, `trip` (3) says the
    device has acted. What a manual calls a notice without a reaction is `info`, unless an operator
    should hear of it. Mind vendors whose level 1 is the worst.
    """

    at: int | None = Field(None, ge=0, description="address, or offset inside the SunSpec model")
    table: Table = Field("holding", description="register table")
    sunspec_model: int | None = Field(None, description="SunSpec model in which it lies")
    node: str = Field("", description="OPC UA node id without namespace")
    poll: str = Field("", description="poll class; the first one of `link.poll_ms` when left out")
    type: Literal["uint16", "uint32"] = Field("uint16", description="width of the word")
    word_order: Literal["big", "little"] = Field(
        "big", description="`little`: the low word comes first"
    )
    byte_order: Literal["big", "little"] = Field(
        "big", description="`little`: the low byte of each register comes first"
    )
    severity: SeverityName = Field(description="severity of every bit that does not say its own")
    bits: dict[Annotated[int, Field(ge=0, le=31)], str | BitSpec] = Field(
        default_factory=dict,
        description="bit number (0 is the least significant) to its name, or to `{name, severity}`",
    )
    others: SeverityName | Literal["ignore"] | None = Field(
        None, description="what a bit nobody documented means; as `severity` when left out"
    )
    alias: bool = Field(False, description="shares its registers with another point on purpose")
