"""Load and PV traces for the plant, read from CSV with the standard library.

A load CSV (.csv or .csv.gz) has ``timestamp_utc`` (or ``local_time``), ``load_kw``,
optional ``pv_kw`` or ``pv_kw_per_kwp``, any regular step. With both time columns
``local_time`` wins and is read as the site's wall clock; of the hour that comes twice in
autumn the second lines are the later ones. A PV file whose year differs from the load's
is matched by month, day and hour. Gaps are reported and treated as missing: the plant
holds the last value (a load does not vanish), the history says ``None``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from math import ceil
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ems.site import Site
from ems.units import W_PER_KW
from sim.csvfile import InputError
from sim.tracefile import PV, Column, read_columns

FloatArray = NDArray[np.float64]
Window = tuple[datetime, float | None, float | None]

TEXTURE_COEFFICIENT: Final = 0.7
TEXTURE_FLOOR_FRAC: Final = 0.05
MINUTE_S: Final = 60.0
ONE_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class BillWindows:
    """Undisturbed load and PV per demand window of the simulated span."""

    start_utc: tuple[datetime, ...]
    load_w: FloatArray
    """Mean load, W; held over gaps, as the plant sees it."""
    pv_w: FloatArray
    missing: NDArray[np.bool_]
    """Windows of which some of the load was not measured."""


@dataclass(frozen=True, slots=True)
class Traces:
    """Load and PV of the simulated span and the record before it."""

    start_utc: datetime
    days: float
    gaps: tuple[str, ...]
    """Stretches without a load value within the span, in words."""
    _load: Column
    _pv_w_at: Callable[[datetime], float | None]
    _window_s: float
    _load_step_s: float
    _load_w: tuple[float, ...]
    _pv_step_s: float
    _pv_w: tuple[float, ...]
    _missing: tuple[bool, ...]

    @classmethod
    def read(
        cls,
        load_csv: Path,
        pv_csv: Path | None,
        site: Site,
        start_local_date: date,
        days: float,
        texture_frac: float = 0.0,
        seed: int = 0,
    ) -> "Traces":
        """Traces of ``days`` days from local midnight of the start date.

        Args:
            load_csv: Load, with or without PV.
            pv_csv: PV; ``None`` takes the PV column of the load file, if any.
            site: For time zone, PV rating and demand window.
            start_local_date: In the calendar of the load file.
            days: Length of the span, > 0.
            texture_frac: Relative standard deviation of a seeded minute-by-minute
                texture within each step, which keeps the mean of the step; 0 is none.
            seed: Of the texture.

        Raises:
            InputError: file, line, what was found and what would be right.
        """
        zone = ZoneInfo(site.timezone)
        columns = read_columns(load_csv, zone, ("load_kw",), () if pv_csv else PV)
        load = columns["load_kw"]
        start_utc = datetime.combine(start_local_date, time(), zone).astimezone(UTC)
        end_utc = start_utc + timedelta(days=days)
        covered = " to ".join(
            t.astimezone(zone).strftime("%Y-%m-%dT%H:%M") for t in (load.start_utc, load.end_utc)
        )
        if not load.start_utc <= start_utc < load.end_utc:
            raise InputError(
                f"{load_csv}: start {start_local_date} is outside the trace, "
                f"which covers {covered} in {zone.key}"
            )
        if end_utc > load.end_utc:
            raise InputError(
                f"{load_csv}: {days:g} days from {start_local_date} reach beyond the end of the "
                f"trace, which covers {covered} in {zone.key}"
            )
        if pv_csv is not None:
            columns = read_columns(pv_csv, zone, PV)
        pv_at, pv_step_s = _pv_lookup(columns, site, zone)
        load_w, missing = _held(load, start_utc, end_utc)
        step_s = load.step_s
        if texture_frac > 0.0:
            load_w, step_s = _textured(load_w, step_s, texture_frac, seed), MINUTE_S
        n_pv = round((end_utc - start_utc).total_seconds() / pv_step_s) if pv_step_s else 0
        pv_w = [
            pv_at(start_utc + timedelta(seconds=i * pv_step_s)) or 0.0 for i in range(max(n_pv, 1))
        ]
        return cls(
            start_utc=start_utc,
            days=days,
            gaps=_gaps_in_words(load, missing, start_utc, zone),
            _load=load,
            _pv_w_at=pv_at,
            _window_s=site.grid.demand_window_s,
            _load_step_s=step_s,
            _load_w=tuple(load_w),
            _pv_step_s=pv_step_s or days * 86_400.0,
            _pv_w=tuple(pv_w),
            _missing=tuple(missing),
        )

    def load_w(self, t_s: float) -> float:
        """Load at plant time ``t_s``, W; constant within a step, held over gaps and the end."""
        index = int(t_s / self._load_step_s)
        return self._load_w[min(index, len(self._load_w) - 1)]

    def pv_w(self, t_s: float) -> float:
        """PV at plant time ``t_s``, W, >= 0; 0 where unknown."""
        index = int(t_s / self._pv_step_s)
        return self._pv_w[min(index, len(self._pv_w) - 1)]

    def history(self, days: int) -> list[Window]:
        """Means per demand window before the start, oldest first: (start, load W, PV W).

        ``None`` where nothing was measured. At most ``days`` days, less where the
        trace begins later. A trace coarser than the window repeats its value.
        """
        begin = max(self._load.start_utc, self.start_utc - days * ONE_DAY)
        count = int((self.start_utc - begin).total_seconds() // self._window_s)
        windows: list[Window] = []
        for i in range(count, 0, -1):
            at = self.start_utc - timedelta(seconds=i * self._window_s)
            load_kw = self._load.mean(at, self._window_s)
            load_w = None if load_kw is None else load_kw * W_PER_KW
            windows.append((at, load_w, self._pv_mean_w(at)))
        return windows

    def bill_windows(self) -> BillWindows:
        """Means per demand window over the simulated span, as the plant saw them."""
        count = round(self.days * 86_400.0 / self._window_s)
        starts = [self.start_utc + timedelta(seconds=i * self._window_s) for i in range(count)]
        file_step_s = self._load.step_s
        missing = [
            any(
                self._missing[j]
                for j in _covered(i * self._window_s, self._window_s, file_step_s)
                if j < len(self._missing)
            )
            for i in range(count)
        ]
        return BillWindows(
            start_utc=tuple(starts),
            load_w=_window_means(self._load_w, self._load_step_s, self._window_s, count),
            pv_w=_window_means(self._pv_w, self._pv_step_s, self._window_s, count),
            missing=np.array(missing, dtype=np.bool_),
        )

    def _pv_mean_w(self, at: datetime) -> float | None:
        """Mean PV of the window that starts at ``at``, W."""
        step_s = min(self._pv_step_s, self._window_s)
        count = max(1, round(self._window_s / step_s))
        values = [self._pv_w_at(at + timedelta(seconds=i * step_s)) for i in range(count)]
        known = [v for v in values if v is not None]
        return sum(known) / len(known) if known else None


def _pv_lookup(
    columns: dict[str, Column], site: Site, zone: ZoneInfo
) -> tuple[Callable[[datetime], float | None], float]:
    """PV power at a UTC instant, and its step (0 s where there is no PV)."""
    name = next((n for n in PV if n in columns), None)
    if name is None or site.pv is None:
        return (lambda at: None), 0.0
    column = columns[name]
    scale = site.pv.rated_w if name == "pv_kw_per_kwp" else W_PER_KW

    def by_instant(at: datetime) -> float | None:
        value = column.at(at)
        if value is None and (at < column.start_utc or at >= column.end_utc):
            value = column.at_season(at.astimezone(zone))
        return None if value is None else max(0.0, value * scale)

    return by_instant, column.step_s


def _held(load: Column, start_utc: datetime, end_utc: datetime) -> tuple[list[float], list[bool]]:
    """Load per step of the span in W with gaps held, and which steps were missing."""
    count = ceil((end_utc - start_utc).total_seconds() / load.step_s)
    held_kw = next((v for v in load.before(start_utc) if v is not None), None)
    if held_kw is None:
        held_kw = load.first_value
    values, missing = [], []
    for i in range(count):
        value = load.at(start_utc + timedelta(seconds=i * load.step_s))
        missing.append(value is None)
        held_kw = held_kw if value is None else value
        values.append(held_kw * W_PER_KW)
    return values, missing


def _textured(load_w: list[float], step_s: float, frac: float, seed: int) -> list[float]:
    """One value per minute: AR(1) around each step's mean, rescaled to keep that mean."""
    per_step = round(step_s / MINUTE_S)
    rng = np.random.Generator(np.random.PCG64(seed))
    shocks = rng.normal(0.0, frac * (1.0 - TEXTURE_COEFFICIENT**2) ** 0.5, len(load_w) * per_step)
    wobble = np.empty_like(shocks)
    level = 0.0
    for i, shock in enumerate(shocks):
        level = TEXTURE_COEFFICIENT * level + shock
        wobble[i] = level
    factors = np.maximum(1.0 + wobble, TEXTURE_FLOOR_FRAC).reshape(len(load_w), per_step)
    factors /= factors.mean(axis=1, keepdims=True)
    minutes: list[float] = (np.array(load_w)[:, None] * factors).ravel().tolist()
    return minutes


def _window_means(
    values: tuple[float, ...], step_s: float, window_s: float, count: int
) -> FloatArray:
    """Mean of a piecewise-constant series per window, weighted by overlap."""
    edges_s = np.arange(len(values) + 1) * step_s
    areas = np.concatenate(([0.0], np.cumsum(np.array(values) * step_s)))
    at_s = np.arange(count + 1) * window_s
    means: FloatArray = np.diff(np.interp(at_s, edges_s, areas)) / window_s
    return means


def _covered(at_s: float, length_s: float, step_s: float) -> range:
    """Indices of the steps that a window touches."""
    return range(int(at_s / step_s + 1e-9), ceil((at_s + length_s) / step_s - 1e-9))


def _gaps_in_words(
    load: Column, missing: list[bool], start_utc: datetime, zone: ZoneInfo
) -> tuple[str, ...]:
    """Each run of missing steps as ``from .. to (n steps)`` in local time."""
    gaps = []
    begin: int | None = None
    for i, gone in enumerate([*missing, False]):
        if gone and begin is None:
            begin = i
        elif not gone and begin is not None:
            first, last = (
                (start_utc + timedelta(seconds=j * load.step_s)).astimezone(zone).isoformat(" ")
                for j in (begin, i)
            )
            gaps.append(f"no load from {first} to {last} ({i - begin} steps)")
            begin = None
    return tuple(gaps)
