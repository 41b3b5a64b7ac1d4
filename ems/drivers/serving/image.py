"""The process image: what is known of each device until the next answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.drivers.coding.block import Block, Values
from ems.drivers.serving.plausible import ArrayRate, Rate
from ems.model import MISSING, FloatArray, Link, Quality, Reading

ALARM_LEVEL: Final = "alarm_level"
HEARTBEAT: Final = "heartbeat"


@dataclass(slots=True)
class ArrayImage:
    """Last answer for an array of equal values."""

    values: FloatArray
    at_s: float
    quality: NDArray[np.uint8]


@dataclass(slots=True)
class DeviceImage:
    """Everything one device said last. Filled by its owner, frozen by the snapshot."""

    link: Link = Link.SILENT
    arrays: dict[str, ArrayImage] = field(default_factory=dict)
    exponents: dict[str, int] = field(default_factory=dict)
    """SunSpec scale factors as last read."""
    texts: dict[str, str | None] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    """Bit fields as last read."""
    ttl_s: dict[str, float] = field(default_factory=dict)
    """Age at which each point is stale; follows the period its block really has."""
    heard_s: float = 0.0
    """When any valid answer arrived last."""
    distrusted: str = ""
    """Why nothing this device says is to be believed; empty while all is well."""
    _blocks: dict[str, Block] = field(default_factory=dict)
    _home: dict[str, str] = field(default_factory=dict)
    """Block of each point."""
    _at_s: dict[str, float] = field(default_factory=dict)
    """When each block was answered last."""
    _numbers: dict[str, float | None] = field(default_factory=dict)
    _doubts: dict[str, Quality] = field(default_factory=dict)
    """Quality of the numbers that are neither good nor plainly bad."""
    _alarm_parts: tuple[str, ...] = ()
    _rates: dict[str, Rate] = field(default_factory=dict)
    _array_rates: dict[str, ArrayRate] = field(default_factory=dict)
    _beat_point: str = HEARTBEAT
    _beat: Reading = MISSING
    # The beat survives a reconnect: a link that flaps must not make a frozen BMS look alive.

    @classmethod
    def of(
        cls,
        blocks: Iterable[Block],
        alarm_parts: tuple[str, ...] = (),
        heartbeat: str = HEARTBEAT,
    ) -> "DeviceImage":
        """An empty image with the time to live of each point.

        Args:
            blocks: What is read of the device.
            alarm_parts: Names whose worst value is the alarm level.
            heartbeat: Point that counts.
        """
        found = cls(_alarm_parts=alarm_parts, _beat_point=heartbeat)
        for block in blocks:
            found._blocks[block.key] = block
            found._home.update(dict.fromkeys(block.names, block.key))
            found.ttl_s.update({name: block.ttl_of_s(name) for name in block.names})
            for codec, _ in block.scalars:
                if np.isfinite(codec.max_rate_per_s):
                    found._rates[codec.name] = Rate(codec.max_rate_per_s, block.period_s)
            for array in block.arrays:
                rate = array.element.max_rate_per_s
                if np.isfinite(rate):
                    found._array_rates[array.name] = ArrayRate(rate, block.period_s)
        return found

    @property
    def readings(self) -> Mapping[str, Reading]:
        """Every number as stored, whatever its age."""
        return {name: self._stored(name) for name in self._numbers}

    def age_s(self, block: Block, now_s: float) -> float | None:
        """Since when the block has not been answered; ``None`` when it never was."""
        at_s = self._at_s.get(block.key)
        return None if at_s is None else now_s - at_s

    def stretch(self, block: Block, period_s: float) -> None:
        """The line needs longer for a block than its poll class wants: so does its value."""
        ttl_s = block.ttl_s * period_s / block.period_s
        self.ttl_s.update({name: max(block.ttl_of_s(name), ttl_s) for name in block.names})

    def store(self, block: Block, values: Values, now_s: float) -> None:
        """Take over a valid answer."""
        self.link = Link.UP
        self.heard_s = now_s
        self._at_s[block.key] = now_s
        if values.exponents:
            self.exponents.update(values.exponents)
        self.texts.update(values.texts)
        self.words.update(values.words)
        if self._doubts:
            for name in values.names:
                self._doubts.pop(name, None)
        self._doubts.update(values.doubts)
        numbers = dict(zip(values.names, values.numbers, strict=True))
        for name in self._rates.keys() & numbers.keys():
            numbers[name] = self._rates[name].judged(numbers[name], now_s)
        self._numbers.update(numbers)
        if self._beat_point in numbers:
            value = numbers[self._beat_point]
            at_s = self._beat.at_s if self._beat.value == value else now_s
            self._beat = Reading(value, at_s, values.quality(self._beat_point, value))
        for name, (array, qualities) in values.arrays.items():
            if name in self._array_rates:
                qualities = self._array_rates[name].judged(array, qualities, now_s)
            self.arrays[name] = ArrayImage(array, now_s, qualities)

    def spoil(self, block: Block, now_s: float) -> None:
        """Mark a block's points: an answer came that must not be believed."""
        self._at_s[block.key] = now_s
        for name in block.names:
            self._doubts.pop(name, None)
        scalars = [codec.name for codec, _ in block.scalars]
        self._numbers.update(dict.fromkeys([*scalars, *filter(None, (block.alarm,))]))
        if self._beat_point in scalars:
            self._beat = Reading(self._beat.value, self._beat.at_s, Quality.BAD)
        for array in block.arrays:
            self.arrays[array.name] = ArrayImage(
                np.zeros(array.count), now_s, np.full(array.count, Quality.BAD, np.uint8)
            )
        for text, _ in block.texts:
            self.texts.pop(text.name, None)
        for word in block.words:
            self.words.pop(word.name, None)

    def claimed(self, name: str) -> float | str | None:
        """What the device itself says last, whether it is believed or not."""
        if name in self.texts:
            return self.texts[name]
        if self._doubts.get(name, Quality.GOOD) > Quality.UNCERTAIN:
            return None
        return self._numbers.get(name)

    def array(self, name: str) -> ArrayImage | None:
        """The array as stored; bad as a whole when the device is not believed."""
        found = self.arrays.get(name)
        if found is None or not self.distrusted:
            return found
        return ArrayImage(
            np.zeros_like(found.values), found.at_s, np.full_like(found.quality, Quality.BAD)
        )

    def lose(self, link: Link) -> None:
        """Forget every value at once: the link is down."""
        self.link = link
        self.distrusted = ""
        self._numbers.clear()
        self._doubts.clear()
        self._at_s.clear()
        self.arrays.clear()
        self.texts.clear()
        self.words.clear()

    def read(self, name: str, now_s: float) -> Reading:
        """The point as of now: as stored, or ``STALE`` past its time to live."""
        if name == ALARM_LEVEL and self._alarm_parts:
            return self._alarm(now_s)
        if name not in self._numbers:
            return MISSING
        reading = self._stored(name)
        if reading.quality <= Quality.UNCERTAIN and now_s - reading.at_s > self.ttl_s[name]:
            return Reading(reading.value, reading.at_s, Quality.STALE)
        return reading

    def heartbeat(self, now_s: float) -> Reading:
        """The device's counter; ``MISSING`` where it has none.

        ``at_s`` is when it last changed, so its age is for the reader to judge;
        stale here means that the device itself has not been heard. Nothing stands in
        for a counter: frames of a resting pack may rightly repeat for minutes.
        """
        ttl_s = self.ttl_s.get(self._beat_point)
        if self.link is not Link.UP or ttl_s is None:
            return MISSING
        beat = self._beat
        if self.distrusted:
            return Reading(None, beat.at_s, Quality.BAD)
        if beat.quality <= Quality.UNCERTAIN and now_s - self.heard_s > ttl_s:
            return Reading(beat.value, beat.at_s, Quality.STALE)
        return beat

    def _stored(self, name: str) -> Reading:
        value = self._numbers[name]
        at_s = self._at_s[self._home[name]]
        if value is None or self.distrusted:
            return Reading(None, at_s, max(self._doubts.get(name, Quality.BAD), Quality.BAD))
        return Reading(value, at_s, self._doubts.get(name, Quality.GOOD))

    def _alarm(self, now_s: float) -> Reading:
        """The worst of all parts; one part that is not known makes it unknown."""
        parts = [
            self._stored(name) if name in self._numbers else MISSING for name in self._alarm_parts
        ]
        worst = max(part.quality for part in parts)
        at_s = min(part.at_s for part in parts)
        if worst > Quality.UNCERTAIN:
            return Reading(None, at_s, worst)
        level = max(part.value or 0.0 for part in parts)
        stale = any(
            now_s - part.at_s > self.ttl_s[name]
            for name, part in zip(self._alarm_parts, parts, strict=True)
        )
        return Reading(level, at_s, Quality.STALE if stale else worst)
