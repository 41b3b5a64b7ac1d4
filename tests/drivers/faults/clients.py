"""The two who are lied to: our connections, and pymodbus as it comes."""

import asyncio
from typing import Protocol

from pymodbus import FramerType, ModbusException
from pymodbus.client import AsyncModbusTcpClient

from ems.drivers.link import BadAnswer, DeviceRefusal, LinkDown, NoAnswer
from ems.drivers.modbus.rtu import RtuConnection, RtuTcpConnection, SerialConnection
from ems.drivers.modbus.serialport import SerialSettings
from ems.drivers.modbus.tcp import TcpConnection
from ems.drivers.modbus.transaction import Pace
from tests.drivers.faults.liar import LATENCY_MAX_S, TIMEOUT_S
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
    """pymodbus, with the time limit of the campaign and no repeats."""

    def __init__(self, port: int, framer: FramerType) -> None:
        self._port, self._framer = port, framer
        self._client: AsyncModbusTcpClient | None = None

    async def read(self, ask: Ask) -> bytes | None:
        if self._client is None or not self._client.connected:
            if self._client is not None:
                self._client.close()
            self._client = AsyncModbusTcpClient(
                "127.0.0.1", port=self._port, framer=self._framer,
                timeout=TIMEOUT_S, retries=0, reconnect_delay=0,
            )  # fmt: skip
            await asyncio.wait_for(self._client.connect(), 5.0)
        client = self._client
        call = client.read_holding_registers if ask.function == 3 else client.read_input_registers
        try:
            answer = await call(ask.address, count=ask.count, device_id=ask.unit)
        except ModbusException:
            return None
        if answer.isError():
            return None
        return b"".join(register.to_bytes(2, "big") for register in answer.registers)

    async def close(self) -> None:
        if self._client is not None:
            self._client.close()
