"""The two who are lied to: our connections, and pymodbus as it comes."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient

from ems.drivers.link import BadAnswer, DeviceRefusal, LinkDown, NoAnswer
from ems.drivers.modbus.rtu import RtuConnection, RtuTcpConnection, SerialConnection
from ems.drivers.modbus.serialport import SerialSettings
from ems.drivers.modbus.tcp import TcpConnection
from ems.drivers.modbus.transaction import Pace
from tests.drivers.faults.deck import LATENCY_MAX_S, TIMEOUT_S
from tests.drivers.faults.world import TABLE, Ask

PACE = Pace(timeout_s=TIMEOUT_S, latency_max_s=LATENCY_MAX_S)
LINE = SerialSettings(115_200)


class Client(Protocol):
    """What the campaign needs of a client."""

    async def read(self, ask: Ask) -> bytes | None:
        """Contents, or ``None`` when the client itself says there are none."""
        ...

    async def close(self) -> None: ...


class Ours:
    """One of our connections, reconnected whenever it was lost."""

    def __init__(self, connection: TcpConnection | RtuConnection) -> None:
        self.connection = connection

    @classmethod
    def tcp(cls, port: int) -> "Ours":
        """Modbus TCP."""
        return cls(TcpConnection("127.0.0.1", port, 5.0))

    @classmethod
    def rtu_tcp(cls, port: int) -> "Ours":
        """Serial frames over TCP."""
        return cls(RtuTcpConnection("127.0.0.1", port, 5.0, settings=LINE))

    @classmethod
    def serial(cls, path: str) -> "Ours":
        """A serial port."""
        return cls(SerialConnection(path, LINE, 5.0))

    async def read(self, ask: Ask) -> bytes | None:
        try:
            if not self.connection.connected:
                await self.connection.connect()
            return await self.connection.read(
                ask.unit, TABLE[ask.function], ask.address, ask.count, PACE
            )
        except (BadAnswer, DeviceRefusal, LinkDown, NoAnswer):
            return None

    async def close(self) -> None:
        await self.connection.close()


class Bare:
    """pymodbus, with the time limit of the campaign and no repeats.

    Args:
        make: A client that is not connected yet.
    """

    def __init__(self, make: Callable[[], AsyncModbusTcpClient | AsyncModbusSerialClient]) -> None:
        self._make = make
        self._client = make()

    @classmethod
    def tcp(cls, port: int) -> "Bare":
        """Modbus TCP."""
        return cls._over_tcp(port, FramerType.SOCKET)

    @classmethod
    def rtu_tcp(cls, port: int) -> "Bare":
        """Serial frames over TCP."""
        return cls._over_tcp(port, FramerType.RTU)

    @classmethod
    def _over_tcp(cls, port: int, framer: FramerType) -> "Bare":
        return cls(lambda: AsyncModbusTcpClient(
            "127.0.0.1", port=port, framer=framer,
            timeout=TIMEOUT_S, retries=0, reconnect_delay=0,
        ))  # fmt: skip

    @classmethod
    def serial(cls, path: str) -> "Bare":
        """A serial port."""
        return cls(lambda: AsyncModbusSerialClient(
            path, baudrate=LINE.baud, timeout=TIMEOUT_S, retries=0, reconnect_delay=0,
        ))  # fmt: skip

    async def read(self, ask: Ask) -> bytes | None:
        if not self._client.connected:
            self._client.close()
            self._client = self._make()
            await asyncio.wait_for(self._client.connect(), 5.0)
        client = self._client
        call = client.read_holding_registers if ask.function == 3 else client.read_input_registers
        try:
            answer = await call(ask.address, count=ask.count, device_id=ask.unit)
        except ModbusException:
            return None
        # In favour of pymodbus: nobody takes an answer without registers for a value.
        if answer.isError() or not answer.registers:
            return None
        return b"".join(register.to_bytes(2, "big") for register in answer.registers)

    async def close(self) -> None:
        self._client.close()
