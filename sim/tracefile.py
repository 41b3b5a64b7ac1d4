"""Reading one CSV of a regular time series into columns on a UTC grid."""

import csv
import gzip
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import IO, Final
from zoneinfo import ZoneInfo

VALUES: Final = ("load_kw", "pv_kw", "pv_kw_per_kwp")
TIMES: Final = ("local_time", "timestamp_utc")


class TraceError(ValueError):
    """A trace that cannot be used: file, line, what was found, what would be right."""


@dataclass(slots=True)
class Column:
    """One value column on a regular grid; ``None`` where the file has a gap."""

    start_utc: datetime
    step_s: float
    values: list[float | None]
    zone: ZoneInfo
    _season: dict[tuple[int, int, int], float] = field(default_factory=dict)

    @property
    def end_utc(self) -> datetime:
        """End of the last step."""
        return self.start_utc + timedelta(seconds=len(self.values) * self.step_s)

    @property
    def first_value(self) -> float:
        """The first value that is not missing."""
        return next(v for v in self.values if v is not None)

    def at(self, at_utc: datetime) -> float | None:
        """Value of the step that contains an instant."""
        index = int((at_utc - self.start_utc).total_seconds() // self.step_s)
        return self.values[index] if 0 <= index < len(self.values) else None

    def before(self, at_utc: datetime) -> Iterator[float | None]:
        """Values before an instant, latest first."""
        index = int((at_utc - self.start_utc).total_seconds() // self.step_s)
        return reversed(self.values[: max(0, index)])

    def mean(self, at_utc: datetime, length_s: float) -> float | None:
        """Mean of the known values of a window; ``None`` when none is known."""
        count = max(1, round(length_s / self.step_s))
        step = timedelta(seconds=min(self.step_s, length_s))
        known = [v for i in range(count) if (v := self.at(at_utc + i * step)) is not None]
        return sum(known) / len(known) if known else None

    def at_season(self, local: datetime) -> float | None:
        """Value at the same month, day and time of day in whatever year the file covers."""
        if not self._season:
            for i, value in enumerate(self.values):
                if value is not None:
                    at = (self.start_utc + timedelta(seconds=i * self.step_s)).astimezone(self.zone)
                    self._season.setdefault((at.month, at.day, self._slot(at)), value)
        day = local.day
        if (local.month, day) == (2, 29) and (2, 29, self._slot(local)) not in self._season:
            day = 28
        return self._season.get((local.month, day, self._slot(local)))

    def _slot(self, local: datetime) -> int:
        return int((local.hour * 3600 + local.minute * 60 + local.second) // self.step_s)


def read_columns(path: Path, zone: ZoneInfo, required: str | None) -> dict[str, Column]:
    """Known value columns of a CSV on a common regular grid.

    Args:
        path: ``.csv`` or ``.csv.gz``.
        zone: Zone of the wall clock in ``local_time``.
        required: Column that must be there.

    Raises:
        TraceError: missing columns, unreadable cells, times that do not rise or do not
            fit one step; names file and line.
    """
    with _open(path) as stream:
        reader = csv.reader(stream)
        header = next(reader, None)
        if header is None:
            raise TraceError(f"{path}:1: the file is empty; expected a header line")
        time_name = next((n for n in TIMES if n in header), None)
        if time_name is None:
            raise TraceError(f"{path}:1: no column timestamp_utc or local_time, found {header}")
        if required is not None and required not in header:
            raise TraceError(f"{path}:1: no column {required}, found {header}")
        names: list[str] = [n for n in VALUES if n in header]
        places = [header.index(n) for n in names]
        time_place = header.index(time_name)
        times: list[datetime] = []
        rows: list[list[float | None]] = []
        for row in reader:
            if not row:
                continue
            where = f"{path}:{reader.line_num}"
            if len(row) != len(header):
                raise TraceError(f"{where}: {len(row)} fields, the header has {len(header)}")
            at = _time(row[time_place], time_name, zone, where)
            if times and at <= times[-1]:
                raise TraceError(f"{where}: {row[time_place]} does not come after the line before")
            times.append(at)
            rows.append([_number(row[p], n, where) for p, n in zip(places, names, strict=True)])
    if len(times) < 2:
        raise TraceError(f"{path}: {len(times)} data lines; at least 2 are needed")
    return _on_grid(path, times, rows, names, zone)


def _on_grid(
    path: Path,
    times: list[datetime],
    rows: list[list[float | None]],
    names: list[str],
    zone: ZoneInfo,
) -> dict[str, Column]:
    offsets_s = [(t - times[0]).total_seconds() for t in times]
    steps = Counter(b - a for a, b in pairwise(offsets_s))
    step_s = steps.most_common(1)[0][0]
    count = round(offsets_s[-1] / step_s) + 1
    grid: list[list[float | None]] = [[None] * count for _ in names]
    for line, (offset_s, row) in enumerate(zip(offsets_s, rows, strict=True), start=2):
        index = round(offset_s / step_s)
        if abs(index * step_s - offset_s) > 1.0:
            raise TraceError(
                f"{path}:{line}: {times[line - 2].isoformat()} does not fit the step of "
                f"{step_s:g} s that most lines have"
            )
        for column, value in zip(grid, row, strict=True):
            column[index] = value
    for name, column in zip(names, grid, strict=True):
        if all(v is None for v in column):
            raise TraceError(f"{path}: column {name} holds no number")
    return {
        name: Column(times[0], step_s, column, zone)
        for name, column in zip(names, grid, strict=True)
    }


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", newline="", encoding="utf-8")
    return path.open(newline="", encoding="utf-8")


def _time(text: str, column: str, zone: ZoneInfo, where: str) -> datetime:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        raise TraceError(
            f"{where}: {column} {text!r} is no time; expected 2026-03-01T00:15:00"
        ) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone if column == "local_time" else UTC)
    return at.astimezone(UTC)


def _number(text: str, column: str, where: str) -> float | None:
    text = text.strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        raise TraceError(f"{where}: {column} {text!r} is no number") from None
    if not isfinite(value):
        raise TraceError(f"{where}: {column} {text!r} is not finite; leave missing values empty")
    return value
