"""systemd's notification protocol: one datagram, no library.

Source: sd_notify(3) and sd_watchdog_enabled(3).
"""

import os
import socket
from collections.abc import Mapping


def notify(state: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell systemd a state such as ``READY=1`` or ``WATCHDOG=1``; never blocks.

    Args:
        state: One or more ``KEY=value`` lines.
        environ: Where ``NOTIFY_SOCKET`` is looked up; ``@name`` is an abstract socket.

    Returns:
        Whether it was sent. False outside systemd, and when systemd does not
        take it now: the next notification says the same again.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return False
    return True


def watchdog_usec(environ: Mapping[str, str] = os.environ) -> int | None:
    """Watchdog period systemd expects of this process, µs; ``None`` without one.

    Feed it at half of that or more often.
    """
    period = environ.get("WATCHDOG_USEC", "")
    owner = environ.get("WATCHDOG_PID", "")
    if not period.isdigit() or int(period) == 0:
        return None
    if owner and owner != str(os.getpid()):
        return None
    return int(period)
