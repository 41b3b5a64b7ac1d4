"""Connecting to the devices of a site, watching them for a while, and writing nothing."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import inf
from typing import Any, Final

from ems.clock import Clock
from ems.drivers.coding.block import Block
from ems.drivers.coding.codec import TextCodec
from ems.drivers.connect import address
from ems.drivers.device import CompiledDevice
from ems.drivers.field import FieldIO
from ems.drivers.serving.image import HEARTBEAT, DeviceImage
from ems.drivers.serving.member import Member
from ems.model import Link
from ems.probe.points import points
from ems.probe.report import (
    CheckSeen,
    DeviceSeen,
    HeartbeatSeen,
    PointSeen,
    ProbeReport,
    TimeoutSeen,
    plain,
)
from ems.site import Site

_LOOK_S: Final = 0.1
_COUNT_KEY: Final = {"cell_voltage_v": "reported_cells", "cell_temp_c": "reported_temps"}
"""Key of the site file that says how many elements an array really has."""
_COMMON: Final = 1
"""SunSpec model with the name plate."""
_PLATE: Final = (
    ("sunspec_manufacturer", 2, 16),
    ("sunspec_model_name", 18, 16),
    ("sunspec_options", 34, 8),
    ("sunspec_version", 42, 8),
    ("sunspec_serial", 50, 16),
)
"""Name, first register from the model's id, registers. Source: SunSpec model 1."""


def wholly(device: CompiledDevice) -> CompiledDevice:
    """A device with what is read on demand, and its SunSpec name plate, read at connecting."""
    extra = [replace(block, period_s=inf, ttl_s=inf) for block in device.on_demand]
    if device.link.sunspec_models:
        extra.append(_plate(device.link.max_read_registers))
    return replace(device, blocks=(*device.blocks, *extra), on_demand=())


async def look(
    site: Site,
    devices: Mapping[str, CompiledDevice],
    clock: Clock,
    seconds: float,
    patience_s: float,
) -> ProbeReport:
    """What the devices say.

    Args:
        site: The compiled site.
        devices: Those of its devices to look at.
        clock: Time.
        seconds: How long to watch counters after the first answers.
        patience_s: How long to wait for these; an encrypted OPC UA session takes seconds.

    Raises:
        ProfileMisfit: an option of a transport is wrong.
    """
    payloads: dict[str, dict[str, Any]] = {name: {} for name in devices}

    def tap(device: str, block: str, payload: Any) -> None:
        payloads[device][block] = payload

    whole = {name: wholly(device) for name, device in devices.items()}
    io = FieldIO(site, whole, clock, observe=True, tap=tap)
    await io.start()
    try:
        await _answers(io, clock, patience_s)
        beats = {name: _Watched(io.images[name], d) for name, d in whole.items()}
        began_s = clock.monotonic_s()
        while (now_s := clock.monotonic_s()) < began_s + seconds:
            for beat in beats.values():
                beat.look(now_s)
            await asyncio.sleep(_LOOK_S)
        now_s = clock.monotonic_s()
        seen = tuple(
            _device(d, io.members[name], payloads[name], beats[name], now_s, now_s - began_s)
            for name, d in whole.items()
        )
    finally:
        await io.stop()
    # Only now: the safe state at the end is withheld as well.
    seen = tuple(replace(d, withheld=tuple(io.members[d.id].withheld)) for d in seen)
    return ProbeReport(
        site=site.id,
        config_sha256=site.source_sha256,
        utc=clock.now_utc().isoformat(timespec="seconds"),
        devices=seen,
        sent_writes=io.sent_writes,
        refused_writes=io.refused_writes,
    )


async def _answers(io: FieldIO, clock: Clock, patience_s: float) -> None:
    """Wait until every device has said all it is asked at connecting, or time is up."""
    until_s = clock.monotonic_s() + patience_s
    while clock.monotonic_s() < until_s:
        if all(member.prepared for member in io.members.values()):
            return
        await asyncio.sleep(_LOOK_S)


class _Watched:
    """A counter over time."""

    def __init__(self, image: DeviceImage, device: CompiledDevice) -> None:
        self.point = device.heartbeat.point if device.heartbeat is not None else HEARTBEAT
        self.known = self.point in device.points
        self.max_age_s = device.heartbeat.max_age_s if device.heartbeat is not None else 0.0
        self._image = image
        self.values: list[float] = []

    def look(self, now_s: float) -> None:
        value = self._image.heartbeat(now_s).value if self.known else None
        if value is not None and (not self.values or self.values[-1] != value):
            self.values.append(value)

    def seen(self, watched_s: float) -> HeartbeatSeen | None:
        if not self.known:
            return None
        changes = max(0, len(self.values) - 1)
        problem = ""
        if not self.values:
            problem = f"{self.point} was never read"
        elif not changes and watched_s > self.max_age_s:
            problem = f"{self.point} stood still at {self.values[0]:g} for {watched_s:.0f} s"
        first, last = (self.values[0], self.values[-1]) if self.values else (None, None)
        return HeartbeatSeen(self.point, first, last, changes, watched_s, problem)


def _device(
    device: CompiledDevice,
    member: Member,
    payloads: Mapping[str, Any],
    watched: _Watched,
    now_s: float,
    watched_s: float,
) -> DeviceSeen:
    models = getattr(member.port, "models", {})
    found = tuple(points(device, member.image, payloads, models, now_s))
    beat = watched.seen(watched_s)
    timeout = _timeout(device, member, now_s)
    return DeviceSeen(
        id=device.id,
        profile=device.spec.profile,
        maturity=str(device.maturity),
        address=address(device.spec),
        link=member.image.link.name.lower(),
        problem=_problem(member, beat, timeout),
        notes=tuple(_notes(device, member, found)),
        identity=tuple(_identity(device, member, models, found)),
        heartbeat=beat,
        timeout=timeout,
        points=found,
    )


def _problem(member: Member, beat: HeartbeatSeen | None, timeout: TimeoutSeen | None) -> str:
    """The one sentence: what stands in the way of everything else comes first."""
    if member.image.link is not Link.UP:
        return member.complaint or "no answer"
    if member.foreign:
        return f"this is not the device its profile describes: {member.foreign}"
    if member.spoiled:
        return member.complaint
    if beat is not None and beat.problem:
        return beat.problem
    return timeout.problem if timeout is not None else ""


def _notes(device: CompiledDevice, member: Member, found: tuple[PointSeen, ...]) -> Iterator[str]:
    """What is worth knowing and nobody's fault."""
    if member.image.link is not Link.UP:
        return
    provided = [p for p in found if p.name in device.provides]
    partly = [p for p in provided if p.known < p.places and p.known]
    without = [p.name for p in provided if p.quality != "good" and p not in partly]
    if without:
        yield f"no good value of {', '.join(without)}"
    yield from map(_gaps, partly)
    wish = device.heartbeat_write
    if wish is not None:
        yield f"wants to see our counter in {wish.point} every {wish.period_s:g} s"
    for name, why in device.not_provided.items():
        yield f"does not tell {name}: {why}"


def _gaps(point: PointSeen) -> str:
    """Which elements of an array have no value, and what to do about sensors not fitted."""
    values = point.value if isinstance(point.value, tuple) else ()
    places = [k for k, value in enumerate(values, 1) if value is None]
    told = f"{point.name}: no good value in place {', '.join(map(str, places))} of {point.places}"
    key = _COUNT_KEY.get(point.name)
    if key is None or places[0] <= point.known:
        return told
    return f"{told}; if nothing is fitted there, say {key}: {point.known} in the site file"


def _identity(
    device: CompiledDevice,
    member: Member,
    models: Mapping[int, Any],
    found: tuple[PointSeen, ...],
) -> Iterator[CheckSeen]:
    needed = device.link.sunspec_models
    if needed and models:
        missing = [str(model) for model in needed if model not in models]
        problem = f"models {', '.join(missing)} are missing" if missing else ""
        chain = ", ".join(f"{number} at {model.start}" for number, model in models.items())
        yield CheckSeen("SunSpec models", chain, problem)
    for check in device.identity:
        says = member.image.claimed(check.point)
        shown = "nothing" if says is None else plain(says) if isinstance(says, float) else says
        yield CheckSeen(check.point, shown, check.problem(says))
    checked = {check.point for check in device.identity}
    for point in found:
        if isinstance(point.value, str) and point.name not in checked:
            yield CheckSeen(point.name, point.value, "")


def _timeout(device: CompiledDevice, member: Member, now_s: float) -> TimeoutSeen | None:
    rule = device.timeout
    if rule is None:
        return None
    expected_s = member.device_timeout_s if rule.expected_s is None else rule.expected_s
    seen_s = member.seen(rule.point, now_s)
    problem = ""
    if seen_s is None:
        problem = f"{rule.point} cannot be read, so nobody knows when it falls back by itself"
    elif not rule.enforce and not 0.0 < seen_s <= expected_s:
        problem = f"{rule.point} is {seen_s:g} s where at most {expected_s:g} s are promised"
    return TimeoutSeen(rule.point, seen_s, expected_s, rule.on_expiry, rule.enforce, problem)


def _plate(max_registers: int) -> Block:
    first, end = _PLATE[0][1], _PLATE[-1][1] + _PLATE[-1][2]
    requests = tuple(
        (start, min(max_registers, end - start)) for start in range(first, end, max_registers)
    )
    texts = tuple((TextCodec(name, size), 2 * (at - first)) for name, at, size in _PLATE)
    return Block(
        key="sunspec_name_plate",
        table="holding",
        sunspec_model=_COMMON,
        requests=requests,
        period_s=inf,
        ttl_s=inf,
        texts=texts,
    )
