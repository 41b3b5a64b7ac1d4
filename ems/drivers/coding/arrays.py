"""Arrays of equal values: cells, sensors, strings, modules, feeders."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.drivers.coding.codec import EXPONENT_MAX, PointCodec
from ems.drivers.coding.decoder import COLUMN
from ems.model import FloatArray, Quality

ArrayOutcome = tuple[FloatArray, NDArray[np.uint8]]


@dataclass(frozen=True)
class ArrayCodec:
    """Equal elements at any distance from each other."""

    element: PointCodec
    positions: tuple[int, ...]
    """Byte offset of each element inside its block; indices of an OPC UA array start at 0."""
    count_point: str = ""
    """Point of the same block that says how many elements there really are."""

    @property
    def name(self) -> str:
        return self.element.name

    @property
    def count(self) -> int:
        return len(self.positions)

    def decode(self, payload: bytes, exponent: int, count: float | None = None) -> ArrayOutcome:
        """Values and qualities; values of bad elements are 0.

        Args:
            payload: Registers of the block, big-endian.
            exponent: The scale factor's exponent, 0 without one.
            count: Elements the device says it has; the others are ``MISSING``.
        """
        if self._index is None:
            raws: Sequence[float] = [self.element.unpack(payload, at) for at in self.positions]
            value, quality = self._each(raws, exponent)
        else:
            column = np.frombuffer(payload, np.uint8).take(self._index)
            value, quality = self.column(column.view(COLUMN[self.element.type]), exponent)
        if self.count_point:
            real = 0 if count is None else min(max(int(count), 0), self.count)
            value[real:], quality[real:] = 0.0, Quality.MISSING
        return value, quality

    @np.errstate(invalid="ignore")
    def column(self, raws: NDArray[np.generic], exponent: int = 0) -> ArrayOutcome:
        """Values and qualities of raw contents, all at once."""
        codec = self.element
        if codec.code_of_raw or codec.type.startswith("bcd"):
            return self._each(raws.tolist(), exponent)
        if abs(exponent) > EXPONENT_MAX:
            return np.zeros(len(raws)), np.full(len(raws), Quality.BAD, np.uint8)
        above, plus, below = codec.coefficients(exponent)
        raw = raws.astype(np.float64)
        value = (raw * above + plus) / below + 0.0
        # Written so that NaN fails the comparison too.
        bad = ~((value >= codec.low) & (value <= codec.high) & np.isfinite(value))
        for sentinel in codec.sentinels:
            bad |= raws == sentinel
        for low, high in codec.sentinel_ranges:
            bad |= (raw >= low) & (raw <= high)
        value[bad] = 0.0
        quality = np.where(bad, np.uint8(Quality.BAD), np.uint8(Quality.GOOD))
        return value, quality.astype(np.uint8)

    def put(self, buffer: bytearray, values: Sequence[float | None], exponent: int = 0) -> None:
        """Write the elements into a register image; those without a value as unavailable."""
        for index, at in enumerate(self.positions):
            value = values[index] if index < len(values) else None
            self.element.show_into(buffer, at, None if value is None else float(value), exponent)

    def _each(self, raws: Sequence[float], exponent: int) -> ArrayOutcome:
        outcomes = [self.element.value(raw, exponent) for raw in raws]
        value = np.array([0.0 if found is None else found for found, _ in outcomes])
        return value, np.array([quality for _, quality in outcomes], np.uint8)

    @cached_property
    def _index(self) -> NDArray[np.intp] | None:
        """Byte of each significance, element by element; ``None`` where each is decoded alone."""
        codec = self.element
        if codec.type not in COLUMN or codec.code_of_raw or codec.bits is not None:
            return None
        offsets = codec.offsets[::-1]
        return np.array([at + k for at in self.positions for k in offsets], np.intp)

    def __reduce__(self) -> tuple[Any, ...]:
        return ArrayCodec, tuple(getattr(self, f.name) for f in fields(self))
