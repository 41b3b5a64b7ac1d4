"""Every metric as one row: the collector, the reference page and the tests read it.

Base units as Prometheus wants them (watts, seconds, ratios); signs as everywhere
in the program: what feeds the site bus is positive. A value that is missing has
no sample, never 0 or NaN.
"""

# ruff: noqa: E501 - a row of the table stays on one line

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from ems.model import CycleRecord, Link, Mode, Quality
from ems.site import Site
from ems.telemetry.messages import total
from ems.units import S_PER_H

Samples = Iterable[tuple[tuple[str, ...], float | None]]


def _none(_record: CycleRecord, _site: Site) -> Samples:
    return ()


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric family read from the last record."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    labels: tuple[str, ...]
    help: str
    read: Callable[[CycleRecord, Site], Samples] = _none
    """Samples of a record: label values and the value, ``None`` for none."""


def _one(read: Callable[[CycleRecord], float | None]) -> Callable[[CycleRecord, Site], Samples]:
    return lambda record, _: [((), read(record))]


def _per_pack(
    read: Callable[[CycleRecord, Site, int], float | None],
) -> Callable[[CycleRecord, Site], Samples]:
    return lambda record, site: [
        ((pack.id,), read(record, site, i)) for i, pack in enumerate(site.packs)
    ]


def _per_converter(
    read: Callable[[CycleRecord, int], float | None],
) -> Callable[[CycleRecord, Site], Samples]:
    return lambda record, site: [
        ((converter.id,), read(record, i)) for i, converter in enumerate(site.converters)
    ]


def _load_w(record: CycleRecord, site: Site) -> Samples:
    snapshot = record.snapshot
    parts = [snapshot.grid.power_w.good, *(c.power_w.good for c in snapshot.converters)]
    if site.pv is not None:
        parts.append(snapshot.pv_power_w.good)
    return [((), total(parts))]


def _pack_power_w(record: CycleRecord, _site: Site, pack: int) -> float | None:
    reading = record.snapshot.packs[pack]
    voltage_v, current_a = reading.voltage_v.good, reading.current_a.good
    return None if voltage_v is None or current_a is None else voltage_v * current_a


def extremes(values: np.ndarray, quality: np.ndarray) -> tuple[float | None, float | None]:
    """Lowest and highest trustworthy value of a block, or ``None`` twice."""
    trusted = values[quality <= Quality.UNCERTAIN]
    if trusted.size == 0:
        return None, None
    return float(trusted.min()), float(trusted.max())


def _cell_v(side: int) -> Callable[[CycleRecord, Site, int], float | None]:
    def read(record: CycleRecord, site: Site, pack: int) -> float | None:
        span, cells = site.layout.cell_slices[pack], record.snapshot.cells
        return extremes(cells.voltage_v[span], cells.voltage_quality[span])[side]

    return read


def _temp_c(side: int) -> Callable[[CycleRecord, Site, int], float | None]:
    def read(record: CycleRecord, site: Site, pack: int) -> float | None:
        span, cells = site.layout.temp_slices[pack], record.snapshot.cells
        return extremes(cells.temp_c[span], cells.temp_quality[span])[side]

    return read


def _soc(record: CycleRecord, _site: Site, pack: int) -> float | None:
    estimate = record.estimate
    return float(estimate.soc_frac[pack]) if estimate.soc_known[pack] else None


def _interlocks(record: CycleRecord, _site: Site) -> Samples:
    levels = [cause.level for cause in record.decision.causes]
    return [((str(level),), float(levels.count(level))) for level in range(1, 6)]


def _interlock_level(record: CycleRecord, site: Site) -> Samples:
    highest: dict[tuple[str, ...], float] = {}
    for cause in record.decision.causes:
        pack = "" if cause.pack is None else site.packs[cause.pack].id
        key = (cause.cause, cause.name, pack)
        highest[key] = max(highest.get(key, 0.0), float(cause.level))
    return highest.items()


FROM_RECORD: Final[tuple[Metric, ...]] = (
    Metric("ems_mode", "gauge", ("mode",), "1 for the mode the site is in, else 0",
        lambda r, _: [((m.value,), float(m is r.decision.mode)) for m in Mode]),
    Metric("ems_clock_synchronised", "gauge", (), "1 while the wall clock is trusted",
        _one(lambda r: float(r.snapshot.clock_ok))),
    Metric("ems_grid_power_watts", "gauge", (), "Power at the point of common coupling, import positive",
        _one(lambda r: r.snapshot.grid.power_w.good)),
    Metric("ems_pv_power_watts", "gauge", (), "PV power",
        lambda r, s: [((), r.snapshot.pv_power_w.good)] if s.pv is not None else []),
    Metric("ems_load_power_watts", "gauge", (), "Site load: grid + battery + PV", _load_w),
    Metric("ems_converter_power_watts", "gauge", ("converter",), "Measured battery power, discharge positive",
        _per_converter(lambda r, i: r.snapshot.converters[i].power_w.good)),
    Metric("ems_converter_setpoint_watts", "gauge", ("converter",), "Power the gate let through, discharge positive",
        _per_converter(lambda r, i: float(r.decision.power_w[i]))),
    Metric("ems_pack_info", "gauge", ("pack", "code", "chemistry"), "Always 1; the GB/T 34014 code of each pack",
        lambda _, s: [((p.id, p.code, p.chemistry.value), 1.0) for p in s.packs]),
    Metric("ems_pack_link_up", "gauge", ("pack",), "1 while the BMS answers",
        _per_pack(lambda r, _, i: float(r.snapshot.packs[i].link is Link.UP))),
    Metric("ems_pack_power_watts", "gauge", ("pack",), "Power at the pack terminals, discharge positive",
        _per_pack(_pack_power_w)),
    Metric("ems_pack_soc_ratio", "gauge", ("pack",), "Estimated state of charge of the pack", _per_pack(_soc)),
    Metric("ems_pack_soh_ratio", "gauge", ("pack",), "Capacity of the weakest series group / rated",
        _per_pack(lambda r, _, i: float(r.estimate.soh_frac[i]))),
    Metric("ems_pack_cell_voltage_min_volts", "gauge", ("pack",), "Lowest trustworthy cell voltage",
        _per_pack(_cell_v(0))),
    Metric("ems_pack_cell_voltage_max_volts", "gauge", ("pack",), "Highest trustworthy cell voltage",
        _per_pack(_cell_v(1))),
    Metric("ems_pack_temperature_min_celsius", "gauge", ("pack",), "Lowest trustworthy cell temperature",
        _per_pack(_temp_c(0))),
    Metric("ems_pack_temperature_max_celsius", "gauge", ("pack",), "Highest trustworthy cell temperature",
        _per_pack(_temp_c(1))),
    Metric("ems_pack_charge_limit_watts", "gauge", ("pack",), "Charge limit of the health envelope",
        _per_pack(lambda r, _, i: float(r.limits.charge_w[i]))),
    Metric("ems_pack_discharge_limit_watts", "gauge", ("pack",), "Discharge limit of the health envelope",
        _per_pack(lambda r, _, i: float(r.limits.discharge_w[i]))),
    Metric("ems_pack_allowed_charge_watts", "gauge", ("pack",), "Charge power allowed after every interlock",
        _per_pack(lambda r, _, i: 0.0 - float(r.decision.pack_low_w[i]))),
    Metric("ems_pack_allowed_discharge_watts", "gauge", ("pack",), "Discharge power allowed after every interlock",
        _per_pack(lambda r, _, i: float(r.decision.pack_high_w[i]))),
    Metric("ems_backup_seconds", "gauge", (), "How long the critical load would be carried, central estimate",
        _one(lambda r: r.backup.hours * S_PER_H)),
    Metric("ems_backup_low_seconds", "gauge", (), "The same at the site's stated confidence",
        _one(lambda r: r.backup.hours_low * S_PER_H)),
    Metric("ems_backup_promised_seconds", "gauge", (), "Backup time promised to the critical load",
        lambda _, s: [((), s.backup.hours * S_PER_H)]),
    Metric("ems_demand_window_watts", "gauge", (), "Mean import so far in the running demand window",
        _one(lambda r: r.request.demand_window_w)),
    Metric("ems_demand_target_watts", "gauge", (), "Import level the plan holds",
        _one(lambda r: r.request.demand_target_w)),
    Metric("ems_plan_age_seconds", "gauge", (), "Age of the plan in force",
        _one(lambda r: r.request.plan_age_s)),
    Metric("ems_plan_level", "gauge", (), "Fallback level of the plan in force: 1 best, 6 safe",
        _one(lambda r: float(r.request.plan_level))),
    Metric("ems_interlocks_active", "gauge", ("level",), "Number of causes that act or are latched, by level",
        _interlocks),
    Metric("ems_interlock_level", "gauge", ("cause", "name", "pack"), "Level of each cause that acts or is latched",
        _interlock_level),
)  # fmt: skip
"""Gauges read from the last ``CycleRecord`` when somebody scrapes."""

OWN: Final[tuple[Metric, ...]] = (
    Metric("ems_cycle_duration_seconds", "histogram", (), "Time one control cycle took"),
    Metric("ems_cycle_overruns_total", "counter", (), "Cycles that started more than half a period late"),
    Metric("ems_cycle_missed_total", "counter", (), "Whole periods in which no cycle ran"),
    Metric("ems_certificate_expiry_timestamp_seconds", "gauge", ("device", "whose"), "Unix time at which a certificate of an OPC UA connection expires: our `own` or the `server`'s"),
    Metric("ems_plan_solve_seconds", "gauge", (), "Time the solver took for the plan in force"),
    Metric("ems_outbox_records", "gauge", (), "Records on disk that wait for the broker"),
    Metric("ems_outbox_bytes", "gauge", (), "Disk space those records take, estimated"),
    Metric("ems_outbox_oldest_age_seconds", "gauge", (), "Age of the oldest of them"),
    Metric("ems_outbox_waiting_records", "gauge", (), "Records in memory that wait for the disk"),
    Metric("ems_outbox_quarantined_records", "gauge", (), "Records the broker refused, kept aside"),
    Metric("ems_outbox_committed_total", "counter", (), "Records made durable"),
    Metric("ems_outbox_delivered_total", "counter", (), "Records deleted after the broker's success code"),
    Metric("ems_outbox_dropped_total", "counter", (), "Samples given up for want of space"),
    Metric("ems_outbox_commits_total", "counter", (), "Commits, each one a flush of the medium"),
    Metric("ems_outbox_write_errors_total", "counter", (), "Commits that failed and were tried again"),
    Metric("ems_uplink_up", "gauge", (), "1 while records reach a subscriber through the broker"),
    Metric("ems_uplink_connections_total", "counter", (), "Connections made"),
    Metric("ems_uplink_sent_total", "counter", (), "Publishes, repeats included"),
    Metric("ems_uplink_acked_total", "counter", (), "Publishes acknowledged with success"),
    Metric("ems_uplink_refused_total", "counter", (), "Records set aside in quarantine"),
    Metric("ems_uplink_unheard_total", "counter", (), "Publishes nobody was subscribed to"),
)  # fmt: skip
"""Metrics the program keeps itself: cycle timing, outbox, uplink."""


def finite(value: float | None) -> float | None:
    """The value, or ``None`` when it is missing, NaN or infinite."""
    return None if value is None or not math.isfinite(value) else value


def markdown() -> str:
    """The reference page ``docs/reference/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        "`GET /metrics` on `127.0.0.1:<metrics_port>` in the Prometheus text format. This page is",
        "generated: `python -m ems.telemetry.metrics_table > docs/reference/metrics.md`.",
        "",
        "Units are Prometheus base units. What feeds the site bus is positive: discharge, PV, import.",
        "A value that is missing, stale or not trusted has no sample; alert on it with `absent()`.",
        "Outbox and uplink rows appear only on a site with an uplink, the certificate row only for",
        "devices behind an encrypted OPC UA connection that was made at least once. Days left:",
        "`(ems_certificate_expiry_timestamp_seconds - time()) / 86400`.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{m.name}` | {m.kind} | {', '.join(f'`{label}`' for label in m.labels)} | {m.help} |"
        for m in (*FROM_RECORD, *OWN)
    ]
    lines += [
        "",
        "Beside these, the Python client's `process_*` metrics (memory, CPU, open files).",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown())
