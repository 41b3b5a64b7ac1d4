"""What the estimator remembers from cycle to cycle, and across a restart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from ems.health import ocv
from ems.health.learning import groups, groupstore
from ems.health.learning.groups import GroupState
from ems.health.prepare import pace_var, prepare
from ems.health.soc import doubt
from ems.health.soc.doubt import DoubtState
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
    """Error (1 sigma) that none of the following explains."""
    pace_frac: FloatArray
    """SoC moved per Ah over what the pack's capacity says, minus 1; > 0: a smaller group."""
    pace_var: FloatArray
    """Variance of it..."""
    pace_cov: FloatArray
    """...and covariance with the SoC error, apart from what the following explains."""
    curve_frac: FloatArray
    """SoC error (1 sigma, signed) by the OCV curve: what one sigma of curve too high adds."""
    drop_frac: FloatArray
    """The same for the voltage drop under load."""
    offset_frac: FloatArray
    """The same for the offset of the current sensor."""
    pace_curve: FloatArray
    """What one sigma of the curve adds to the error of ``pace_frac``..."""
    pace_drop: FloatArray
    pace_offset: FloatArray
    """...and of drop and offset."""
    seen_at_s: FloatArray
    """Time stamp of the last voltage used, so that none counts twice."""
    resistance_factor: FloatArray
    """Resistance learned from load steps over the value from intake."""
    resistance_steps: FloatArray
    """How many steps taught it (0..``groups.MOST_STEPS``)."""


@dataclass(frozen=True, slots=True, eq=False)
class PackState:
    """Per pack, arrays of shape ``(n_packs,)``."""

    relax_a: FloatArray
    """Current that has reached the RC pair, A."""
    slow_a: FloatArray
    """Mean of the current's magnitude over the last quarter of an hour, A."""
    travel_frac: FloatArray
    """SoC moved either way since the voltages were last looked at, >= 0."""
    drawn_frac: FloatArray
    """The same with its sign, discharge positive."""
    curve_fresh: FloatArray
    """Evidence about the OCV curve that waits for a clear moment."""
    curve_v2: FloatArray
    """Squared distance of the cells from the OCV curve seen so far, V², weighted."""
    curve_weight: FloatArray
    """Sum of those weights; one is about a tenth of the SoC range."""
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
    groups: GroupState
    doubt: DoubtState
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
            pace_frac=np.zeros(n_cells),
            pace_var=pace_var(site)[site.layout.pack_of_cell],
            pace_cov=np.zeros(n_cells),
            curve_frac=np.zeros(n_cells),
            drop_frac=np.zeros(n_cells),
            offset_frac=np.zeros(n_cells),
            pace_curve=np.zeros(n_cells),
            pace_drop=np.zeros(n_cells),
            pace_offset=np.zeros(n_cells),
            seen_at_s=np.full(n_cells, NEVER_S),
            resistance_factor=np.ones(n_cells),
            resistance_steps=np.zeros(n_cells),
        ),
        packs=PackState(
            relax_a=np.zeros(n_packs),
            slow_a=np.zeros(n_packs),
            travel_frac=np.zeros(n_packs),
            drawn_frac=np.zeros(n_packs),
            curve_fresh=np.zeros(n_packs),
            curve_v2=np.zeros(n_packs),
            curve_weight=np.zeros(n_packs),
            current_seen_s=np.full(n_packs, NEVER_S),
            bms_bias_frac=np.zeros(n_packs),
            bms_sigma_frac=np.full(n_packs, BMS_SIGMA),
            bms_soc_frac=np.zeros(n_packs),
            bms_at_s=np.full(n_packs, NEVER_S),
            bms_moved_frac=np.zeros(n_packs),
            bms_followed=np.zeros(n_packs, np.bool_),
            bms_excess_frac=np.zeros(n_packs),
        ),
        groups=groups.initial(site, prepare(site)),
        doubt=doubt.initial(n_packs, n_cells),
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
    "pace_frac",
    "pace_var",
    "pace_cov",
    "curve_frac",
    "drop_frac",
    "offset_frac",
    "pace_curve",
    "pace_drop",
    "pace_offset",
    "resistance_factor",
    "resistance_steps",
)
_PACK_FIELDS: Final = ("bms_bias_frac", "bms_sigma_frac", "curve_v2", "curve_weight")
_SINCE_LATER: Final = frozenset((*_CELL_FIELDS[2:11], "curve_v2", "curve_weight"))
"""Fields that files of older versions do not hold; they start fresh."""
_RANGE: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {
        "soh_frac": (0.01, 1.5),
        "soc_frac": (ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC),
        "sigma_frac": (0.0, UNSTARTED_SIGMA),
        "pace_frac": (-1.0, 2.0),
        "pace_var": (0.0, 10.0),
        "pace_cov": (-100.0, 100.0),
        "curve_frac": (-UNSTARTED_SIGMA, UNSTARTED_SIGMA),
        "drop_frac": (-UNSTARTED_SIGMA, UNSTARTED_SIGMA),
        "offset_frac": (-UNSTARTED_SIGMA, UNSTARTED_SIGMA),
        "pace_curve": (-10.0, 10.0),
        "pace_drop": (-10.0, 10.0),
        "pace_offset": (-10.0, 10.0),
        "resistance_factor": (0.0, 10.0),
        "resistance_steps": (0.0, 1e3),
        "bms_bias_frac": (-1.0, 1.0),
        "bms_sigma_frac": (0.0, 1.0),
        "curve_v2": (0.0, 1e3),
        "curve_weight": (0.0, 1e3),
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
            "groups": groupstore.save(state.groups, index, cells),
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
    learned: dict[str, Any] = {}
    saved_packs = data["packs"]
    if not isinstance(saved_packs, dict):
        raise TypeError("saved packs are no mapping")
    for index, pack in enumerate(site.packs):
        saved = saved_packs.get(pack.id)
        if saved is None or len(saved["cells"]["soc_frac"]) != pack.reported_cells:
            continue
        if "groups" in saved:  # an older version learned nothing about them
            learned[pack.id] = saved["groups"]
        for name in _present(_CELL_FIELDS, saved["cells"]):
            values = _within(saved["cells"][name], name, (pack.reported_cells,))
            cells[name][site.layout.cell_slices[index]] = values
        for name in _present(_PACK_FIELDS, saved["pack"]):
            packs[name][index] = _within(saved["pack"][name], name, ())
        if "groups" in saved:
            # The pace is relative to the capacity of intake: a new record changes the unit.
            renewed = pack.soh_frac / _within(saved["groups"]["intake"][0], "soh_frac", ())
            if renewed != 1.0:
                _rescale(cells, site.layout.cell_slices[index], float(renewed))
    return replace(
        fresh,
        now_utc=_utc(data["now_utc"]),
        day=_day(data["day"]),
        cells=replace(fresh.cells, **cells),
        packs=replace(fresh.packs, **packs),
        groups=groupstore.load(learned, fresh.groups, site),
    )


def _rescale(cells: dict[str, FloatArray], own: slice, renewed: float) -> None:
    """Pace of one pack's cells by another capacity, ``renewed`` times the former."""
    cells["pace_frac"][own] = (1.0 + cells["pace_frac"][own]) * renewed - 1.0
    cells["pace_var"][own] *= renewed**2
    for name in ("pace_cov", "pace_curve", "pace_drop", "pace_offset"):
        cells[name][own] *= renewed


def _present(names: tuple[str, ...], saved: Any) -> list[str]:
    """The fields to read: all but those that an older version did not write."""
    return [name for name in names if name in saved or name not in _SINCE_LATER]


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
