"""Charge and lagged currents of a record, and where it is unbroken."""

import itertools
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health.record.read import Record
from ems.model import FloatArray
from ems.units import S_PER_H

GAP_TIMES: Final = 5.0
GAP_PERCENTILE: Final = 98.0
LEAST_GAP_S: Final = 20.0
"""A gap is this much longer than the rows usually lie apart, and at least so long."""
LATE: Final = 5.0
"""An interval this many times longer than the one before begins where a logger changed its
pace, which it does when the current changes."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """An unbroken stretch of a record; arrays of shape ``(n,)``."""

    first: int
    """Row of the record it begins with."""
    t_s: FloatArray
    current_a: FloatArray
    """At each row."""
    mean_a: FloatArray
    """Over the interval before each row."""
    charge_ah: FloatArray
    """Drawn since the first row."""
    blur_ah: float
    """Error of the charge (1 sigma) because nobody saw when the current changed."""
    voltage_v: FloatArray
    temp_c: FloatArray | None


def gaps(record: Record) -> NDArray[np.intp]:
    """Rows after which nothing was written for too long."""
    dt_s = np.diff(record.t_s)
    if dt_s.size < 3:
        return np.zeros(0, np.intp)
    usual_s = float(np.percentile(dt_s, GAP_PERCENTILE))
    return np.flatnonzero(dt_s > max(GAP_TIMES * usual_s, LEAST_GAP_S))


def parts(record: Record) -> list[Part]:
    """The stretches between gaps."""
    ends = [0, *(gaps(record) + 1).tolist(), record.t_s.size]
    return [_part(record, slice(a, b)) for a, b in itertools.pairwise(ends)]


def _part(record: Record, rows: slice) -> Part:
    t_s, amps = record.t_s[rows], record.current_a[rows]
    dt_s = np.diff(t_s, prepend=t_s[0])
    before = np.concatenate((amps[:1], amps[:-1]))
    pace = np.concatenate((dt_s[:1], dt_s[:-1]))
    late = dt_s > LATE * np.maximum(pace, 1e-9)
    late[:2] = False
    mean_a = np.where(late, amps, 0.5 * (amps + before))
    blur_a = np.where(late, 0.0, np.abs(amps - before)) / np.sqrt(12.0)
    return Part(
        first=rows.start,
        t_s=t_s,
        current_a=amps,
        mean_a=mean_a,
        charge_ah=np.cumsum(mean_a * dt_s) / S_PER_H,
        blur_ah=float(np.sqrt(np.sum((blur_a * dt_s) ** 2))) / S_PER_H,
        voltage_v=record.voltage_v[rows],
        temp_c=None if record.temp_c is None else record.temp_c[rows],
    )


def lagged(part: Part, taus_s: FloatArray) -> FloatArray:
    """Current behind each time constant, shape ``(n_taus, n)``; before the first row it
    is held to have been the first current for long."""
    dt_s = np.diff(part.t_s, prepend=part.t_s[0])
    keep = np.exp(-dt_s[:, None] / taus_s)
    push = (1.0 - keep) * part.mean_a[:, None]
    out = np.empty_like(keep)
    now = np.full(taus_s.size, part.current_a[0])
    for row in range(dt_s.size):
        now = now * keep[row] + push[row]
        out[row] = now
    return np.asarray(out.T)


def thinned(part: Part, most: int) -> NDArray[np.intp]:
    """At most about ``most`` rows that tell the most: after steps, and even in time and
    in charge."""
    t_s, n = part.t_s, part.t_s.size
    if n <= most:
        return np.arange(n)
    keep = np.zeros(n, np.bool_)
    keep[[0, -1]] = True
    for along in (t_s, np.cumsum(np.abs(np.diff(part.charge_ah, prepend=0.0)))):
        even = np.linspace(along[0], along[-1], most // 4)
        keep[np.minimum(np.searchsorted(along, even), n - 1)] = True
    steps = step_rows(part, 0.1 * float(np.abs(part.current_a).max()))
    each = np.array((0.0, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0))
    room = max((most // 2) // each.size, 1)
    steps = steps[np.unique(np.linspace(0, steps.size - 1, min(room, steps.size)).astype(int))]
    for row in steps:
        after = np.searchsorted(t_s, t_s[row] + each[1:])
        keep[row] = True
        keep[after[after < n]] = True
    return np.flatnonzero(keep)


def step_rows(part: Part, least_a: float) -> NDArray[np.intp]:
    """Last rows before steps of at least this current; one of several within 5 s."""
    rows = np.flatnonzero(np.abs(np.diff(part.current_a)) >= least_a)
    if not rows.size:
        return rows
    apart = np.diff(part.t_s[rows], prepend=-np.inf) > 5.0
    return rows[apart]
