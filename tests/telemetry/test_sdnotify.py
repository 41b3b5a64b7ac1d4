"""Notifications to systemd, received on a real datagram socket."""

import os
import socket
from pathlib import Path

import pytest

from ems.sdnotify import notify, watchdog_usec


def receiver(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(address)
    sock.settimeout(2.0)
    return sock


def test_a_path_socket_gets_the_datagram(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with receiver(address) as sock:
        assert notify("READY=1\nSTATUS=run", {"NOTIFY_SOCKET": address})
        assert sock.recv(100) == b"READY=1\nSTATUS=run"


def test_an_abstract_socket_gets_the_datagram() -> None:
    name = f"ems-test-{os.getpid()}"
    with receiver("\0" + name) as sock:
        assert notify("WATCHDOG=1", {"NOTIFY_SOCKET": "@" + name})
        assert sock.recv(100) == b"WATCHDOG=1"


def test_outside_systemd_nothing_happens() -> None:
    assert not notify("READY=1", {})


def test_a_vanished_or_full_socket_neither_raises_nor_blocks(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    assert not notify("WATCHDOG=1", {"NOTIFY_SOCKET": address})
    with receiver(address):
        sent = [notify("x" * 1000, {"NOTIFY_SOCKET": address}) for _ in range(5000)]
    assert sent[0]
    assert not sent[-1]


@pytest.mark.parametrize(
    ("environ", "usec"),
    [
        pytest.param({}, None, id="no watchdog"),
        pytest.param({"WATCHDOG_USEC": "15000000"}, 15_000_000, id="set"),
        pytest.param({"WATCHDOG_USEC": "0"}, None, id="zero is off"),
        pytest.param({"WATCHDOG_USEC": "soon"}, None, id="nonsense is off"),
        pytest.param(
            {"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": str(os.getpid())}, 15_000_000, id="ours"
        ),
        pytest.param({"WATCHDOG_USEC": "15000000", "WATCHDOG_PID": "1"}, None, id="someone else's"),
    ],
)
def test_watchdog_period(environ: dict[str, str], usec: int | None) -> None:
    assert watchdog_usec(environ) == usec
