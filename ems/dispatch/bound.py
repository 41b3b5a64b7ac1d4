"""What perfect foresight would have saved: one linear programme over the whole span.

The yardstick for every policy. It knows all loads, starts without a peak paid,
loses nothing to inner resistance and moves energy freely between packs, so no
policy can beat it.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import cvxpy as cp
import numpy as np
from numpy.typing import NDArray

from ems import units
from ems.dispatch.bill import Bill, bill, wear_per_kwh
from ems.dispatch.tariff import Tariff
from ems.model import FloatArray


@dataclass(frozen=True, slots=True)
class Store:
    """One battery; energies at its terminals, powers at the site bus."""

    capacity_wh: float
    """Usable energy between floor and ceiling, Wh."""
    start_wh: float
    """Energy above the floor at the start, Wh."""
    charge_w: float
    discharge_w: float
    efficiency_frac: float
    """One way, 0..1."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The best bill and the schedule that gives it."""

    bill: Bill
    import_w: FloatArray
    """Shape ``(n,)``."""
    power_w: FloatArray
    """Battery power, W, discharge positive, shape ``(n,)``."""
    stored_gain_wh: float
    """Energy stored at the end minus at the start, Wh at the terminals."""


def pooled(stores: tuple[Store, ...]) -> Store:
    """All stores as one with the best efficiency among them: never worse than the real fleet."""
    return Store(
        capacity_wh=sum(max(s.capacity_wh, s.start_wh) for s in stores),
        start_wh=sum(s.start_wh for s in stores),
        charge_w=sum(s.charge_w for s in stores),
        discharge_w=sum(s.discharge_w for s in stores),
        efficiency_frac=max((s.efficiency_frac for s in stores), default=1.0),
    )


def stored_value_per_kwh(lowest_price: float, efficiency_frac: float) -> float:
    """Worth of a kWh left in a pack: what buying it again costs in the cheapest hour."""
    return max(0.0, lowest_price) / efficiency_frac


def perfect_foresight(
    tariff: Tariff,
    tz: ZoneInfo,
    start_utc: datetime,
    step_s: float,
    net_load_w: FloatArray,
    store: Store,
    reserve_wh: float,
    export_limit_w: float,
) -> Bound:
    """The lowest cost that any schedule could have had: bill and wear, less stored energy.

    Args:
        net_load_w: Load minus PV on the demand-window grid, W, shape ``(n,)``, NaN-free.
        store: The fleet, see :func:`pooled`.
        reserve_wh: Energy never to be used, Wh at the site bus. A fleet that starts
            below it may stay there: the bound must not lose to a policy.
        export_limit_w: Largest export, W.

    Raises:
        ValueError: the programme has no solution, which only broken inputs cause.
    """
    n, eta = len(net_load_w), store.efficiency_frac
    step_h = step_s / units.S_PER_H
    prices = tariff.prices(start_utc, n, step_s, tz)
    lowest = float(prices.min())
    wear = wear_per_kwh(tariff.currency)
    month_of_step = _months(start_utc, n, step_s, tz)
    start_kwh = units.kwh_from_wh(store.start_wh)
    floor_kwh = min(units.kwh_from_wh(reserve_wh) / eta, start_kwh)
    charge = cp.Variable(n, bounds=[0.0, units.kw_from_w(store.charge_w)])
    discharge = cp.Variable(n, bounds=[0.0, units.kw_from_w(store.discharge_w)])
    energy = cp.Variable(n, bounds=[floor_kwh, units.kwh_from_wh(store.capacity_wh)])
    bought = cp.Variable(n, nonneg=True)
    sold = cp.Variable(n, bounds=[0.0, units.kw_from_w(max(export_limit_w, 0.0))])
    peaks = cp.Variable(int(month_of_step.max()) + 1, nonneg=True)
    flow = step_h * (eta * charge - discharge / eta)
    cost = (
        step_h * (prices @ bought)
        - step_h * min(tariff.feed_in_per_kwh, lowest) * cp.sum(sold)
        + tariff.demand_rate_per_kw * cp.sum(peaks)
        + wear * step_h * cp.sum(charge + discharge)
        - stored_value_per_kwh(lowest, eta) * energy[n - 1]
    )
    problem = cp.Problem(
        cp.Minimize(cost),
        [
            bought - sold == net_load_w / units.W_PER_KW + charge - discharge,
            peaks[month_of_step] >= bought,
            energy[0] == start_kwh + flow[0],
            energy[1:] == energy[:-1] + flow[1:],
        ],
    )
    problem.solve(solver="HIGHS")
    if problem.status != cp.OPTIMAL:
        raise ValueError(f"perfect foresight bound: {problem.status}")
    import_w = (bought.value - sold.value) * units.W_PER_KW
    throughput_kwh = step_h * float((charge.value + discharge.value).sum())
    return Bound(
        bill=bill(tariff, tz, start_utc, step_s, import_w, wear * throughput_kwh),
        import_w=import_w,
        power_w=(discharge.value - charge.value) * units.W_PER_KW,
        stored_gain_wh=units.wh_from_kwh(float(energy.value[n - 1])) - store.start_wh,
    )


def _months(start_utc: datetime, n: int, step_s: float, tz: ZoneInfo) -> NDArray[np.intp]:
    """Number of the local calendar month of each step, counted from the first."""
    local = [(start_utc + timedelta(seconds=i * step_s)).astimezone(tz) for i in range(n)]
    month = np.array([t.year * 12 + t.month for t in local], dtype=np.intp)
    first: NDArray[np.intp] = month - month[0]
    return first
