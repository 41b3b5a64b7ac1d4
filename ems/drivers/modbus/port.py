"""One unit behind a Modbus connection."""

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from ems.drivers.coding.block import Block, Values
from ems.drivers.device import CompiledDevice, Located
from ems.drivers.link import BadAnswer, NoAnswer, PointWrite, Tap
from ems.drivers.modbus import sunspec
from ems.drivers.modbus.transaction import Pace
from ems.drivers.rules import LinkRules

_MODEL_HEAD: Final = 2
"""Registers of a model's id and length, before its points."""


class Line(Protocol):
    """What a port needs of its connection."""

    async def read(self, unit: int, table: str, address: int, count: int, pace: Pace) -> bytes: ...

    async def write(
        self, unit: int, address: int, registers: list[int], function: int, pace: Pace
    ) -> None: ...


class ModbusPort:
    """One unit behind a Modbus connection.

    Args:
        connection: TCP, TLS or serial.
        device: Its map and rules.
    """

    def __init__(self, connection: Line, device: CompiledDevice) -> None:
        self.device = device
        self._connection = connection
        self._unit = device.spec.unit_id
        self._rules = device.link
        self._pace = pace_of(device.link)
        self._models: dict[int, sunspec.Model] = {}
        self.tap: Tap | None = None

    @property
    def models(self) -> Mapping[int, sunspec.Model]:
        """SunSpec models found, in the order of the chain; empty without SunSpec."""
        return self._models

    async def prepare(self) -> None:
        """Walk the SunSpec chain where the profile needs it.

        Raises:
            BadAnswer: a model the profile cannot do without is missing.
        """
        if not self._rules.sunspec_models:
            return
        self._models = await sunspec.discover(self._read_holding)
        missing = [m for m in self._rules.sunspec_models if m not in self._models]
        if missing:
            raise BadAnswer(
                "not the device its profile describes: SunSpec model "
                f"{_listed(missing)} is missing; {_told(self._models)}"
            )

    def has(self, point: Located) -> bool:
        return point.sunspec_model is None or point.sunspec_model in self._models

    async def read(self, block: Block) -> Values | None:
        """All requests of a block, decoded; repeated as often as the profile allows."""
        for left in range(self._rules.retries, -1, -1):
            try:
                payload = await self._payload(block)
                break
            except (BadAnswer, NoAnswer):
                if not left:
                    raise
        if payload is None:
            return None
        if self.tap is not None:
            self.tap(block.key, payload)
        return block.decode(payload)

    async def write(self, writes: list[PointWrite]) -> None:
        for address, registers in self._requests(writes):
            function = self._rules.write_function
            await self._connection.write(self._unit, address, registers, function, self._pace)

    async def raw(self, block: Block) -> bytes | None:
        """Registers of a block as they come, for showing them; ``None`` when it is not there."""
        return await self._payload(block)

    async def _payload(self, block: Block) -> bytes | None:
        read, pace = self._connection.read, self._pace
        if block.sunspec_model is None:
            requests = block.requests
            if len(requests) == 1:
                return await read(self._unit, block.table, *requests[0], pace)
        else:
            model = self._models.get(block.sunspec_model)
            if model is None:
                return None
            # Vendors cut models short; what is beyond the end is simply not there.
            end = model.length + _MODEL_HEAD
            requests = tuple(
                (model.start + start, min(count, end - start))
                for start, count in block.requests
                if start < end
            )
        chunks = [
            await read(self._unit, block.table, start, count, pace) for start, count in requests
        ]
        return b"".join(chunks)

    async def _read_holding(self, address: int, count: int) -> bytes:
        return await self._connection.read(self._unit, "holding", address, count, self._pace)

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
                and self._rules.write_function != 6
                and address == last[0] + len(last[1])
                and len(last[1]) + len(registers) <= self._rules.max_write_registers
            ):
                last[1].extend(registers)
            else:
                requests.append((address, registers))
        return requests


def _told(models: Mapping[int, sunspec.Model]) -> str:
    """What a chain has, and where it ends."""
    if not models:
        return "the chain has no model at all"
    end = max(model.start + model.length + _MODEL_HEAD for model in models.values())
    return f"the chain has {_listed(models)} and ends at {end}"


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))


def pace_of(rules: LinkRules) -> Pace:
    """How fast a device may be asked."""
    return Pace(rules.timeout_s, rules.gap_s, max(rules.latency_max_s, rules.timeout_s))
