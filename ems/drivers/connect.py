"""From the devices of a site to connections: which share one, and what kind it is."""

import importlib
import ipaddress
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from ems.drivers.device import CompiledDevice, ProfileMisfit
from ems.drivers.link import Connection
from ems.site import DeviceSpec

TLS_FILES: Final = ("ca", "certificate", "key")
"""Options of a device under Modbus/TCP Security that name files."""


def by_connection(devices: Iterable[CompiledDevice]) -> list[list[CompiledDevice]]:
    """Devices that are reached over one socket or one serial port, in the order of the site."""
    groups: dict[tuple[str, ...], list[CompiledDevice]] = {}
    for device in devices:
        spec = device.spec
        address: tuple[str, ...] = (spec.transport, spec.host, str(spec.port), spec.path)
        if spec.transport == "modbus_rtu":
            address = (spec.transport, spec.path)
        groups.setdefault(address, []).append(device)
    return list(groups.values())


def address(spec: DeviceSpec) -> str:
    """Where a device is, on one line; two lines that differ are two places."""
    where = f"{spec.host}:{spec.port}"
    if spec.transport == "modbus_rtu":
        where = spec.path
    elif spec.transport == "opcua":
        where += f"/{spec.path.lstrip('/')}"
    unit = "" if spec.transport == "opcua" else f"unit {spec.unit_id}"
    options = (f"{key}={value}" for key, value in sorted(spec.options.items()))
    return " ".join(filter(None, (spec.transport, where, unit, *options)))


def on_loopback(spec: DeviceSpec) -> bool:
    """Whether a device is on this very machine: then it is a simulated one."""
    if spec.transport == "modbus_rtu":
        return False
    try:
        return ipaddress.ip_address(spec.host).is_loopback
    except ValueError:
        return spec.host.lower() == "localhost"  # another name may lead anywhere


def connection(devices: Sequence[CompiledDevice], observe: bool) -> tuple[Connection, Any]:
    """The transport of devices that share one, and the type of their ports.

    Modules are loaded only for sites that need them.

    Raises:
        ProfileMisfit: an option of the transport is missing or wrong.
    """
    spec = devices[0].spec
    timeout_s = max(device.link.timeout_s for device in devices)
    if spec.transport == "opcua":
        opcua = importlib.import_module("ems.drivers.opcua.port")
        return opcua.connection_for(devices, timeout_s, observe), opcua.OpcUaPort
    port_type = importlib.import_module("ems.drivers.modbus.port").ModbusPort
    try:
        if spec.transport in ("modbus_rtu", "modbus_rtu_tcp"):
            rtu = importlib.import_module("ems.drivers.modbus.rtu")
            settings = rtu.SerialSettings.of(spec.options)
            if spec.transport == "modbus_rtu":
                return rtu.SerialConnection(spec.path, settings, timeout_s, observe), port_type
            made = rtu.RtuTcpConnection(spec.host, spec.port, timeout_s, observe, settings)
            return made, port_type
        tcp = importlib.import_module("ems.drivers.modbus.tcp")
        tls = _tls(spec, tcp) if spec.transport == "modbus_tls" else None
        return tcp.TcpConnection(spec.host, spec.port, timeout_s, observe, tls), port_type
    except ValueError as error:
        raise ProfileMisfit(f"device {spec.id}: {error}") from error


def _tls(spec: DeviceSpec, tcp: Any) -> Any:
    missing = [name for name in TLS_FILES if not spec.options.get(name)]
    if missing:
        raise ValueError(f"transport modbus_tls needs the options {', '.join(missing)}")
    ca, certificate, key = (Path(spec.options[name]) for name in TLS_FILES)
    return tcp.Tls(ca, certificate, key, spec.options.get("server_name", ""))
