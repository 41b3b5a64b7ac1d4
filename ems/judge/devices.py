"""Do the device profiles deliver what the site file expects of the devices?"""

from collections.abc import Iterator

from ems.drivers.language import Profile, load
from ems.drivers.opcua import security
from ems.drivers.roles import simulated_elsewhere
from ems.drivers.rules import Kind
from ems.judge.finding import Finding, error, warning
from ems.site import Site
from ems.yamlfile import FileErrors


def judge_devices(site: Site) -> Iterator[Finding]:
    """Profiles, their kind and what they provide, device by device."""
    profiles: dict[str, Profile] = {}
    for name, device in site.devices.items():
        try:
            profile = load(device.profile)
        except (FileErrors, FileNotFoundError) as failure:
            yield error("profile", f"devices.{name}.profile", str(failure), "a valid profile")
            continue
        profiles[name] = profile
        if (profile.link.protocol == "opcua") is not (device.transport == "opcua"):
            yield error(
                "transport",
                f"devices.{name}.transport",
                f"profile {device.profile} speaks {profile.link.protocol}, not {device.transport}",
                "the transport of the profile, or another profile",
            )
    yield from _security(site)
    yield from _simulated(site, profiles)
    yield from _roles(site, profiles)
    yield from _cells(site, profiles)
    yield from _meters(site, profiles)
    yield from _unused(site)


def _security(site: Site) -> Iterator[Finding]:
    for name, device in site.devices.items():
        found = security.problems(device) if device.transport == "opcua" else []
        for problem in found:
            yield error(
                "device_security",
                f"devices.{name}.options",
                problem,
                "as in docs/howto/secure-a-device.md",
            )


def _simulated(site: Site, profiles: dict[str, Profile]) -> Iterator[Finding]:
    """The same judgement that `ems run` makes, by the same predicate."""
    for name, profile in profiles.items():
        problem = simulated_elsewhere(site.devices[name], profile.maturity)
        if problem:
            yield error(
                "simulated_profile",
                f"devices.{name}.profile",
                problem,
                "or, to simulate the site, a host of 127.0.0.1",
            )


def _roles(site: Site, profiles: dict[str, Profile]) -> Iterator[Finding]:
    roles = [(f"packs[{i}]", p.device, Kind.PACK) for i, p in enumerate(site.packs)]
    roles += [(f"converters[{i}]", c.device, Kind.CONVERTER) for i, c in enumerate(site.converters)]
    roles += [("grid", site.grid.device, Kind.METER)]
    for where, name, kind in roles:
        profile = profiles.get(name)
        if profile is not None and profile.kind is not kind:
            yield error(
                "profile_kind",
                f"{where}.device",
                f"device {name} has a profile for a {profile.kind}",
                f"a device whose profile is for a {kind}",
            )
    for index, converter in enumerate(site.converters):
        profile = profiles.get(converter.device)
        wanted = "power" if converter.rectifier is None else "rectifier"
        if profile is not None and wanted not in profile.writes:
            yield error(
                "profile_writes",
                f"converters[{index}].device",
                f"the profile of {converter.device} knows no {wanted} command",
                "a profile that does",
            )


def _cells(site: Site, profiles: dict[str, Profile]) -> Iterator[Finding]:
    for index, pack in enumerate(site.packs):
        profile = profiles.get(pack.device)
        if profile is None:
            continue
        for point, key, count in (
            ("cell_voltage_v", "reported_cells", pack.reported_cells),
            ("cell_temp_c", "reported_temps", pack.reported_temps),
        ):
            spec = profile.points.get(point)
            if spec is None or not isinstance(spec.count, int) or spec.count == count:
                continue
            yield error(
                "reported_counts",
                f"packs[{index}].{key}",
                f"the BMS of {pack.id} reports {spec.count} of {point}, the file says {count}",
                f"{spec.count}",
            )


def _meters(site: Site, profiles: dict[str, Profile]) -> Iterator[Finding]:
    wanted = [("grid.device", site.grid.device, "power_w")]
    if site.pv is not None:
        wanted.append(("pv.device", site.pv.device, "pv_power_w"))
    for where, name, point in wanted:
        profile = profiles.get(name)
        if profile is not None and point not in profile.provides:
            yield error(
                "profile_point",
                where,
                f"the profile of {name} has no {point}",
                "a device whose profile has it",
            )
    for index, load_spec in enumerate(site.loads):
        if not load_spec.sheddable:
            continue
        profile = profiles.get(load_spec.device or "")
        if load_spec.device is None or (profile is not None and "load" not in profile.writes):
            yield warning(
                "sheddable_load",
                f"loads[{index}].device",
                f"{load_spec.id} is sheddable, but nothing here can switch it off",
                "an I/O module that switches it, or sheddable: false",
            )


def _unused(site: Site) -> Iterator[Finding]:
    used = {p.device for p in site.packs} | {c.device for c in site.converters}
    used |= {site.grid.device} | {load.device for load in site.loads if load.device}
    if site.pv is not None:
        used.add(site.pv.device)
    for name in site.devices:
        if name not in used:
            yield warning(
                "unused_device", f"devices.{name}", "nothing uses this device", "remove it"
            )
