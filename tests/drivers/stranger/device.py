"""The Hanlu HL-BMU3 of `manual.md` as a real Modbus TCP server with settable true values.

It knows nothing of the code under test. Section numbers are those of the manual.
"""

import time
from collections.abc import Callable, Sequence

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

CELLS = 16
MAX_READ_REGISTERS = 60
EEPROM_LIFE_WRITES = 100_000
PRECHARGE_S = 2.0
HOST_LOST = 1 << 12
LEVEL_3 = 0b0001_0111_0001_1111
MEMORY_WORN = 1 << 6
BALANCING, SENSE_LINE_OPEN = 0b01, 0b10
STANDBY, PRECHARGE, ONLINE, RESERVED, FAULT_LOCK = 1, 2, 3, 4, 5
HOST_BEAT, HOST_TIMEOUT, RELAY_CTRL, FAULT_RESET = 20, 21, 22, 23  # 40021 … 40024
RESET_KEY = 0x55AA

_READ_HOLDING, _READ_INPUT, _WRITE_FUNCTIONS = 3, 4, (6, 16)
_NO_VOLTAGE, _NO_SENSOR, _TEMPERATURE_OFFSET_C = 0xFFFF, 255, 40


class HanluBmu:
    """One battery management unit with its pack.

    Every public attribute is a true value and may be set at any time; the registers follow at the
    next request. Time passes by `clock` alone, so a test may turn it by hand.

    Args:
        host: Address to bind.
        port: Port to bind; 0 lets the system choose at `start`.
        unit: Unit identifier (DIP switch); other units are not answered.
        clock: Seconds, never going back.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        unit: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.host, self.port, self.unit = host, port, unit
        self._clock = clock
        self._server: ModbusTcpServer | None = None
        self.model, self.firmware, self.serial = "HL-BMU3-16S48", (2, 12), 2_303_110_417
        self.rated_ah = 156.0
        self.soc_percent, self.soh_percent = 63.5, 78.0
        self.cell_v = [3.741 + 0.003 * (cell % 5) for cell in range(CELLS)]
        self.cell_status = [0] * CELLS
        self.temperature_c: list[float | None] = [24.0, 25.0, 23.0, None]
        self.current_a = 0.0
        """Positive while charging, as in the manual; opening the relay makes it 0."""
        self.current_exponent = -2
        self.charge_limit_a, self.discharge_limit_a = 80.0, 120.0  # both as magnitudes
        self.warnings, self.fault_causes, self.cycles = 0, 0, 1_240
        self.state_override: int | None = None
        """A RunState to report instead of the true one, such as the reserved code 4."""
        self.host_timeout_s = 10.0
        self.host_beat = 0
        self.eeprom_writes = 0
        self._faults = 0
        self._relay = False
        self._closed_s = self._host_heard_s = self._powered_s = clock()
        self._stopped_beat: int | None = None

    async def start(self) -> None:
        """Listen; `port` is the real one afterwards."""
        device = SimDevice(
            id=self.unit,
            simdata=[SimData(0, count=65_536, datatype=DataType.REGISTERS)],
            action=self._act,
        )
        self._server = ModbusTcpServer(
            [device], address=(self.host, self.port), ignore_missing_devices=True
        )
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Stop listening and drop every connection; the true values stay."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.shutdown()  # type: ignore[no-untyped-call]

    @property
    def pack_v(self) -> float:
        return sum(self.cell_v)

    @property
    def relay_closed(self) -> bool:
        """Whether the main relay conducts; false during the pre-charge."""
        self._advance()
        return self._relay and self._clock() - self._closed_s >= PRECHARGE_S

    @property
    def faults(self) -> int:
        """FaultWord: everything that was wrong since the last reset."""
        self._advance()
        return self._faults

    @property
    def run_state(self) -> int:
        """True state (3.1), whatever `state_override` makes the registers say."""
        if self.faults & LEVEL_3:
            return FAULT_LOCK
        if not self._relay:
            return STANDBY
        return ONLINE if self.relay_closed else PRECHARGE

    @property
    def beat(self) -> int:
        """BmuBeat."""
        if self._stopped_beat is not None:
            return self._stopped_beat
        return int(self._clock() - self._powered_s) % 65_536

    def stop_beat(self) -> None:
        """Hang the measuring task: telegrams are answered, BmuBeat stands still."""
        self._stopped_beat = self.beat

    def resume_beat(self) -> None:
        """Let BmuBeat count again."""
        self._stopped_beat = None

    def _advance(self) -> None:
        """Bring supervision and faults up to now (4, 5.3)."""
        heard_s = max(self._host_heard_s, self._closed_s)
        if self._relay and 0 < self.host_timeout_s < self._clock() - heard_s:
            self._faults |= HOST_LOST
        self._faults |= self.fault_causes
        if self._relay and self._faults & LEVEL_3:
            self._open()

    def _open(self) -> None:
        self._relay, self.current_a = False, 0.0

    def _input(self) -> dict[int, int]:
        """Input registers by address (3)."""
        worn = MEMORY_WORN if self.eeprom_writes > EEPROM_LIFE_WRITES else 0
        good_mv = [
            _scaled(volt, 1000)
            for volt, status in zip(self.cell_v, self.cell_status, strict=True)
            if not status & SENSE_LINE_OPEN
        ] or [_NO_VOLTAGE]
        state = self.run_state if self.state_override is None else self.state_override
        head = [
            state,
            _scaled(self.soc_percent, 2),
            _scaled(self.soh_percent, 2),
            *_low_first(_scaled(self.pack_v, 1000)),
            _scaled(self.current_a, 10.0**-self.current_exponent),
            self.current_exponent,
            self.beat,
            self.warnings | worn,
            self.faults,
            _scaled(self.charge_limit_a, 10),
            _scaled(-self.discharge_limit_a, 10),
            max(good_mv),
            min(good_mv),
            0b011 if self.relay_closed else 0b100 if self._relay else 0,
            self.cycles,
        ]
        cells: list[int] = []
        for volt, status in zip(self.cell_v, self.cell_status, strict=True):
            cells += [_NO_VOLTAGE if status & SENSE_LINE_OPEN else _scaled(volt, 1000), status]
        temperatures = [
            _NO_SENSOR if celsius is None else round(celsius) + _TEMPERATURE_OFFSET_C
            for celsius in self.temperature_c
        ]
        return (
            _placed(0x0100, head)
            | _placed(0x0110, [0] * 16)
            | _placed(0x0120, cells)
            | _placed(0x0150, temperatures)
        )

    def _holding(self) -> dict[int, int]:
        """Holding registers by address (5)."""
        text = self.model.encode("ascii").ljust(16, b"\0")
        model = [int.from_bytes(text[at : at + 2], "big") for at in range(0, 16, 2)]
        major, minor = self.firmware
        nameplate = [
            *model,
            major << 8 | minor,
            *_low_first(self.serial),
            _scaled(self.rated_ah, 10),
        ]
        control = [self.host_beat, _scaled(self.host_timeout_s, 10), int(self._relay), 0]
        return (
            _placed(0, nameplate)
            | _placed(HOST_BEAT, control)
            | _placed(30, _low_first(self.eeprom_writes))
        )

    def _refusal(self, address: int, value: int) -> ExcCodes | None:
        """Why one register cannot be written, or None."""
        in_range = {
            HOST_BEAT: True,
            HOST_TIMEOUT: value == 0 or 60 <= value <= 6000,
            RELAY_CTRL: value in (0, 1),
            FAULT_RESET: value == RESET_KEY,
        }.get(address)
        if in_range is None:
            return ExcCodes.ILLEGAL_ADDRESS
        if not in_range:
            return ExcCodes.ILLEGAL_VALUE
        if address == RELAY_CTRL and value == 1 and self._faults & LEVEL_3:
            return ExcCodes.DEVICE_FAILURE
        return None

    def _write(self, address: int, value: int) -> None:
        now_s = self._clock()
        if address == HOST_BEAT:
            if value != self.host_beat:
                self.host_beat, self._host_heard_s = value, now_s
                self._faults &= ~HOST_LOST
        elif address == HOST_TIMEOUT:
            self.host_timeout_s = value / 10
        elif address == FAULT_RESET:
            self._faults = self.fault_causes | self._faults & HOST_LOST
        else:
            self.eeprom_writes += 1
            if value == 0:
                self._open()
            elif not self._relay:
                self._relay, self._closed_s = True, now_s

    async def _act(
        self,
        function: int,
        start: int,
        address: int,
        count: int,
        registers: list[int],
        values: list[int] | list[bool] | None,
    ) -> ExcCodes | None:
        """Serve one telegram (2)."""
        self._advance()
        if function in _WRITE_FUNCTIONS:
            if values is None:  # pymodbus reads the echo of its own write
                return None
            pairs = [(address + offset, int(value)) for offset, value in enumerate(values)]
            for pair in pairs:
                if refusal := self._refusal(*pair):
                    return refusal
            for pair in pairs:
                self._write(*pair)
            return None
        if function not in (_READ_HOLDING, _READ_INPUT):
            return ExcCodes.ILLEGAL_FUNCTION
        if count > MAX_READ_REGISTERS:
            return ExcCodes.ILLEGAL_VALUE
        table = self._input() if function == _READ_INPUT else self._holding()
        wanted = range(address, address + count)
        if any(at not in table for at in wanted):
            return ExcCodes.ILLEGAL_ADDRESS
        registers[address - start : address - start + count] = [table[at] for at in wanted]
        return None


def _scaled(value: float, per_unit: float) -> int:
    return round(value * per_unit)


def _low_first(value: int) -> list[int]:
    return [value & 0xFFFF, value >> 16]


def _placed(first: int, values: Sequence[int]) -> dict[int, int]:
    """Registers from `first` on, negative numbers as two's complement."""
    return {first + offset: value & 0xFFFF for offset, value in enumerate(values)}
