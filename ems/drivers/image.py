"""The process image: what is known of each device until the next answer."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ems.drivers.device import Block, Values
from ems.model import MISSING, FloatArray, Link, Quality, Reading


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
    readings: dict[str, Reading] = field(default_factory=dict)
    arrays: dict[str, ArrayImage] = field(default_factory=dict)
    exponents: dict[str, int] = field(default_factory=dict)
    """SunSpec scale factors as last read."""
    ttl_s: dict[str, float] = field(default_factory=dict)
    heard_s: float = 0.0
    """When any valid answer arrived last."""
    _beat: Reading = MISSING
    # The beat survives a reconnect: a link that flaps must not make a frozen BMS look alive.

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> "DeviceImage":
        """An empty image with the time to live of each point."""
        return cls(ttl_s={name: block.ttl_s for block in blocks for name in block.names})

    def store(self, block: Block, values: Values, now_s: float) -> None:
        """Take over a valid answer."""
        self.link = Link.UP
        self.heard_s = now_s
        self.exponents.update(values.exponents)
        for name, (value, quality) in values.scalars.items():
            if name == "heartbeat":
                at_s = self._beat.at_s if self._beat.value == value else now_s
                self._beat = Reading(value, at_s, quality)
            else:
                self.readings[name] = Reading(value, now_s, quality)
        for name, (array, qualities) in values.arrays.items():
            self.arrays[name] = ArrayImage(array, now_s, qualities)

    def spoil(self, block: Block, now_s: float) -> None:
        """Mark a block's points: an answer came that must not be believed."""
        for codec, _ in block.scalars:
            self.readings[codec.name] = Reading(None, now_s, Quality.BAD)
            if codec.name == "heartbeat":
                self._beat = Reading(self._beat.value, self._beat.at_s, Quality.BAD)
        if block.alarms:
            self.readings["alarm_level"] = Reading(None, now_s, Quality.BAD)
        for array, _ in block.arrays:
            self.arrays[array.element.name] = ArrayImage(
                np.zeros(array.count), now_s, np.full(array.count, Quality.BAD, np.uint8)
            )

    def lose(self, link: Link) -> None:
        """Forget every value at once: the link is down."""
        self.link = link
        self.readings.clear()
        self.arrays.clear()

    def read(self, name: str, now_s: float) -> Reading:
        """The point as of now: as stored, or ``STALE`` past its time to live."""
        reading = self.readings.get(name, MISSING)
        if reading.quality <= Quality.UNCERTAIN and now_s - reading.at_s > self.ttl_s[name]:
            return Reading(reading.value, reading.at_s, Quality.STALE)
        return reading

    def heartbeat(self, now_s: float) -> Reading:
        """The device's counter; ``MISSING`` where it has none.

        ``at_s`` is when it last changed, so its age is for the reader to judge;
        stale here means that the device itself has not been heard. Nothing stands in
        for a counter: frames of a resting pack may rightly repeat for minutes.
        """
        if self.link is not Link.UP or "heartbeat" not in self.ttl_s:
            return MISSING
        beat = self._beat
        if beat.quality <= Quality.UNCERTAIN and now_s - self.heard_s > self.ttl_s["heartbeat"]:
            return Reading(beat.value, beat.at_s, Quality.STALE)
        return beat
