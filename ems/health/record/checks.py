"""What may be wrong with a record: an error that stops, or a flaw that is named.

An error is raised where the figures cannot be what the columns say (units, swapped
columns, sign, time). A flaw leaves the record readable, but no estimate of it is good.
"""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.goodsin.tables import TableError, place
from ems.health.record import flow
from ems.health.record.curves import WINDOW_V, Cell
from ems.health.record.read import Record
from ems.model import FloatArray

LEAST_ROWS: Final = 8
MOST_C: Final = 20.0
"""Largest believable current, of rated capacity per hour."""
MOST_SWING: Final = 1.3
"""Most charge in one direction, of rated capacity."""
TEMPS_C: Final = (-45.0, 70.0)
MOSTLY: Final = 0.05
"""More rows than this outside: the column is wrong, not the rows."""
STILL_ROWS: Final = 20
STILL_AH_FRAC: Final = 0.05
STEP_C: Final = 0.1
JUMP_V: Final = 0.012
NEAR_S: Final = 60.0
CONSTANT_V: Final = 0.0015
QUIET_C: Final = 0.002
LONGER_UNITS: Final = (("min", 60.0), ("h", 3600.0))
CLOCKS_S: Final = ((1e-3, 5e-5), (0.1, 3.5e-3))
"""Steps of a logger's clock, and how far from one a time is that was divided and rounded."""
ON_CLOCK, OFF_CLOCK = 0.95, 0.5
"""Shares of rows on the clock once multiplied, and off it as they stand."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """Something wrong with a record that it can still be read with."""

    kind: str
    """gap, frozen voltage, frozen current, constant voltage, no current, few rows, rows skipped,
    time unit."""
    text: str
    fatal: bool
    """Nothing of this record can be estimated."""


def refuse(record: Record, cell: Cell, rated_ah: float) -> None:
    """Raise for a record whose columns cannot be what they say.

    Raises:
        TableError: with file, line, column, what was found and what would be right.
    """
    _time(record)
    _voltage(record, cell)
    _temperature(record)
    _current(record, rated_ah)
    _sign(record, rated_ah)


def flaws(record: Record, rated_ah: float) -> list[Flaw]:
    """What is wrong with a record that passed :func:`refuse`."""
    found = []
    if record.skipped:
        found.append(Flaw("rows skipped", f"{record.skipped} rows with empty cells skipped", False))
    if record.t_s.size < LEAST_ROWS:
        text = f"{record.t_s.size} rows: at least {LEAST_ROWS} are needed"
        return [*found, Flaw("few rows", text, True)]
    found += _time_unit(record)
    rows = flow.gaps(record)
    if rows.size:
        longest = rows[np.diff(record.t_s)[rows].argmax()]
        lasted_s = record.t_s[longest + 1] - record.t_s[longest]
        text = (
            f"{rows.size} gap{'s' if rows.size > 1 else ''} without rows, the longest"
            f" {lasted_s:.0f} s after line {record.lines[longest]}: what flowed then is unknown"
        )
        found.append(Flaw("gap", text, False))
    if float(np.abs(record.current_a).max()) < QUIET_C * rated_ah:
        text = "no current in the whole record: neither capacity nor resistance shows"
        found.append(Flaw("no current", text, True))
    elif float(np.ptp(record.voltage_v)) < CONSTANT_V:
        text = f"constant voltage, {record.voltage_v[0]:.4f} V throughout, while current flows"
        found.append(Flaw("constant voltage", text, True))
    else:
        found += _frozen_voltage(record, rated_ah) + _frozen_current(record)
    return found


def _time(record: Record) -> None:
    dt_s = np.diff(record.t_s)
    back = np.flatnonzero(dt_s <= 0.0)
    if not back.size:
        return
    row = int(back[0])
    line, before, after = int(record.lines[row + 1]), record.t_s[row], record.t_s[row + 1]
    if after == before:
        found = f"{after:g} again" + (f" ({back.size} times in all)" if back.size > 1 else "")
        raise TableError(place(record.path, line, record.time_column, found, "a later time"))
    found = f"{after:g} after {before:g}"
    right = (
        "times that rise; several records in one file need a column cell_id, discharge_no,"
        " cycle or record"
    )
    raise TableError(place(record.path, line, record.time_column, found, right))


def _time_unit(record: Record) -> list[Flaw]:
    """Times that are no seconds of any clock, but are once multiplied by 60 or 3600."""
    t_s = record.t_s
    finest_s, near_s = CLOCKS_S[0]
    off = np.abs(t_s - np.round(t_s / finest_s) * finest_s) > near_s
    if off.mean() < OFF_CLOCK:
        return []
    for unit, factor in LONGER_UNITS:
        for clock_s, near_s in CLOCKS_S:
            on = np.abs(t_s * factor - np.round(t_s * factor / clock_s) * clock_s) <= near_s
            if on.mean() >= ON_CLOCK:
                text = (
                    f"{record.time_column} looks like {unit} instead of s: its times are odd, and"
                    f" {factor:g} times them are even"
                )
                return [Flaw("time unit", text, False)]
    return []


def _outside(
    values: FloatArray, low: float, high: float
) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    return np.flatnonzero((values < low) | (values > high))


def _voltage(record: Record, cell: Cell) -> None:
    low, high = WINDOW_V[cell]
    volts = record.voltage_v
    outside = _outside(volts, low, high)
    if outside.size == 0:
        return
    row = int(outside[0])
    cause = ""
    if outside.size > MOSTLY * volts.size:
        amps, temps = record.current_a, record.temp_c
        if not _outside(np.abs(amps), low, high).size and np.ptp(amps) < high - low:
            cause = "; swapped with current_a?"
        elif temps is not None and not _outside(temps, low, high).size:
            cause = f"; swapped with {record.temp_column}?"
        elif low <= float(np.median(volts)) / 1000.0 <= high:
            cause = "; mV instead of V?"
        elif float(np.median(volts)) > 2.0 * high:
            cause = "; the voltage of a whole pack? One cell is wanted"
        else:
            cause = "; another chemistry?"
    found = f"{volts[row]:g} and {outside.size - 1} more outside{cause}"
    right = f"{low:g} to {high:g} V for one {cell.value} cell"
    raise TableError(place(record.path, int(record.lines[row]), "voltage_v", found, right))


def _temperature(record: Record) -> None:
    temps = record.temp_c
    if temps is None:
        return
    outside = _outside(temps, *TEMPS_C)
    if not outside.size:
        return
    row, typical = int(outside[0]), float(np.median(temps))
    cause = ""
    if 220.0 < typical < 350.0:
        cause = "; K instead of degC?"
    elif TEMPS_C[1] < typical < 160.0:
        cause = "; degF instead of degC?"
    found = f"{temps[row]:g} and {outside.size - 1} more outside{cause}"
    right = f"{TEMPS_C[0]:g} to {TEMPS_C[1]:g} degC"
    raise TableError(place(record.path, int(record.lines[row]), record.temp_column, found, right))


def _current(record: Record, rated_ah: float) -> None:
    amps = np.abs(record.current_a)
    most_a = MOST_C * rated_ah
    if float(amps.max()) > most_a:
        row = int((amps > most_a).argmax())
        found = f"{amps[row]:g}, {amps[row] / rated_ah:.0f} times rated capacity per hour"
        if amps.max() / 1000.0 <= most_a:
            found += "; mA instead of A?"
        right = f"at most {most_a:g} A for {rated_ah:g} Ah"
        raise TableError(place(record.path, int(record.lines[row]), "current_a", found, right))
    for part in flow.parts(record):
        swing_ah = float(np.ptp(part.charge_ah))
        if swing_ah > MOST_SWING * rated_ah and swing_ah > 2.5 * MOST_SWING * part.blur_ah:
            line = int(record.lines[part.first + int(np.abs(part.charge_ah).argmax())])
            found = (
                f"{swing_ah:.4g} Ah counted in one direction; mA instead of A, ms instead of s,"
                " a frozen current, or another rated capacity?"
            )
            right = f"at most {MOST_SWING * rated_ah:.4g} Ah for {rated_ah:g} Ah rated"
            raise TableError(place(record.path, line, "current_a", found, right))


def _sign(record: Record, rated_ah: float) -> None:
    dt_s, di, dv = np.diff(record.t_s), np.diff(record.current_a), np.diff(record.voltage_v)
    step = (np.abs(di) > 0.05 * rated_ah) & (dt_s <= NEAR_S) & (np.abs(dv) > CONSTANT_V)
    products, least = (di * dv)[step], 1
    if products.size < least:
        mean_a = 0.5 * (record.current_a[1:] + record.current_a[:-1])
        flowing = (np.abs(mean_a) > 0.02 * rated_ah) & (dt_s <= 10.0 * NEAR_S)
        products = (mean_a * dv)[flowing]
        if not products.size or float(np.abs(dv[flowing]).sum()) < 0.02:
            return
    score = float(products.sum()) / max(float(np.abs(products).sum()), 1e-12)
    if score < 0.5:
        return
    charging = "charge-positive" if record.sign > 0 else "discharge-positive"
    row = int(step.argmax()) if step.any() else 0
    found = "voltage that rises with what is said to be discharge"
    right = f"the other sign: it looks {charging}; use --current-sign {charging}"
    raise TableError(place(record.path, int(record.lines[row + 1]), "current_a", found, right))


def _runs(values: FloatArray) -> list[tuple[int, int]]:
    """Stretches of exactly the same value, first and last row, of at least ``STILL_ROWS``."""
    ends = np.flatnonzero(np.diff(values) != 0.0)
    bounds = np.concatenate(([-1], ends, [values.size - 1]))
    return [(int(a) + 1, int(b)) for a, b in itertools.pairwise(bounds) if b - a >= STILL_ROWS]


def _frozen_voltage(record: Record, rated_ah: float) -> list[Flaw]:
    dt_s = np.diff(record.t_s)
    highest_v = float(record.voltage_v.max())
    for first, last in _runs(record.voltage_v):
        amps = record.current_a[first : last + 1]
        moved_ah = float((0.5 * np.abs(amps[1:] + amps[:-1]) * dt_s[first:last]).sum()) / 3600.0
        stepped = float(np.abs(np.diff(amps)).max()) > STEP_C * rated_ah
        held = (
            record.voltage_v[first] > highest_v - 0.01
            and amps[-1] > 0.95 * amps[0]
            and (abs(amps[-1]) < 0.95 * abs(amps[0]) and not stepped)
        )
        if not held and (stepped or moved_ah > STILL_AH_FRAC * rated_ah):
            text = (
                f"voltage frozen at {record.voltage_v[first]:.4f} V from line"
                f" {record.lines[first]} to {record.lines[last]} while current flows"
            )
            return [Flaw("frozen voltage", text, True)]
    return []


def _frozen_current(record: Record) -> list[Flaw]:
    dt_s, dv = np.diff(record.t_s), np.diff(record.voltage_v)
    for first, last in _runs(record.current_a):
        inside = dv[first:last][dt_s[first:last] <= NEAR_S]
        up, down = int((inside > JUMP_V).sum()), int((inside < -JUMP_V).sum())
        held_a = float(record.current_a[first]) + 0.0  # no -0
        # At rest one direction is relaxation; under load the wrong one is another current.
        against = 0 if held_a == 0.0 else down if held_a < 0.0 else up
        if (up and down and up + down >= 2) or against >= 2:
            text = (
                f"current frozen at {held_a:g} A from line {record.lines[first]}"
                f" to {record.lines[last]} while the voltage jumps"
            )
            return [Flaw("frozen current", text, True)]
    return []
