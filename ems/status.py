"""The present state in words and numbers, for the screen, the page and scripts."""

from typing import Any

from ems import history
from ems.daemon import CycleStats
from ems.model import CycleRecord, Plan, Reading
from ems.site import Site


def of(
    site: Site, record: CycleRecord | None, plan: Plan | None, stats: CycleStats
) -> dict[str, Any]:
    """JSON-able status; powers in W, energies in Wh, fractions, names as in the site file."""
    status: dict[str, Any] = {
        "site": {
            "id": site.id,
            "name_en": site.name_en,
            "name_zh": site.name_zh,
            "timezone": site.timezone,
        },
        "cycle": {
            "count": stats.cycles,
            "overruns": stats.overruns,
            "missed": stats.missed,
            "period_s": site.cycle_s,
            "p50_s": stats.percentile_s(0.50),
            "p99_s": stats.percentile_s(0.99),
        },
    }
    if record is None:
        return status | {"mode": "init"}
    snapshot, request, decision = record.snapshot, record.request, record.decision
    return status | {
        "mode": decision.mode.value,
        "now_utc": snapshot.now_utc.isoformat(timespec="seconds"),
        "clock_ok": snapshot.clock_ok,
        "flows": {
            "grid_power_w": snapshot.grid.power_w.good,
            "pv_power_w": snapshot.pv_power_w.good,
            "battery_power_w": _sum([c.power_w for c in snapshot.converters]),
            "load_power_w": history.load_w(snapshot),
            "grid_voltage_v": snapshot.grid.voltage_v.good,
        },
        "loads": [
            {
                "id": load.id,
                "critical": load.critical,
                "on": snapshot.load_on[i],
                "wanted_on": decision.load_on[i],
            }
            for i, load in enumerate(site.loads)
        ],
        "packs": [_pack(site, record, i) for i in range(site.n_packs)],
        "demand": {
            "window_w": request.demand_window_w,
            "target_w": request.demand_target_w,
            "incurred_w": request.incurred_peak_w,
            "window_s": site.grid.demand_window_s,
        },
        "backup": {
            "hours": record.backup.hours,
            "hours_low": record.backup.hours_low,
            "confidence": site.backup.confidence,
            "promised_hours": site.backup.hours,
            "energy_wh": record.backup.energy_wh,
            "required_wh": record.backup.required_wh,
        },
        "dispatch": {
            "source": request.source.value,
            "reason": request.reason,
            "plan_level": request.plan_level,
            # No plan has no age; infinity would be no JSON.
            "plan_age_s": request.plan_age_s if plan else None,
            "solver": plan.solver if plan else None,
            "plan_id": plan.id if plan else None,
            "notes": list(plan.notes) if plan else [],
        },
        "causes": [
            {
                "cause": c.cause,
                "name": c.name,
                "level": c.level,
                "pack": None if c.pack is None else site.packs[c.pack].id,
                "detail": c.detail,
                "first_out": c.first_out,
                "latched": c.latched,
                "acknowledged": c.acknowledged,
                "for_s": snapshot.now_s - c.since_s,
            }
            for c in decision.causes
        ],
    }


def _pack(site: Site, record: CycleRecord, index: int) -> dict[str, Any]:
    spec, reading = site.packs[index], record.snapshot.packs[index]
    estimate = record.estimate
    cells = site.layout.cell_slices[index]
    weakest = int(estimate.weakest_cell[index])
    quality = record.snapshot.cells.voltage_quality[cells][weakest]
    voltage_v, current_a = reading.voltage_v.good, reading.current_a.good
    return {
        "id": spec.id,
        "code": spec.code,
        "chemistry": spec.chemistry.value,
        "link": reading.link.name.lower(),
        "contactor": reading.contactor.good,
        "soc_frac": float(estimate.soc_frac[index]),
        "soc_sigma_frac": float(estimate.soc_sigma_frac[index]),
        "soc_known": bool(estimate.soc_known[index]),
        "health": float(record.limits.health[index]),
        "weakest_cell": weakest + 1,
        "weakest_cell_v": (
            float(record.snapshot.cells.voltage_v[cells][weakest]) if quality <= 1 else None
        ),
        "power_w": None if voltage_v is None or current_a is None else voltage_v * current_a,
        "charge_limit_w": -float(record.decision.pack_low_w[index]),
        "discharge_limit_w": float(record.decision.pack_high_w[index]),
        "limit_reason": record.decision.pack_reason[index],
    }


def _sum(readings: list[Reading]) -> float | None:
    """Sum of what is known, or ``None`` when nothing is."""
    known = [value for reading in readings if (value := reading.good) is not None]
    return sum(known) if known else None
