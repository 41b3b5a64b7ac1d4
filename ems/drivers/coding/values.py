"""What one answer says, and what surrounds the numbers in it: flags, bit fields, conditions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ems.drivers.coding.arrays import ArrayOutcome
from ems.drivers.coding.codec import Outcome, PointCodec
from ems.drivers.rules import Severity
from ems.model import Quality


@dataclass(slots=True)
class Values:
    """What one answer said."""

    names: tuple[str, ...] = ()
    numbers: list[float | None] = field(default_factory=list)
    """Values in the order of ``names``; ``None`` is 'bad' unless ``doubts`` says otherwise."""
    doubts: dict[str, Quality] = field(default_factory=dict)
    """Quality of the numbers that are neither good nor plainly bad."""
    arrays: dict[str, ArrayOutcome] = field(default_factory=dict)
    texts: dict[str, str | None] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    """Bit fields as they came."""
    exponents: dict[str, int] = field(default_factory=dict)
    """SunSpec scale factors seen, needed to code commands."""

    @classmethod
    def of(cls, scalars: Mapping[str, Outcome], **others: Any) -> "Values":
        """Values from (value, quality) by name."""
        doubts = {
            name: quality
            for name, (value, quality) in scalars.items()
            if quality is not (Quality.BAD if value is None else Quality.GOOD)
        }
        return cls(tuple(scalars), [value for value, _ in scalars.values()], doubts, **others)

    def quality(self, name: str, number: float | None) -> Quality:
        """Quality of one of the numbers."""
        found = self.doubts.get(name)
        if found is not None:
            return found
        return Quality.BAD if number is None else Quality.GOOD

    @property
    def scalars(self) -> dict[str, Outcome]:
        """(value, quality) by name."""
        return {
            name: (number, self.quality(name, number))
            for name, number in zip(self.names, self.numbers, strict=True)
        }


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag elsewhere that refines an enumerated point."""

    point: str
    type: str
    at: int
    mask: int
    when: float
    code: float


@dataclass(frozen=True, slots=True)
class Word:
    """A bit field: where it lies and which bits raise the alarm level how far."""

    codec: PointCodec
    at: int
    masks: tuple[tuple[int, Severity], ...]
    """(mask, severity), the worst first."""

    @property
    def name(self) -> str:
        return self.codec.name

    def level(self, word: int) -> int:
        """The alarm level its flags ask for."""
        return next((int(severity) for mask, severity in self.masks if word & mask), 0)


@dataclass(frozen=True, slots=True)
class Condition:
    """A point means something only while another has one of these values."""

    point: str
    other: str
    allowed: frozenset[float]
