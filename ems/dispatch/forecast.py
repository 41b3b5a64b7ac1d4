"""Load and PV of the coming day from the site's own past windows.

No weather, no calendar of any country: a trace tells by itself which weekdays
resemble each other. The last weeks' same weekdays give the shape; the last hours
say how high today runs against it. A missing window stays missing: it is left
out of medians, never read as zero load.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ems import units
from ems.model import FloatArray

SAME_WEEKDAYS: Final = 4
"""Weeks back that form the shape of a weekday."""
LEVEL_HOURS: Final = 3.0
"""Recent time that says how high today runs."""
LEVEL_FADE_HOURS: Final = 4.0
"""How fast that correction fades into the horizon (a factor e)."""
LEVEL_RANGE: Final = (0.5, 1.5)
KEEP_DAYS: Final = 92
MIN_DAY_COVERAGE: Final = 0.5
"""A day with fewer windows than this share is no example of its kind."""


class History:
    """Window means by local day and slot of the day; NaN where missing.

    Inside this class NaN marks a gap, because the arrays feed numpy's nan-functions
    only; nothing outside sees it.
    """

    def __init__(self, window_s: float, tz: ZoneInfo) -> None:
        self.window_s = window_s
        self.slots = round(units.S_PER_DAY / window_s)
        self._tz = tz
        self._load: dict[date, FloatArray] = {}
        self._pv: dict[date, FloatArray] = {}
        self.last_utc: datetime | None = None

    def observe(self, windows: Iterable[tuple[datetime, float | None, float | None]]) -> None:
        """Take completed windows in: start UTC, mean load W, mean PV W."""
        for start, load_w, pv_w in windows:
            day, slot = self.where(start)
            self._put(self._load, day, slot, load_w)
            self._put(self._pv, day, slot, pv_w)
            if self.last_utc is None or start > self.last_utc:
                self.last_utc = start
        if self._load:
            oldest = max(self._load) - timedelta(days=KEEP_DAYS)
            for store in (self._load, self._pv):
                for day in [d for d in store if d < oldest]:
                    del store[day]

    @property
    def young(self) -> bool:
        """Whether only one local day was seen so far."""
        return len(self._load) <= 1

    def where(self, start_utc: datetime) -> tuple[date, int]:
        """Local day and slot of the window that starts here."""
        local = start_utc.astimezone(self._tz)
        second = local.hour * 3600 + local.minute * 60 + local.second
        return local.date(), int(second // self.window_s)

    def _put(
        self, store: dict[date, FloatArray], day: date, slot: int, value: float | None
    ) -> None:
        row = store.get(day)
        if row is None:
            row = store[day] = np.full(self.slots, np.nan)
        if value is not None and np.isfinite(value):
            row[slot] = value

    def net_days(self, before: date) -> list[tuple[date, FloatArray]]:
        """Net load (W) of days before ``before`` that were mostly seen, newest first."""
        return [
            (day, row - np.nan_to_num(self._pv[day], nan=0.0))
            for day, row in sorted(self._load.items(), reverse=True, key=lambda item: item[0])
            if day < before and np.isfinite(row).mean() >= MIN_DAY_COVERAGE
        ]

    def series(
        self, until_utc: datetime, days: int
    ) -> tuple[datetime, FloatArray, FloatArray] | None:
        """Start, load and PV of the last ``days`` days as one run of windows, W."""
        if self.last_utc is None:
            return None
        n = days * self.slots
        start = until_utc - timedelta(seconds=n * self.window_s)
        load, pv = np.full(n, np.nan), np.full(n, np.nan)
        for i in range(n):
            day, slot = self.where(start + timedelta(seconds=i * self.window_s))
            if day in self._load:
                load[i] = self._load[day][slot]
                pv[i] = self._pv[day][slot]
        seen = np.flatnonzero(np.isfinite(load))
        if not len(seen):
            return None
        first = int(seen[0])
        return start + timedelta(seconds=first * self.window_s), load[first:], pv[first:]

    def forecast(
        self, start_utc: datetime, n: int, live_load_w: float | None, live_pv_w: float | None
    ) -> tuple[FloatArray, FloatArray]:
        """Load and PV of ``n`` windows from ``start_utc``, W; never NaN, never negative.

        Args:
            start_utc: Start of the first window, aligned.
            live_load_w: Load measured in the first window so far, if known: it is
                that window's forecast and counts in the level of today.
            live_pv_w: The same for PV.
        """
        load = self._forecast_one(self._load, start_utc, n, live_load_w)
        pv = self._forecast_one(self._pv, start_utc, n, live_pv_w)
        return load, pv

    def _forecast_one(
        self, store: dict[date, FloatArray], start_utc: datetime, n: int, live_w: float | None
    ) -> FloatArray:
        if live_w is not None and not any(np.isfinite(row).any() for row in store.values()):
            return np.full(n, max(live_w, 0.0))  # the first minutes of a site: as it is now
        shape = np.empty(n)
        step = timedelta(seconds=self.window_s)
        profiles: dict[date, FloatArray] = {}
        today = self.where(start_utc)[0]
        for i in range(n):
            day, slot = self.where(start_utc + i * step)
            if day not in profiles:
                profiles[day] = self._profile(store, day, today)
            shape[i] = profiles[day][slot]
        level = self._level(store, start_utc, live_w, profiles)
        hours = np.arange(n) * (self.window_s / units.S_PER_H)
        shape *= 1.0 + (level - 1.0) * np.exp(-hours / LEVEL_FADE_HOURS)
        if live_w is not None:
            shape[0] = live_w
        return np.maximum(shape, 0.0)

    def _profile(self, store: dict[date, FloatArray], day: date, today: date) -> FloatArray:
        """What this local day usually looks like, W, by slot."""
        past = {d: row for d, row in store.items() if d < today}
        rows = [
            past[d]
            for d in (day - timedelta(weeks=w) for w in range(1, SAME_WEEKDAYS + 3))
            if d in past
        ][:SAME_WEEKDAYS]
        if len(rows) < SAME_WEEKDAYS // 2:
            # Cold start: any day is better than none, today's own past included.
            rows = [store[d] for d in sorted(store, reverse=True) if d <= today][:7]
        known = _nanmedian(rows, self.slots)
        if np.isnan(known).any():
            rest = known[np.isfinite(known)]
            known = np.where(np.isnan(known), np.median(rest) if len(rest) else 0.0, known)
        return known

    def _level(
        self,
        store: dict[date, FloatArray],
        start_utc: datetime,
        live_w: float | None,
        profiles: dict[date, FloatArray],
    ) -> float:
        """How high the last hours ran against the usual, as a bounded ratio."""
        seen, usual = 0.0, 0.0
        today = self.where(start_utc)[0]
        for back in range(1, round(LEVEL_HOURS * units.S_PER_H / self.window_s) + 1):
            day, slot = self.where(start_utc - timedelta(seconds=back * self.window_s))
            if day != today or day not in store or np.isnan(store[day][slot]):
                continue
            seen += float(store[day][slot])
            usual += float(profiles[today][slot])
        if live_w is not None:
            seen += live_w
            usual += float(profiles[today][self.where(start_utc)[1]])
        if usual <= 0.0 or seen <= 0.0:
            return 1.0
        return min(max(seen / usual, LEVEL_RANGE[0]), LEVEL_RANGE[1])


def _nanmedian(rows: list[FloatArray], slots: int) -> FloatArray:
    """Median by slot over the rows that know it; NaN where none does."""
    if not rows:
        return np.full(slots, np.nan)
    stacked = np.vstack(rows)
    out = np.full(slots, np.nan)
    some = np.isfinite(stacked).any(axis=0)
    out[some] = np.nanmedian(stacked[:, some], axis=0)
    return out
