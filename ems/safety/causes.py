"""Raised levels in words: since when, what was seen, which came first."""

import numpy as np

from ems.model import ActiveCause, BoolArray, FloatArray, Limits, SiteSnapshot
from ems.safety.cells import GOOD_ENOUGH
from ems.safety.inputs import Inputs
from ems.safety.program import Program
from ems.safety.row import Row, Scope, Side, Signal
from ems.safety.state import ActiveLevel, Levels
from ems.site import Site

_CELL_SIGNALS = (Signal.CELL_V_MAX, Signal.CELL_V_MIN, Signal.CELL_V_MIN_REST)
_TEMP_SIGNALS = (
    Signal.TEMP_MAX,
    Signal.TEMP_MAX_IDLE,
    Signal.TEMP_MIN,
    Signal.TEMP_MIN_CHARGING,
    Signal.TEMP_MIN_DISCHARGING,
)


def book(
    before: Levels,
    active: BoolArray,
    program: Program,
    limit: FloatArray,
    inputs: Inputs,
    limits: Limits,
    snapshot: SiteSnapshot,
    site: Site,
) -> dict[tuple[int, int], ActiveLevel]:
    """Book entries for every active level; known ones keep their time and words.

    The first level of DERATE or more that is raised while none stands is marked
    first-out; of several in one cycle, the highest level and then the first row. The
    book is in the order of the table: of equal levels the first row gives the reason.
    """
    keys = [(int(k), int(level)) for k, level in np.argwhere(active)]
    book = {key: before[key] for key in keys if key in before}
    quiet = not any(level >= 1 for _, level in book)
    raised = sorted((key for key in keys if key not in before), key=lambda key: (-key[1], key[0]))
    for k, level in raised:
        first = quiet and level >= 1
        quiet = quiet and not first
        text = describe(k, level, program, limit, inputs, limits, snapshot, site)
        book[k, level] = ActiveLevel(snapshot.now_s, text, first)
    return {key: book[key] for key in keys}


def causes(levels: Levels, program: Program, clear: BoolArray) -> tuple[ActiveCause, ...]:
    """One entry per row and target: its highest active level."""
    found = []
    for (k, level), entry in sorted(levels.items()):
        if (k, level + 1) in levels or (k, level + 2) in levels or (k, level + 3) in levels:
            continue
        row = program.rows[k]
        found.append(
            ActiveCause(
                cause=row.id,
                name=row.name,
                level=level + 1,
                pack=program.targets[k] if row.scope is Scope.PACK else None,
                detail=entry.detail,
                since_s=entry.since_s,
                first_out=entry.first_out,
                latched=bool(clear[k, level]) and not bool(program.auto[k, level]),
                acknowledged=entry.acknowledged,
            )
        )
    return tuple(found)


def describe(
    k: int,
    level: int,
    program: Program,
    limit: FloatArray,
    inputs: Inputs,
    limits: Limits,
    snapshot: SiteSnapshot,
    site: Site,
) -> str:
    """What was seen, where, and against which limit, for the operator and the log."""
    row = program.rows[k]
    signal = row.signal[level]
    value = float(inputs.flat[program.value_index[k, level]])
    bound = float(limit[k, level] * program.sign[k, 0])
    where = program.target_ids[k]
    if row.scope is Scope.PACK:
        where += _place(row.signal[level], row.side, program.targets[k], snapshot, site)
    health = ""
    if program.slope[k, level]:
        health = f" at h {limits.health[program.health_pack[k]]:.2f}"
    samples = f"{program.need[k, level]:.0f} sample" + ("s" if program.need[k, level] > 1 else "")
    return f"{where}: {signal.value}{_seen(value, bound, row)}{health}, {samples}"


_DIGITS = {"V": 3, "frac": 3, "°C": 1, "s": 0, "points": 0, "level": 0}


def _seen(value: float, bound: float, row: Row) -> str:
    """The value against its limit; nothing where the signal is a plain yes or no."""
    if row.unit == "-":
        return ""
    digits = _DIGITS.get(row.unit, 2)
    seen = "unknown" if value != value else f"{value:.{digits}f} {row.unit}"
    return f" {seen} {row.side} {bound:.{digits}f} {row.unit}"


def _place(signal: Signal, side: Side, pack: int, snapshot: SiteSnapshot, site: Site) -> str:
    """Name of the deciding cell or sensor, empty where none decides."""
    cells = snapshot.cells
    if signal in _CELL_SIGNALS:
        part, kind = site.layout.cell_slices[pack], "cell"
        value, quality = cells.voltage_v[part], cells.voltage_quality[part]
        if site.packs[pack].reported_cells == 2 and site.packs[pack].series_cells != 2:
            return " highest cell" if side is Side.HIGH else " lowest cell"
    elif signal in _TEMP_SIGNALS:
        part, kind = site.layout.temp_slices[pack], "sensor"
        value, quality = cells.temp_c[part], cells.temp_quality[part]
    else:
        return ""
    worst = -np.inf if side is Side.HIGH else np.inf
    known = np.where(quality > GOOD_ENOUGH, worst, value)
    index = int(known.argmax() if side is Side.HIGH else known.argmin())
    return f" {kind} {index + 1}"
