"""Reading one CSV of a regular time series into columns on a UTC grid."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from sim.csvfile import InputError, Table, read_number, read_table, read_time, shown

RANGES: Final = {
    "load_kw": (-1e6, 1e6),
    "pv_kw": (-1e3, 1e6),
    "pv_kw_per_kwp": (-0.1, 2.0),
}
"""Beyond these a value is W for kW, a percentage or a meter's "missing", not a power."""
PV: Final = ("pv_kw", "pv_kw_per_kwp")
TIMES: Final = ("local_time", "timestamp_utc")
STEP_S: Final = (1.0, 86_400.0)
SPARSE: Final = 20
"""A file that covers this many times more steps than it has lines has a mistyped date."""


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


def read_columns(
    path: Path, zone: ZoneInfo, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, Column]:
    """Wanted value columns of a CSV on a common regular grid, those that it has.

    Args:
        path: ``.csv`` or ``.csv.gz``.
        zone: Zone of the wall clock in ``local_time``.
        required: Names out of ``RANGES``, of which one at least must be there.
        optional: Further names to read where they are there.

    Raises:
        InputError: missing columns, unreadable cells, times that do not rise or do not
            fit one step; names file and line.
    """
    table = read_table(path)
    names = _names(table, required, optional)
    time_name = next((n for n in TIMES if n in table.names), None)
    if time_name is None:
        raise table.lacks(TIMES)
    clock = zone if time_name == "local_time" else ZoneInfo("UTC")
    time_place = table.names.index(time_name)
    places = [(table.names.index(n), n) for n in names]
    lines: list[int] = []
    times: list[datetime] = []
    rows: list[list[float | None]] = []
    for line, row in table.rows:
        where = table.check(line, row)
        try:
            at = read_time(row[time_place], clock, times[-1] if times else None)
        except ValueError as error:
            raise InputError(f"{where}: {time_name} {error}") from None
        if times and at <= times[-1]:
            raise InputError(
                f"{where}: {shown(row[time_place])!r} does not come after the line before; "
                f"times must rise (read in {clock.key}, with its summer time if it has one)"
            )
        lines.append(line)
        times.append(at)
        rows.append([_number(row[place], name, where) for place, name in places])
    if len(times) < 2:
        raise InputError(f"{path}: {len(times)} data lines; at least 2 are needed")
    return _on_grid(path, lines, times, rows, names, zone)


def _names(table: Table, required: tuple[str, ...], optional: tuple[str, ...]) -> list[str]:
    """The wanted columns that are there; a misspelt PV column is an error, not an absent one."""
    names = [n for n in (*required, *optional) if n in table.names]
    if not set(names) & set(required):
        raise table.lacks(required)
    if set(optional) & set(PV) and not set(names) & set(PV):
        odd = next((n for n in table.names if n.startswith("pv")), None)
        if odd is not None:
            raise table.error(f"unknown column {odd!r}; expected {' or '.join(PV)}")
    return names


def _on_grid(
    path: Path,
    lines: list[int],
    times: list[datetime],
    rows: list[list[float | None]],
    names: list[str],
    zone: ZoneInfo,
) -> dict[str, Column]:
    offsets_s = [(t - times[0]).total_seconds() for t in times]
    steps = Counter(b - a for a, b in pairwise(offsets_s))
    step_s = steps.most_common(1)[0][0]
    if not STEP_S[0] <= step_s <= STEP_S[1]:
        raise InputError(f"{path}: a step of {step_s:g} s; 1 s to 1 day are expected")
    count = round(offsets_s[-1] / step_s) + 1
    if count > SPARSE * (len(times) + SPARSE):
        raise InputError(
            f"{path}: {len(times)} lines of {step_s:g} s reach from {times[0].date()} to "
            f"{times[-1].date()}; is a date mistyped?"
        )
    grid: list[list[float | None]] = [[None] * count for _ in names]
    for line, offset_s, row in zip(lines, offsets_s, rows, strict=True):
        index = round(offset_s / step_s)
        if abs(index * step_s - offset_s) > 1.0:
            at = (times[0] + timedelta(seconds=offset_s)).astimezone(zone)
            raise InputError(
                f"{path}:{line}: {at.isoformat()} does not fit the step of "
                f"{step_s:g} s that most lines have"
            )
        for column, value in zip(grid, row, strict=True):
            column[index] = value
    for name, column in zip(names, grid, strict=True):
        known = [v for v in column if v is not None]
        if not known:
            raise InputError(f"{path}: column {name} holds no number")
        if name == "load_kw" and 2 * sum(v < 0.0 for v in known) > len(known):
            raise InputError(f"{path}: most of load_kw is negative; consumption is positive")
    return {
        name: Column(times[0], step_s, column, zone)
        for name, column in zip(names, grid, strict=True)
    }


def _number(text: str, column: str, where: str) -> float | None:
    if not text.strip():
        return None
    try:
        value = read_number(text)
    except ValueError as error:
        hint = "" if ";" in str(error) else "; leave missing values empty"
        raise InputError(f"{where}: {column} {error}{hint}") from None
    low, high = RANGES[column]
    if not low <= value <= high:
        raise InputError(
            f"{where}: {column} {shown(text)} is outside {low:g} to {high:g}; "
            "leave missing values empty"
        )
    return value
