"""The points of one device as a person checks them: value, words, age, and what they came from."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ems.drivers.coding.block import Block
from ems.drivers.coding.codec import PointCodec
from ems.drivers.device import CompiledDevice, Located
from ems.drivers.modbus.sunspec import Model
from ems.drivers.serving.image import ALARM_LEVEL, DeviceImage
from ems.model import Quality
from ems.probe.report import PointSeen, Raw, Value

_ALARM_WORDS: Final = ("none", "warn", "derate", "trip")
_CONTENT_CHARS: Final = 60


def points(
    device: CompiledDevice,
    image: DeviceImage,
    payloads: Mapping[str, Any],
    models: Mapping[int, Model],
    now_s: float,
) -> Iterator[PointSeen]:
    """Everything that is read of a device, block after block.

    Args:
        device: Compiled, with what is read on demand among its blocks.
        image: What it said last.
        payloads: By block, what came last, as it came.
        models: Where its SunSpec models lie.
        now_s: Monotonic time, s.
    """
    for block in device.blocks:
        source = _Source(block, payloads.get(block.key), models)
        age_s = image.age_s(block, now_s)
        for codec, at in block.scalars:
            yield _scalar(device, image, codec, source.of(codec, at), age_s, now_s)
        for array in block.arrays:
            raw = source.of(array.element, array.positions[0], array.positions[-1])
            yield _array(device, image, array.name, raw, age_s)
        for text, at in block.texts:
            found = image.texts.get(text.name)
            quality = _text_quality(found, age_s)
            yield PointSeen(text.name, found, "", "", age_s, quality, source.at(at, text.registers))
        for word in block.words:
            yield _bits(device, image, word.name, source.of(word.codec, word.at), age_s)
    if device.alarm_parts and ALARM_LEVEL not in device.points:
        reading = image.read(ALARM_LEVEL, now_s)
        words = "" if reading.value is None else _ALARM_WORDS[int(reading.value)]
        age_s = now_s - reading.at_s if reading.quality is not Quality.MISSING else None
        quality = reading.quality.name.lower()
        yield PointSeen(ALARM_LEVEL, reading.value, words, "", age_s, quality, None)


class _Source:
    """Finds what a point was decoded from inside the answer of its block."""

    def __init__(self, block: Block, payload: Any, models: Mapping[int, Model]) -> None:
        self._block, self._payload = block, payload
        start = 0
        if block.sunspec_model is not None and block.sunspec_model in models:
            start = models[block.sunspec_model].start
        self._addresses = [start + address for address in block.addresses()]

    def of(self, codec: PointCodec, at: int, last: int | None = None) -> Raw | None:
        """Registers of a number, or of an array up to its ``last`` element."""
        if self._block.nodes:
            return self._node(at)
        return self.at(at, codec.registers + ((last or at) - at) // 2)

    def at(self, at: int, registers: int) -> Raw | None:
        """So many registers from a byte offset on."""
        if self._block.nodes:
            return self._node(at)
        data = (self._payload or b"")[at : at + 2 * registers]
        if not data:
            return None
        words = tuple(int.from_bytes(data[k : k + 2], "big") for k in range(0, len(data), 2))
        return Raw(self._addresses[at // 2], words)

    def _node(self, at: int) -> Raw | None:
        contents: Sequence[Any] = self._payload or ()
        if at >= len(contents):
            return None
        content = repr(contents[at])
        if len(content) > _CONTENT_CHARS:
            content = f"{content[: _CONTENT_CHARS - 1]}…"
        return Raw(None, (), self._block.nodes[at], content)


def _scalar(
    device: CompiledDevice,
    image: DeviceImage,
    codec: PointCodec,
    raw: Raw | None,
    age_s: float | None,
    now_s: float,
) -> PointSeen:
    reading = image.read(codec.name, now_s)
    value: Value = reading.value
    if value is None:
        # Shown although it is not believed: whoever looks for the error wants to see it.
        value = image.claimed(codec.name)
    located = device.points[codec.name]
    quality = reading.quality.name.lower()
    return PointSeen(codec.name, value, _label(located, value), _unit(located), age_s, quality, raw)


def _array(
    device: CompiledDevice, image: DeviceImage, name: str, raw: Raw | None, age_s: float | None
) -> PointSeen:
    unit = _unit(device.points[name])
    found = image.array(name)
    if found is None:
        return PointSeen(name, None, "", unit, age_s, "missing", raw)
    worst = Quality(int(found.quality.max())) if len(found.quality) else Quality.MISSING
    values = tuple(
        float(value) if quality <= Quality.UNCERTAIN else None
        for value, quality in zip(found.values, found.quality, strict=True)
    )
    return PointSeen(name, values, "", unit, age_s, worst.name.lower(), raw)


def _bits(
    device: CompiledDevice, image: DeviceImage, name: str, raw: Raw | None, age_s: float | None
) -> PointSeen:
    word = image.words.get(name)
    if word is None:
        return PointSeen(name, None, "", "", age_s, "missing", raw)
    active = device.bitfields[name].active(word)
    words = ", ".join(f"{bit.name} ({bit.severity.name.lower()})" for bit in active)
    return PointSeen(name, float(word), words or "no flag set", "", age_s, "good", raw)


def _label(located: Located, value: Value) -> str:
    if not located.labels or not isinstance(value, float):
        return ""
    raw = located.codec.raw_of_code.get(int(value), int(value))
    return located.labels.get(raw, "")


def _unit(located: Located) -> str:
    return "" if located.unit == "1" else located.unit


def _text_quality(found: str | None, age_s: float | None) -> str:
    if found is not None:
        return "good"
    return "missing" if age_s is None else "bad"
