"""What a kWh and a kW cost: the tariff file, compiled into one lookup table.

Chinese two-part tariffs float an energy price by season, hour and kind of day
(sharp, peak, flat, valley, deep valley) and add a price per kW on the largest
15-min mean of the calendar month. Everything is read in the tariff's or the
site's wall-clock time; the caller says which zone that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ems import units
from ems.model import FloatArray

SLOTS_PER_DAY: Final = 96
"""Prices change on whole quarters of an hour at most."""
SLOTS_PER_H: Final = 4
SUNDAY: Final = 6
HOLIDAY: Final = 7
"""Row of the table after Monday (0) to Sunday (6)."""
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff ready to be asked; prices in ``currency``."""

    name: str
    currency: str
    timezone: str
    demand_rate_per_kw: float
    """Price of one kW of the month's largest window mean."""
    demand_window_s: float
    feed_in_per_kwh: float
    table_per_kwh: NDArray[np.float64]
    """Price by month, kind of day and quarter of an hour, shape ``(12, 8, 96)``."""
    period_names: tuple[str, ...]
    period_table: NDArray[np.int8]
    """Index into ``period_names``, −1 where a rule gives a bare price."""
    special_days: Mapping[date, int]
    """Dates priced as another kind of day: holidays and make-up workdays."""

    def _row(self, day: date) -> int:
        return self.special_days.get(day, day.weekday())

    def _index(self, local: datetime) -> tuple[int, int, int]:
        slot = local.hour * SLOTS_PER_H + local.minute // 15
        return local.month - 1, self._row(local.date()), slot

    def price_per_kwh(self, local: datetime) -> float:
        """Import price at a wall-clock time, currency per kWh."""
        return float(self.table_per_kwh[self._index(local)])

    def period(self, local: datetime) -> str:
        """Name of the price period, such as ``valley``; empty for a bare price."""
        index = int(self.period_table[self._index(local)])
        return self.period_names[index] if index >= 0 else ""

    def prices(self, start_utc: datetime, n: int, step_s: float, tz: ZoneInfo) -> FloatArray:
        """Import price at the start of each step, currency per kWh, shape ``(n,)``."""
        month, row, slot = self._indices(start_utc, n, step_s, tz)
        return self.table_per_kwh[month, row, slot]

    def _indices(
        self, start_utc: datetime, n: int, step_s: float, tz: ZoneInfo
    ) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
        # A zone's offset changes on whole quarters only, and 2900 zone look-ups a
        # month are too slow for a replay: one look-up per hour touched is enough.
        start_s = start_utc.timestamp()
        at_s = start_s + step_s * np.arange(n)
        hours, hour_of_step = np.unique(at_s // units.S_PER_H, return_inverse=True)
        offset_s = np.array([_offset_s(h * units.S_PER_H, tz) for h in hours.tolist()])
        local_s = at_s + offset_s[hour_of_step]
        day = np.floor(local_s / units.S_PER_DAY)
        slot = ((local_s - day * units.S_PER_DAY) // 900.0).astype(np.intp)
        days, day_of_step = np.unique(day, return_inverse=True)
        dates = [date(1970, 1, 1) + timedelta(days=int(d)) for d in days.tolist()]
        month = np.array([d.month - 1 for d in dates], dtype=np.intp)
        row = np.array([self._row(d) for d in dates], dtype=np.intp)
        return month[day_of_step], row[day_of_step], slot


def _offset_s(utc_s: float, tz: ZoneInfo) -> float:
    offset = datetime.fromtimestamp(utc_s, UTC).astimezone(tz).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()
