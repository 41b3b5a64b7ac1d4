"""Which device of a site plays which part, and whether its profile can."""

from ems.drivers import language, linefit
from ems.drivers.compile import compile_device
from ems.drivers.device import CompiledDevice, ProfileMisfit
from ems.drivers.language import Profile
from ems.drivers.rules import Kind
from ems.drivers.wiring import channels, frequency_device
from ems.site import PackSpec, Site

__all__ = ["channels", "compile_site", "frequency_device"]


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
