"""Many points of one block decoded at once.

The bytes of all plain numbers are gathered by one index, read as whole columns of
their types, scaled and held against their ranges together. Byte order, word order
and split words are nothing but the index, so they cost nothing. What a column
cannot express (codes, BCD, parts of words, 64 bits) goes through its own codec.
Both ways give the same values bit for bit; a test holds them together.
"""

import math
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ems.drivers.coding.codec import EXPONENT_MAX, PointCodec

COLUMN: Final = {
    "int32": "<i4", "uint32": "<u4", "float32": "<f4", "int16": "<i2", "uint16": "<u2",
}  # fmt: skip
"""Types read as columns, in the order of the gathered bytes: aligned by size."""
# A signalling NaN in a float register fails the range comparison like any other NaN. That
# NumPy remarks on the cast is silenced here once: np.errstate around every answer would take
# a tenth of the time of decoding it.
warnings.filterwarnings("ignore", "invalid value encountered in cast", RuntimeWarning, __name__)

_EXACT: Final = 1 << 53
"""Whole numbers below this are exact as float64."""
_SCALES_KEPT: Final = 64
"""Sets of coefficients remembered; scale factors of a device hardly ever change."""

Placed = tuple[PointCodec, int]
"""A codec and the byte offset of its first register inside the block."""


def fits_column(codec: PointCodec) -> bool:
    """Whether a point can be decoded as part of a column."""
    if codec.type not in COLUMN or codec.code_of_raw or codec.bits is not None:
        return False
    if codec.sentinel_ranges or len(codec.sentinels) > 1:
        return False
    reach = 1 << (8 * len(codec.offsets))
    exponents = range(-EXPONENT_MAX, EXPONENT_MAX + 1) if codec.scale_factor else (0,)
    return all(
        abs(a) < _EXACT
        and c < _EXACT
        and (codec.is_float or reach * abs(a) + abs(b) < _EXACT or (b == 0 and c == 1))
        for a, b, c in map(codec.coefficients, exponents)
    )


class Columns:
    """Decodes the points for which :func:`fits_column` holds.

    Holds scratch memory, so one instance serves one task. Not pickled: its block
    builds it when first needed.

    Args:
        placed: Codecs with their byte offsets; the order of :attr:`codecs` is another.
        size: Bytes of a payload; no other length is ever decoded here.
        factors: Names of points that are scale factors, also of points decoded elsewhere.
    """

    def __init__(
        self, placed: Sequence[Placed], size: int, factors: frozenset[str] = frozenset()
    ) -> None:
        order = list(COLUMN)
        ranked = sorted(placed, key=lambda pair: order.index(pair[0].type))
        self.codecs: tuple[PointCodec, ...] = tuple(codec for codec, _ in ranked)
        index = [at + k for codec, at in ranked for k in reversed(codec.offsets)]
        self._index = np.array(index, np.intp)
        self._payload = bytearray(size)
        self._source = np.frombuffer(self._payload, np.uint8)
        self._bytes = np.zeros(len(index), np.uint8)
        views, start = [], 0
        for kind in order:
            end = start + sum(len(c.offsets) for c in self.codecs if c.type == kind)
            if end > start:
                views.append(self._bytes[start:end].view(COLUMN[kind]))
            start = end
        self._views = tuple(views)
        points = len(self.codecs)
        # Lowest, value, highest: one comparison of neighbouring rows tells both ends.
        # The bounds are finite, so that infinities fail it; NaN fails it anyway.
        largest = sys.float_info.max
        rows = np.zeros((3, points))
        rows[0] = [max(codec.low, -largest) for codec in self.codecs]
        rows[2] = [min(codec.high, largest) for codec in self.codecs]
        self._values, self._left, self._right = rows[1], rows[:2], rows[1:]
        self._inside = np.zeros((2, points), bool)
        self._all_inside = b"\x01" * (2 * points)
        sentinels = [next((float(s) for s in codec.sentinels), math.nan) for codec in self.codecs]
        self._sentinels = None if np.isnan(sentinels).all() else np.array(sentinels)
        names = [codec.name for codec in self.codecs]
        self._factors = [
            names.index(codec.scale_factor) if codec.scale_factor in names else -1
            for codec in self.codecs
        ]
        self.factor_at = tuple(at for at, name in enumerate(names) if name in factors)
        """Positions of the scale factors among :attr:`codecs`."""
        self._scales: dict[tuple[float, ...], _Scale] = {}
        self._fixed = _Scale(self.codecs, [0] * points)

    def decode(self, payload: bytes) -> tuple[list[float | None], tuple[float, ...]]:
        """(values, raw scale factors) of a payload; ``None`` stands for 'bad'."""
        self._payload[:] = payload
        self._source.take(self._index, None, self._bytes, "clip")
        values = self._values
        try:
            np.concatenate(self._views, out=values)
        except RuntimeWarning:  # where warnings are errors
            with np.errstate(invalid="ignore"):
                np.concatenate(self._views, out=values)
        factors: tuple[float, ...] = ()
        scale = self._fixed
        bad: NDArray[np.bool_] | None = None
        if self.factor_at:
            factors = tuple(float(values[at]) for at in self.factor_at)
            scale = self._scale(factors)
            bad = scale.lost
        if self._sentinels is not None:
            hit = values == self._sentinels
            if np.count_nonzero(hit):
                bad = hit if bad is None else hit | bad
        if scale.above is not None:
            np.multiply(values, scale.above, values)
        if scale.plus is not None:
            np.add(values, scale.plus, values)
        if scale.below is not None:
            np.divide(values, scale.below, values)
        np.less_equal(self._left, self._right, self._inside)
        found: list[Any] = values.tolist()
        if bad is None and self._inside.tobytes() == self._all_inside:
            return found, factors
        ok = self._inside[0] & self._inside[1]
        if bad is not None:
            ok &= ~bad
        return [value if fine else None for value, fine in zip(found, ok, strict=True)], factors

    def _scale(self, factors: tuple[float, ...]) -> "_Scale":
        scale = self._scales.get(factors)
        if scale is None:
            by_position = dict(zip(self.factor_at, factors, strict=True))
            exponents = [
                self.codecs[at].exponent(by_position[at]) if at >= 0 else 0 for at in self._factors
            ]
            scale = _Scale(self.codecs, exponents)
            if len(self._scales) >= _SCALES_KEPT:
                self._scales.clear()
            self._scales[factors] = scale
        return scale


class _Scale:
    """Coefficients of every point for one set of exponents; ``None`` where all are neutral."""

    def __init__(self, codecs: Sequence[PointCodec], exponents: Sequence[int]) -> None:
        usable = [abs(exponent) <= EXPONENT_MAX for exponent in exponents]
        rows = [
            codec.coefficients(exponent if fine else 0)
            for codec, exponent, fine in zip(codecs, exponents, usable, strict=True)
        ]
        above, plus, below = (np.array(column, np.float64) for column in zip(*rows, strict=True))
        self.above = None if (above == 1.0).all() else above
        # Also where there is nothing to add, if a sign is turned: it makes 0.0 of -0.0.
        self.plus = plus if plus.any() or (above < 0.0).any() else None
        self.below = None if (below == 1.0).all() else below
        self.lost: NDArray[np.bool_] | None = None if all(usable) else ~np.array(usable)
