"""What a kWh through a pack costs in wear, for the optimiser; numpy only, no state.

Wear is the loss of SoH a kWh causes, at the price of a point of SoH: what it costs to
put a usual second-life pack in this one's place, less what this one still fetches at
its end, over the points that pack brings. So a pack near its end is not too dear to
use; it wears at its own speed, at the market's price. Throughput counts charge and
discharge, as in ``ems.dispatch.bill``.
"""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ems.health.ageing.laws import LAWS, Law, Path, Usage
from ems.site import Chemistry

Floats = NDArray[np.float64]

REPLACEMENT_SOH: Final = 0.80
"""SoH of the pack that would come in its place: where vehicles give theirs up."""
LEAST_BUDGET: Final = 0.01
"""Life that a pack at its failure criterion is still taken to have, as SoH."""


def wear_per_kwh(
    chemistry: Chemistry,
    soh_frac: float,
    usage: Usage,
    soc_frac: ArrayLike,
    c_rate: ArrayLike,
    temp_c: ArrayLike,
    replacement_per_kwh: float,
    end_value_per_kwh: float,
    pace: float = 1.0,
) -> Floats:
    """Wear cost of one more kWh of throughput, currency per kWh, > 0.

    Args:
        soh_frac: Present SoH of the pack.
        usage: What the pack usually does; sets where on its ageing path it stands and
            how deep its cycles are.
        soc_frac: SoC at which the energy would flow; broadcasts with the next two.
        c_rate: Current over rated Ah, 1/h.
        temp_c: Cell temperature.
        replacement_per_kwh: An equal pack, installed, per *rated* kWh.
        end_value_per_kwh: What the pack fetches at its end, per rated kWh.
        pace: Of this pack against the law, from its history (``Forecast.pace``).
    """
    law = LAWS[chemistry]
    soc, rate, temp = np.broadcast_arrays(
        *(np.asarray(value, dtype=np.float64) for value in (soc_frac, c_rate, temp_c))
    )
    loss_per_cycle = _usual(law, soh_frac, usage)
    usual = law.cycling(*_as_arrays(usage))
    stress = law.cycling(soc, np.full(soc.shape, usage.dod_frac), rate, temp)
    # At the same loss a law k*N**b runs at a slope that goes with k**(1/b).
    slope = pace * loss_per_cycle * (stress / usual) ** (1.0 / law.cycling_power)
    # A cycle moves the energy the pack still has, in and out again.
    kwh_per_cycle = 2.0 * max(soh_frac, law.end_soh_frac)
    price = _price_of_soh(law, replacement_per_kwh, end_value_per_kwh)
    return np.asarray(price * slope / kwh_per_cycle)


def dwell_per_kwh_day(
    chemistry: Chemistry,
    soh_frac: float,
    usage: Usage,
    soc_frac: ArrayLike,
    temp_c: ArrayLike,
    replacement_per_kwh: float,
    end_value_per_kwh: float,
    pace: float = 1.0,
) -> Floats:
    """What a day at this SoC and temperature costs, currency per rated kWh and day, >= 0."""
    law = LAWS[chemistry]
    soc, temp = np.broadcast_arrays(
        np.asarray(soc_frac, dtype=np.float64), np.asarray(temp_c, dtype=np.float64)
    )
    path = Path(law, usage)
    budget, now, end = _span(law, path, soh_frac)
    per_day = budget * (1.0 - path.cycling_share(now, end)) / (end - now)
    usual = law.calendar(np.array(usage.mean_soc_frac), np.array(usage.temp_c))
    stress = (law.calendar(soc, temp) / usual) ** (1.0 / law.calendar_power)
    price = _price_of_soh(law, replacement_per_kwh, end_value_per_kwh)
    return np.asarray(price * pace * per_day * stress)


def _price_of_soh(law: Law, replacement_per_kwh: float, end_value_per_kwh: float) -> float:
    """Currency per rated kWh for the whole of SoH, > 0 when replacing costs anything."""
    at_stake = max(replacement_per_kwh - end_value_per_kwh, 0.0)
    return at_stake / (REPLACEMENT_SOH - law.end_soh_frac)


def _as_arrays(usage: Usage) -> tuple[Floats, Floats, Floats, Floats]:
    return (
        np.array(usage.mean_soc_frac),
        np.array(usage.dod_frac),
        np.array(usage.c_rate),
        np.array(usage.temp_c),
    )


def _span(law: Law, path: Path, soh_frac: float) -> tuple[float, float, float]:
    """Loss left to the criterion, and its first and last day on the path."""
    soh = max(soh_frac, law.end_soh_frac + LEAST_BUDGET)
    entry = soh if law.restarts else 1.0
    days = path.days(np.array([entry - soh, entry - law.end_soh_frac]))
    return soh - law.end_soh_frac, float(days[0]), float(days[1])


def _usual(law: Law, soh_frac: float, usage: Usage) -> float:
    """Mean loss of SoH that a cycle causes from now to the criterion."""
    # A pack that only stands by has no cycle to average over; one a day is as good as any.
    cycling = usage if usage.efc_per_day > 0.0 else replace(usage, efc_per_day=1.0)
    path = Path(law, cycling)
    budget, now, end = _span(law, path, soh_frac)
    cycles = cycling.efc_per_day * (end - now)
    return budget * path.cycling_share(now, end) / cycles
