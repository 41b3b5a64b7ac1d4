"""Frames as the proxy sees them: where one ends, and how to make another one like it."""

import asyncio
import struct
from typing import Protocol

from ems.drivers.modbus.frames import READS

_MBAP = 6


class Framing(Protocol):
    """How bytes on the wire are made of frames; a body is unit, function and data."""

    name: str
    request_size: int
    """Of a read."""

    async def answer(self, server: asyncio.StreamReader) -> bytes:
        """The next frame of an honest server."""
        ...

    def body(self, frame: bytes) -> bytes: ...

    def like(self, frame: bytes, body: bytes) -> bytes:
        """A frame that is right in itself: as the given one, but with another body."""
        ...


class Tcp:
    """A header with transaction id and length."""

    name, request_size = "tcp", 12

    async def answer(self, server: asyncio.StreamReader) -> bytes:
        header = await server.readexactly(_MBAP)
        return header + await server.readexactly(int.from_bytes(header[4:], "big"))

    def body(self, frame: bytes) -> bytes:
        return frame[_MBAP:]

    def like(self, frame: bytes, body: bytes) -> bytes:
        return frame[:4] + len(body).to_bytes(2, "big") + body


class Rtu:
    """A checksum at the end."""

    name, request_size = "rtu", 8

    async def answer(self, server: asyncio.StreamReader) -> bytes:
        head = await server.readexactly(3)
        return head + await server.readexactly(2 + (head[2] if head[1] in READS else 0))

    def body(self, frame: bytes) -> bytes:
        return frame[:-2]

    def like(self, frame: bytes, body: bytes) -> bytes:
        return body + crc(body)


def crc(data: bytes) -> bytes:
    """Checksum of serial Modbus, computed bit by bit, unlike in the code under test."""
    register = 0xFFFF
    for byte in data:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return struct.pack("<H", register)
