"""How devices are reached: addresses, what each transport needs, serial lines."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from ems.yamlfile import Place

Fault = tuple[Place, str]
"""Where in the site file, and what is wrong there."""
SERIAL: Final = ("modbus_rtu", "modbus_rtu_tcp")
SERIAL_OPTIONS: Final = {
    "baud": ("9600", "1200", "2400", "4800", "19200", "38400", "57600", "115200", "230400"),
    "parity": ("N", "E", "O"),
    "stop_bits": ("1", "2"),
}
"""Settings of a serial line; the first is the default."""
TLS_FILES: Final = ("ca", "certificate", "key")


def section(data: Any, *path: str) -> dict[Any, Any]:
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data if isinstance(data, dict) else {}


def readable(place: Place, path: Path, what: str) -> Iterator[Fault]:
    try:
        with path.open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as failure:
        reason = failure.strerror if isinstance(failure, OSError) else str(failure)
        yield place, f"{what} cannot be read: {path}: {reason}"


def addresses(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    first: dict[tuple[Any, ...], str] = {}
    for name, entry in section(data, "devices").items():
        if not isinstance(entry, dict):
            continue
        address: tuple[Any, ...] = (str(entry.get("host")), str(entry.get("port")))
        if entry.get("transport") == "modbus_rtu":
            address = (str(entry.get("path")), str(entry.get("unit_id", 1)))
        elif entry.get("transport") == "opcua":
            # Several packs may live in one OPC UA server: their options tell them apart.
            options = sorted((str(k), str(v)) for k, v in section(entry, "options").items())
            address += (str(entry.get("path", "")), *options)
        else:
            address += (str(entry.get("unit_id", 1)),)
        if address in first:
            yield ("devices", name), f"has the same address as device {first[address]!r}"
        first.setdefault(address, str(name))


def transports(data: dict[Any, Any], base: Path) -> Iterator[Fault]:
    """Each transport with what it needs and nothing it has no use for."""
    for name, entry in section(data, "devices").items():
        transport = entry.get("transport") if isinstance(entry, dict) else None
        if not isinstance(transport, str):
            continue
        place = ("devices", name)
        options = section(data, "devices", name, "options")
        if transport == "modbus_rtu":
            yield from _port_only(place, entry)
        else:
            for key in ("host", "port"):
                if entry.get(key) in (None, ""):
                    yield place, f"{key} is missing; transport {transport} needs it"
        if transport in SERIAL:
            yield from _settings(place, options)
        if transport == "modbus_tls":
            yield from _tls(place, options, base)


def _port_only(place: Place, entry: dict[Any, Any]) -> Iterator[Fault]:
    for key in ("host", "port"):
        if entry.get(key) not in (None, ""):
            yield (*place, key), f"a serial port has no {key}; path names its device file"
    if not entry.get("path"):
        yield place, "path is missing; modbus_rtu needs one such as /dev/serial/by-id/…"


def _settings(place: Place, options: dict[Any, Any]) -> Iterator[Fault]:
    for key, known in SERIAL_OPTIONS.items():
        if key in options and options[key] not in known:
            found = f"{key} is {options[key]!r}; possible are {', '.join(known)}"
            yield (*place, "options", key), found


def _tls(place: Place, options: dict[Any, Any], base: Path) -> Iterator[Fault]:
    for key in TLS_FILES:
        if not options.get(key):
            yield place, f"option {key} is missing; modbus_tls needs a file"
        elif isinstance(options[key], str):
            yield from readable((*place, "options", key), base / options[key], key)


def lines(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    """Devices on one serial line share its settings, whatever their profiles are."""
    first: dict[tuple[str, ...], tuple[str, tuple[str, ...]]] = {}
    for name, entry in section(data, "devices").items():
        if not isinstance(entry, dict) or entry.get("transport") not in SERIAL:
            continue
        if entry["transport"] == "modbus_rtu":
            line: tuple[str, ...] = (str(entry.get("path")),)
        else:
            line = (str(entry.get("host")), str(entry.get("port")))
        options = section(data, "devices", name, "options")
        settings = tuple(str(options.get(key, known[0])) for key, known in SERIAL_OPTIONS.items())
        other, agreed = first.setdefault(line, (str(name), settings))
        if settings != agreed:
            yield (
                ("devices", name),
                f"is on one line with {other!r}, which has {' '.join(agreed)}; "
                f"here it is {' '.join(settings)}",
            )
