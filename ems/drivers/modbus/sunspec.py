"""Finding SunSpec models: the marker, then a chain of (id, length) until 0xFFFF."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from ems.drivers.link import BadAnswer, DeviceRefusal

MARKER: Final = b"SunS"
BASES: Final = (40000, 0, 50000)
END: Final = 0xFFFF
_MODELS_MAX: Final = 64
"""A chain longer than this is a loop or not SunSpec."""


@dataclass(frozen=True, slots=True)
class Model:
    """Where a model lies: ``start`` is the address of its id, ``length`` excludes id and length."""

    start: int
    length: int


async def discover(read: Callable[[int, int], Awaitable[bytes]]) -> dict[int, Model]:
    """First occurrence of each model of the device.

    Args:
        read: Reads ``(address, count)`` holding registers.

    Raises:
        BadAnswer: no marker, or the chain does not end. ``read``'s own errors pass
            through, except a refusal of one base address.

    Source:
        SunSpec Device Information Model Specification, "Device Discovery".
    """
    for base in BASES:
        try:
            if await read(base, 2) == MARKER:
                return await _walk(read, base + 2)
        except DeviceRefusal:
            continue
    raise BadAnswer("no SunSpec marker at 40000, 0 or 50000")


async def _walk(read: Callable[[int, int], Awaitable[bytes]], address: int) -> dict[int, Model]:
    models: dict[int, Model] = {}
    for _ in range(_MODELS_MAX):
        head = await read(address, 2)
        number, length = int.from_bytes(head[:2], "big"), int.from_bytes(head[2:], "big")
        if number == END:
            return models
        models.setdefault(number, Model(address, length))
        # Vendors cut models short or extend them: only the length tells where the next is.
        address += length + 2
    raise BadAnswer("the SunSpec model chain does not end")
