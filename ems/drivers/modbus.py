"""Modbus TCP: pymodbus moves the frames, this layer decides which of them to believe.

pymodbus accepts short answers, a wrong function code and transaction id 0 as an
answer to anything. Here every received frame is held against the one request in
flight before pymodbus sees it; what does not match exactly is never used.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ModbusPDU

from ems.drivers import sunspec
from ems.drivers.device import Block, Located, ServedDevice, Values
from ems.drivers.link import (
    BadAnswer,
    DeviceRefusal,
    LinkDown,
    NoAnswer,
    PointWrite,
    WriteForbidden,
)
from ems.model import Link

READ_FUNCTION: Final = {"holding": 3, "input": 4}
_HEADER: Final = 6
"""Bytes of transaction id, protocol id and length, before the unit id."""
_LENGTH_MAX: Final = 254
_NOBODY_HOME: Final = (6, 10, 11)
"""Exceptions that mean 'not now': device busy, gateway path unavailable, no response."""
_GRACE_S: Final = 0.2
"""pymodbus waits this much longer than we do, so that our deadline is the one that counts."""

# We report a device once when it fails and once when it is back; pymodbus reports
# every failed attempt.
logging.getLogger("pymodbus").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class _Expected:
    unit: int
    function: int
    body: int | bytes
    """Payload bytes of a read, or the exact echo of a write."""


class ModbusConnection:
    """One TCP connection, one request in flight, one owner task.

    Args:
        host: Name or address.
        port: TCP port.
        timeout_s: Time limit of one connect or one transaction, s, <= 1.
        observe: Refuse and count every write.
    """

    def __init__(self, host: str, port: int, timeout_s: float, observe: bool = False) -> None:
        self.host, self.port, self.timeout_s = host, port, timeout_s
        self.refused_writes = 0
        self.on_lost: Callable[[], None] = _nobody
        self._observe = observe
        self._client: AsyncModbusTcpClient | None = None
        self._expected: _Expected | None = None
        self._transaction = b""
        self._payload = b""
        self._verdict: asyncio.Future[None] | None = None

    @property
    def connected(self) -> bool:
        return self._client is not None and self._client.connected

    async def connect(self) -> None:
        """Connect once; the caller decides when to try again.

        Raises:
            LinkDown: refused (known at once) or silent (nothing within the time limit).
        """
        await self.close()
        client = AsyncModbusTcpClient(
            self.host,
            port=self.port,
            timeout=self.timeout_s + _GRACE_S,
            retries=0,
            reconnect_delay=0,
            trace_packet=self._inspect,
            trace_connect=self._connection_changed,
        )
        try:
            connected = await asyncio.wait_for(client.connect(), self.timeout_s)
        except TimeoutError:
            client.close()
            raise LinkDown(Link.SILENT, "no connection within the time limit") from None
        if not connected:
            raise LinkDown(Link.REFUSED, "connection refused")
        self._client = client

    async def close(self) -> None:
        """Close; harmless when not connected."""
        if self._client is not None:
            client, self._client = self._client, None
            client.close()

    async def read(self, unit: int, table: str, address: int, count: int) -> bytes:
        """Exactly ``count`` registers, as big-endian bytes."""
        client = self._live()
        function = READ_FUNCTION[table]
        call = (client.read_holding_registers if function == 3 else client.read_input_registers)(
            address, count=count, device_id=unit
        )
        await self._transact(_Expected(unit, function, 2 * count), call)
        return self._payload

    async def write(self, unit: int, address: int, registers: list[int], function: int) -> None:
        """Write registers with function 6 (one) or 16; the echo is compared.

        Raises:
            WriteForbidden: we only observe.
        """
        if self._observe:
            self.refused_writes += 1
            raise WriteForbidden("this connection only observes")
        client = self._live()
        head = address.to_bytes(2, "big")
        if function == 6:
            echo = head + registers[0].to_bytes(2, "big")
            call = client.write_register(address, registers[0], device_id=unit)
        else:
            echo = head + len(registers).to_bytes(2, "big")
            call = client.write_registers(address, registers, device_id=unit)
        await self._transact(_Expected(unit, function, echo), call)

    def _live(self) -> AsyncModbusTcpClient:
        if self._client is None or not self._client.connected:
            raise LinkDown(Link.REFUSED, "not connected")
        return self._client

    async def _transact(self, expected: _Expected, call: Awaitable[ModbusPDU]) -> None:
        """Await the one answer that matches, within the time limit."""
        verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._expected, self._verdict, self._payload = expected, verdict, b""
        request = asyncio.ensure_future(call)
        try:
            first: set[asyncio.Future[Any]] = {request, verdict}
            await asyncio.wait(first, timeout=self.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if verdict.done():
                verdict.result()
            if not request.done():
                raise NoAnswer(f"no answer within {self.timeout_s:g} s")
            try:
                response = request.result()
            except ModbusException as error:
                raise NoAnswer(str(error)) from error
            if response.isError():
                if response.exception_code in _NOBODY_HOME:
                    raise NoAnswer(f"Modbus exception {response.exception_code}")
                raise DeviceRefusal(f"Modbus exception {response.exception_code}")
        finally:
            self._expected = self._verdict = None
            if not request.done():
                request.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await request
            elif not request.cancelled():
                request.exception()  # retrieved, so that asyncio does not report it as lost

    def _connection_changed(self, up: bool) -> None:
        if up:
            return
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_exception(LinkDown(Link.REFUSED, "connection closed by the device"))
        self.on_lost()

    def _inspect(self, sending: bool, data: bytes) -> bytes:
        """Hook of pymodbus: sees every byte, passes on only what may be believed."""
        if sending:
            self._transaction = data[:2]
            return data
        start = 0
        while len(data) - start >= _HEADER:
            length = int.from_bytes(data[start + 4 : start + 6], "big")
            if data[start + 2 : start + 4] != b"\0\0" or not 3 <= length <= _LENGTH_MAX:
                return self._refuse("not a Modbus TCP frame")
            frame = data[start : start + _HEADER + length]
            if len(frame) < _HEADER + length:
                break
            start += len(frame)
            if frame[:2] == self._transaction:
                problem = self._problem(frame[_HEADER:])
                return self._refuse(problem) if problem else frame
        # Nothing yet: pymodbus keeps the bytes, and late answers to given-up requests
        # are skipped again with the next ones.
        return b""

    def _problem(self, body: bytes) -> str:
        """Why a frame with our transaction id is not the answer; empty when it is."""
        expected = self._expected
        if expected is None:
            return "an answer to nothing"
        unit, function, rest = body[0], body[1], body[2:]
        if unit != expected.unit:
            return f"unit {unit} answered for unit {expected.unit}"
        if function == expected.function | 0x80:
            return "" if len(rest) == 1 else "a malformed exception"
        if function != expected.function:
            return f"function {function} answered function {expected.function}"
        if isinstance(expected.body, bytes):
            return "" if rest == expected.body else "the echo differs from what was written"
        if len(rest) != 1 + expected.body or rest[0] != expected.body:
            return f"{len(rest) - 1} bytes where {expected.body} were asked for"
        self._payload = rest[1:]
        return ""

    def _refuse(self, problem: str) -> bytes:
        if self._verdict is not None and not self._verdict.done():
            self._verdict.set_exception(BadAnswer(problem))
        return b""


class ModbusPort:
    """One unit behind a Modbus connection."""

    def __init__(self, connection: ModbusConnection, device: ServedDevice) -> None:
        self.device = device
        self._connection = connection
        self._rules = device.conduct
        self._unit = device.spec.unit_id
        self._models: dict[int, sunspec.Model] = {}

    async def prepare(self) -> None:
        """Walk the SunSpec chain where the profile needs it.

        Raises:
            BadAnswer: a model the profile cannot do without is missing.
        """
        if not self._rules.sunspec_models:
            return

        async def read(address: int, count: int) -> bytes:
            return await self._connection.read(self._unit, "holding", address, count)

        self._models = await sunspec.discover(read)
        missing = [m for m in self._rules.sunspec_models if m not in self._models]
        if missing:
            raise BadAnswer(f"SunSpec models {missing} are missing")

    def has(self, point: Located) -> bool:
        return point.sunspec_model is None or point.sunspec_model in self._models

    async def read(self, block: Block) -> Values | None:
        start, count = block.start, block.count
        if block.sunspec_model is not None:
            model = self._models.get(block.sunspec_model)
            if model is None:
                return None
            start, count = model.start + start, min(count, model.length + 2 - start)
        step = self._rules.max_read_registers
        chunks = [
            await self._connection.read(self._unit, block.table, at, min(step, start + count - at))
            for at in range(start, start + count, step)
        ]
        payload = b"".join(chunks)
        return block.decode(payload)

    async def write(self, writes: list[PointWrite]) -> None:
        for address, registers in self._requests(writes):
            await self._connection.write(self._unit, address, registers, self._rules.write_function)

    def _requests(self, writes: list[PointWrite]) -> list[tuple[int, list[int]]]:
        """Requests in order; neighbouring registers of successive steps travel together."""
        requests: list[tuple[int, list[int]]] = []
        for write in writes:
            address = write.at
            if write.point.sunspec_model is not None:
                address += self._models[write.point.sunspec_model].start
            data = write.point.codec.pack(write.raw)
            registers = [int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2)]
            last = requests[-1] if requests else (0, [])
            if (
                last[1]
                and address == last[0] + len(last[1])
                and len(last[1]) + len(registers) <= self._rules.max_write_registers
            ):
                last[1].extend(registers)
            else:
                requests.append((address, registers))
        return requests


def _nobody() -> None:
    """Until an owner listens, nobody has to be told that a connection broke."""
