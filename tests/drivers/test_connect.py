"""Which devices share a connection, and what a process that got them compiled needs to load."""

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ems.drivers.connect import by_connection, connection
from ems.drivers.device import ProfileMisfit
from ems.drivers.modbus.rtu import RtuTcpConnection, SerialConnection
from ems.drivers.modbus.tcp import TcpConnection
from ems.drivers.roles import compile_site
from ems.site import DeviceSpec
from tests.drivers.bench import demo_site, modbus_only
from tests.drivers.handmade import block, made

ROOT = Path(__file__).resolve().parents[2]


def spec(name: str, transport: str, host: str = "", port: int = 0, path: str = "", **options: str):
    return DeviceSpec(name, "", transport, host, port, 1, path, options)  # type: ignore[arg-type]


def test_devices_share_a_socket_or_a_serial_port():
    specs = [
        spec("a", "modbus_tcp", "h", 502),
        spec("b", "modbus_rtu", path="/dev/ttyS0"),
        spec("c", "modbus_tcp", "h", 502),
        spec("d", "modbus_tcp", "h", 503),
        spec("e", "modbus_rtu_tcp", "h", 502),
        spec("f", "modbus_rtu", path="/dev/ttyS0"),
    ]
    groups = by_connection(made(block("b", "x"), spec=each) for each in specs)
    assert [[device.id for device in group] for group in groups] == [
        ["a", "c"], ["b", "f"], ["d"], ["e"],
    ]  # fmt: skip


FILES = {"ca": "ca.pem", "certificate": "ems.pem", "key": "ems.key"}


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        (spec("a", "modbus_tcp", "h", 502), TcpConnection),
        (spec("a", "modbus_tls", "h", 802, **FILES), TcpConnection),
        (spec("a", "modbus_rtu", path="/dev/ttyS0", baud="19200"), SerialConnection),
        (spec("a", "modbus_rtu_tcp", "h", 4001), RtuTcpConnection),
    ],
    ids=lambda value: getattr(value, "transport", ""),
)
def test_each_transport_has_its_connection(where, kind):
    assert type(connection([made(block("b", "x"), spec=where)], observe=False)[0]) is kind


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (
            spec("a", "modbus_tls", "h", 802, ca="x"),
            "device a: .*needs the options certificate, key",
        ),
        (spec("a", "modbus_rtu", path="/dev/x", baud="7"), "device a: baud is '7'; possible are"),
        (spec("a", "modbus_rtu_tcp", "h", 1, parity="X"), "device a: parity is 'X'"),
    ],
    ids=["files missing", "no such speed", "no such parity"],
)
def test_wrong_options_are_said_at_start(where, words):
    with pytest.raises(ProfileMisfit, match=words):
        connection([made(block("b", "x"), spec=where)], observe=False)


def test_compiled_devices_are_used_without_pydantic_yaml_or_pymodbus(tmp_path):
    site = modbus_only(demo_site())
    ours = {name: replace(device) for name, device in compile_site(site).items()}
    (tmp_path / "devices.pickle").write_bytes(pickle.dumps((site, ours)))
    code = (
        "import asyncio, pickle, pathlib, sys\n"
        f"data = pathlib.Path({str(tmp_path / 'devices.pickle')!r}).read_bytes()\n"
        "site, devices = pickle.loads(data)\n"
        "from ems.drivers.field import FieldIO\n"
        "async def main():\n"
        "    io = FieldIO(site, devices, observe=True)\n"
        "    await io.start()\n"
        "    await asyncio.sleep(0.1)\n"
        "    await io.stop()\n"
        "asyncio.run(main())\n"
        "print(*sorted({'pydantic', 'yaml', 'pymodbus', 'asyncua'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
