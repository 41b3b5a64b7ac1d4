"""Simulated Modbus devices behind one real TCP listener."""

from collections.abc import Mapping

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from sim.registers import Refused, RegisterImage

_ALL_ADDRESSES = 65_536
_WRITE_FUNCTIONS = (6, 16)


class ModbusListener:
    """One address with one or several units behind it, as behind a gateway.

    Args:
        host: Address to bind.
        port: Port to bind; 0 lets the system choose at the first start.
        units: Register images by unit id.
    """

    def __init__(self, host: str, port: int, units: Mapping[int, RegisterImage]) -> None:
        self.host, self.port = host, port
        self._units = units
        self._server: ModbusTcpServer | None = None
        self.silent = False
        """While true, requests are taken in and never answered."""

    @property
    def wanted(self) -> bool:
        """Whether anything here accepts connections; a gateway stays as long as one unit does."""
        return any(image.face.online for image in self._units.values())

    @property
    def listening(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        """Listen."""
        devices = [
            SimDevice(
                id=unit,
                simdata=[SimData(0, count=_ALL_ADDRESSES, datatype=DataType.REGISTERS)],
                action=self._action(image),
            )
            for unit, image in self._units.items()
        ]
        self._server = ModbusTcpServer(
            devices,
            address=(self.host, self.port),
            ignore_missing_devices=True,
            trace_packet=self._trace,
        )
        await self._server.serve_forever(background=True)
        self.port = self._server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        """Stop listening and drop every connection, as a device does that loses power."""
        if self._server is not None:
            server, self._server = self._server, None
            await server.shutdown()  # type: ignore[no-untyped-call]

    def _trace(self, sending: bool, data: bytes) -> bytes:
        return b"" if sending and self.silent else data

    def _action(self, image: RegisterImage):  # type: ignore[no-untyped-def]
        async def act(
            function: int,
            start: int,
            address: int,
            count: int,
            registers: list[int],
            values: list[int] | list[bool] | None,
        ) -> ExcCodes | None:
            if self.silent:
                return None
            if not image.face.online:
                return ExcCodes.GATEWAY_NO_RESPONSE
            image.face.heard_s = image.face.plant.now_s
            try:
                if values is not None and function in _WRITE_FUNCTIONS:
                    image.write(address, [int(value) for value in values])
                elif function not in _WRITE_FUNCTIONS:  # after a write pymodbus reads the echo
                    registers[address - start : address - start + count] = image.read(
                        function, address, count
                    )
            except Refused as refused:
                return ExcCodes(refused.code)
            return None

        return act
