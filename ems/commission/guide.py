"""The whole of ``ems commission``: look, ask, prove, come to rest, keep the record."""

import asyncio
import contextlib
import signal
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from ems import SOFTWARE, door, probe
from ems.clock import Clock
from ems.commission import judge, record
from ems.commission.checks import Checks
from ems.commission.person import Person, answered, user
from ems.commission.record import Check, Name, Verdict
from ems.commission.rig import Rig
from ems.drivers.connect import on_loopback
from ems.drivers.field import FieldIO
from ems.handover import Handover
from ems.journal.tail import read_tail
from ems.journal.writer import kept_free
from ems.judge.aged import aged
from ems.model import Contactor, Link
from ems.probe.report import DeviceSeen, ProbeReport
from ems.safety.table import ROW_OF_ID
from ems.site import Site

LOOK_S: Final = 3.0
PATIENCE_S: Final = 12.0
"""Longest wait for the first answers of the devices."""
WARM_S: Final = 4.0
"""What the estimate of the packs needs before it allows power."""
_TRIP: Final = 3


class CannotCommission(RuntimeError):
    """Nothing was proven, and nothing is recorded; says why."""


async def commission(
    given: Handover, person: Person, clock: Clock, socket: Path, yes: bool
) -> dict[str, Any]:
    """Prove the devices of a site and keep the record.

    Args:
        given: Site and devices, compiled.
        person: Confirms every active step.
        clock: Time.
        socket: Door of the controller that must not be running.
        yes: Nobody is asked; only for devices on this machine.

    Returns:
        The record as written.

    Raises:
        CannotCommission: the site is in service, a device does not answer, or the
            person does not want to go on.
        JournalInUseError, OSError: the folder for data is in use or cannot be written.
    """
    site = given.site
    if yes and not all(on_loopback(spec) for spec in site.devices.values()):
        raise CannotCommission("--yes is for simulated devices on this machine only")
    if _serves(socket, site):
        raise CannotCommission(f"ems run serves {site.id}: stop the service first")
    with kept_free(site.data_dir / "log"):
        report = await probe.look(site, given.devices, clock, LOOK_S, PATIENCE_S)
        for device in report.devices:
            person.tell(f"{device.id}: {device.problem or 'answers as described'}")
        if not report.ok:
            raise CannotCommission(
                "every device must answer as described first; look with `ems probe`"
            )
        checks = await _active(given, person, clock)
        checks |= await _order(site, report, person, clock, checks)
        for seen in report.devices:
            checks.setdefault(seen.id, []).insert(0, _identity(seen))
        made = _record(given, report, checks, clock)
        record.write(site.data_dir, made)
    return made


async def _active(given: Handover, person: Person, clock: Clock) -> dict[str, list[Check]]:
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
            await _converters(rig, person, found)
        finally:
            was = {i: s == Contactor.CLOSED for i, s in enumerate(states) if s is not None}
            await rig.rest(was)
    finally:
        await io.stop()
    return found


async def _converters(rig: Rig, person: Person, found: dict[str, list[Check]]) -> None:
    checks, site = Checks(rig, person), rig.site
    for index, spec in enumerate(site.converters):
        for pack in spec.packs:
            _keep(found, site.packs[pack].device, await checks.contactor(pack), person)
        for name, measure in ((Name.SIGN, checks.sign), (Name.TIMEOUT, checks.timeout)):
            if spec.rectifier is not None:
                check = await _by_hand(rig, person, spec.id, name)
            else:
                check = await measure(index)
            _keep(found, spec.device, check, person)


async def _by_hand(rig: Rig, person: Person, converter: str, name: Name) -> Check:
    """A rectifier shelf feeds the load: what it does is shown by hand and told."""
    question = (
        f"{converter}: how was its {name} proven by hand, with which numbers? (empty: not at all)"
    )
    told = await rig.meanwhile(answered(lambda: person.ask(question)))
    return Check(name, Verdict.STATED if told else Verdict.SKIPPED, told or "not proven")


def _keep(found: dict[str, list[Check]], device: str, check: Check, person: Person) -> None:
    found.setdefault(device, []).append(check)
    person.tell(f"{device}, {check.name}: {check.verdict}. {check.text}")


async def _order(
    site: Site,
    report: ProbeReport,
    person: Person,
    clock: Clock,
    done: Mapping[str, list[Check]],
) -> dict[str, list[Check]]:
    """Who opens first when cells run down: read where the profile tells it, else asked."""
    seen = {device.id: device for device in report.devices}
    found = {name: list(checks) for name, checks in done.items()}
    for index, pack in enumerate(site.packs):
        row = ROW_OF_ID["C02"]
        health = aged(pack, None, clock.now_utc().date()).health
        limit, slope = row.limit[pack.chemistry][_TRIP], row.tighten[pack.chemistry][_TRIP]
        assert limit is not None
        assert slope is not None
        shelf = site.converters[int(site.layout.converter_of_pack[index])].rectifier
        lvd_v = None if shelf is None else shelf.lvd_disconnect_v / pack.series_cells
        bms_v, stated = _threshold_v(seen[pack.device]), False
        if bms_v is None:
            bms_v, stated = await _asked_v(person, pack.id), True
        check = judge.order(limit + slope * (1.0 - health), lvd_v, bms_v, stated)
        _keep(found, pack.device, check, person)
    return found


def _threshold_v(device: DeviceSeen) -> float | None:
    """Cell voltage at which a BMS opens, where its profile reads that setting."""
    for point in device.points:
        words = set(point.name.split("_"))
        told = {"cell", "v"} <= words and words & {"trip", "cutoff", "protection"}
        if told and words & {"low", "min", "under"} and isinstance(point.value, float):
            return point.value if point.quality == "good" else None
    return None


async def _asked_v(person: Person, pack: str) -> float | None:
    question = (
        f"{pack}: at which cell voltage does its BMS open by itself when discharged, in V, by its "
        "data sheet or display? (empty: not known)"
    )
    while told := await answered(lambda: person.ask(question)):
        with contextlib.suppress(ValueError):
            volts = float(told.replace(",", "."))
            if 0.5 < volts < 5.0:
                return volts
        person.tell(f"{told!r} is no cell voltage")
    return None


def _identity(seen: DeviceSeen) -> Check:
    told = "; ".join(f"{check.what}: {check.found}" for check in seen.identity)
    found = {check.what: check.found for check in seen.identity}
    text = told or "it answers; its profile names no signature"
    return Check(Name.IDENTITY, Verdict.PASSED, text, found)


def _record(
    given: Handover, report: ProbeReport, checks: Mapping[str, list[Check]], clock: Clock
) -> dict[str, Any]:
    site = given.site
    tail = read_tail(site.data_dir / "log")
    return {
        "schema": record.SCHEMA,
        "site": site.id,
        "config_sha256": site.source_sha256,
        "utc": clock.now_utc().isoformat(timespec="seconds"),
        "person": user(),
        "software": SOFTWARE,
        "log_head": None if tail.seq < 0 else {"seq": tail.seq, "hash": tail.hash},
        "devices": {
            seen.id: {
                **record.fingerprint(given.devices[seen.id], given.profile_sha256[seen.id], site),
                "maturity": seen.maturity,
                "checks": [asdict(check) for check in checks[seen.id]],
            }
            for seen in report.devices
        },
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
