"""The inputs and outputs of a cycle as an entry of the log holds them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ems.model import (
    CommandResult,
    ConverterState,
    CycleRecord,
    FloatArray,
    Link,
    Quality,
    Reading,
    SetPower,
)
from ems.site import Site


def reading(point: Reading) -> list[Any]:
    """Value, sample time in s and quality code."""
    return [point.value, point.at_s, int(point.quality)]


def pack_inputs(i: int, record: CycleRecord, site: Site) -> dict[str, Any]:
    """What the rows of one pack looked at."""
    snapshot, pack = record.snapshot, record.snapshot.packs[i]
    cells = snapshot.cells
    in_v, in_t = site.layout.cell_slices[i], site.layout.temp_slices[i]
    return {
        "pack": site.packs[i].id,
        "h": float(record.limits.health[i]),
        "cell_v": extremes(
            cells.voltage_v[in_v], cells.voltage_at_s[in_v], cells.voltage_quality[in_v]
        ),
        "temp_c": extremes(cells.temp_c[in_t], cells.temp_at_s[in_t], cells.temp_quality[in_t]),
        "link": int(pack.link),
        "voltage_v": reading(pack.voltage_v),
        "current_a": reading(pack.current_a),
        "soc_frac": reading(pack.soc_frac),
        "alarm_level": reading(pack.alarm_level),
        "contactor": reading(pack.contactor),
        "heartbeat": reading(pack.heartbeat),
        "estimate": {
            "soc_frac": float(record.estimate.soc_frac[i]),
            "soc_sigma_frac": float(record.estimate.soc_sigma_frac[i]),
            "soc_known": bool(record.estimate.soc_known[i]),
            "capacity_ah": float(record.estimate.capacity_ah[i]),
            "group_resistance_max_ohm": float(record.estimate.group_resistance_max_ohm[i]),
        },
    }


def extremes(value: FloatArray, at_s: FloatArray, quality: NDArray[np.uint8]) -> dict[str, Any]:
    """Lowest and highest believable value, each with its 1-based place and sample time."""
    good = np.flatnonzero((quality <= Quality.UNCERTAIN) & ~np.isnan(value))
    unknown = len(value) - len(good)
    if not len(good):
        return {"min": None, "max": None, "unknown": unknown}
    low, high = int(good[value[good].argmin()]), int(good[value[good].argmax()])
    return {
        "min": [float(value[low]), low + 1, float(at_s[low])],
        "max": [float(value[high]), high + 1, float(at_s[high])],
        "unknown": unknown,
    }


def converter_inputs(i: int, record: CycleRecord, site: Site) -> dict[str, Any]:
    """What the rows of one converter looked at."""
    converter = record.snapshot.converters[i]
    return {
        "converter": site.converters[i].id,
        "link": int(converter.link),
        "power_w": reading(converter.power_w),
        "state": reading(converter.state),
        "dc_voltage_v": reading(converter.dc_voltage_v),
    }


def decision(record: CycleRecord) -> dict[str, Any]:
    """What was asked for, what was allowed and what was commanded."""
    made = record.decision
    return {
        "mode": made.mode,
        "low_w": made.low_w.tolist(),
        "high_w": made.high_w.tolist(),
        "power_w": made.power_w.tolist(),
        "requested_w": record.request.converter_power_w.tolist(),
        "contactor": [int(c) for c in made.contactor],
    }


def failed_commands(record: CycleRecord) -> list[CommandResult]:
    """Commands that were not carried out and should have been.

    A converter that forms the grid follows the load: that it takes no set-point is what
    an island is, and written down every second it would bury what matters.
    """
    return [r for r in record.snapshot.results if not r.ok and not _forms_grid(r, record)]


def _forms_grid(result: CommandResult, record: CycleRecord) -> bool:
    if not isinstance(result.command, SetPower):
        return False
    converter = record.snapshot.converters[result.command.converter]
    answers = converter.link is Link.UP and converter.setpoint_w.good is not None
    return answers and converter.state.good == ConverterState.ISLAND


def summary(record: CycleRecord) -> dict[str, Any]:
    """One minute's state of every rule's outcome (the evaluation summary).

    Rounded: this is the bulk of the log, and nothing is recomputed from it.
    """
    made, limits = record.decision, record.limits
    power_kw = float(made.power_w.sum()) / 1000.0
    return {
        "cycle": record.seq,
        "power_w": _short(made.power_w, 0),
        "requested_w": _short(record.request.converter_power_w, 0),
        "pack_low_w": _short(made.pack_low_w, 0),
        "pack_high_w": _short(made.pack_high_w, 0),
        "pack_reason": list(made.pack_reason),
        "health": _short(limits.health, 3),
        "soc_frac": _short(record.estimate.soc_frac, 4),
        "causes": [f"{c.cause}/{c.level}/{c.pack}" for c in made.causes],
        "measured_w": [
            None if c.power_w.good is None else round(c.power_w.good)
            for c in record.snapshot.converters
        ],
        "failed_commands": len(failed_commands(record)),
        "text": f"{made.mode}, {power_kw:+.1f} kW, {len(made.causes)} causes",
    }


def _short(values: FloatArray, digits: int) -> list[float]:
    return [round(v, digits) for v in values.tolist()]
