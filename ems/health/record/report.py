"""Estimates as a table, as JSON and as a picture."""

from pathlib import Path
from typing import Any

import numpy as np

from ems.health.record.estimate import Estimate, Value

PATH_POINTS = 200
"""Points of the SoC path in JSON."""


def table(found: list[Estimate]) -> str:
    """The estimates as lines of text; a single record in full, several as a table."""
    if len(found) == 1:
        return _one(found[0])
    width = max(len(one.record.name) for one in found)
    lines = [f"{'record':<{width}}  {'capacity Ah':>16}  {'R0 mohm':>16}  SoC from-to  remark"]
    for one in found:
        capacity, r0 = _short(one.capacity_ah, 1.0), _short(one.r0_ohm, 1e3)
        figures = f"{capacity:>16}  {r0:>16}  {_ends(one):<11}"
        lines.append(f"{one.record.name:<{width}}  {figures}  {_remark(one)}")
    good = sum(one.capacity_ah.quality == "good" for one in found)
    lines.append(f"{len(found)} records, capacity good in {good}")
    return "\n".join(lines)


def as_json(found: list[Estimate]) -> list[dict[str, Any]]:
    """The estimates as JSON-able objects, units in the names."""
    return [
        {
            "record": one.record.name,
            "rows": int(one.record.t_s.size),
            "capacity_ah": one.capacity_ah.value,
            "capacity_sigma_ah": one.capacity_ah.sigma,
            "capacity_source": one.capacity_ah.source,
            "capacity_quality": one.capacity_ah.quality,
            "capacity_reason": one.capacity_ah.reason,
            "r0_ohm": one.r0_ohm.value,
            "r0_sigma_ohm": one.r0_ohm.sigma,
            "r0_source": one.r0_ohm.source,
            "r0_quality": one.r0_ohm.quality,
            "r0_reason": one.r0_ohm.reason,
            "r0_25c_ohm": one.r0_25c_ohm.value,
            "r0_25c_sigma_ohm": one.r0_25c_ohm.sigma,
            "r0_online_ohm": one.r0_online_ohm.value,
            "r0_online_sigma_ohm": one.r0_online_ohm.sigma,
            "temperature_c": one.temp_c,
            "largest_swing_ah": one.largest_swing_ah,
            "span_frac": one.span_frac,
            "steps": [
                {"line": s.line, "t_s": s.at_s, "from_a": s.from_a, "to_a": s.to_a,
                 "after_s": s.after_s, "resistance_ohm": s.resistance_ohm}
                for s in one.used
            ],
            "soc_path": _path(one),
            "flaws": [{"kind": flaw.kind, "text": flaw.text} for flaw in one.flaws],
            "notes": list(one.notes),
        }
        for one in found
    ]  # fmt: skip


def _path(one: Estimate) -> dict[str, list[float]]:
    n = one.t_s.size
    rows = (
        np.unique(np.linspace(0, n - 1, min(n, PATH_POINTS)).astype(int)) if n else np.zeros(0, int)
    )
    return {
        "t_s": [round(float(x), 1) for x in one.t_s[rows]],
        "soc_frac": [round(float(x), 4) for x in one.soc_frac[rows]],
        "soc_sigma_frac": [round(float(x), 4) for x in one.soc_sigma_frac[rows]],
    }


def _one(one: Estimate) -> str:
    capacity, r0, r25 = one.capacity_ah, one.r0_ohm, one.r0_25c_ohm
    at = "" if one.temp_c is None else f" at {one.temp_c:.1f} degC"
    lines = [
        f"capacity      {_full(capacity, 1.0, 'Ah')}",
        f"R0            {_full(r0, 1e3, 'mohm')}{at if r0.value is not None else ''}",
    ]
    if r25.value is not None:
        lines.append(f"R0 at 25 degC {_full(r25, 1e3, 'mohm')}")
    if one.r0_online_ohm.value is not None and r0.source != "online":
        lines.append(f"R0 online     {_full(one.r0_online_ohm, 1e3, 'mohm')}, to compare")
    if one.t_s.size:
        first, last = one.soc_sigma_frac[0], one.soc_sigma_frac[-1]
        lines.append(
            f"SoC           {100 * one.soc_frac[0]:.1f} ± {100 * first:.1f} % at the first row,"
            f" {100 * one.soc_frac[-1]:.1f} ± {100 * last:.1f} % at the last"
        )
    lines.append(
        f"record        {one.record.t_s.size} rows, {np.ptp(one.record.t_s) / 3600.0:.2f} h,"
        f" at most {one.largest_swing_ah:.4g} Ah in one go, {len(one.used)} load steps used"
    )
    lines += [f"flaw          {flaw.text}" for flaw in one.flaws]
    lines += [f"note          {note}" for note in one.notes]
    return "\n".join(lines)


def _full(value: Value, factor: float, unit: str) -> str:
    if value.value is None or value.sigma is None:
        return f"none: {value.reason}"
    text = f"{value.value * factor:.4g} ± {value.sigma * factor:.2g} {unit}"
    return f"{text} ({value.source}, {value.quality})" + (
        f": {value.reason}" if value.reason else ""
    )


def _short(value: Value, factor: float) -> str:
    if value.value is None or value.sigma is None:
        return "-"
    mark = "" if value.quality == "good" else "~"
    return f"{mark}{value.value * factor:.4g} ± {value.sigma * factor:.2g}"


def _ends(one: Estimate) -> str:
    if not one.t_s.size:
        return "-"
    return f"{100 * one.soc_frac[0]:.0f}-{100 * one.soc_frac[-1]:.0f} %"


def _remark(one: Estimate) -> str:
    if one.flaws:
        return one.flaws[0].text
    return one.capacity_ah.reason or one.r0_ohm.reason


def plot(found: list[Estimate], path: Path) -> None:
    """Draw one record (SoC, voltage, current), or capacity and R0 over several.

    Raises:
        OSError: the picture cannot be written.
    """
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    figure = _draw_one(plt, found[0]) if len(found) == 1 else _draw_many(plt, found)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_one(plt: Any, one: Estimate) -> Any:
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(10, 8), sharex=True, layout="constrained"
    )
    hours = one.record.t_s / 3600.0
    low, high = one.soc_frac - one.soc_sigma_frac, one.soc_frac + one.soc_sigma_frac
    top.fill_between(one.t_s / 3600.0, 100 * low, 100 * high, alpha=0.3, lw=0, label="± 1 sigma")
    top.plot(one.t_s / 3600.0, 100 * one.soc_frac, lw=1.2, label="SoC")
    top.set_ylabel("SoC, %")
    top.set_ylim(-5, 105)
    top.legend(loc="best", fontsize=8)
    middle.plot(hours, one.record.voltage_v, color="tab:green", lw=1.0)
    if one.used:
        at_s = np.array([step.at_s for step in one.used])
        middle.plot(
            at_s / 3600.0, np.interp(at_s, one.record.t_s, one.record.voltage_v), "rv", ms=5,
            label=f"{len(one.used)} load steps used for R0",
        )  # fmt: skip
        middle.legend(loc="best", fontsize=8)
    middle.set_ylabel("Voltage, V")
    bottom.plot(hours, one.record.current_a, color="tab:orange", lw=1.0)
    bottom.axhline(0.0, color="0.7", lw=0.6)
    bottom.set_ylabel("Current, A\n(discharge positive)")
    bottom.set_xlabel("Time, h")
    for axes in (top, middle, bottom):
        axes.grid(alpha=0.25)
    capacity, r0 = _short(one.capacity_ah, 1.0), _short(one.r0_ohm, 1e3)
    name = f" {one.record.name}" if one.record.name else ""
    figure.suptitle(f"{one.record.path.name}{name}: capacity {capacity} Ah, R0 {r0} mΩ")
    return figure


def _draw_many(plt: Any, found: list[Estimate]) -> Any:
    figure, axes = plt.subplots(2, 1, figsize=(11, 7), sharex=True, layout="constrained")
    colours = {"good": "tab:blue", "coarse": "tab:orange"}
    for panel, name, factor, label in (
        (axes[0], "capacity_ah", 1.0, "Capacity, Ah"),
        (axes[1], "r0_ohm", 1e3, "R0, mΩ"),
    ):
        values = [getattr(one, name) for one in found]
        for quality, colour in colours.items():
            rows = [k for k, v in enumerate(values) if v.value is not None and v.quality == quality]
            if rows:
                panel.errorbar(
                    rows,
                    [values[k].value * factor for k in rows],
                    yerr=[values[k].sigma * factor for k in rows],
                    fmt="o", ms=3, lw=0.8, color=colour, label=f"{quality}, ± 1 sigma",
                )  # fmt: skip
        panel.set_ylabel(label)
        panel.set_ylim(bottom=0.0)
        panel.grid(alpha=0.25)
        panel.legend(loc="best", fontsize=8)
    few = np.unique(np.linspace(0, len(found) - 1, min(len(found), 24)).astype(int))
    axes[1].set_xticks(
        few, [found[k].record.name for k in few], rotation=60, ha="right", fontsize=7
    )
    figure.suptitle(f"{found[0].record.path.name}: {len(found)} records")
    return figure
