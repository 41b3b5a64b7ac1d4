"""The bill: energy by the hour, demand by the calendar month, and wear."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ems import units
from ems.dispatch.tariff import Tariff
from ems.model import FloatArray

WEAR_PER_KWH: Final[Mapping[str, float]] = MappingProxyType({"CNY": 0.16, "EUR": 0.02})
"""Cost of one kWh of throughput (charge and discharge both count), by currency.

Source: benchmark definition of the dispatch reference, which fixes 0.02 EUR and
0.16 CNY for second-life packs of every chemistry; a pack's own ageing cost
replaces it when the health estimate can state one.
"""


@dataclass(frozen=True, slots=True)
class Bill:
    """What a span cost, in the tariff's currency."""

    energy: float
    demand: float
    wear: float

    @property
    def total(self) -> float:
        return self.energy + self.demand + self.wear


def wear_per_kwh(currency: str) -> float:
    """Wear cost of one kWh of throughput in a currency.

    Raises:
        KeyError: no wear cost is known in this currency.
    """
    return WEAR_PER_KWH[currency]


def window_means(
    import_w: FloatArray, start_utc: datetime, step_s: float, window_s: float
) -> tuple[FloatArray, list[datetime]]:
    """Mean import of each clock-aligned window and its start, W.

    A window that the span covers only in part is averaged over the whole window
    with nothing in the missing part, as a meter that was switched on late would.

    Args:
        import_w: Import per step, W, export negative, shape ``(n,)``.
        start_utc: Start of the first step; a multiple of ``step_s`` from midnight.
        step_s: Length of a step, s; divides ``window_s``.
        window_s: Length of a demand window, s.

    Raises:
        ValueError: the window is not a whole number of steps.
    """
    per_window = window_s / step_s
    if per_window < 1 or per_window != int(per_window):
        raise ValueError(f"a window of {window_s:g} s is not a whole number of {step_s:g} s steps")
    start_s = start_utc.timestamp()
    first = int(start_s // window_s)
    window = ((start_s + step_s * np.arange(len(import_w))) // window_s).astype(np.int64) - first
    sums = np.bincount(window, weights=import_w) if len(import_w) else np.zeros(0)
    first_utc = start_utc - timedelta(seconds=start_s % window_s)
    starts = [first_utc + timedelta(seconds=window_s * i) for i in range(len(sums))]
    return sums / per_window, starts


def monthly_peaks_w(
    tariff: Tariff, tz: ZoneInfo, start_utc: datetime, step_s: float, import_w: FloatArray
) -> dict[tuple[int, int], float]:
    """Largest window mean of each calendar month touched, W, never negative."""
    window_s = max(tariff.demand_window_s, step_s)
    means, starts = window_means(import_w, start_utc, step_s, window_s)
    peaks: dict[tuple[int, int], float] = {}
    for mean_w, start in zip(means.tolist(), starts, strict=True):
        local = start.astimezone(tz)
        month = (local.year, local.month)
        peaks[month] = max(peaks.get(month, 0.0), mean_w)
    return peaks


def bill(
    tariff: Tariff,
    tz: ZoneInfo,
    start_utc: datetime,
    step_s: float,
    import_w: FloatArray,
    wear: float = 0.0,
) -> Bill:
    """The bill of a span.

    Each calendar month the span touches pays its largest window mean at the full
    monthly rate; nothing is pro-rated, because a meter does not either.

    Args:
        import_w: Import at the point of common coupling per step, W, export negative.
        wear: Wear of the batteries over the span, currency.
    """
    energy_kwh = import_w * (step_s / units.S_PER_H / units.W_PER_KW)
    prices = tariff.prices(start_utc, len(import_w), step_s, tz)
    bought = float(np.maximum(energy_kwh, 0.0) @ prices)
    sold = float(np.maximum(-energy_kwh, 0.0).sum()) * tariff.feed_in_per_kwh
    peaks = monthly_peaks_w(tariff, tz, start_utc, step_s, import_w)
    demand = sum(units.kw_from_w(p) for p in peaks.values()) * tariff.demand_rate_per_kw
    return Bill(energy=bought - sold, demand=demand, wear=wear)
