"""Which device of a site plays which part, and whether its profile can."""

from collections.abc import Mapping

from ems.drivers import language
from ems.drivers.compiling import linefit
from ems.drivers.compiling.compile import compile_device
from ems.drivers.connect import on_loopback
from ems.drivers.device import CompiledDevice, ProfileMisfit
from ems.drivers.language import Profile
from ems.drivers.rules import Kind, Maturity
from ems.drivers.wiring import channels, frequency_device
from ems.site import DeviceSpec, PackSpec, Site

__all__ = [
    "channels",
    "compile_site",
    "frequency_device",
    "refuse_simulated",
    "simulated_elsewhere",
]


def compile_site(site: Site) -> dict[str, CompiledDevice]:
    """Every device of the site with its profile, by id.

    Raises:
        ProfileMisfit: what does not fit between site file and profiles, all at once.
        FileNotFoundError, ems.yamlfile.FileErrors: a profile is missing or wrong.
    """
    packs = {pack.device: pack for pack in site.packs}
    kinds = _kinds(site)
    devices: dict[str, CompiledDevice] = {}
    problems: list[str] = []
    for name, spec in site.devices.items():
        profile = language.load(spec.profile)
        wanted = kinds.get(name)
        if wanted is not None and profile.kind is not wanted:
            problems.append(
                f"device {name}: profile {spec.profile} is for a {profile.kind}, "
                f"the site uses it as a {wanted}"
            )
            continue
        pack = packs.get(name)
        counts = (
            {}
            if pack is None
            else {"reported_cells": pack.reported_cells, "reported_temps": pack.reported_temps}
        )
        try:
            devices[name] = compile_device(profile, spec, counts, alone=False)
        except ProfileMisfit as misfit:
            problems.append(str(misfit))
        if pack is not None:
            problems.extend(_count_problems(pack, profile))
    fitted: dict[str, CompiledDevice] = {}
    for line in linefit.by_line(devices.values()):
        try:
            fitted |= {device.id: device for device in linefit.fit(line)}
        except ProfileMisfit as misfit:
            problems.append(str(misfit))
    if problems:
        raise ProfileMisfit("; ".join(problems))
    return {name: fitted[name] for name in devices}


def refuse_simulated(devices: Mapping[str, CompiledDevice]) -> None:
    """Keep profiles of our own simulator away from everything that is not the simulator.

    Raises:
        ProfileMisfit: a device with such a profile may be a real one; names all of them.
    """
    found = (simulated_elsewhere(device.spec, device.maturity) for device in devices.values())
    problems = [problem for problem in found if problem]
    if problems:
        raise ProfileMisfit("; ".join(problems))


def simulated_elsewhere(spec: DeviceSpec, maturity: Maturity | str) -> str:
    """Why a device must not be run with its profile, as one clause; empty when it may.

    A profile of our simulator says nothing about any real device. The simulator is a process of
    this machine, so its devices have a loopback address and no serial line.
    """
    if maturity != Maturity.SIMULATED or on_loopback(spec):
        return ""
    where = spec.host or spec.path
    return (
        f"device {spec.id}: profile {spec.profile} describes a simulated device, which only the "
        f"simulator on this machine can be, not {where}; name the profile of the real device"
    )


def _kinds(site: Site) -> dict[str, Kind]:
    kinds = {pack.device: Kind.PACK for pack in site.packs}
    kinds |= {converter.device: Kind.CONVERTER for converter in site.converters}
    meters = [site.grid.device, *(load.device for load in site.loads if load.device)]
    if site.pv is not None:
        meters.append(site.pv.device)
    return kinds | dict.fromkeys(meters, Kind.METER)


def _count_problems(pack: PackSpec, profile: Profile) -> list[str]:
    """A profile with a fixed number of cells must agree with the site file."""
    problems = []
    for point, key in (("cell_voltage_v", "reported_cells"), ("cell_temp_c", "reported_temps")):
        spec = profile.points.get(point)
        stated = getattr(pack, key)
        if spec is not None and isinstance(spec.count, int) and spec.count != stated:
            problems.append(
                f"pack {pack.id}: its BMS reports {spec.count} values of {point}, "
                f"the site file says {key}: {stated}"
            )
    return problems
