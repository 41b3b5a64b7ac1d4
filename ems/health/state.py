"""What the estimator remembers from cycle to cycle, and across a restart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ems.health import ocv
from ems.model import BoolArray, FloatArray, IntArray
from ems.site import Site

NEVER_S: Final = -1e9
"""Time stamp of something that has not been seen yet, s."""
UNSTARTED_SIGMA: Final = 10.0
"""SoC sigma of a cell nothing is known about: so large that the first measurement wins."""
BMS_SIGMA: Final = 0.10
"""Sigma of a BMS's SoC before it has been compared with anything."""


@dataclass(frozen=True, slots=True, eq=False)
class CellState:
    """Filter state per reported cell, arrays of shape ``(n_cells,)``."""

    soc_frac: FloatArray
    """Estimated SoC; may leave 0..1 a little, like the OCV tables."""
    sigma_frac: FloatArray
    """Error (1 sigma) apart from what ``carry_frac`` explains."""
    carry_frac: FloatArray
    """SoC moved by counting since a measurement confirmed it, discharge positive. Times
    the relative capacity error it is an error that shrinks again on the way back."""
    seen_at_s: FloatArray
    """Time stamp of the last voltage used, so that none counts twice."""
    resistance_factor: FloatArray
    """Resistance learned from load steps over the value from intake."""
    resistance_steps: FloatArray
    """How many steps taught it (0..``resistance.MOST_STEPS``)."""


@dataclass(frozen=True, slots=True, eq=False)
class PackState:
    """Per pack, arrays of shape ``(n_packs,)``."""

    relax_a: FloatArray
    """Current that has reached the RC pair, A."""
    slow_a: FloatArray
    """Mean of the current's magnitude over the last quarter of an hour, A."""
    current_seen_s: FloatArray
    """When a usable current was last present (cycle time), s."""
    bms_bias_frac: FloatArray
    """BMS SoC minus ours, as far as known."""
    bms_sigma_frac: FloatArray
    """Sigma of the BMS SoC after taking off the bias."""
    bms_soc_frac: FloatArray
    """Last BMS SoC used."""
    bms_at_s: FloatArray
    bms_moved_frac: FloatArray
    """SoC counted since ``bms_at_s``, discharge positive."""
    bms_followed: BoolArray
    """Whether current was known ever since ``bms_at_s``, so that a jump can be told."""
    bms_excess_frac: FloatArray
    """What the BMS SoC moved lately beyond what the current explains."""


@dataclass(frozen=True, slots=True, eq=False)
class StepState:
    """The sample before, for resistance from load steps; not kept over a restart."""

    voltage_v: FloatArray
    """Per reported cell; meaningless where not ``usable``."""
    voltage_at_s: FloatArray
    usable: BoolArray
    current_a: FloatArray
    """Per pack; 0 where not ``current_known``."""
    current_at_s: FloatArray
    current_known: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class SlowState:
    """What changes slowly: computed anew with every voltage correction, per pack."""

    at_s: float
    """Cycle time of the last correction, s."""
    sigma_frac: FloatArray
    """Sigma of the pack's SoC."""
    group_ohm: FloatArray
    """Worst group by intake at the present temperature, ohm."""
    pack_ohm: FloatArray
    worst_ohm: FloatArray
    """Worst group by intake and by load steps, ohm."""
    weakest_cell: IntArray
    fullest_cell: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class HealthState:
    """State of the estimator."""

    layout: tuple[tuple[str, int], ...]
    """Pack ids and reported cells, in site order: which numbers are whose."""
    now_s: float | None
    """Time of the last cycle; ``None`` before the first one of this process."""
    now_utc: datetime | None
    """Wall clock of the last cycle with a good clock; bridges a restart."""
    day: int
    """Latest date (proleptic ordinal) a good clock has shown; ages the intake test."""
    cells: CellState
    packs: PackState
    step: StepState
    slow: SlowState


def initial(site: Site) -> HealthState:
    """State of a controller that has seen nothing: SoC 50 % with no confidence at all."""
    n_cells, n_packs = site.layout.n_cells, site.n_packs
    return HealthState(
        layout=tuple((pack.id, pack.reported_cells) for pack in site.packs),
        now_s=None,
        now_utc=None,
        day=0,
        cells=CellState(
            soc_frac=np.full(n_cells, 0.5),
            sigma_frac=np.full(n_cells, UNSTARTED_SIGMA),
            carry_frac=np.zeros(n_cells),
            seen_at_s=np.full(n_cells, NEVER_S),
            resistance_factor=np.ones(n_cells),
            resistance_steps=np.zeros(n_cells),
        ),
        packs=PackState(
            relax_a=np.zeros(n_packs),
            slow_a=np.zeros(n_packs),
            current_seen_s=np.full(n_packs, NEVER_S),
            bms_bias_frac=np.zeros(n_packs),
            bms_sigma_frac=np.full(n_packs, BMS_SIGMA),
            bms_soc_frac=np.zeros(n_packs),
            bms_at_s=np.full(n_packs, NEVER_S),
            bms_moved_frac=np.zeros(n_packs),
            bms_followed=np.zeros(n_packs, np.bool_),
            bms_excess_frac=np.zeros(n_packs),
        ),
        step=StepState(
            voltage_v=np.zeros(n_cells),
            voltage_at_s=np.full(n_cells, NEVER_S),
            usable=np.zeros(n_cells, np.bool_),
            current_a=np.zeros(n_packs),
            current_at_s=np.full(n_packs, NEVER_S),
            current_known=np.zeros(n_packs, np.bool_),
        ),
        slow=SlowState(
            at_s=NEVER_S,
            sigma_frac=np.full(n_packs, 0.5),
            group_ohm=np.zeros(n_packs),
            pack_ohm=np.zeros(n_packs),
            worst_ohm=np.zeros(n_packs),
            weakest_cell=np.zeros(n_packs, np.int64),
            fullest_cell=np.zeros(n_packs, np.int64),
        ),
    )


_CELL_FIELDS: Final = (
    "soc_frac",
    "sigma_frac",
    "carry_frac",
    "resistance_factor",
    "resistance_steps",
)
_PACK_FIELDS: Final = ("bms_bias_frac", "bms_sigma_frac")
_RANGE: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "soc_frac": (ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC),
        "sigma_frac": (0.0, UNSTARTED_SIGMA),
        "carry_frac": (-1e6, 1e6),
        "resistance_factor": (0.0, 10.0),
        "resistance_steps": (0.0, 1e3),
        "bms_bias_frac": (-1.0, 1.0),
        "bms_sigma_frac": (0.0, 1.0),
    }
)
"""What :func:`load` accepts: a number outside would lead look-ups out of their tables."""
ROUNDING: Final = 1e-6
LAST_DAY: Final = date.max.toordinal()


def save(state: HealthState) -> dict[str, Any]:
    """What must survive a restart, as JSON-able data: learned values and the wall clock."""
    packs: dict[str, Any] = {}
    first = 0
    for index, (pack_id, n_cells) in enumerate(state.layout):
        cells = slice(first, first + n_cells)
        packs[pack_id] = {
            "cells": {name: getattr(state.cells, name)[cells].tolist() for name in _CELL_FIELDS},
            "pack": {name: float(getattr(state.packs, name)[index]) for name in _PACK_FIELDS},
        }
        first += n_cells
    return {
        "now_utc": None if state.now_utc is None else state.now_utc.isoformat(),
        "day": state.day,
        "packs": packs,
    }


def load(data: dict[str, Any], site: Site) -> HealthState:
    """State after a restart. A pack that is new, or reports other cells, starts unknown.

    Raises:
        KeyError, ValueError, TypeError: the data are not what :func:`save` writes, or
            hold a number the filter never reaches; the caller starts from
            :func:`initial` instead.
    """
    fresh = initial(site)
    cells = {name: getattr(fresh.cells, name).copy() for name in _CELL_FIELDS}
    packs = {name: getattr(fresh.packs, name).copy() for name in _PACK_FIELDS}
    saved_packs = data["packs"]
    if not isinstance(saved_packs, dict):
        raise TypeError("saved packs are no mapping")
    for index, pack in enumerate(site.packs):
        saved = saved_packs.get(pack.id)
        if saved is None or len(saved["cells"]["soc_frac"]) != pack.reported_cells:
            continue
        for name in _CELL_FIELDS:
            values = _within(saved["cells"][name], name, (pack.reported_cells,))
            cells[name][site.layout.cell_slices[index]] = values
        for name in _PACK_FIELDS:
            packs[name][index] = _within(saved["pack"][name], name, ())
    return replace(
        fresh,
        now_utc=_utc(data["now_utc"]),
        day=_day(data["day"]),
        cells=replace(fresh.cells, **cells),
        packs=replace(fresh.packs, **packs),
    )


def _within(saved: Any, name: str, shape: tuple[int, ...]) -> FloatArray:
    """Numbers of this shape, in the range of this field."""
    values = np.array(saved)
    if values.shape != shape or values.dtype.kind not in "if":
        raise ValueError(f"saved {name} is not {shape or 'one'} of numbers")
    low, high = _RANGE[name]
    inside = (values >= low - ROUNDING) & (values <= high + ROUNDING)
    if not inside.all():  # NaN is in no range
        raise ValueError(f"saved {name} is not within {low}..{high}")
    return values.astype(np.float64)


def _utc(saved: Any) -> datetime | None:
    if saved is None:
        return None
    at = datetime.fromisoformat(saved)
    if at.tzinfo is None:
        raise ValueError(f"saved time {saved} has no time zone")
    return at


def _day(saved: Any) -> int:
    if not isinstance(saved, int) or not 0 <= saved <= LAST_DAY:
        raise ValueError(f"saved day {saved!r} is no date")
    return saved
