"""Which device says what of a site, beyond what the site file spells out."""

from collections.abc import Mapping

from ems.drivers.device import CompiledDevice
from ems.drivers.rules import Kind
from ems.site import Site


def channels(site: Site) -> dict[int, int]:
    """Channel of each load: loads on one device take its channels in site order."""
    taken: dict[str, int] = {}
    found = {}
    for index, load in enumerate(site.loads):
        if load.device is not None:
            found[index] = taken.get(load.device, 0)
            taken[load.device] = found[index] + 1
    return found


def frequency_device(site: Site, devices: Mapping[str, CompiledDevice]) -> str:
    """Device that tells grid frequency: the grid meter, else the first other meter with it."""
    for name in (site.grid.device, *devices):
        device = devices.get(name)
        if device is not None and device.kind is Kind.METER and "frequency_hz" in device.provides:
            return name
    return site.grid.device
