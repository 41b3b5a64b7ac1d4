"""Which import peak to aim for this month, and how much energy shaving needs.

A target below what the fleet can hold is worse than none: energy is spent early
and the peak comes anyway. One far above it gives the demand charge away. What
the fleet could have held over the last weeks is the best guess for the next.

Source: dispatch reference, section 6 (peak target, shaving need).
"""

from dataclasses import dataclass
from typing import Final

import cvxpy as cp
import numpy as np

from ems.model import FloatArray

CANDIDATES: Final = 201
LOOK_BACK_DAYS: Final = 28
"""Four whole weeks, so that every weekday counts alike."""
NEED_MARGIN_FRAC: Final = 0.9
"""History is stressed by shaving it against 90 % of the target."""
NEED_CEILING_FRAC: Final = 0.95
"""A need of all the energy there is would forbid every other use for ever."""
KEPT_H: Final = 0.25
"""Time at full power that is always kept for a peak history has not shown."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The whole fleet as one store above its reserve; kW and kWh."""

    capacity_kwh: float
    """Usable energy above the reserve, at the battery terminals."""
    charge_kw: float
    discharge_kw: float
    efficiency_frac: float


def holdable_peak_kw(net_load_kw: FloatArray, bucket: Bucket, step_h: float) -> float:
    """Smallest import level the fleet could have held over a run of windows, kW.

    Keeping full and discharging only what exceeds the level is the best any
    policy can do for the peak alone, so no optimisation is needed: all levels
    are tried at once, window after window.

    Args:
        net_load_kw: Load minus PV, NaN where missing, shape ``(n,)``, n >= 1.
        step_h: Length of a window, h.

    Returns:
        Level in kW, >= 0; 0 when nothing was measured.
    """
    seen = net_load_kw[np.isfinite(net_load_kw)]
    if not len(seen):
        return 0.0
    top = max(0.0, float(seen.max()))
    levels = np.linspace(max(0.0, top - bucket.discharge_kw), top, CANDIDATES)
    energy = np.full(CANDIDATES, bucket.capacity_kwh)
    held = np.ones(CANDIDATES, dtype=bool)
    out_h = step_h / bucket.efficiency_frac
    in_h = step_h * bucket.efficiency_frac
    for load in seen.tolist():
        excess = load - levels
        spent = np.maximum(excess, 0.0) * out_h
        held &= spent <= energy + 1e-9
        gained = np.minimum(np.maximum(-excess, 0.0), bucket.charge_kw) * in_h
        energy = np.minimum(np.maximum(energy - spent, 0.0) + gained, bucket.capacity_kwh)
    # The top level needs no discharge at all, so at least one level is held.
    return float(levels[held][0])


def paying_peak_kw(
    net_load_kw: FloatArray,
    prices: FloatArray,
    bucket: Bucket,
    step_h: float,
    demand_rate: float,
    wear: float,
) -> float:
    """Import level that would have cost least over a run of windows, kW.

    The smallest level that can be held is not always the best: where the load is
    flat, room to charge in cheap hours can be worth a higher demand charge. One
    linear programme with the whole run known says where the optimum lay.

    Args:
        net_load_kw: Load minus PV, NaN where missing (taken as the mean), shape ``(n,)``.
        prices: Import price per kWh, shape ``(n,)``.
        demand_rate: Per kW of peak over this run.
        wear: Per kWh of throughput.

    Returns:
        Level in kW, >= what :func:`holdable_peak_kw` returns.
    """
    floor_kw = holdable_peak_kw(net_load_kw, bucket, step_h)
    if not np.isfinite(net_load_kw).any() or bucket.capacity_kwh <= 0.0:
        return floor_kw
    net = np.where(np.isfinite(net_load_kw), net_load_kw, np.nanmean(net_load_kw))
    n, eta = len(net), bucket.efficiency_frac
    charge = cp.Variable(n, bounds=[0.0, bucket.charge_kw])
    discharge = cp.Variable(n, bounds=[0.0, bucket.discharge_kw])
    energy = cp.Variable(n + 1, bounds=[0.0, bucket.capacity_kwh])
    bought = cp.Variable(n, nonneg=True)
    peak = cp.Variable(nonneg=True)
    cost = (
        step_h * (np.maximum(prices, 0.0) @ bought)
        + demand_rate * peak
        + wear * step_h * cp.sum(charge + discharge)
    )
    problem = cp.Problem(
        cp.Minimize(cost),
        [
            bought >= net + charge - discharge,
            peak >= bought,
            energy[1:] == energy[:-1] + step_h * (eta * charge - discharge / eta),
            energy[0] == energy[n],
        ],
    )
    try:
        problem.solve(solver="HIGHS")
    except cp.error.SolverError:
        return floor_kw
    if problem.status != cp.OPTIMAL:
        return floor_kw
    return max(floor_kw, float(peak.value))


def shaving_need_kwh(
    days_kw: list[FloatArray], target_kw: float, bucket: Bucket, step_h: float
) -> FloatArray:
    """Energy to have at the end of each window so that days like these stay below a target.

    Walking backwards through a day: a window above the level adds what it takes,
    a window below it takes off what could be recharged there. The largest need
    over the given days counts.

    Args:
        days_kw: Net load of past days, each the same number of windows, NaN where missing.
        target_kw: Import level to hold, kW.

    Returns:
        kWh at the terminals by window, shape of one day; zeros without days.
    """
    ceiling = NEED_CEILING_FRAC * bucket.capacity_kwh
    if not days_kw:
        return np.zeros(0)
    days = np.nan_to_num(np.vstack(days_kw), nan=0.0)
    excess = days - NEED_MARGIN_FRAC * target_kw
    change = (
        np.where(
            excess > 0.0,
            np.minimum(excess, bucket.discharge_kw) / bucket.efficiency_frac,
            -np.minimum(-excess, bucket.charge_kw) * bucket.efficiency_frac,
        )
        * step_h
    )
    need = np.zeros(len(days))
    out = np.zeros(days.shape[1])
    for slot in range(days.shape[1] - 1, -1, -1):
        out[slot] = need.max()
        need = np.clip(need + change[:, slot], 0.0, ceiling)
    return out
