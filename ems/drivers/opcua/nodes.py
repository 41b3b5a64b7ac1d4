"""From the DataValues of a block's nodes to its values: status first, then type, then range."""

import math
import sys
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ems.drivers.coding.block import Block, Values
from ems.drivers.coding.codec import PointCodec
from ems.model import Quality

_REACH: Final = {"bool": 1, "int16": 16, "uint16": 16, "int32": 32, "uint32": 32}
"""Bits of the whole-number types that a column of doubles holds exactly."""
_EXACT: Final = 1 << 53
_BAD: Final = (None, Quality.BAD)
_NUMBERS: Final = frozenset({float, int, bool})
_WHOLE: Final = frozenset({int, bool})
Content = tuple[object, Quality]


class NodeDecoder:
    """Decodes one block.

    While all statuses are good, plain numbers are scaled and held against their ranges
    as one column; everything else goes through its own codec. Both ways give the same
    values, and a test holds them together. Holds scratch memory: one instance serves one task.
    """

    def __init__(self, block: Block) -> None:
        self._block = block
        # Values that decide about others are decoded together with them.
        plain = [p for p in block.scalars if _is_plain(p[0])] if not block.conditions else []
        self._float_at = [at for codec, at in plain if codec.is_float]
        self._whole_at = [at for codec, at in plain if not codec.is_float]
        codecs = [codec for codec, _ in plain if codec.is_float]
        codecs += [codec for codec, _ in plain if not codec.is_float]
        self._names = tuple(codec.name for codec in codecs)
        rows = np.array([codec.coefficients() for codec in codecs], np.float64).reshape(-1, 3)
        self._above, self._plus, self._below = rows.T.copy()
        # Finite bounds, so that the comparison catches infinities too; NaN fails it anyway.
        largest = sys.float_info.max
        self._low = np.array([max(codec.low, -largest) for codec in codecs])
        self._high = np.array([min(codec.high, largest) for codec in codecs])
        rest = tuple(pair for pair in block.scalars if pair[0].name not in set(self._names))
        self._rest = replace(block, scalars=rest)
        self._has_rest = bool(rest or block.arrays or block.texts or block.words)
        whole = [at for codec, at in block.scalars if not codec.is_float]
        self._must_be_whole = frozenset(whole + [word.at for word in block.words])

    def decode(self, answers: Sequence[Any], stale: Collection[int] = ()) -> Values:
        """Values of the block.

        Args:
            answers: DataValue of each node, in the block's order.
            stale: Indices of those whose source is silent; they have no value.
        """
        contents = [answer.Value and answer.Value.Value for answer in answers]
        if not stale and self._names and not any(a.StatusCode.value for a in answers):
            numbers = self._column(contents)
            if numbers is not None:
                if not self._has_rest:
                    return Values(self._names, numbers)
                good = [(content, Quality.GOOD) for content in contents]
                found = self._rest.decode_nodes(self._checked(good))
                found.names = (*self._names, *found.names)
                found.numbers[:0] = numbers
                return found
        judged = [
            _BAD if k in stale else (content, quality_of(answer.StatusCode))
            for k, (content, answer) in enumerate(zip(contents, answers, strict=True))
        ]
        return self._block.decode_nodes(self._checked(judged))

    def _column(self, contents: list[Any]) -> list[float | None] | None:
        """All plain numbers at once; ``None`` where one of them is not of its type."""
        floats = [contents[at] for at in self._float_at]
        whole = [contents[at] for at in self._whole_at]
        if not (_NUMBERS.issuperset(map(type, floats)) and _WHOLE.issuperset(map(type, whole))):
            return None
        value = (np.array(floats + whole, np.float64) * self._above + self._plus) / self._below
        inside = (value >= self._low) & (value <= self._high)
        # Adding zero turns a negative zero into a plain one.
        numbers: list[float | None] = (value + 0.0).tolist()
        if inside.all():
            return numbers
        return [x if fine else None for x, fine in zip(numbers, inside.tolist(), strict=True)]

    def _checked(self, contents: list[Content]) -> list[Content]:
        """Without numbers that no codec can take: not finite, or broken where whole is meant."""
        for k, (content, _) in enumerate(contents):
            if not isinstance(content, float):
                continue
            if not math.isfinite(content):
                contents[k] = _BAD
            elif k in self._must_be_whole:
                quality = contents[k][1]
                contents[k] = (int(content), quality) if content.is_integer() else _BAD
        return contents


def quality_of(status: Any) -> Quality:
    """Quality by status code; only a good status is good."""
    if status is None or status.is_good():
        return Quality.GOOD
    return Quality.UNCERTAIN if status.is_uncertain() else Quality.BAD


def _is_plain(codec: PointCodec) -> bool:
    """Whether a column of doubles gives exactly what the codec does."""
    if codec.code_of_raw or codec.bits is not None or codec.scale_factor:
        return False
    if codec.sentinels or codec.sentinel_ranges:
        return False
    above, plus, below = codec.coefficients()
    if max(abs(above), abs(plus), below) >= _EXACT:
        return False
    if codec.is_float:
        return True
    bits = _REACH.get(codec.type)
    return bits is not None and (abs(above) << bits) + abs(plus) < _EXACT
