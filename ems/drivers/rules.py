"""What a compiled device may do and must hold to: plain data, ready to be pickled.

The profile language checks these rules when it reads a file; here they are only
declared. Nothing in this module needs pydantic or YAML, so a control process can
take its devices from a pickle.
"""

import re
from dataclasses import dataclass
from enum import IntEnum, StrEnum


class Kind(StrEnum):
    """Which reading of ``ems.model`` a device feeds."""

    PACK = "pack"
    CONVERTER = "converter"
    METER = "meter"


class Maturity(StrEnum):
    """How far a profile has been proven."""

    TEMPLATE = "template"
    """Written from documents or sources; never met the device."""
    SIMULATED = "simulated"
    """Describes our own simulator."""
    BENCH = "bench"
    """Proven with the device on a bench."""
    FIELD = "field"
    """Proven with the device on a site."""


class Severity(IntEnum):
    """What a fault bit asks for; the number is the ``alarm_level`` it raises."""

    INFO = 0
    WARN = 1
    DERATE = 2
    TRIP = 3


@dataclass(frozen=True, slots=True)
class LinkRules:
    """How the device wants to be talked to."""

    protocol: str
    """``modbus`` or ``opcua``."""
    transports: tuple[str, ...] = ("tcp",)
    """Which of ``tcp rtu rtu_tcp tls`` the device can be reached by."""
    timeout_s: float = 0.5
    retries: int = 0
    """Repeats of an unanswered read within one poll; a write is never repeated."""
    gap_s: float = 0.0
    """Least pause between an answer and the next request to this device, s."""
    turnaround_s: float = 0.0
    """Pause that the device itself needs before it can answer, s; part of its wire time."""
    latency_max_s: float = 0.5
    """Longest time after which an answer may still arrive, s: how long to drain an RTU line."""
    connect_delay_s: float = 0.0
    """Pause between connecting and the first request, s."""
    garbage_on_open: bool = False
    """Bytes that arrive before the first request mean nothing."""
    max_connections: int = 1
    ttl_polls: float = 3.0
    """Polls after which a value is stale."""
    max_read_registers: int = 125
    max_write_registers: int = 123
    write_function: int = 16
    sunspec_models: tuple[int, ...] = ()
    """Models without which the device is not the one described; they are its identity too."""
    namespace_uri: str = ""
    opcua_mode: str = "batch"
    """``batch`` (one read per poll) or ``subscription``."""
    publish_ms: int = 500
    """Publishing interval of a subscription, ms."""
    source_age_max_s: float = 0.0
    """OPC UA: longest time a source time stamp may stand still or lie back, s; 0: any."""


@dataclass(frozen=True, slots=True)
class IdentityCheck:
    """What a point must say for the device to be the one this map was written for."""

    point: str
    allowed: frozenset[float | str] = frozenset()
    """Contents that are right; empty when ``pattern`` decides."""
    pattern: str = ""
    """Regular expression that the whole text must match."""
    at_least: float | str | None = None
    """Lowest right content; of texts the numbers in them are compared, as of versions."""

    def problem(self, found: float | str | None) -> str:
        """Why this is another device, as one clause; empty when the check holds."""
        if found is None:
            return f"{self.point} cannot be read"
        if self.pattern:
            if isinstance(found, str) and re.fullmatch(self.pattern, found):
                return ""
            return f"{self.point} is {found!r}, expected a match of {self.pattern!r}"
        if self.at_least is not None:
            if _version(found) >= _version(self.at_least):
                return ""
            return f"{self.point} is {found!r}, expected {self.at_least!r} or later"
        if found in self.allowed:
            return ""
        wanted = " or ".join(sorted(repr(item) for item in self.allowed))
        return f"{self.point} is {found!r}, expected {wanted}"


def _version(content: float | str) -> tuple[float, ...]:
    """A number, or the numbers in a text from left to right: V2.10 comes after V2.9."""
    if not isinstance(content, str):
        return (content,)
    return tuple(float(digits) for digits in re.findall(r"\d+", content))


@dataclass(frozen=True, slots=True)
class Step:
    """One write: a number, or the name of a value that the command brings along."""

    point: str
    value: float | str
    clears_within_s: float = 0.0
    """The device itself sets the point back to 0 within this time, s; 0: it does not."""
    pause_s: float = 0.0
    """Pause after the write before the next step, s."""


@dataclass(frozen=True, slots=True)
class Readback:
    """Where the device shows what it was told."""

    point: str
    tolerance: float
    """Allowed difference to the value as coded (after rounding to the device's step)."""
    delay_s: float = 0.0
    """How long the device takes to show it, s."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Where the result of a write can be measured."""

    point: str
    tolerance: float
    within_s: float


@dataclass(frozen=True, slots=True)
class Precondition:
    """A write is refused unless a point has one of these values."""

    point: str
    allowed: frozenset[float]
    labels: tuple[str, ...] = ()
    """The same values in words, for the reason given."""

    def problem(self, found: float | None) -> str:
        """Why the write is refused, as one clause; empty when it may go ahead."""
        if found is None:
            return f"{self.point} is unknown"
        if found in self.allowed:
            return ""
        return f"{self.point} is {found:g}, not {' or '.join(self.labels)}"


@dataclass(frozen=True, slots=True)
class WriteRules:
    """How a command is carried out and how we know that it was."""

    steps: tuple[Step, ...]
    readback: Readback | None = None
    effect: Effect | None = None
    requires: tuple[Precondition, ...] = ()
    descending: tuple[tuple[str, ...], ...] = ()
    """Points whose values must not rise from one to the next, checked before the write."""
    repeat_s: float = 0.0
    """An unchanged value is not rewritten more often; 0 makes every write a lease."""
    daily_budget: int | None = None
    """Device writes allowed in any 24 h, for memory that wears out; ``None`` is no limit."""


@dataclass(frozen=True, slots=True)
class TimeoutRule:
    """The device's own dead-man: after this long without us it acts by itself."""

    point: str
    expected_s: float | None
    """Seconds the point must hold; ``None`` takes the site file's ``device_timeout_s``."""
    enforce: bool
    """Write it where it differs; otherwise it is only compared."""
    on_expiry: str = ""
    """What the device does then, in words."""


@dataclass(frozen=True, slots=True)
class HeartbeatRead:
    """A counter of the device that must move."""

    point: str
    max_age_s: float
    """Longest time it may stand still, s."""


@dataclass(frozen=True, slots=True)
class HeartbeatWrite:
    """A counter of ours that the device wants to see move."""

    point: str
    period_s: float
    wrap: int
    """The counter runs from 0 to this value and starts again at 0."""


@dataclass(frozen=True, slots=True)
class Bit:
    """One flag of a bit field; bit 0 is the least significant."""

    number: int
    name: str
    severity: Severity


@dataclass(frozen=True, slots=True)
class Bitfield:
    """A word of flags, in words."""

    name: str
    bits: tuple[Bit, ...]
    others: Severity | None
    """What a bit nobody documented means; ``None`` ignores it."""

    def active(self, word: int) -> tuple[Bit, ...]:
        """The flags set in ``word``, the worst first."""
        known = [bit for bit in self.bits if word >> bit.number & 1]
        named = {bit.number for bit in self.bits}
        if self.others is not None:
            known += [
                Bit(k, f"bit {k}", self.others)
                for k in range(word.bit_length())
                if word >> k & 1 and k not in named
            ]
        return tuple(sorted(known, key=lambda bit: (-bit.severity, bit.number)))

    def masks(self, width: int) -> tuple[tuple[int, Severity], ...]:
        """(mask, severity) of a word ``width`` bits wide, the worst first."""
        mask_of = dict.fromkeys(sorted(Severity, reverse=True), 0)
        named = 0
        for bit in self.bits:
            mask_of[bit.severity] |= 1 << bit.number
            named |= 1 << bit.number
        if self.others is not None:
            mask_of[self.others] |= ((1 << width) - 1) & ~named
        return tuple((mask, severity) for severity, mask in mask_of.items() if mask)
