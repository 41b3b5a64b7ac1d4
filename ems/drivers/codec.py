"""One codec per point, compiled once, used for reading and for writing.

A codec turns raw register contents into a value of ``ems.model`` in SI units and
back. What cannot be a value (a sentinel, an unknown code, something implausible)
becomes ``None`` with quality ``BAD``; NaN never gets out.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.model import FloatArray, Quality

_EXPONENT_MAX: Final = 10
"""SunSpec scale factors lie within -10..10; anything else is 'not implemented'."""

Raw = int | float
Outcome = tuple[float | None, Quality]
_BAD: Final[Outcome] = (None, Quality.BAD)


class NotWritable(ValueError):
    """A value cannot be expressed in the device's map; it is refused, never clamped."""


@dataclass(frozen=True, slots=True)
class PointCodec:
    """How one value is coded. Built by :func:`ems.drivers.compiler.point_codec`."""

    name: str
    layout: struct.Struct
    is_float: bool
    swap_words: bool
    numerator: int
    denominator: int
    offset: float
    sign: int
    sentinels: frozenset[int]
    low: float
    high: float
    code_of_raw: Mapping[int, int]
    raw_of_code: Mapping[int, int]
    scale_factor: str
    quantum: Decimal | None
    write_low: float
    write_high: float

    @property
    def registers(self) -> int:
        """Registers one element takes."""
        return self.layout.size // 2

    def unpack(self, payload: bytes, at: int) -> Raw:
        """Raw content at a byte offset."""
        if self.swap_words:
            payload, at = _swapped(payload[at : at + self.layout.size]), 0
        raw: Raw = self.layout.unpack_from(payload, at)[0]
        return raw

    def pack(self, raw: Raw) -> bytes:
        """Register bytes of a raw content.

        Raises:
            NotWritable: it does not fit the type.
        """
        try:
            data = self.layout.pack(raw)
        except (struct.error, OverflowError) as error:
            raise NotWritable(f"{self.name}: raw {raw} does not fit its register") from error
        return _swapped(data) if self.swap_words else data

    def value(self, raw: Raw, exponent: int = 0) -> Outcome:
        """Value and quality of a raw content, with the scale factor's exponent."""
        if raw in self.sentinels or (self.is_float and not math.isfinite(raw)):
            return _BAD
        if self.code_of_raw:
            code = self.code_of_raw.get(int(raw))
            return _BAD if code is None else (float(code), Quality.GOOD)
        if abs(exponent) > _EXPONENT_MAX:
            return _BAD
        # Integer scaling first, one division last: 3 × 0.1 must be 0.3 and nothing else.
        above, below = self.numerator, self.denominator
        if exponent > 0:
            above *= 10**exponent
        elif exponent < 0:
            below *= 10**-exponent
        value = self.sign * (raw * above / below + self.offset) + 0.0
        return (value, Quality.GOOD) if self.low <= value <= self.high else _BAD

    def raw(self, value: float, exponent: int = 0) -> Raw:
        """Raw content nearest to a value: what a device with this map would show.

        Raises:
            NotWritable: an enumeration has no such code.
        """
        if self.raw_of_code:
            if int(value) not in self.raw_of_code:
                raise NotWritable(f"{self.name}: code {value} does not exist in this map")
            return self.raw_of_code[int(value)]
        scaled = self._scaled(Decimal(repr(float(value))), exponent)
        return float(scaled) if self.is_float else int(scaled.to_integral_value(ROUND_HALF_EVEN))

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
        if self.raw_of_code:
            return self.raw(value)
        wanted = Decimal(repr(float(value)))
        if self.quantum is not None:
            wanted = (wanted / self.quantum).to_integral_value(ROUND_DOWN) * self.quantum
        scaled = self._scaled(wanted, exponent)
        return float(scaled) if self.is_float else int(scaled.to_integral_value(ROUND_DOWN))

    def unavailable(self) -> Raw:
        """What a device shows that has no value here: a sentinel, an unknown code, or 0."""
        if self.sentinels:
            return min(self.sentinels)
        if self.code_of_raw:
            return next(raw for raw in (0xFFFF, 0xFFFE, 0x7FFF) if raw not in self.code_of_raw)
        return 0

    def shown(self, value: float | None, exponent: int = 0) -> bytes:
        """Register bytes a device shows for a value, or for having none it can express."""
        if value is not None:
            try:
                return self.pack(self.raw(value, exponent))
            except NotWritable:
                pass
        return self.pack(self.unavailable())

    def _scaled(self, value: Decimal, exponent: int) -> Decimal:
        before_scale = value * self.sign - Decimal(repr(self.offset))
        return before_scale * self.denominator / self.numerator / Decimal(10) ** exponent


@dataclass(frozen=True, slots=True)
class ArrayCodec:
    """``count`` equal elements, ``stride`` registers apart."""

    element: PointCodec
    count: int
    stride: int

    @property
    def registers(self) -> int:
        """Registers from the first element to the end of the last."""
        return (self.count - 1) * self.stride + self.element.registers

    def values(self, raws: NDArray[np.generic]) -> tuple[FloatArray, NDArray[np.uint8]]:
        """Values and qualities of raw elements; values of bad elements are 0."""
        element = self.element
        raw = raws.astype(np.float64)
        value = element.sign * (raw * element.numerator / element.denominator + element.offset)
        # Written so that NaN fails the comparison too.
        bad = ~((value >= element.low) & (value <= element.high))
        for sentinel in element.sentinels:
            bad |= raws == sentinel
        value[bad] = 0.0
        quality = np.where(bad, np.uint8(Quality.BAD), np.uint8(Quality.GOOD))
        return value, quality.astype(np.uint8)

    def unpack(self, payload: bytes, at: int) -> NDArray[np.generic]:
        """Raw elements at a byte offset."""
        layout = self.element.layout
        if self.element.swap_words:
            step = 2 * self.stride
            return np.array(
                [self.element.unpack(payload, at + k * step) for k in range(self.count)]
            )
        view: NDArray[np.generic] = np.ndarray(
            (self.count,),
            np.dtype(layout.format),
            payload,
            offset=at,
            strides=(2 * self.stride,),
        )
        return view

    def pack_into(self, buffer: bytearray, at: int, values: Sequence[float | None]) -> None:
        """Write the elements into a register image; those without a value as unavailable."""
        for index in range(self.count):
            value = values[index] if index < len(values) else None
            data = self.element.shown(None if value is None else float(value))
            start = at + 2 * index * self.stride
            buffer[start : start + len(data)] = data


def _swapped(data: bytes) -> bytes:
    """The same registers in reversed order."""
    return b"".join(data[i : i + 2] for i in range(len(data) - 2, -1, -2))
