"""Two serial ports joined by a line, made of pseudo-terminals."""

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Tamper = Callable[[bytes], None]


@dataclass
class PtyLine:
    """Ends of the line: device files, and what is put on them by hand."""

    ours: str
    theirs: str
    to_ours: Callable[[bytes], None]
    to_theirs: Callable[[bytes], None]


@contextlib.contextmanager
def pty_line(on_ours: Tamper | None = None, on_theirs: Tamper | None = None) -> Iterator[PtyLine]:
    """A line that passes bytes on, or hands them to a test instead.

    Args:
        on_ours: Gets what our end sends instead of the other end.
        on_theirs: Gets what the other end sends.
    """
    loop = asyncio.get_running_loop()
    masters, slaves = zip(*(os.openpty() for _ in range(2)), strict=True)
    for slave in slaves:
        tty.setraw(slave)

    def put(fd: int) -> Callable[[bytes], None]:
        def write(data: bytes) -> None:
            with contextlib.suppress(OSError):  # the line may be gone already
                os.write(fd, data)

        return write

    to_ours, to_theirs = put(masters[0]), put(masters[1])
    takers = (on_ours or to_theirs, on_theirs or to_ours)
    for master, take in zip(masters, takers, strict=True):
        loop.add_reader(master, lambda fd=master, take=take: take(os.read(fd, 1024)))
    try:
        yield PtyLine(os.ttyname(slaves[0]), os.ttyname(slaves[1]), to_ours, to_theirs)
    finally:
        for master in masters:
            loop.remove_reader(master)
        # The slaves were held open so that a port may be closed and opened again.
        for fd in (*masters, *slaves):
            os.close(fd)
