"""One codec per point, compiled once, used for reading and for writing.

A codec turns raw register contents into a value of ``ems.model`` in SI units and
back. What cannot be a value (a sentinel, an unknown code, something implausible)
becomes ``None`` with quality ``BAD``; NaN never gets out.

Scaling is integer arithmetic with one division last, ``(raw × a + b) / c``: 3 steps
of 0.1 are 0.3 and nothing else.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Final

from ems.model import Quality

LAYOUT: Final = {
    kind: struct.Struct(">" + code)
    for kind, code in {
        "int16": "h", "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q",
        "float32": "f", "float64": "d", "bool": "H", "bcd16": "H", "bcd32": "I",
    }.items()
}  # fmt: skip
"""Layout of each numeric type, most significant byte first."""
EXPONENT_MAX: Final = 10
"""SunSpec scale factors lie within -10..10; anything else is 'not implemented'."""
NO_EXPONENT: Final = -0x8000
"""What SunSpec writes for a scale factor that is not there."""

Raw = int | float
Outcome = tuple[float | None, Quality]
Coefficients = tuple[int, int, int]
_BAD: Final[Outcome] = (None, Quality.BAD)


class NotWritable(ValueError):
    """A value cannot be expressed in the device's map; it is refused, never clamped."""


@dataclass(frozen=True, slots=True)
class PointCodec:
    """How one number is coded. Built by ``ems.drivers.compiling.compile``."""

    name: str
    type: str
    offsets: tuple[int, ...]
    """Byte of each significance, most significant first, from the point's first register."""
    scale: Fraction = Fraction(1)
    offset: Fraction = Fraction(0)
    """Added to the scaled raw content before the sign is applied."""
    sign: int = 1
    bits: tuple[int, int] | None = None
    """Lowest and highest bit of a part of a word; bit 0 is the least significant."""
    sentinels: frozenset[int] = frozenset()
    """Raw contents that mean 'no value', as the type reads them."""
    sentinel_ranges: tuple[tuple[float, float], ...] = ()
    low: float = -math.inf
    high: float = math.inf
    code_of_raw: Mapping[int, int] = field(default_factory=dict)
    raw_of_code: Mapping[int, int] = field(default_factory=dict)
    unknown_is_bad: bool = True
    """An unlisted code is bad; else it passes as it is with quality ``UNCERTAIN``."""
    scale_factor: str = ""
    """Point that holds the decimal exponent of this one."""
    quantum: Decimal | None = None
    write_low: float = -math.inf
    write_high: float = math.inf
    max_rate_per_s: float = math.inf
    """A faster change than this is not believed, units of the value per s."""

    @property
    def registers(self) -> int:
        """Registers from the first to the last one the point touches."""
        return max(self.offsets) // 2 + 1

    @property
    def is_float(self) -> bool:
        return self.type.startswith("float")

    def coefficients(self, exponent: int = 0) -> Coefficients:
        """(a, b, c) of ``value = (raw × a + b) / c``, whole numbers in lowest terms, c > 0."""
        return _coefficients(self.sign * self.scale, self.sign * self.offset, exponent)

    def unpack(self, payload: bytes, at: int) -> Raw:
        """Raw content at a byte offset."""
        data = bytes([payload[at + k] for k in self.offsets])
        raw: Raw = LAYOUT[self.type].unpack(data)[0]
        if self.bits is not None:
            low, high = self.bits
            raw = (int(raw) >> low) & ((1 << (high - low + 1)) - 1)
        return raw

    def pack(self, raw: Raw) -> bytes:
        """Register bytes of a raw content; other registers between split words are 0.

        Raises:
            NotWritable: it does not fit the type.
        """
        data = bytearray(2 * self.registers)
        self.pack_into(data, 0, raw)
        return bytes(data)

    def pack_into(self, buffer: bytearray, at: int, raw: Raw) -> None:
        """Put a raw content into a register image, touching only what is this point's.

        Raises:
            NotWritable: it does not fit the type.
        """
        if self.bits is not None:
            low, high = self.bits
            mask = ((1 << (high - low + 1)) - 1) << low
            if not 0 <= int(raw) << low <= mask:
                raise NotWritable(f"{self.name}: raw {raw} does not fit bits {low} to {high}")
            whole = LAYOUT[self.type].unpack(bytes([buffer[at + k] for k in self.offsets]))[0]
            raw = (whole & ~mask) | (int(raw) << low)
        try:
            data = LAYOUT[self.type].pack(raw)
        except (struct.error, OverflowError) as error:
            raise NotWritable(f"{self.name}: raw {raw} does not fit {self.type}") from error
        for position, byte in zip(self.offsets, data, strict=True):
            buffer[at + position] = byte

    def value(self, raw: Raw, exponent: int = 0) -> Outcome:
        """Value and quality of a raw content, with the scale factor's exponent."""
        if raw in self.sentinels or (self.is_float and not math.isfinite(raw)):
            return _BAD
        if any(low <= raw <= high for low, high in self.sentinel_ranges):
            return _BAD
        if self.code_of_raw:
            code = self.code_of_raw.get(int(raw))
            if code is None:
                return _BAD if self.unknown_is_bad else (float(raw), Quality.UNCERTAIN)
            return float(code), Quality.GOOD
        if self.type.startswith("bcd"):
            digits = f"{raw:x}"
            if not digits.isdecimal():
                return _BAD
            raw = int(digits)
        if abs(exponent) > EXPONENT_MAX:
            return _BAD
        above, plus, below = self.coefficients(exponent)
        value = (raw * above + plus) / below + 0.0
        return (value, Quality.GOOD) if self.low <= value <= self.high else _BAD

    def exponent(self, raw: Raw) -> int:
        """What this point says as a scale factor of others; not there when it is implausible."""
        return NO_EXPONENT if self.value(raw)[0] is None else int(raw)

    def raw(self, value: float, exponent: int = 0) -> Raw:
        """Raw content nearest to a value: what a device with this map would show.

        Raises:
            NotWritable: an enumeration has no such code, or BCD cannot express it.
        """
        if self.code_of_raw:
            if int(value) not in self.raw_of_code:
                raise NotWritable(f"{self.name}: code {value:g} does not exist in this map")
            return self.raw_of_code[int(value)]
        scaled = self._scaled(_exact(value), exponent)
        if self.is_float:
            return float(scaled)
        return self._digits(int(scaled.to_integral_value(ROUND_HALF_EVEN)))

    def command(self, value: float, exponent: int = 0) -> Raw:
        """Raw content of a command: rounded towards zero, refused when out of range.

        Raises:
            NotWritable: not finite, outside the write range, or no such code.
        """
        if not math.isfinite(value):
            raise NotWritable(f"{self.name}: {value} is not a number")
        if not self.write_low <= value <= self.write_high:
            raise NotWritable(
                f"{self.name}: {value:g} is outside {self.write_low:g}..{self.write_high:g}"
            )
        if self.code_of_raw:
            return self.raw(value)
        wanted = _exact(value)
        if self.quantum is not None:
            wanted = (wanted / self.quantum).to_integral_value(ROUND_DOWN) * self.quantum
        scaled = self._scaled(wanted, exponent)
        if self.is_float:
            return self._inner(float(scaled))
        # Rounded towards the raw content that means 0, which with an offset is not 0.
        down = scaled >= self._scaled(Decimal(0), exponent)
        rounding = ROUND_FLOOR if down else ROUND_CEILING
        return self._digits(int(scaled.to_integral_value(rounding)))

    def told(self, value: float, exponent: int = 0) -> float:
        """The value a device is really told when commanded ``value``: what it will show back.

        Raises:
            NotWritable: as :meth:`command`.
        """
        raw = self.unpack(self.pack(self.command(value, exponent)), 0)
        shown = self.value(raw, exponent)[0]
        return value if shown is None else shown

    def unavailable(self) -> Raw:
        """What a device shows that has no value here: a sentinel, an unknown code, or 0."""
        if self.sentinels:
            return min(self.sentinels)
        if self.is_float:
            return math.nan
        if self.code_of_raw:
            largest = (1 << (8 * len(self.offsets))) - 1
            if self.bits is not None:
                largest = (1 << (self.bits[1] - self.bits[0] + 1)) - 1
            tries = (largest, largest - 1, largest >> 1)
            return next((raw for raw in tries if raw not in self.code_of_raw), 0)
        return 0

    def show_into(self, buffer: bytearray, at: int, value: float | None, exponent: int = 0) -> None:
        """Put what a device shows for a value, or for having none it can express."""
        if value is not None:
            try:
                self.pack_into(buffer, at, self.raw(value, exponent))
            except NotWritable:
                pass
            else:
                return
        self.pack_into(buffer, at, self.unavailable())

    def _inner(self, raw: float) -> float:
        """The nearest content of a float register that is not farther from 0 than ``raw``."""
        if self.type != "float32" or not math.isfinite(raw):
            return raw
        try:
            data = LAYOUT["float32"].pack(raw)
        except OverflowError as error:
            raise NotWritable(f"{self.name}: raw {raw} does not fit {self.type}") from error
        if abs(LAYOUT["float32"].unpack(data)[0]) > abs(raw):
            # One less in the last place; the sign is a bit of its own.
            data = (int.from_bytes(data, "big") - 1).to_bytes(4, "big")
        inner: float = LAYOUT["float32"].unpack(data)[0]
        return inner

    def _digits(self, number: int) -> int:
        if not self.type.startswith("bcd"):
            return number
        if number < 0:
            raise NotWritable(f"{self.name}: BCD has no sign, found {number}")
        return int(str(number), 16)

    def _scaled(self, value: Decimal, exponent: int) -> Decimal:
        if abs(exponent) > EXPONENT_MAX:
            raise NotWritable(f"{self.name}: its scale factor is not implemented, {exponent}")
        above, plus, below = self.coefficients(exponent)
        return (value * below - plus) / above


@dataclass(frozen=True, slots=True)
class TextCodec:
    """How a text is coded: two characters a register."""

    name: str
    registers: int
    encoding: str = "ascii"
    swap_bytes: bool = False
    """The low byte of each register comes first."""

    def text(self, payload: bytes, at: int) -> str | None:
        """The text at a byte offset without its padding; ``None`` when it is none."""
        data = payload[at : at + 2 * self.registers]
        if self.swap_bytes:
            data = b"".join(data[k : k + 2][::-1] for k in range(0, len(data), 2))
        try:
            found = data.decode(self.encoding).split("\0", 1)[0].strip()
        except UnicodeDecodeError:
            return None
        return found if found and found.isprintable() else None

    def put(self, buffer: bytearray, at: int, text: str) -> None:
        """Write a text into a register image, padded with zeros."""
        data = text.encode(self.encoding, "replace")[: 2 * self.registers]
        data = data.ljust(2 * self.registers, b"\0")
        if self.swap_bytes:
            data = b"".join(data[k : k + 2][::-1] for k in range(0, len(data), 2))
        buffer[at : at + len(data)] = data


@lru_cache(maxsize=4096)
def _coefficients(scale: Fraction, offset: Fraction, exponent: int) -> Coefficients:
    factor = scale * Fraction(10) ** exponent
    below = math.lcm(factor.denominator, offset.denominator)
    above, plus = factor * below, offset * below
    return int(above), int(plus), below


def _exact(value: float) -> Decimal:
    """The decimal number a person would read: 0.3, not 0.299999999999999988898."""
    return Decimal(repr(float(value)))
