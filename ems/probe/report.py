"""What a probe found, as plain data: one entry a device, ready for a table or for JSON."""

from dataclasses import asdict, dataclass
from typing import Any, Final

_WHOLE_MAX: Final = 1e15
"""Whole numbers below this are shown with every digit, as a serial number needs it."""

Value = float | str | None | tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Raw:
    """What a point was decoded from."""

    address: int | None
    """First register as the device counts them; ``None`` for OPC UA."""
    registers: tuple[int, ...]
    node: str = ""
    content: str = ""
    """Content of the node, as text."""


@dataclass(frozen=True, slots=True)
class PointSeen:
    """One point, text or bit field."""

    name: str
    value: Value
    words: str
    """Meaning of a code, or the flags that are set; empty for a plain number."""
    unit: str
    age_s: float | None
    """``None`` when it was never read."""
    quality: str
    raw: Raw | None

    @property
    def places(self) -> int:
        """Elements of an array; 1 of anything else."""
        return len(self.value) if isinstance(self.value, tuple) else 1

    @property
    def known(self) -> int:
        """How many of them have a value that may be used."""
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return sum(value is not None for value in values)


@dataclass(frozen=True, slots=True)
class CheckSeen:
    """One thing that tells whether this is the device described."""

    what: str
    found: str
    problem: str
    """Empty when it is as it should be."""


@dataclass(frozen=True, slots=True)
class HeartbeatSeen:
    """The device's counter, watched for a while."""

    point: str
    first: float | None
    last: float | None
    changes: int
    watched_s: float
    problem: str


@dataclass(frozen=True, slots=True)
class TimeoutSeen:
    """The device's own dead-man."""

    point: str
    seen_s: float | None
    expected_s: float
    on_expiry: str
    written_by_run: bool
    """`ems run` sets it at every connect."""
    problem: str


@dataclass(frozen=True, slots=True)
class DeviceSeen:
    """Everything about one device."""

    id: str
    profile: str
    maturity: str
    address: str
    link: str
    problem: str
    """The one sentence of what is wrong; empty when nothing is."""
    notes: tuple[str, ...]
    identity: tuple[CheckSeen, ...]
    heartbeat: HeartbeatSeen | None
    timeout: TimeoutSeen | None
    points: tuple[PointSeen, ...]
    withheld: tuple[str, ...] = ()
    """What `ems run` would have written to it, and the probe did not."""


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What was found at a site, and the proof that nothing was written."""

    site: str
    config_sha256: str
    utc: str
    devices: tuple[DeviceSeen, ...]
    sent_writes: int
    """Writes that left for a wire, counted at the last place they pass; must be 0."""
    refused_writes: int
    """Writes that were stopped before it."""

    @property
    def ok(self) -> bool:
        """Every device answers as described, and nothing was written."""
        return self.sent_writes == 0 and not any(device.problem for device in self.devices)

    def as_json(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {"ok": self.ok, **asdict(self)}


def plain(value: float) -> str:
    """A number as a person writes it down: whole ones with every digit, others with six."""
    if value.is_integer() and abs(value) < _WHOLE_MAX:
        return f"{value:.0f}"
    return f"{value:.1f}" if 1e6 <= abs(value) < _WHOLE_MAX else f"{value:g}"
