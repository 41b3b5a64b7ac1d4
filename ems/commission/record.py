"""The commissioning record: what was proven, by whom, and whether it still holds for a site.

The control process reads it at every arming; nothing here loads what reads site files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from ems import store
from ems.drivers.connect import address, on_loopback
from ems.drivers.device import CompiledDevice
from ems.drivers.rules import Maturity
from ems.site import Site

FILE: Final = "commissioning.json"
SCHEMA: Final = 2
SIGNATURE: Final = "reserved: signed once the log's keys exist"
DO: Final = "with the service stopped run `ems commission`, then arm"


class Verdict(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    """Measured, and as promised."""
    STATED = "stated"
    """Not measured: a person vouches for it."""
    FAILED = "failed"
    SKIPPED = "skipped"
    """Neither measured nor vouched for."""


class Name(StrEnum):
    """The checks."""

    IDENTITY = "identity"
    CONTACTOR = "contactor"
    SIGN = "sign"
    TIMEOUT = "timeout"
    ORDER = "order"


NEEDED: Final = (Name.IDENTITY, Name.SIGN, Name.TIMEOUT)
"""Without these nothing is armed; the others are recorded, and must not have failed."""


@dataclass(frozen=True, slots=True)
class Check:
    """One check of one device."""

    name: Name
    verdict: Verdict
    text: str
    """One sentence with the numbers."""
    measured: Mapping[str, Any] = field(default_factory=dict)


def fingerprint(device: CompiledDevice, profile_sha256: str, site: Site) -> dict[str, Any]:
    """What a record is about: another of these is another device, or another promise."""
    promised = {c.device: c.device_timeout_s for c in site.converters}
    return {
        "profile": device.spec.profile,
        "profile_sha256": profile_sha256,
        "address": address(device.spec),
        "device_timeout_s": promised.get(device.id),
    }


def simulated(device: CompiledDevice) -> bool:
    """Whether there is nothing to commission."""
    return device.maturity is Maturity.SIMULATED or on_loopback(device.spec)


def refusal(
    site: Site,
    devices: Mapping[str, CompiledDevice],
    profile_sha256: Mapping[str, str],
    record: Mapping[str, Any] | None,
) -> str:
    """Why a site must not be armed, as one sentence; empty when it may.

    Args:
        site: The compiled site.
        devices: Its devices.
        profile_sha256: Hash of each device's profile.
        record: The commissioning record, ``None`` when there is none.
    """
    real = {name: device for name, device in devices.items() if not simulated(device)}
    if not real:
        return ""
    if record is None:
        return f"not commissioned: {DO}"
    if record.get("site") != site.id:
        return f"commissioned for another site, {record.get('site')!r}: {DO}"
    found = entries(record)
    for name, device in real.items():
        if name not in found:
            return f"not commissioned: {name} is new since; {DO}"
        entry = found[name]
        now = fingerprint(device, profile_sha256.get(name, ""), site)
        changed = [key for key, value in now.items() if entry.get(key) != value]
        if changed:
            what = ", ".join(changed)
            return f"commissioned for another site file or profile: {name}: {what} changed; {DO}"
        problem = next(_open(entry, site, name), "")
        if problem:
            return f"commissioning of {name} is not complete: {problem}; {DO}"
    return ""


def entries(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What a record says of each device, with the person who proved it and the time."""
    devices = record.get("devices")
    by = {key: record.get(key) for key in ("utc", "person")}
    devices = devices if isinstance(devices, dict) else {}
    return {name: by | entry for name, entry in devices.items() if isinstance(entry, dict)}


def left_open(site: Site, record: Mapping[str, Any]) -> list[str]:
    """What is not proven, one line each, simulated devices included."""
    found = entries(record)
    return [
        f"{name}: {problem}"
        for name in site.devices
        for problem in (_open(found[name], site, name) if name in found else ["not commissioned"])
    ]


def _open(entry: Mapping[str, Any], site: Site, name: str) -> Iterator[str]:
    """What is not proven of one device."""
    checks = entry.get("checks")
    checks = [c for c in checks if isinstance(c, dict)] if isinstance(checks, list) else []
    for check in checks:
        if check.get("verdict") not in (*_FINE, Verdict.SKIPPED):
            yield f"{check.get('name')} failed: {check.get('text')}"
    proven = {check.get("name") for check in checks if check.get("verdict") in _FINE}
    steered = name in {converter.device for converter in site.converters}
    # A BMS or meter proven without its converter has a sign check of its own.
    signed = any(check.get("name") == Name.SIGN for check in checks)
    for needed in NEEDED if steered else NEEDED[: 1 + signed]:
        if needed not in proven:
            yield f"{needed} was not checked"


_FINE: Final = (Verdict.PASSED, Verdict.STATED)


def read(site: Site) -> dict[str, Any] | None:
    """The record of a site; ``None`` when there is none.

    Raises:
        OSError, ValueError: there is one, but it cannot be read.
    """
    return store.read(site.data_dir / FILE)


def write(data_dir: Path, record: dict[str, Any]) -> Path:
    """Keep a record, and the one before it beside as ``commissioning.json.before``."""
    path = data_dir / FILE
    if path.exists():
        path.replace(path.with_name(f"{FILE}.before"))
    store.write(path, record)
    return path
