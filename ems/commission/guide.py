"""The whole of ``ems commission``: look, ask, prove, come to rest, keep the record."""

import asyncio
import signal
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ems import SOFTWARE, door, probe
from ems.clock import Clock
from ems.commission import record
from ems.commission.order import order
from ems.commission.person import Person, answered, user
from ems.commission.record import Check, Name, Verdict
from ems.commission.rig import Rig
from ems.commission.steps import converters, keep
from ems.drivers.connect import on_loopback
from ems.drivers.field import FieldIO
from ems.handover import Handover
from ems.journal.tail import read_tail
from ems.journal.writer import kept_free
from ems.model import Contactor, Link
from ems.probe.report import DeviceSeen, ProbeReport
from ems.site import Site

LOOK_S: Final = 3.0
PATIENCE_S: Final = 12.0
"""Longest wait for the first answers of the devices."""
WARM_S: Final = 4.0
"""What the estimate of the packs needs before it allows power."""


class CannotCommission(RuntimeError):
    """Nothing was proven, and nothing is recorded; says why."""


def chosen(given: Handover, only: Collection[str]) -> frozenset[str]:
    """Devices whose steps are gone through: all when none is named.

    Raises:
        ValueError: there is no such device.
    """
    unknown = [name for name in only if name not in given.devices]
    if unknown:
        known = ", ".join(given.devices)
        raise ValueError(f"no device {', '.join(unknown)}; there are {known}")
    return frozenset(only or given.devices)


async def commission(
    given: Handover,
    person: Person,
    clock: Clock,
    socket: Path,
    yes: bool,
    only: Collection[str] = (),
) -> dict[str, Any]:
    """Prove the devices of a site and keep the record.

    Every device must answer and is held at rest, because power that one of them moves is
    measured and guarded by others; only the steps are those of the chosen devices.

    Args:
        given: Site and devices, compiled.
        person: Confirms every active step.
        clock: Time.
        socket: Door of the controller that must not be running.
        yes: Nobody is asked; only for devices on this machine.
        only: Devices to prove; of the others the record keeps what it had. All when empty.

    Returns:
        The record as written.

    Raises:
        ValueError: there is no such device.
        CannotCommission: the site is in service, a device does not answer, or the
            person does not want to go on.
        JournalInUseError, OSError: the folder for data is in use or cannot be written.
    """
    site, wanted = given.site, chosen(given, only)
    if yes and not all(on_loopback(spec) for spec in site.devices.values()):
        raise CannotCommission("--yes is for simulated devices on this machine only")
    if _serves(socket, site):
        raise CannotCommission(f"ems run serves {site.id}: stop the service first")
    with kept_free(site.data_dir / "log"):
        before = _before(site) if only else {}
        report = await probe.look(site, given.devices, clock, LOOK_S, PATIENCE_S)
        for device in report.devices:
            person.tell(f"{device.id}: {device.problem or 'answers as described'}")
        if not report.ok:
            raise CannotCommission(
                "every device must answer as described first; look with `ems probe`"
            )
        checks = await _active(given, person, clock, wanted)
        today = clock.now_utc().date()
        devices = {seen.id: seen for seen in report.devices}
        for index, pack in enumerate(site.packs):
            if pack.device in wanted:
                found = await order(site, index, devices[pack.device], person, today)
                keep(checks, pack.device, found, person)
        for seen in report.devices:
            if seen.id in wanted:
                checks.setdefault(seen.id, []).insert(0, _identity(seen))
        made = _record(given, report, checks, clock, before)
        record.write(site.data_dir, made)
    return made


async def _active(
    given: Handover, person: Person, clock: Clock, wanted: frozenset[str]
) -> dict[str, list[Check]]:
    """Everything that writes; the devices are at rest afterwards, whatever happened."""
    site = given.site
    if not await answered(
        lambda: person.confirm(
            "From here on the devices are written: time-outs and other settings of their "
            "profiles, and 0 W every second. Each step with power or a contactor asks again."
        )
    ):
        raise CannotCommission("nothing was written and nothing is recorded")
    io = FieldIO(site, given.devices, clock)
    found: dict[str, list[Check]] = {}
    await io.start()
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        rig = Rig(site, io, clock)
        up = await rig.until(
            lambda _: all(image.link is Link.UP for image in io.images.values()), PATIENCE_S
        )
        if up is None:
            raise CannotCommission("a device that answered before does not any more")
        await rig.until(lambda _: False, WARM_S)
        states = [pack.contactor.good for pack in rig.snapshot.packs]
        try:
            await converters(rig, person, wanted, found)
        finally:
            was = {i: s == Contactor.CLOSED for i, s in enumerate(states) if s is not None}
            await rig.rest(was)
    finally:
        await io.stop()
    return found


def _identity(seen: DeviceSeen) -> Check:
    told = "; ".join(f"{check.what}: {check.found}" for check in seen.identity)
    found = {check.what: check.found for check in seen.identity}
    text = told or "it answers; its profile names no signature"
    return Check(Name.IDENTITY, Verdict.PASSED, text, found)


def _before(site: Site) -> dict[str, Any]:
    """What the record has of each device so far, with who proved it and when."""
    try:
        record_before = record.read(site)
    except (OSError, ValueError) as error:
        raise CannotCommission(
            f"the record of before cannot be read ({error}): commission the whole site"
        ) from None
    if record_before is None or record_before.get("site") != site.id:
        return {}
    return record.entries(record_before)


def _record(
    given: Handover,
    report: ProbeReport,
    checks: Mapping[str, list[Check]],
    clock: Clock,
    before: Mapping[str, Any],
) -> dict[str, Any]:
    site = given.site
    tail = read_tail(site.data_dir / "log")
    by = {"utc": clock.now_utc().isoformat(timespec="seconds"), "person": user()}
    made = {
        seen.id: {
            **record.fingerprint(given.devices[seen.id], given.profile_sha256[seen.id], site),
            **by,
            "maturity": seen.maturity,
            "checks": [asdict(check) for check in checks[seen.id]],
        }
        for seen in report.devices
        if seen.id in checks
    }
    kept = {name: before[name] for name in site.devices if name in before}
    return {
        "schema": record.SCHEMA,
        "site": site.id,
        "config_sha256": site.source_sha256,
        **by,
        "software": SOFTWARE,
        "log_head": None if tail.seq < 0 else {"seq": tail.seq, "hash": tail.hash},
        "devices": kept | made,
        "signature": None,
        "signature_note": record.SIGNATURE,
    }


def _serves(socket: Path, site: Site) -> bool:
    """Whether a controller of this very site answers at its door."""
    try:
        answer = door.call(socket, {"op": "status"}, timeout_s=2.0)
        return bool(answer["status"]["site"]["id"] == site.id)
    except (OSError, ValueError, KeyError, TypeError):
        return False
