"""Registers (or nodes) read together, and how to decode them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Final

import numpy as np

from ems.drivers.coding.arrays import ArrayCodec, ArrayOutcome
from ems.drivers.coding.codec import LAYOUT, Outcome, PointCodec, TextCodec
from ems.drivers.coding.decoder import Columns, Placed, fits_column
from ems.drivers.coding.values import Condition, Flag, Values, Word
from ems.drivers.rules import Severity
from ems.model import Quality

__all__ = ["Block", "Condition", "Flag", "Values", "Word"]

_COLUMNS_FROM: Final = 6
"""Plain numbers from which decoding them together is faster than one by one."""
Shown = float | str | Sequence[float | None] | None
"""What a simulated device shows for a point."""


@dataclass(frozen=True)
class Block:
    """Registers or nodes read together.

    The payload is what all ``requests`` bring, one after the other; offsets are bytes
    from its start. For OPC UA they are indices into ``nodes``.
    """

    key: str
    table: str
    sunspec_model: int | None
    requests: tuple[tuple[int, int], ...]
    """(first register, number of registers) of each request, in order."""
    period_s: float
    """How often it is really read: the period of its poll class, stretched where the line
    is too slow for it; infinite for what is read once per connection."""
    ttl_s: float
    """Age at which its values are stale."""
    scalars: tuple[Placed, ...] = ()
    arrays: tuple[ArrayCodec, ...] = ()
    texts: tuple[tuple[TextCodec, int], ...] = ()
    words: tuple[Word, ...] = ()
    flags: tuple[Flag, ...] = ()
    conditions: tuple[Condition, ...] = ()
    nodes: tuple[str, ...] = ()
    alarm: str = ""
    """Name under which the level of ``words`` is delivered; empty for none."""
    poll: str = ""
    wire_s: float = 0.0
    """Time one read occupies a serial line, s; 0 where it does not matter."""
    own_ttl_s: Mapping[str, float] = field(default_factory=dict)
    """Age at which points are stale that say so themselves."""

    @property
    def start(self) -> int:
        """First register of the first request."""
        return self.requests[0][0] if self.requests else 0

    @property
    def count(self) -> int:
        """Registers of all requests, or nodes."""
        return sum(count for _, count in self.requests) or len(self.nodes)

    def addresses(self) -> Iterator[int]:
        """Address of each register of the payload, in order."""
        for start, count in self.requests:
            yield from range(start, start + count)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Every number and array this block delivers, and its part of the alarm level."""
        return (
            *(codec.name for codec, _ in self.scalars),
            *(array.name for array in self.arrays),
            *((self.alarm,) if self.alarm else ()),
        )

    def brings(self, name: str) -> bool:
        """Whether a point, text or bit field of that name is among what it reads."""
        return (
            name in self.names
            or any(text.name == name for text, _ in self.texts)
            or any(word.name == name for word in self.words)
        )

    @cached_property
    def claimed(self) -> frozenset[int]:
        """Registers of the payload, counted from 0, that belong to a point of this block."""
        found = set[int]()
        words = ((word.codec, word.at) for word in self.words)
        elements = ((array.element, at) for array in self.arrays for at in array.positions)
        for codec, at in (*self.scalars, *words, *elements):
            found |= {(at + k) // 2 for k in codec.offsets}
        for text, at in self.texts:
            found |= {at // 2 + k for k in range(text.registers)}
        for flag in self.flags:
            found |= {flag.at // 2 + k for k in range(LAYOUT[flag.type].size // 2)}
        return frozenset(found)

    def ttl_of_s(self, name: str) -> float:
        """Age at which a point of this block is stale, s; never below the block's own."""
        return max(self.ttl_s, self.own_ttl_s.get(name, 0.0))

    @cached_property
    def units(self) -> int:
        """Numbers it delivers, elements of arrays included."""
        return len(self.scalars) + sum(array.count for array in self.arrays)

    def decode(self, payload: bytes) -> Values:
        """Values of the registers in ``payload``.

        A payload shorter than the block (a SunSpec model cut short by its vendor)
        simply has no values for the points beyond its end.
        """
        whole, plain, columns, alone, names = self._plan
        size = len(payload)
        if columns is None or size != whole:
            found = self._decode_each(payload, self.scalars)
        else:
            numbers, factors = columns.decode(payload)
            # All given: a tenth of the time of decoding would go into default factories.
            found = Values(names, numbers, {}, {}, {}, {}, {})
            if factors or alone:
                self._complete(found, payload, factors)
        return found if plain else self._decode_rest(found, payload)

    def _decode_rest(self, found: Values, payload: bytes) -> Values:
        """Everything that is not a single number, and what it does to the numbers."""
        size = len(payload)
        for text, at in self.texts:
            if at + 2 * text.registers <= size:
                found.texts[text.name] = text.text(payload, at)
        for word in self.words:
            if word.at + 2 * word.codec.registers <= size:
                found.words[word.name] = int(word.codec.unpack(payload, word.at))
        if self.flags:
            self._refine(found, payload)
        known = dict(zip(found.names, found.numbers, strict=True)) if self.arrays else {}
        for array in self.arrays:
            if array.positions[-1] + 2 * array.element.registers <= size:
                exponent = found.exponents.get(array.element.scale_factor, 0)
                found.arrays[array.name] = array.decode(
                    payload, exponent, known.get(array.count_point)
                )
        return self._concluded(found)

    def decode_nodes(self, contents: Sequence[tuple[object, Quality]]) -> Values:
        """Values of OPC UA nodes, given each node's content and quality in order."""
        scalars: dict[str, Outcome] = {}
        for codec, at in self.scalars:
            content, quality = contents[at]
            if quality > Quality.UNCERTAIN or not isinstance(content, int | float):
                scalars[codec.name] = (None, max(quality, Quality.BAD))
            else:
                value, own = codec.value(content)
                scalars[codec.name] = (value, max(quality, own))
        found = Values.of(scalars)
        for array in self.arrays:
            found.arrays[array.name] = _node_array(array, *contents[array.positions[0]])
        for text, at in self.texts:
            content, quality = contents[at]
            fine = isinstance(content, str) and quality <= Quality.UNCERTAIN
            found.texts[text.name] = str(content).strip() if fine else None
        for word in self.words:
            content, quality = contents[word.at]
            if isinstance(content, int) and quality <= Quality.UNCERTAIN:
                found.words[word.name] = content
        return self._concluded(found)

    def encode(self, values: Mapping[str, Shown], exponents: Mapping[str, int]) -> bytes:
        """Register image that a device with this map would show for ``values``.

        What has no value, or none that the map can express, is shown as the
        device would show it: by its sentinel or an unknown code.
        """
        image = bytearray(2 * self.count)
        for codec, at in self.scalars:
            value = values.get(codec.name)
            for flag in self.flags:
                if flag.point == codec.name and value == flag.code:
                    value = flag.when
                    LAYOUT[flag.type].pack_into(image, flag.at, flag.mask)
            if codec.name in exponents:
                codec.pack_into(image, at, exponents[codec.name])
            else:
                number = value if isinstance(value, int | float) else None
                codec.show_into(image, at, number, exponents.get(codec.scale_factor, 0))
        for array in self.arrays:
            elements = values.get(array.name)
            if isinstance(elements, Sequence | np.ndarray) and not isinstance(elements, str):
                exponent = exponents.get(array.element.scale_factor, 0)
                array.put(image, elements, exponent)
        for text, at in self.texts:
            text.put(image, at, str(values.get(text.name) or ""))
        self._show_words(image, values)
        return bytes(image)

    def __reduce__(self) -> tuple[Any, ...]:
        return Block, tuple(getattr(self, f.name) for f in fields(self))

    @cached_property
    def _plan(self) -> tuple[int, bool, Columns | None, tuple[Placed, ...], tuple[str, ...]]:
        """Bytes of a whole answer; whether there are only numbers that stand for themselves;
        columns, the points decoded one by one, and the names of both in order.
        """
        plain = not any((self.arrays, self.texts, self.words, self.flags, self.conditions))
        together = [pair for pair in self.scalars if fits_column(pair[0])]
        names = {codec.name for codec, _ in together}
        # A value and its scale factor must be decoded the same way.
        together = [p for p in together if not p[0].scale_factor or p[0].scale_factor in names]
        if len(together) < _COLUMNS_FROM:
            return 2 * self.count, plain, None, (), ()
        columns = Columns(together, 2 * self.count, self._factors)
        kept = {codec.name for codec in columns.codecs}
        alone = tuple(pair for pair in self.scalars if pair[0].name not in kept)
        order = (*(codec.name for codec in columns.codecs), *(codec.name for codec, _ in alone))
        return 2 * self.count, plain, columns, alone, order

    def _complete(self, found: Values, payload: bytes, factors: tuple[float, ...]) -> None:
        """Add the scale factors, and what is decoded one by one."""
        _, _, columns, alone, _ = self._plan
        if columns is not None:
            for at, factor in zip(columns.factor_at, factors, strict=True):
                found.exponents[columns.codecs[at].name] = columns.codecs[at].exponent(factor)
        others = self._decode_each(payload, alone, found.exponents)
        found.numbers.extend(others.numbers)
        found.doubts = others.doubts
        found.exponents.update(others.exponents)

    def _decode_each(
        self,
        payload: bytes,
        placed: Sequence[Placed],
        exponents: Mapping[str, int] | None = None,
    ) -> Values:
        size = len(payload)
        raws = {
            codec.name: (codec, codec.unpack(payload, at))
            for codec, at in placed
            if at + 2 * codec.registers <= size
        }
        seen = dict(exponents or {})
        for name in self._factors:
            if name in raws:
                factor, content = raws[name]
                seen[name] = factor.exponent(content)
        outcomes = {
            name: codec.value(raw, seen.get(codec.scale_factor, 0))
            for name, (codec, raw) in raws.items()
            if not codec.scale_factor or codec.scale_factor in seen
        }
        return Values.of(outcomes, exponents=seen)

    @cached_property
    def _factors(self) -> frozenset[str]:
        """Points that are scale factors of others."""
        codecs: list[PointCodec] = [codec for codec, _ in self.scalars]
        codecs += [array.element for array in self.arrays]
        return frozenset(codec.scale_factor for codec in codecs if codec.scale_factor)

    def _refine(self, found: Values, payload: bytes) -> None:
        for flag in self.flags:
            if flag.point not in found.names:
                continue
            at = found.names.index(flag.point)
            if found.numbers[at] == flag.when and (
                LAYOUT[flag.type].unpack_from(payload, flag.at)[0] & flag.mask
            ):
                found.numbers[at] = flag.code

    def _concluded(self, found: Values) -> Values:
        """The values with the alarm level added and what other points make void taken out."""
        for condition in self.conditions:
            scalars = dict(zip(found.names, found.numbers, strict=True))
            if scalars.get(condition.other) in condition.allowed:
                continue
            if condition.point in scalars:
                found.numbers[found.names.index(condition.point)] = None
                found.doubts.pop(condition.point, None)
            if condition.point in found.arrays:
                values, quality = found.arrays[condition.point]
                found.arrays[condition.point] = (
                    np.zeros_like(values),
                    np.full_like(quality, Quality.BAD),
                )
        if self.alarm:
            complete = len(found.words) == len(self.words)
            levels = (word.level(found.words[word.name]) for word in self.words if complete)
            level = max(levels, default=None)
            found.names = (*found.names, self.alarm)
            found.numbers.append(None if level is None else float(level))
        return found

    def _show_words(self, image: bytearray, values: Mapping[str, Shown]) -> None:
        shown = 0
        for word in self.words:
            content = values.get(word.name)
            if isinstance(content, int | float):
                word.codec.pack_into(image, word.at, int(content))
                shown = max(shown, word.level(int(content)))
        wanted = values.get(self.alarm, values.get("alarm_level")) if self.alarm else None
        if not isinstance(wanted, int | float) or wanted <= shown:
            return
        offers = [
            (int(severity), mask, word)
            for word in self.words
            for mask, severity in word.masks
            if severity > Severity.INFO
        ]
        enough = [offer for offer in offers if offer[0] >= wanted]
        if offers:
            pick = min(enough, key=_severity) if enough else max(offers, key=_severity)
            codec, at = pick[2].codec, pick[2].at
            codec.pack_into(image, at, int(codec.unpack(bytes(image), at)) | pick[1] & -pick[1])


def _severity(offer: tuple[int, int, Word]) -> int:
    return offer[0]


def _node_array(array: ArrayCodec, content: object, quality: Quality) -> ArrayOutcome:
    if (
        isinstance(content, list)
        and len(content) == array.count
        and all(isinstance(item, int | float) for item in content)
    ):
        values, own = array.column(np.asarray(content, dtype=np.float64))
        return values, np.maximum(own, np.uint8(quality))
    return np.zeros(array.count), np.full(array.count, max(quality, Quality.BAD), np.uint8)
