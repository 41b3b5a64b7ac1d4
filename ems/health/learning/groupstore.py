"""What of the slow estimators survives a restart, per pack, as JSON-able data.

Anchors are the bulk: their voltages are kept as tenths of a millivolt in base64, about
300 bytes for a group. What a search can be repeated for is not kept.
"""

import base64
import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ems.health.learning import groups, knee, pairs, segments
from ems.health.learning.groups import GroupState
from ems.health.learning.segments import SLOTS, Anchors
from ems.health.prepare import prepare
from ems.model import FloatArray
from ems.site import Site

STEP_V: Final = 1e-4
MISSING: Final = 65_535
MOST: Final = 1e9
_COUNTS: Final = ("added", "day", "discharges", "charges")
_PER_CELL: Final = ("capacity_ah", "capacity_sigma_ah", "excess_per_h", "excess_sigma_per_h")
_FLAGS: Final = ("capacity_good", "leaking")
_PER_PACK: Final = ("drawn_ah", "through_ah", "curve_v")
_EACH: Final = ("efc", "soh_frac", "day")


def save(state: GroupState, index: int, own: slice) -> dict[str, Any]:
    """One pack's part of the state.

    Args:
        state: Of the site.
        index: The pack.
        own: Its reported cells.
    """
    anchors, learning, learned = state.anchors[index], state.resistance, state.learned
    kept = segments.filled(anchors)
    tenths = np.rint(anchors.volts[kept] / STEP_V)
    tenths = np.where(np.isfinite(tenths), tenths, MISSING).astype("<u2")
    handed = state.handed
    return {
        "intake": handed.intake[:, index].tolist(),
        "anchors": {
            "slot": np.flatnonzero(kept).tolist(),
            "age_h": (state.hours - anchors.at_h[kept]).round(4).tolist(),
            "ah": anchors.ah[kept].round(4).tolist(),
            "epoch": (int(state.epoch[index]) - anchors.epoch[kept]).tolist(),
            "sigma_v": anchors.sigma_v[kept].round(6).tolist(),
            "volts": base64.b64encode(tenths.tobytes()).decode("ascii"),
            "turn_ah": anchors.turn_ah,
            **{name: getattr(anchors, name) for name in _COUNTS},
        },
        "pack": {name: float(getattr(state, name)[index]) for name in _PER_PACK},
        "capacity_day": int(state.capacity_day[index]),
        "floor_frac": _finite_or_none(float(handed.floor_frac[index])),
        "ceiling_ratio": float(handed.ceiling_ratio[index]),
        "learned": {name: getattr(learned, name)[own].tolist() for name in (*_PER_CELL, *_FLAGS)},
        "resistance": {
            "steps": float(learning.steps[index]),
            "information": learning.information[index].ravel().tolist(),
            "response": learning.response[:, own].ravel().tolist(),
        },
        "history": {name: getattr(state.history[index], name).tolist() for name in _EACH},
    }


def load(saved: dict[str, dict[str, Any]], fresh: GroupState, site: Site) -> GroupState:
    """State after a restart.

    Counting was interrupted, so every pack begins a new stretch; its anchors stay. A pack
    whose intake has changed keeps what it learned and forgets what was tightened.

    Args:
        saved: Per pack id what :func:`save` wrote; packs without it start fresh.
        fresh: Initial state of the site.
        site: The site.

    Raises:
        KeyError, ValueError, TypeError: the data are not what :func:`save` writes.
    """
    anchors, history = list(fresh.anchors), list(fresh.history)
    learning, prepared = fresh.resistance, prepare(site)
    packs = {name: getattr(fresh, name).copy() for name in _PER_PACK}
    learned = {name: getattr(fresh.learned, name).copy() for name in (*_PER_CELL, *_FLAGS)}
    information, response = learning.information.copy(), learning.response.copy()
    steps, days = learning.steps.copy(), fresh.capacity_day.copy()
    floor, ceiling = fresh.handed.floor_frac.copy(), fresh.handed.ceiling_ratio.copy()
    for index, pack in enumerate(site.packs):
        data = saved.get(pack.id)
        if data is None:
            continue
        own, n = site.layout.cell_slices[index], pack.reported_cells
        anchors[index] = _anchors(data["anchors"], n)
        for name in _PER_PACK:
            packs[name][index] = _numbers(data["pack"][name], (), _RANGE[name])
        for name in _PER_CELL:
            learned[name][own] = _numbers(data["learned"][name], (n,), _RANGE[name])
        for name in _FLAGS:
            learned[name][own] = _flags(data["learned"][name], n)
        kept = data["resistance"]
        size = pairs.N
        steps[index] = _numbers(kept["steps"], (), (0.0, MOST))
        matrix = _numbers(kept["information"], (size * size,), (-1e15, 1e15)).reshape(size, size)
        if not (np.diag(matrix) >= 0.0).all() or not np.allclose(matrix, matrix.T):
            raise ValueError("saved resistance information is no sum of squares")
        information[index] = matrix
        flat = _numbers(kept["response"], (size * n,), (-1e15, 1e15))
        response[:, own] = flat.reshape(size, n)
        days[index] = _count(data["capacity_day"])
        history[index] = _history(data["history"])
        if np.array_equal(data["intake"], fresh.handed.intake[:, index]):
            if data["floor_frac"] is not None:
                floor[index] = _numbers(data["floor_frac"], (), (-5.0, 2.0))
            ceiling[index] = _numbers(data["ceiling_ratio"], (), (0.0, 1e3))
    learning = replace(learning, information=information, response=response, steps=steps)
    after = replace(
        fresh,
        **packs,
        resistance=learning,
        anchors=tuple(anchors),
        epoch=np.ones(site.n_packs, np.int64),
        capacity_day=days,
        history=tuple(history),
        knees=tuple(knee.find(h, p.chemistry) for h, p in zip(history, site.packs, strict=True)),
        learned=replace(fresh.learned, **learned),
        handed=replace(fresh.handed, floor_frac=floor, ceiling_ratio=ceiling),
    )
    return groups.restored(after, prepared)


_RANGE: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "drawn_ah": (-MOST, MOST),
        "through_ah": (0.0, MOST),
        "curve_v": (0.0, 1.0),
        "capacity_ah": (0.0, 1e6),
        "capacity_sigma_ah": (0.0, 1e6),
        "excess_per_h": (-10.0, 10.0),
        "excess_sigma_per_h": (0.0, 10.0),
    }
)


def _anchors(data: dict[str, Any], n_cells: int) -> Anchors:
    slots = np.array(data["slot"], np.int64)
    kept = slots.size
    if kept and not (np.unique(slots).size == kept and 0 <= slots.min() <= slots.max() < SLOTS):
        raise ValueError("saved anchors are in slots that do not exist")
    tenths = np.frombuffer(base64.b64decode(data["volts"], validate=True), "<u2")
    if tenths.size != kept * n_cells:
        raise ValueError("saved anchors do not fit the cells")
    volts = np.where(tenths == MISSING, np.nan, tenths * STEP_V).reshape(kept, n_cells)
    empty = segments.empty(n_cells)
    at_h, ah, epoch = empty.at_h.copy(), empty.ah.copy(), empty.epoch.copy()
    sigma_v, all_volts = empty.sigma_v.copy(), empty.volts.copy()
    at_h[slots] = -_numbers(data["age_h"], (kept,), (0.0, MOST))
    ah[slots] = _numbers(data["ah"], (kept,), (-MOST, MOST))
    epoch[slots] = -_numbers(data["epoch"], (kept,), (0.0, MOST)).astype(np.int64)
    sigma_v[slots] = _numbers(data["sigma_v"], (kept,), (0.0, 1.0))
    all_volts[slots] = volts
    turn_ah = float(_numbers(data["turn_ah"], (), (-MOST, MOST)))
    return replace(
        segments.broken(empty),
        at_h=at_h,
        ah=ah,
        epoch=epoch,
        sigma_v=sigma_v,
        volts=all_volts,
        turn_ah=turn_ah,
        added=_count(data["added"]),
        day=_count(data["day"]),
        discharges=_count(data["discharges"]),
        charges=_count(data["charges"]),
    )


def _history(data: dict[str, Any]) -> knee.History:
    count = len(data["efc"])
    if count > knee.MOST_NOTES:
        raise ValueError("saved history is longer than any that is kept")
    efc, soh, day = (_numbers(data[name], (count,), (0.0, 1e7)) for name in _EACH)
    return knee.History(efc, soh, day)


def _numbers(saved: Any, shape: tuple[int, ...], allowed: tuple[float, float]) -> FloatArray:
    """Numbers of this shape and range."""
    values = np.array(saved)
    if values.shape != shape and not (values.size == 0 and shape == (0,)):
        raise ValueError(f"saved values are not of shape {shape}")
    if values.size and values.dtype.kind not in "if":
        raise ValueError("saved values are no numbers")
    values = values.astype(np.float64)
    if not ((values >= allowed[0]) & (values <= allowed[1])).all():  # NaN is in no range
        raise ValueError(f"saved values are not within {allowed[0]:g}..{allowed[1]:g}")
    return values


def _flags(saved: Any, count: int) -> NDArray[np.bool_]:
    values = np.array(saved)
    if values.shape != (count,) or values.dtype.kind != "b":
        raise ValueError("saved flags are none")
    return values


def _count(saved: Any) -> int:
    if not isinstance(saved, int) or isinstance(saved, bool) or not 0 <= saved <= MOST:
        raise ValueError(f"saved count {saved!r} is none")
    return saved


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
