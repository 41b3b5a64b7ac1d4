"""What a kWh and a kW cost: the tariff file, compiled into one lookup table.

Chinese two-part tariffs float an energy price by season, hour and kind of day
(sharp, peak, flat, valley, deep valley) and add a price per kW on the largest
15-min mean of the calendar month. Everything is read in the tariff's or the
site's wall-clock time; the caller says which zone that is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ems import units, yamlfile
from ems.model import FloatArray

SLOTS_PER_DAY: Final = 96
"""Prices change on whole quarters of an hour at most."""
SLOTS_PER_H: Final = 4
SUNDAY: Final = 6
HOLIDAY: Final = 7
"""Row of the table after Monday (0) to Sunday (6)."""
WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
PeriodName = Literal["sharp", "peak", "flat", "valley", "deep_valley"]


def _weekdays(value: object) -> object:
    """``mon-fri`` or ``[sat, sun]`` as a list of day names; other things go on to pydantic."""
    if isinstance(value, str):
        first, dash, last = value.partition("-")
        if dash and first in WEEKDAYS and last in WEEKDAYS:
            span = WEEKDAYS[WEEKDAYS.index(first) : WEEKDAYS.index(last) + 1]
            if not span:
                raise ValueError(f"{value!r} runs backwards; write the days as a list")
            return span
        return (value,)
    return value


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Month = Annotated[int, Field(ge=1, le=12)]
Hours = tuple[
    Annotated[float, Field(ge=0, le=24, multiple_of=0.25)],
    Annotated[float, Field(ge=0, le=24, multiple_of=0.25)],
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleFile(_Strict):
    """When a price applies. An absent key matches always."""

    price: float | None = None
    period: PeriodName | None = None
    months: tuple[Month, ...] | None = None
    weekdays: Annotated[tuple[Weekday, ...] | None, BeforeValidator(_weekdays)] = None
    holidays: bool | None = None
    hours: tuple[Hours, ...] | None = None

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if (self.price is None) == (self.period is None):
            raise ValueError("a rule needs either a price or a period")
        for begin, end in self.hours or ():
            if end <= begin:
                raise ValueError(f"hours [{begin:g}, {end:g}] end before they begin")
        return self

    def matches(self, month: int, weekday: int) -> bool:
        """Whether the rule applies in this month on this row (0..6, ``HOLIDAY``)."""
        if self.months is not None and month not in self.months:
            return False
        if self.holidays is not None and self.holidays != (weekday == HOLIDAY):
            return False
        name = WEEKDAYS[SUNDAY if weekday == HOLIDAY else weekday]
        return self.weekdays is None or name in self.weekdays


class EnergyFile(_Strict):
    """Energy price per kWh: a default and rules, of which the last that matches wins."""

    default: float | PeriodName
    periods: Mapping[PeriodName, float] = Field(default_factory=dict)
    rules: tuple[RuleFile, ...] = ()

    @model_validator(mode="after")
    def _known_periods(self) -> Self:
        used = [r.period for r in self.rules if r.period is not None]
        if isinstance(self.default, str):
            used.append(self.default)
        for name in used:
            if name not in self.periods:
                raise ValueError(f"period {name!r} has no price under energy.periods")
        return self


class DemandFile(_Strict):
    """Price of the largest window mean of the calendar month."""

    rate_per_kw_month: Annotated[float, Field(ge=0)]
    window_min: Annotated[float, Field(gt=0, le=60)] = 15.0


class TariffFile(_Strict):
    """A tariff as written in YAML; prices per kWh and kW."""

    name: str
    currency: Literal["CNY", "EUR"]
    """A currency in which the cost of wear is known (``ems.dispatch.bill``)."""
    timezone: str
    source: str = ""
    as_of: str = ""
    """When these numbers were taken from the source."""
    effective_from: str = ""
    confidence: Mapping[str, str] = Field(default_factory=dict)
    energy: EnergyFile
    demand: DemandFile | None = None
    feed_in: float = 0.0
    holidays: tuple[date, ...] = ()
    makeup_workdays: tuple[date, ...] = ()
    """Weekend days on which a country works; priced like a Friday."""


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


def compile_tariff(file: TariffFile) -> Tariff:
    """The lookup form of a tariff file."""
    names: tuple[str, ...] = tuple(file.energy.periods)
    table = np.empty((12, 8, SLOTS_PER_DAY))
    index = np.full((12, 8, SLOTS_PER_DAY), -1, dtype=np.int8)

    def put(where: Any, price: float | None, period: str | None) -> None:
        if period is not None:
            table[where] = file.energy.periods[period]  # type: ignore[index]
            index[where] = names.index(period)
        else:
            table[where] = price
            index[where] = -1

    default = file.energy.default
    put(
        ...,
        default if isinstance(default, float) else None,
        default if isinstance(default, str) else None,
    )
    for rule in file.energy.rules:
        for month in range(1, 13):
            for row in range(8):
                if not rule.matches(month, row):
                    continue
                for begin_h, end_h in rule.hours or ((0.0, 24.0),):
                    span = slice(int(begin_h * SLOTS_PER_H), int(end_h * SLOTS_PER_H))
                    put((month - 1, row, span), rule.price, rule.period)
    table.setflags(write=False)
    index.setflags(write=False)
    special = dict.fromkeys(file.holidays, HOLIDAY) | dict.fromkeys(file.makeup_workdays, 4)
    return Tariff(
        name=file.name,
        currency=file.currency,
        timezone=file.timezone,
        demand_rate_per_kw=file.demand.rate_per_kw_month if file.demand else 0.0,
        demand_window_s=(file.demand.window_min if file.demand else 15.0) * units.S_PER_MIN,
        feed_in_per_kwh=file.feed_in,
        table_per_kwh=table,
        period_names=names,
        period_table=index,
        special_days=special,
    )


def load_tariff(path: Path) -> Tariff:
    """The tariff in a YAML file.

    Raises:
        yamlfile.FileErrors: the file cannot be read, or does not say what a
            tariff file must; every error with file, line and column.
    """
    return compile_tariff(yamlfile.load_model(path, TariffFile))
