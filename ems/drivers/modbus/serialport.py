"""A serial port as a wire: raw bytes in and out of a terminal device, without a library."""

import asyncio
import fcntl
import os
import termios
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

PARITIES: Final = ("N", "E", "O")
BAUDS: Final = (1200, 2400, 4800, 9600, 19_200, 38_400, 57_600, 115_200, 230_400)
_READ_MAX: Final = 1024


@dataclass(frozen=True, slots=True)
class SerialSettings:
    """Settings of a line; all devices on it share them. 8 data bits always."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1

    @classmethod
    def of(cls, options: Mapping[str, str]) -> "SerialSettings":
        """Settings from the options ``baud``, ``parity`` and ``stop_bits`` of a site file.

        Raises:
            ValueError: one of them has no such value; says which ones there are.
        """
        baud = _one_of(options, "baud", "9600", tuple(map(str, BAUDS)))
        parity = _one_of(options, "parity", "N", PARITIES)
        stop_bits = _one_of(options, "stop_bits", "1", ("1", "2"))
        return cls(int(baud), cast(Any, parity), cast(Any, int(stop_bits)))

    @property
    def character_s(self) -> float:
        """Time of one character on the wire, with start, parity and stop bits."""
        return (9 + (self.parity != "N") + self.stop_bits) / self.baud


def _one_of(options: Mapping[str, str], name: str, default: str, known: tuple[str, ...]) -> str:
    found = options.get(name, default)
    if found not in known:
        raise ValueError(f"{name} is {found!r}; possible are {', '.join(known)}")
    return found


class SerialPort:
    """An open serial port that no other program may use meanwhile.

    Args:
        path: Device file.
        settings: Of the line.
        loop: Its callbacks run there.

    Raises:
        OSError: it is not there, not ours to use, in use, or no serial port.
    """

    def __init__(
        self, path: str, settings: SerialSettings, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._loop = loop
        self._rest = b""
        self._fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _set_up(self._fd, settings)
        except (OSError, termios.error) as error:
            os.close(self._fd)
            self._fd = -1
            if isinstance(error, BlockingIOError):
                raise OSError(error.errno, "another program uses it") from error
            raise OSError(error.args[0], f"no serial port: {error.args[1]}") from error

    def listen(
        self,
        received: Callable[[bytes], None],
        lost: Callable[["SerialPort", Exception | None], None],
    ) -> None:
        """Call ``received`` with what comes in, and ``lost`` when the port is gone."""
        self._received, self._lost = received, lost
        self._loop.add_reader(self._fd, self._read)

    def write(self, data: bytes) -> None:
        """Send; what the driver does not take at once follows."""
        self._rest += data
        self._flush()

    def close(self) -> None:
        """Close; harmless when closed."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            self._loop.remove_reader(fd)
            self._loop.remove_writer(fd)
            os.close(fd)

    def is_closing(self) -> bool:
        """Whether it is closed."""
        return self._fd < 0

    def _flush(self) -> None:
        try:
            sent = os.write(self._fd, self._rest)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._fail(error)
            return
        self._rest = self._rest[sent:]
        if self._rest:
            self._loop.add_writer(self._fd, self._flush)
        else:
            self._loop.remove_writer(self._fd)

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_MAX)
        except BlockingIOError:
            return
        except OSError as error:
            self._fail(error)
            return
        if data:
            self._received(data)
        else:
            self._fail(None)

    def _fail(self, error: Exception | None) -> None:
        self.close()
        self._lost(self, error)


def _set_up(fd: int, settings: SerialSettings) -> None:
    """Raw bytes, 8 data bits, no flow control; nothing waits in the buffers."""
    speed = getattr(termios, f"B{settings.baud}")
    control = termios.CS8 | termios.CREAD | termios.CLOCAL
    if settings.parity != "N":
        control |= termios.PARENB
    if settings.parity == "O":
        control |= termios.PARODD
    if settings.stop_bits == 2:
        control |= termios.CSTOPB
    characters = termios.tcgetattr(fd)[6]
    characters[termios.VMIN], characters[termios.VTIME] = 0, 0
    check = termios.INPCK if settings.parity != "N" else 0
    termios.tcsetattr(fd, termios.TCSANOW, [check, 0, control, 0, speed, speed, characters])
    termios.tcflush(fd, termios.TCIOFLUSH)
