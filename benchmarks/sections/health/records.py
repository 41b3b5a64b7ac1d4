"""Capacity and R0 from real records: windows of a discharge, HPPC cut short, NASA cells.

The OCV curve and resistance prior of LMO were made with the same Leaf cell (C/15 and the
HPPC at 25 degC), so the Leaf figures say how well a known make is estimated.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.sections import Figure
from ems.health.record import fit, flow, steps
from ems.health.record.curves import Cell, curve
from ems.health.record.estimate import (
    GOOD_SIGMA,
    MOST_MISFIT,
    MOST_SIGMA,
    counted,
    resistance,
    ten_s_ohm,
)
from ems.health.record.read import Record, read
from ems.model import BoolArray

TITLE = "Records: Leaf HPPC, windows of 1C and 2C discharges, NASA full life"
LEAF_AH, NASA_AH = 33.1, 2.0
SOURCE_FLOOR_V = 2.7
"""Most NASA capacities count to here, also where the cell was discharged to 2.0 V."""
NASA_EVERY = 3
"""Each third of the records that are there is run."""
HPPC_BLOCKS_S = (
    (11846, 16605, 21365, 26125, 30885, 35645, 40405, 45165, 49925, 54685),
    (15444, 20204, 24964, 29724, 34484, 39244, 44005, 48765, 53525, 58285),
)
"""Begin of the rest before each 30 A pulse, and its end."""
DISCHARGES = {"leaf_discharge_1c": (9486, 23247), "leaf_discharge_2c": (11247, 23115)}
WITHIN = 0.03
RATES = {"leaf_discharge_1c": "1C", "leaf_discharge_2c": "2C"}
WINDOWS = ((0.0, 0.3), (0.0, 0.4), (0.1, 0.5), (0.2, 0.6), (0.3, 0.7), (0.5, 0.9), (0.6, 1.0))


def run() -> list[Figure]:
    """Errors against the whole discharge of the same record."""
    folder = Path(os.environ["SECONDLIFE_EMS_DATA"]) / "cells"
    figures = _hppc(folder)
    for name in DISCHARGES:
        figures += _discharge(folder, name)
    return figures + _nasa(folder)


def cut(record: Record, kept: BoolArray) -> Record:
    """Only these rows."""
    return replace(
        record,
        lines=record.lines[kept],
        t_s=record.t_s[kept],
        current_a=record.current_a[kept],
        voltage_v=record.voltage_v[kept],
        temp_c=None if record.temp_c is None else record.temp_c[kept],
    )


def _errors(name: str, found: list[tuple[float, float]], goal: float | None) -> list[Figure]:
    """Figures of (relative error, relative sigma) pairs."""
    error, sigma = (np.array(column) for column in zip(*found, strict=True))
    shown, good = sigma <= MOST_SIGMA, sigma <= GOOD_SIGMA
    within = np.abs(error) <= WITHIN
    figures = [
        Figure(f"{name}: windows", float(error.size)),
        Figure(f"{name}: refused", float((~shown).mean()), "share"),
        Figure(f"{name}: good", float(good.mean()), "share"),
        Figure(f"{name}: shown and within 3 %", float(within[shown].sum() / shown.size), "share"),
    ]
    if shown.any():
        ratio = float(np.sqrt(np.mean((error[shown] / sigma[shown]) ** 2)))
        figures.append(Figure(f"{name}: error over sigma, rms", ratio))
    for label, kept, limit in (("shown", shown, None), ("good", good, goal)):
        if kept.any():
            typical = 100.0 * float(np.median(np.abs(error[kept])))
            worst = 100.0 * float(np.abs(error[kept]).max())
            figures.append(Figure(f"{name}: median error, {label}", typical, "%", limit))
            figures.append(Figure(f"{name}: worst error, {label}", worst, "%"))
    return figures


def _judge(record: Record, cell: Cell, rated_ah: float, true_ah: float) -> tuple[float, float]:
    parts = flow.parts(record)
    _, r0 = resistance(record, parts, rated_ah)
    temp_c = None if record.temp_c is None else float(record.temp_c.mean())
    ohm = None if r0.value is None else ten_s_ohm(r0.value, temp_c)
    found = fit.fit(parts, curve(cell), rated_ah, ohm)
    if found is None or found.at_edge or found.misfit > MOST_MISFIT:
        return 1.0, 1.0
    return found.capacity_ah / true_ah - 1.0, found.sigma_ah / found.capacity_ah


def _hppc(folder: Path) -> list[Figure]:
    record = read(folder / "leaf_hppc_25c.csv.gz", charge_positive=True)[0]
    t_s, part = record.t_s, flow.parts(record)[0]
    begins, ends = HPPC_BLOCKS_S
    true_ah = float(part.charge_ah[-1] - part.charge_ah[t_s <= ends[0]][-1])
    found, r0 = [], []
    for first in range(7):
        rows = (t_s >= begins[first]) & (t_s <= ends[min(first + 4, 9)])
        window = cut(record, rows)
        found.append(_judge(window, Cell.LMO, LEAF_AH, true_ah))
        pieces = flow.parts(window)
        used = steps.sharp(steps.find(pieces[0], window.lines.tolist(), LEAF_AH))
        r0.append(steps.middle(used)[0])
    pulses = [_pulse_ohm(record, at_s) for at_s in ends]
    away = [
        100.0 * abs(one / np.mean(pulses[first : min(first + 4, 9) + 1]) - 1.0)
        for first, one in enumerate(r0)
    ]
    return [
        Figure("HPPC: R0 of the 30 A pulses", 1e3 * float(np.mean(pulses)), "mohm"),
        Figure("HPPC windows: R0 error, worst", float(max(away)), "%", 10.0),
        *_errors("HPPC at 25 degC, windows of 4 steps: capacity", found, 3.0),
    ]


def _pulse_ohm(record: Record, rest_end_s: float) -> float:
    """From the last row before a pulse to the first row at least 1 s later."""
    begin = int(np.searchsorted(record.t_s, rest_end_s))
    last = begin + int((record.current_a[begin:] > 15.0).argmax()) - 1
    after = int(np.searchsorted(record.t_s, record.t_s[last] + 1.0 - 1e-6))
    change_a = record.current_a[after] - record.current_a[last]
    return -float((record.voltage_v[after] - record.voltage_v[last]) / change_a)


def _discharge(folder: Path, name: str) -> list[Figure]:
    record = read(folder / f"{name}.csv.gz", charge_positive=True)[0]
    found = []
    for begin_s in DISCHARGES[name]:
        near = (record.t_s >= begin_s) & (record.t_s <= begin_s + 4900.0)
        discharge = cut(record, near & (record.current_a > -1.0))
        drawn_ah = flow.parts(discharge)[0].charge_ah
        true_ah = float(drawn_ah[discharge.current_a > 1.0].max())
        for low, high in WINDOWS:
            rows = (drawn_ah >= low * true_ah - 0.05) & (drawn_ah <= high * true_ah)
            rows &= (discharge.current_a > 1.0) | (low == 0.0) | (high == 1.0)
            found.append(_judge(cut(discharge, rows), Cell.LMO, LEAF_AH, true_ah))
    temp_c = 0.0 if record.temp_c is None else float(record.temp_c.mean())
    return _errors(f"{RATES[name]} at {temp_c:g} degC, up to 40 %: capacity", found, 3.0)


def _truths(folder: Path) -> dict[str, float]:
    table = pd.read_csv(folder / "nasa_capacity.csv.gz")
    names = table.cell_id + " " + table.discharge_no.astype(str)
    return dict(zip(names, table.capacity_ah, strict=True))


def _nasa(folder: Path) -> list[Figure]:
    truths = _truths(folder)
    records = read(folder / "nasa_discharge_timeseries.csv.gz", charge_positive=True)
    figures: list[Figure] = []
    for cell_id in ("B0005", "B0007", "B0029", "B0045"):
        whole, partial, floored = [], [], []
        for record in _of(records, cell_id):
            if (true_ah := truths.get(record.name, 0.0)) <= 0.0:
                continue
            parts = flow.parts(record)
            if (value := counted(parts, Cell.NCA, NASA_AH)) and value.value is not None:
                whole.append(100.0 * abs(value.value / true_ah - 1.0))
            down = parts[0].charge_ah[
                (record.voltage_v <= SOURCE_FLOOR_V) & (record.current_a > 0.1)
            ]
            if down.size:
                floored.append(100.0 * abs(float(down[0]) / true_ah - 1.0))
            rows = parts[0].charge_ah <= 0.4 * true_ah
            partial.append(_judge(cut(record, rows), Cell.NCA, NASA_AH, true_ah))
        if whole:
            name = f"NASA {cell_id}, whole discharge: capacity"
            figures.append(Figure(f"{name}: records counted", float(len(whole))))
            figures.append(Figure(f"{name}: median error", float(np.median(whole)), "%"))
            figures.append(Figure(f"{name}: worst error", float(max(whole)), "%"))
        if floored:
            name = f"NASA {cell_id}, charge to {SOURCE_FLOOR_V:g} V: median error"
            figures.append(Figure(name, float(np.median(floored)), "%"))
        figures += _errors(f"NASA {cell_id}, first 40 %: capacity", partial, None)
    return figures


def _of(records: list[Record], cell_id: str) -> Iterator[Record]:
    own = [record for record in records if record.name.startswith(cell_id)]
    yield from own[::NASA_EVERY]
