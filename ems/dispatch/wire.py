"""What control and the planner process say to each other: one JSON object a line.

Numbers survive the round trip exactly, because Python prints the shortest text
that reads back as the same float. Nothing here knows how a plan is made, so the
control process can import it.
"""

import json
from datetime import datetime
from typing import Any, Final

import numpy as np

from ems.model import FloatArray, Plan, PlanRequest

PROTOCOL: Final = 1


def encode_request(request: PlanRequest) -> str:
    """One line without its newline."""
    return _line(
        {
            "kind": "request",
            "id": request.id,
            "now_utc": request.now_utc.isoformat(),
            "energy_wh": request.energy_wh.tolist(),
            "headroom_wh": request.headroom_wh.tolist(),
            "charge_w": request.charge_w.tolist(),
            "discharge_w": request.discharge_w.tolist(),
            "reserve_wh": request.reserve_wh,
            "incurred_peak_w": request.incurred_peak_w,
            "window_w": request.window_w,
            "window_elapsed_frac": request.window_elapsed_frac,
            "converter_power_w": request.converter_power_w.tolist(),
            "history": [[at.isoformat(), load, pv] for at, load, pv in request.history],
        }
    )


def decode_request(line: str) -> PlanRequest:
    """The request in one line.

    Raises:
        ValueError: the line is not a request of this protocol.
    """
    data = _object(line, "request")
    try:
        return PlanRequest(
            id=data["id"],
            now_utc=datetime.fromisoformat(data["now_utc"]),
            energy_wh=_array(data["energy_wh"]),
            headroom_wh=_array(data["headroom_wh"]),
            charge_w=_array(data["charge_w"]),
            discharge_w=_array(data["discharge_w"]),
            reserve_wh=data["reserve_wh"],
            incurred_peak_w=data["incurred_peak_w"],
            window_w=data["window_w"],
            window_elapsed_frac=data["window_elapsed_frac"],
            converter_power_w=_array(data["converter_power_w"]),
            history=tuple(
                (datetime.fromisoformat(at), load, pv) for at, load, pv in data["history"]
            ),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a plan request: {error!r}") from error


def encode_plan(plan: Plan) -> str:
    """One line without its newline."""
    return _line(
        {
            "kind": "plan",
            "id": plan.id,
            "made_at_utc": plan.made_at_utc.isoformat(),
            "start_utc": plan.start_utc.isoformat(),
            "step_s": plan.step_s,
            "level": plan.level,
            "solver": plan.solver,
            "peak_target_w": plan.peak_target_w,
            "converter_power_w": plan.converter_power_w.tolist(),
            "grid_power_w": plan.grid_power_w.tolist(),
            "load_power_w": plan.load_power_w.tolist(),
            "pv_power_w": plan.pv_power_w.tolist(),
            "reserve_slack_wh": plan.reserve_slack_wh,
            "solve_s": plan.solve_s,
            "notes": list(plan.notes),
        }
    )


def decode_plan(line: str) -> Plan:
    """The plan in one line.

    Raises:
        ValueError: the line is not a plan of this protocol.
    """
    data = _object(line, "plan")
    try:
        return Plan(
            id=data["id"],
            made_at_utc=datetime.fromisoformat(data["made_at_utc"]),
            start_utc=datetime.fromisoformat(data["start_utc"]),
            step_s=data["step_s"],
            level=data["level"],
            solver=data["solver"],
            peak_target_w=data["peak_target_w"],
            converter_power_w=_array(data["converter_power_w"]),
            grid_power_w=_array(data["grid_power_w"]),
            load_power_w=_array(data["load_power_w"]),
            pv_power_w=_array(data["pv_power_w"]),
            reserve_slack_wh=data["reserve_slack_wh"],
            solve_s=data["solve_s"],
            notes=tuple(data["notes"]),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"not a plan: {error!r}") from error


def encode_ready(pid: int, notes: tuple[str, ...] = ()) -> str:
    """First line of a planner that has imported its solvers and built its problem."""
    return _line({"ready": True, "protocol": PROTOCOL, "pid": pid, "notes": list(notes)})


def is_ready(line: str) -> bool:
    """Whether a line is the greeting of a planner that speaks our protocol."""
    try:
        data = json.loads(line)
    except json.JSONDecodeError:
        return False
    return isinstance(data, dict) and data.get("ready") is True and data.get("protocol") == PROTOCOL


def encode_error(request_id: str, reason: str) -> str:
    """Answer to a line the planner could not use; never a plan."""
    return _line({"kind": "error", "id": request_id, "reason": reason})


def decode_error(line: str) -> tuple[str, str] | None:
    """(request id, reason) when the line is an error answer, else ``None``."""
    try:
        data = json.loads(line)
    except json.JSONDecodeError:
        return None
    if isinstance(data, dict) and data.get("kind") == "error":
        return str(data.get("id", "")), str(data.get("reason", ""))
    return None


def _line(data: dict[str, Any]) -> str:
    # A NaN would be written as a word no other JSON reader accepts: refuse it here.
    return json.dumps(data, separators=(",", ":"), allow_nan=False)


def _object(line: str, kind: str) -> dict[str, Any]:
    data = json.loads(line)
    if not isinstance(data, dict) or data.get("kind") != kind:
        raise ValueError(f"not a {kind}: {line[:80]!r}")
    return data


def _array(values: list[Any]) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
