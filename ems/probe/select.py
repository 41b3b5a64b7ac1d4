"""Which devices are probed, and whether that would disturb a controller in service."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ems.config import load_site
from ems.drivers.connect import by_connection
from ems.drivers.device import CompiledDevice
from ems.drivers.roles import compile_site
from ems.journal.writer import in_use
from ems.site import Site


class Busy(RuntimeError):
    """A controller in service would lose a device to us."""


def devices_of(site_file: Path, wanted: Sequence[str]) -> tuple[Site, dict[str, CompiledDevice]]:
    """The site and those of its devices that were asked for; all when none was named.

    Raises:
        FileErrors, FileNotFoundError, ProfileMisfit: a file is no good.
        ValueError: there is no such device.
        Busy: `ems run` serves the site and a device gives only one connection.
    """
    site = load_site(site_file)
    devices = compile_site(site)
    unknown = [name for name in wanted if name not in devices]
    if unknown:
        raise ValueError(f"no device {', '.join(unknown)}; there are {', '.join(devices)}")
    chosen = {name: d for name, d in devices.items() if not wanted or name in wanted}
    if in_use(site.data_dir / "log"):
        _refuse_single(chosen)
    return site, chosen


def _refuse_single(devices: Mapping[str, CompiledDevice]) -> None:
    single = [
        device.id
        for group in by_connection(devices.values())
        for device in group
        if device.spec.transport == "modbus_rtu" or device.link.max_connections < 2
    ]
    if single:
        raise Busy(
            f"ems run serves this site, and {', '.join(single)} would lose its connection to it: "
            "stop the service first, or name other devices with --device"
        )
