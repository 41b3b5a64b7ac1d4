"""What the platform is told: pure translation of cycle records into messages.

One *stream* is one subject (a pack under its GB/T 34014 code, or ``site``) and
one class of message. Samples leave every ``telemetry_period_s``; mode and cause
changes leave at once. The outbox adds the sequence number when it persists.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np

from ems.model import (
    ActiveCause,
    Contactor,
    ConverterState,
    CycleRecord,
    PackReading,
    Quality,
    Reading,
    SiteSnapshot,
)
from ems.site import Site, UplinkSpec

SCHEMA_VERSION: Final = 1
SITE_SUBJECT: Final = "site"
Values = Mapping[str, object]


class Kind(IntEnum):
    """Class of a message; smaller leaves first."""

    INTERLOCK = 0
    EVENT = 1
    TELEMETRY = 2
    """Samples: the only class that may be dropped when space runs out."""


@dataclass(frozen=True, slots=True)
class Message:
    """One record for the platform, still without its sequence number."""

    topic: str
    subject: str
    """GB/T 34014 code of a pack, or ``site``."""
    kind: Kind
    boot: str
    ts_ms: int
    """UTC, ms since 1970."""
    mono_ns: int
    """Monotonic time of the same instant, ns; orders records of one boot."""
    clock_ok: bool
    q: str
    """Worst quality among the readings that went into ``values``."""
    values: Values

    @property
    def stream(self) -> str:
        """Name of the stream: sequence numbers are contiguous within it and a boot."""
        return f"{self.subject}/{self.kind.name.lower()}"


def from_record(
    record: CycleRecord, previous: CycleRecord | None, site: Site, boot: str
) -> list[Message]:
    """Messages that became due with this record; empty without an uplink.

    Args:
        record: The cycle that just ended.
        previous: The cycle before; ``None`` at start, which reports the whole state.
        site: The site; its ``uplink`` names prefix and period.
        boot: Id of this run of the process; sequence numbers restart with it.

    Returns:
        Interlock changes, then the mode change, then the samples.

    Source:
        Envelope and topics: docs/reference/uplink.md.
    """
    uplink = site.uplink
    if uplink is None:
        return []
    decision = record.decision
    now_s = record.snapshot.now_s
    if previous is None:
        return [
            *_cause_messages((), decision.causes, record, site, uplink, boot),
            _mode_message(None, record, site, uplink, boot),
            *_samples(record, site, uplink, boot),
        ]
    messages: list[Message] = []
    before = previous.decision
    if decision.causes or before.causes:
        messages += _cause_messages(before.causes, decision.causes, record, site, uplink, boot)
    if decision.mode is not before.mode:
        messages.append(_mode_message(before.mode.value, record, site, uplink, boot))
    period_s = uplink.telemetry_period_s
    if now_s // period_s > previous.snapshot.now_s // period_s:
        messages += _samples(record, site, uplink, boot)
    return messages


def _message(
    subject: str,
    kind: Kind,
    quality: Quality,
    values: Values,
    snapshot: SiteSnapshot,
    site: Site,
    uplink: UplinkSpec,
    boot: str,
) -> Message:
    return Message(
        topic=f"{uplink.topic_prefix}/{site.id}/{subject}/{kind.name.lower()}",
        subject=subject,
        kind=kind,
        boot=boot,
        ts_ms=round(snapshot.now_utc.timestamp() * 1e3),
        mono_ns=round(snapshot.now_s * 1e9),
        clock_ok=snapshot.clock_ok,
        q=quality.name.lower(),
        values=values,
    )


def _mode_message(
    before: str | None, record: CycleRecord, site: Site, uplink: UplinkSpec, boot: str
) -> Message:
    values = {
        "event": "mode",
        "mode": record.decision.mode.value,
        "mode_before": before,
        "causes": sorted({cause.cause for cause in record.decision.causes}),
    }
    return _message(
        SITE_SUBJECT, Kind.EVENT, Quality.GOOD, values, record.snapshot, site, uplink, boot
    )


_CauseKey = tuple[str, int | None]


def _by_key(causes: Iterable[ActiveCause]) -> dict[_CauseKey, ActiveCause]:
    highest: dict[_CauseKey, ActiveCause] = {}
    for cause in causes:
        key = (cause.cause, cause.pack)
        if key not in highest or cause.level > highest[key].level:
            highest[key] = cause
    return highest


def _cause_messages(
    before: tuple[ActiveCause, ...],
    after: tuple[ActiveCause, ...],
    record: CycleRecord,
    site: Site,
    uplink: UplinkSpec,
    boot: str,
) -> list[Message]:
    """One message per cause that came, went, or changed level, latch or acknowledgement.

    ``detail`` moves with every reading, so it alone is no change.
    """
    old, new = _by_key(before), _by_key(after)
    messages = []
    for key in sorted(old.keys() | new.keys(), key=lambda k: (k[0], -1 if k[1] is None else k[1])):
        was, now = old.get(key), new.get(key)
        if was is not None and now is not None and _state(was) == _state(now):
            continue
        known = now or was
        assert known is not None
        values = {
            "event": "raised" if was is None else "cleared" if now is None else "changed",
            "cause": known.cause,
            "name": known.name,
            "level": now.level if now else 0,
            "level_before": was.level if was else 0,
            "latched": now.latched if now else False,
            "acknowledged": known.acknowledged,
            "first_out": known.first_out,
            "detail": known.detail,
        }
        subject = SITE_SUBJECT if known.pack is None else site.packs[known.pack].code
        messages.append(
            _message(
                subject, Kind.INTERLOCK, Quality.GOOD, values, record.snapshot, site, uplink, boot
            )
        )
    return messages


def _state(cause: ActiveCause) -> tuple[int, bool, bool]:
    return cause.level, cause.latched, cause.acknowledged


def _samples(record: CycleRecord, site: Site, uplink: UplinkSpec, boot: str) -> list[Message]:
    quality, values = _site_values(record, site)
    snapshot = record.snapshot
    messages = [
        _message(SITE_SUBJECT, Kind.TELEMETRY, quality, values, snapshot, site, uplink, boot)
    ]
    columns = _PackColumns.of(record, site)
    for index, pack in enumerate(site.packs):
        quality, values = _pack_values(record, site, columns, index)
        messages.append(
            _message(pack.code, Kind.TELEMETRY, quality, values, snapshot, site, uplink, boot)
        )
    return messages


def _site_values(record: CycleRecord, site: Site) -> tuple[Quality, Values]:
    snapshot, request, decision = record.snapshot, record.request, record.decision
    backup = record.backup
    battery_w = [c.power_w.good for c in snapshot.converters]
    flows = [snapshot.grid.power_w.good, *battery_w]
    readings = [snapshot.grid.power_w, *(c.power_w for c in snapshot.converters)]
    if site.pv is not None:
        flows.append(snapshot.pv_power_w.good)
        readings.append(snapshot.pv_power_w)
    values = {
        "mode": decision.mode.value,
        "grid_power_w": number(snapshot.grid.power_w.good, 1),
        "pv_power_w": number(snapshot.pv_power_w.good, 1) if site.pv is not None else None,
        "battery_power_w": number(total(battery_w), 1),
        "load_power_w": number(total(flows), 1),
        "grid_voltage_v": number(snapshot.grid.voltage_v.good, 1),
        "grid_frequency_hz": number(snapshot.grid.frequency_hz.good, 3),
        "import_wh": number(snapshot.grid.import_wh.good, 1),
        "converters": {
            spec.id: {
                "power_w": number(reading.power_w.good, 1),
                "setpoint_w": number(float(decision.power_w[index]), 1),
                "low_w": number(float(decision.low_w[index]), 1),
                "high_w": number(float(decision.high_w[index]), 1),
                "state": _code(reading.state, ConverterState),
                "link": reading.link.name.lower(),
            }
            for index, (spec, reading) in enumerate(
                zip(site.converters, snapshot.converters, strict=True)
            )
        },
        "loads_off": [
            load.id for load, on in zip(site.loads, decision.load_on, strict=True) if not on
        ],
        "backup_h": number(backup.hours, 3),
        "backup_low_h": number(backup.hours_low, 3),
        "backup_energy_wh": number(backup.energy_wh, 0),
        "backup_energy_low_wh": number(backup.energy_low_wh, 0),
        "backup_required_wh": number(backup.required_wh, 0),
        "demand_window_w": number(request.demand_window_w, 1),
        "demand_target_w": number(request.demand_target_w, 1),
        "source": request.source.value,
        "reason": request.reason,
        "plan_level": request.plan_level,
        "plan_age_s": number(request.plan_age_s, 0),
        "causes": sorted({cause.cause for cause in decision.causes}),
    }
    return max(r.quality for r in readings), values


@dataclass(frozen=True, slots=True)
class _PackColumns:
    """Numbers of all packs, column by column: one numpy call each instead of one a pack."""

    numbers: dict[str, list[float | None]]
    soc_known: list[bool]
    weakest_cell: list[int]
    worst_cell_quality: list[int]

    @classmethod
    def of(cls, record: CycleRecord, site: Site) -> "_PackColumns":
        estimate, limits, decision = record.estimate, record.limits, record.decision
        cells, layout = record.snapshot.cells, site.layout
        # Untrusted values become NaN, which fmin and fmax pass over.
        volts = np.where(cells.voltage_quality <= Quality.UNCERTAIN, cells.voltage_v, np.nan)
        temps = np.where(cells.temp_quality <= Quality.UNCERTAIN, cells.temp_c, np.nan)
        columns = {
            "soc_frac": estimate.soc_frac,
            "soc_sigma_frac": estimate.soc_sigma_frac,
            "soh_frac": estimate.soh_frac,
            "soh_sigma_frac": estimate.soh_sigma_frac,
            "capacity_ah": estimate.capacity_ah,
            "resistance_ratio": estimate.resistance_ratio,
            "cell_voltage_min_v": np.fmin.reduceat(volts, layout.cell_start),
            "cell_voltage_max_v": np.fmax.reduceat(volts, layout.cell_start),
            "cell_temp_min_c": np.fmin.reduceat(temps, layout.temp_start),
            "cell_temp_max_c": np.fmax.reduceat(temps, layout.temp_start),
            "charge_limit_w": limits.charge_w,
            "discharge_limit_w": limits.discharge_w,
            "allowed_charge_w": 0.0 - decision.pack_low_w,
            "allowed_discharge_w": decision.pack_high_w,
            "deliverable_wh": record.backup.pack_energy_wh,
            "headroom_wh": record.backup.pack_headroom_wh,
        }
        matrix = np.round(np.array(tuple(columns.values())), 4)
        rows: list[list[float | None]] = matrix.tolist()
        if not np.isfinite(matrix).all():
            rows = [[number(value, 4) for value in row] for row in rows]
        return cls(
            numbers=dict(zip(columns, rows, strict=True)),
            soc_known=estimate.soc_known.tolist(),
            weakest_cell=estimate.weakest_cell.tolist(),
            worst_cell_quality=np.maximum.reduceat(
                cells.voltage_quality, layout.cell_start
            ).tolist(),
        )


def _pack_values(
    record: CycleRecord, site: Site, columns: _PackColumns, index: int
) -> tuple[Quality, Values]:
    spec, reading, limits = site.packs[index], record.snapshot.packs[index], record.limits
    values: dict[str, object] = {name: column[index] for name, column in columns.numbers.items()}
    if not columns.soc_known[index]:
        values["soc_frac"] = values["soc_sigma_frac"] = None
    every_cell = spec.reported_cells == spec.series_cells
    values |= {
        "pack": spec.id,
        "soc_bms_frac": number(reading.soc_frac.good, 4),
        "resistance_ratio": values["resistance_ratio"] or None,
        "voltage_v": number(reading.voltage_v.good, 2),
        "current_a": number(reading.current_a.good, 2),
        "weakest_cell": columns.weakest_cell[index] if every_cell else None,
        "charge_reason": limits.charge_reason[index],
        "discharge_reason": limits.discharge_reason[index],
        "allowed_reason": record.decision.pack_reason[index],
        "contactor": _code(reading.contactor, Contactor),
        "bms_alarm_level": _integer(reading.alarm_level),
        "link": reading.link.name.lower(),
    }
    return _pack_quality(reading, columns.worst_cell_quality[index]), values


def _pack_quality(reading: PackReading, worst_cell: int) -> Quality:
    return Quality(
        max(
            reading.voltage_v.quality,
            reading.current_a.quality,
            reading.soc_frac.quality,
            reading.contactor.quality,
            worst_cell,
        )
    )


def number(value: float | None, digits: int) -> float | None:
    """A rounded value as JSON can carry it: ``None`` for missing, NaN and infinities."""
    if value is None or not math.isfinite(value):
        return None
    return round(value, digits)


def total(parts: Iterable[float | None]) -> float | None:
    """Sum, or ``None`` as soon as one part is missing: half a balance misleads."""
    result = 0.0
    for part in parts:
        if part is None:
            return None
        result += part
    return result


def _code(reading: Reading, codes: type[IntEnum]) -> str | None:
    value = _integer(reading)
    if value is None or value not in codes._value2member_map_:
        return None
    return codes(value).name.lower()


def _integer(reading: Reading) -> int | None:
    value = reading.good
    return None if value is None or not math.isfinite(value) else int(value)
