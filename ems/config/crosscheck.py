"""What the schema cannot see: references, wiring and codes across a site file.

Works on the raw document, so that one run reports every mistake even when some
values are of the wrong type; whatever is not of the expected shape is passed
over here, because the schema has already complained about it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

from ems.config.codes import code_fault
from ems.config.devicecheck import Fault, addresses, lines, transports
from ems.config.devicecheck import readable as _readable
from ems.config.devicecheck import section as _section
from ems.site import SiteKind
from ems.yamlfile import Document, FileError, Place, dotted, nearest

PROFILE_DIR: Final = Path(__file__).resolve().parents[1] / "drivers" / "profiles"
REPORTED_EXTREMES: Final = 2


def crosscheck(document: Document) -> tuple[FileError, ...]:
    """Everything wrong between the parts of the file.

    Of a file that breaks off at a syntax error only what stands before the break
    is known, so an id that seems unknown may follow; then nothing is said.
    """
    if not document.complete or not isinstance(document.data, dict):
        return ()
    checks = (
        _timezone,
        _duplicate_ids,
        _references,
        _converter_kinds,
        _packs_on_converters,
        _device_roles,
        addresses,
        transports,
        lines,
        _profiles,
        _files,
        _loads,
        _pack_numbers,
        _codes,
        _rectifiers,
        _simulation,
    )
    faults = (fault for check in checks for fault in check(document.data, document.file.parent))
    return tuple(
        document.error(place, message)
        for place, message in faults
        if not document.is_tainted(place)
    )


def _entries(data: dict[Any, Any], key: str) -> Iterator[tuple[Place, dict[Any, Any]]]:
    listed = data.get(key)
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(entry, dict):
            yield (key, index), entry


def _texts(value: object) -> Iterator[tuple[int, str]]:
    for index, item in enumerate(value if isinstance(value, list) else []):
        if isinstance(item, str):
            yield index, item


def _ids(data: dict[Any, Any], key: str) -> set[str]:
    return {entry["id"] for _, entry in _entries(data, key) if isinstance(entry.get("id"), str)}


def _numbers(entry: dict[Any, Any], *keys: str) -> tuple[float, ...] | None:
    """The values of the keys when all are numbers."""
    values = [entry.get(key) for key in keys]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        return None
    return tuple(float(value) for value in values if value is not None)


def _timezone(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    zone = _section(data, "site").get("timezone")
    if isinstance(zone, str) and zone not in available_timezones():
        hint = nearest(zone, available_timezones())
        hint = hint if "did you mean" in hint else "; take an IANA name, such as Asia/Shanghai"
        yield ("site", "timezone"), f"unknown time zone {zone!r}{hint}"


def _duplicate_ids(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    for key in ("loads", "converters", "packs"):
        first: dict[str, int] = {}
        for place, entry in _entries(data, key):
            name = entry.get("id")
            if not isinstance(name, str):
                continue
            if name in first:
                yield (*place, "id"), f"id {name!r} is already {key}[{first[name]}]"
            first.setdefault(name, int(place[1]))


def _device_uses(data: dict[Any, Any]) -> Iterator[tuple[str, Place, str]]:
    """Role, place and id of every mention of a device."""
    for role, key in (("meter", "grid"), ("meter", "pv")):
        name = _section(data, key).get("device")
        if isinstance(name, str):
            yield role, (key, "device"), name
    for role, key in (("meter", "loads"), ("converter", "converters"), ("BMS", "packs")):
        for place, entry in _entries(data, key):
            if isinstance(entry.get("device"), str):
                yield role, (*place, "device"), entry["device"]


def _references(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    devices = [str(name) for name in _section(data, "devices")]
    for _, place, name in _device_uses(data):
        if name not in devices:
            yield place, f"unknown device {name!r}{nearest(name, devices)}"
    packs = _ids(data, "packs")
    for place, entry in _entries(data, "converters"):
        for index, name in _texts(entry.get("packs")):
            if name not in packs:
                yield (*place, "packs", index), f"unknown pack {name!r}{nearest(name, packs)}"


def _converter_kinds(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    kind = _section(data, "site").get("kind")
    converters = list(_entries(data, "converters"))
    direct = kind == SiteKind.DIRECT_BUS
    if kind in (SiteKind.DIRECT_BUS, SiteKind.SHARED_DC_BUS) and len(converters) > 1:
        yield (
            ("converters",),
            f"kind {kind} has one converter for all packs, found {len(converters)}",
        )
    for place, entry in converters:
        shelf = entry.get("rectifier") is not None
        if direct and not shelf:
            yield place, "kind direct_bus needs a rectifier shelf: add its section rectifier"
        if shelf and kind in (SiteKind.OWN_CONVERTERS, SiteKind.SHARED_DC_BUS):
            yield (
                (*place, "rectifier"),
                f"kind {kind} takes no rectifier shelf, only direct_bus does",
            )
        listed = entry.get("packs")
        if kind == SiteKind.OWN_CONVERTERS and isinstance(listed, list) and len(listed) > 1:
            yield (
                (*place, "packs"),
                f"kind own_converters has one pack behind each converter, found {len(listed)}; "
                "packs in parallel are kind shared_dc_bus",
            )


def _packs_on_converters(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    owner: dict[str, str] = {}
    for place, entry in _entries(data, "converters"):
        for index, name in _texts(entry.get("packs")):
            if name in owner:
                yield (*place, "packs", index), f"pack {name!r} is already behind {owner[name]}"
            owner.setdefault(name, f"{place[0]}[{place[1]}]")
    for place, entry in _entries(data, "packs"):
        pack = entry.get("id")
        if isinstance(pack, str) and pack not in owner:
            yield (*place, "id"), f"pack {pack!r} is behind no converter"


def _device_roles(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    """A BMS or a converter serves one pack or one converter; meters may be shared."""
    first: dict[str, tuple[str, Place]] = {}
    for role, place, name in _device_uses(data):
        taken, where = first.setdefault(name, (role, place))
        if where != place and (role != "meter" or taken != "meter"):
            yield (
                place,
                f"device {name!r} is used twice; it is already the {taken} at {dotted(where)}",
            )


def _profiles(data: dict[Any, Any], base: Path) -> Iterator[Fault]:
    shipped = {file.stem for file in PROFILE_DIR.glob("*.yaml")}
    for name, entry in _section(data, "devices").items():
        profile = entry.get("profile") if isinstance(entry, dict) else None
        if not isinstance(profile, str) or not profile:
            continue
        place = ("devices", name, "profile")
        if profile.endswith((".yaml", ".yml")):
            yield from _readable(place, base / profile, "profile")
        elif profile not in shipped:
            yield place, f"unknown profile {profile!r}{nearest(profile, shipped)}"


def _files(data: dict[Any, Any], base: Path) -> Iterator[Fault]:
    for place, what in ((("grid", "tariff"), "tariff"), (("uplink", "tls_ca"), "CA file")):
        name = _section(data, place[0]).get(place[1])
        if isinstance(name, str) and name:
            yield from _readable(place, base / name, what)


def _loads(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    loads = list(_entries(data, "loads"))
    shares = 0.0
    for place, entry in loads:
        if entry.get("critical") is True and entry.get("sheddable") is True:
            yield (*place, "sheddable"), "a critical load is never shed; make it false"
        share = _numbers(entry, "share_pct")
        if share and entry.get("device") is None:
            shares += share[0]
    if shares > 100.0:
        yield ("loads",), f"share_pct of loads without a meter sum to {shares:g}, at most 100"
    if loads and not any(entry.get("critical") is True for _, entry in loads):
        hours = _numbers(_section(data, "backup"), "hours")
        if hours and hours[0] > 0:
            yield ("loads",), "no load is critical, but backup.hours promises to carry one"


def _pack_numbers(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    for place, entry in _entries(data, "packs"):
        counts = _numbers(entry, "series_cells", "reported_cells")
        if counts and counts[1] not in {counts[0], REPORTED_EXTREMES}:
            yield (
                (*place, "reported_cells"),
                f"must be all {counts[0]:g} series cells or 2 (lowest and highest), "
                f"found {counts[1]:g}",
            )


def _codes(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    first: dict[str, str] = {}
    for place, entry in _entries(data, "packs"):
        chemistry = entry.get("chemistry")
        codes: list[tuple[Place, object]] = [((*place, "code"), entry.get("code"))]
        codes += [
            ((*place, "original_codes", index), code)
            for index, code in _texts(entry.get("original_codes"))
        ]
        for where, code in codes:
            if not isinstance(code, str):
                continue
            fault = code_fault(code, chemistry)
            if fault:
                yield where, fault
            elif code in first:
                yield where, f"code {code} is already used by {first[code]}"
            first.setdefault(code, f"{place[0]}[{place[1]}]")


def _rectifiers(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    for place, entry in _entries(data, "converters"):
        shelf = _section(entry, "rectifier")
        inside: Place = (*place, "rectifier")
        lvd = _numbers(shelf, "lvd_disconnect_v", "lvd_reconnect_v")
        if lvd and lvd[0] >= lvd[1]:
            yield (
                (*inside, "lvd_reconnect_v"),
                f"must be above lvd_disconnect_v {lvd[0]:g}, found {lvd[1]:g}",
            )
        floats = _numbers(shelf, "lvd_reconnect_v", "float_v")
        if floats and floats[0] >= floats[1]:
            yield (
                (*inside, "float_v"),
                f"must be above lvd_reconnect_v {floats[0]:g}, found {floats[1]:g}",
            )
        boost = _numbers(shelf, "float_v", "boost_v")
        if boost and boost[0] > boost[1]:
            yield (
                (*inside, "boost_v"),
                f"must not be below float_v {boost[0]:g}, found {boost[1]:g}",
            )


def _simulation(data: dict[Any, Any], _base: Path) -> Iterator[Fault]:
    cells = {
        entry["id"]: entry.get("series_cells")
        for _, entry in _entries(data, "packs")
        if isinstance(entry.get("id"), str)
    }
    for name, entry in _section(data, "simulation", "packs").items():
        place = ("simulation", "packs", name)
        if name not in cells:
            yield place, f"unknown pack {str(name)!r}{nearest(name, cells)}"
            continue
        group = _numbers(entry, "tired_group") if isinstance(entry, dict) else None
        count = cells[name]
        if group and isinstance(count, int) and group[0] > count:
            yield (
                (*place, "tired_group"),
                f"must be one of the {count} series groups, found {group[0]:g}",
            )
