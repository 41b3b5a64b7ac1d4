"""Means of load and PV per demand window, the planner's only memory of the site."""

import csv
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ems.clock import window_start_utc
from ems.model import SiteSnapshot

log = logging.getLogger(__name__)

Window = tuple[datetime, float | None, float | None]
"""Start UTC, mean load W, mean PV W; ``None`` where too little was measured."""

KEEP_DAYS = 92
MIN_COVERAGE = 0.5
"""A window seen for less than half its length is missing, not an estimate."""


@dataclass(slots=True)
class _Mean:
    sum: float = 0.0
    seconds: float = 0.0

    def add(self, value: float | None, dt_s: float) -> None:
        if value is not None:
            self.sum += value * dt_s
            self.seconds += dt_s

    def value(self, window_s: float) -> float | None:
        if self.seconds < MIN_COVERAGE * window_s:
            return None
        return self.sum / self.seconds


def load_w(snapshot: SiteSnapshot) -> float | None:
    """Site load by the balance at the site bus, W, or ``None`` when the meter is lost.

    ``load = grid + battery + PV``. A lost converter or PV meter counts as 0 W: its
    device falls back to zero by itself, and the site must keep a load figure.
    """
    grid_w = snapshot.grid.power_w.good
    if grid_w is None:
        return None
    battery_w = sum([c.power_w.good or 0.0 for c in snapshot.converters])
    return grid_w + battery_w + (snapshot.pv_power_w.good or 0.0)


class WindowHistory:
    """Collects window means and keeps them across restarts.

    Args:
        window_s: Length of the clock-aligned window, s.
        path: CSV file that completed windows are appended to; ``None`` keeps them in memory.
        windows: Windows known from before, oldest first.
    """

    def __init__(
        self, window_s: float, path: Path | None = None, windows: list[Window] | None = None
    ) -> None:
        self._window_s = window_s
        self._path = path
        self.windows: list[Window] = list(windows or [])
        self._start: datetime | None = None
        self._end_s = 0.0
        self._last_s: float | None = None
        self._load = _Mean()
        self._pv = _Mean()

    @classmethod
    def open(cls, window_s: float, path: Path) -> "WindowHistory":
        """History from a file that an earlier run wrote; unreadable lines are left out."""
        windows: list[Window] = []
        if path.exists():
            with path.open(newline="", encoding="utf-8") as file:
                windows = [w for row in csv.reader(file) if (w := _parse(row)) is not None]
        keep = int(KEEP_DAYS * 86_400 / window_s)
        return cls(window_s, path, windows[-keep:])

    def add(self, snapshot: SiteSnapshot) -> bool:
        """Take one snapshot in; True when it completed a window."""
        now_s = snapshot.now_s
        dt_s = 0.0 if self._last_s is None else min(now_s - self._last_s, 10.0)
        self._last_s = now_s
        completed = False
        if self._start is None or now_s >= self._end_s:
            if self._start is not None:
                self._complete()
                completed = True
            self._start = window_start_utc(snapshot.now_utc, self._window_s)
            elapsed_s = (snapshot.now_utc - self._start).total_seconds()
            self._end_s = now_s + self._window_s - elapsed_s
        self._load.add(load_w(snapshot), dt_s)
        self._pv.add(snapshot.pv_power_w.good, dt_s)
        return completed

    def _complete(self) -> None:
        assert self._start is not None
        window = (
            self._start,
            self._load.value(self._window_s),
            self._pv.value(self._window_s),
        )
        self._load, self._pv = _Mean(), _Mean()
        self.windows.append(window)
        if self._path is not None:
            cells = ("" if v is None else f"{v:.1f}" for v in window[1:])
            try:
                with self._path.open("a", newline="", encoding="utf-8") as file:
                    csv.writer(file).writerow([window[0].isoformat(), *cells])
            except OSError as error:
                log.error("%s: window not kept: %s", self._path, error)


def _parse(row: list[str]) -> Window | None:
    try:
        start = datetime.fromisoformat(row[0]).astimezone(UTC)
        load, pv = (float(cell) if cell else None for cell in row[1:3])
    except (ValueError, IndexError):
        return None
    return start, load, pv
