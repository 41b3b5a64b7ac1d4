"""The register image of one simulated Modbus device."""

from typing import Final

from ems.drivers.device import Located
from ems.drivers.modbus.sunspec import END, MARKER
from sim.faces import Face

SUNSPEC_BASE: Final = 40000
SUNSPEC_LENGTH: Final = {1: 66, 701: 153, 704: 65, 713: 7, 714: 43, 715: 7}
"""Models of the simulated chain, in order, with their lengths."""
_MAKER: Final = {2: "secondlife-ems", 18: "simulator"}
_FUNCTION_TABLE: Final = {3: "holding", 4: "input"}

ILLEGAL_FUNCTION: Final = 1
ILLEGAL_ADDRESS: Final = 2
DEVICE_FAILURE: Final = 4


class Refused(Exception):
    """The device answers with a Modbus exception."""

    def __init__(self, code: int) -> None:
        super().__init__(f"Modbus exception {code}")
        self.code = code


class RegisterImage:
    """Registers of one device, encoded from its face when somebody asks.

    Addresses outside the device's map are refused, as a real device would.
    """

    def __init__(self, face: Face) -> None:
        self.face = face
        self._tables: dict[str, dict[int, int]] = {"holding": {}, "input": {}}
        self._models = _sunspec_starts() if face.device.link.sunspec_models else {}
        self._writable: dict[int, tuple[str, Located, int]] = {}
        self._encoded_at_s: float | None = None
        if self._models:
            self._tables["holding"].update(_chain(self._models))
        self._index_writable_points()
        self._encode()

    def read(self, function: int, address: int, count: int) -> list[int]:
        """Registers as they are now.

        Raises:
            Refused: a function or an address this device does not have.
        """
        if function not in _FUNCTION_TABLE:
            raise Refused(ILLEGAL_FUNCTION)
        if self._encoded_at_s != self.face.plant.now_s:
            self._encode()
        table = self._tables[_FUNCTION_TABLE[function]]
        try:
            return [table[address + k] for k in range(count)]
        except KeyError:
            raise Refused(ILLEGAL_ADDRESS) from None

    def write(self, address: int, registers: list[int]) -> None:
        """Take a write, point by point in order of address.

        Raises:
            Refused: an address that cannot be written, or a command the device refuses.
        """
        table = self._tables["holding"]
        touched: dict[tuple[str, int], tuple[Located, int]] = {}
        for k in range(len(registers)):
            if address + k not in self._writable:
                raise Refused(ILLEGAL_ADDRESS)
            name, point, element = self._writable[address + k]
            touched[(name, element)] = (point, self._start(point, element))
        new = table | {address + k: register for k, register in enumerate(registers)}
        for (name, element), (point, start) in touched.items():
            codec = point.codec
            data = b"".join(
                new.get(start + k, 0).to_bytes(2, "big") for k in range(codec.registers)
            )
            exponent = self.face.exponents.get(codec.scale_factor, 0)
            value, _ = codec.value(codec.unpack(data, 0), exponent)
            if value is None or self.face.write(name, element, value):
                raise Refused(DEVICE_FAILURE)
        table.update((a, r) for a, r in new.items() if address <= a < address + len(registers))
        self._encoded_at_s = None

    def _encode(self) -> None:
        values = self.face.values()
        for block in self.face.device.blocks:
            image = block.encode(values, self.face.exponents)
            base = 0 if block.sunspec_model is None else self._models[block.sunspec_model]
            table = self._tables[block.table]
            for k, address in enumerate(block.addresses()):
                if k in block.claimed:
                    table[base + address] = int.from_bytes(image[2 * k : 2 * k + 2], "big")
                else:
                    table.setdefault(base + address, 0)
        self._encoded_at_s = self.face.plant.now_s

    def _index_writable_points(self) -> None:
        for name, point in self.face.device.points.items():
            if not point.writable:
                continue
            for element in range(point.count):
                start = self._start(point, element)
                for k in range(point.codec.registers):
                    self._writable[start + k] = (name, point, element)
                    self._tables["holding"].setdefault(start + k, 0)

    def _start(self, point: Located, element: int) -> int:
        base = 0 if point.sunspec_model is None else self._models[point.sunspec_model]
        return base + point.at + element * point.step


def _sunspec_starts() -> dict[int, int]:
    starts, address = {}, SUNSPEC_BASE + 2
    for model, length in SUNSPEC_LENGTH.items():
        starts[model] = address
        address += length + 2
    return starts


def _chain(starts: dict[int, int]) -> dict[int, int]:
    """Marker, every model's id, length and zeros, maker's name, end."""
    registers = {
        SUNSPEC_BASE: int.from_bytes(MARKER[:2], "big"),
        SUNSPEC_BASE + 1: int.from_bytes(MARKER[2:], "big"),
    }
    end = SUNSPEC_BASE + 2
    for model, start in starts.items():
        length = SUNSPEC_LENGTH[model]
        registers |= dict.fromkeys(range(start, start + length + 2), 0)
        registers |= {start: model, start + 1: length}
        end = start + length + 2
    for offset, text in _MAKER.items():
        data = text.encode().ljust(32, b"\0")
        for k in range(0, len(data), 2):
            registers[starts[1] + offset + k // 2] = int.from_bytes(data[k : k + 2], "big")
    return registers | {end: END, end + 1: 0}
