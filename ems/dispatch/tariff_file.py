"""The tariff file: what an integrator writes in YAML, held to a model and compiled.

Apart from ``ems.dispatch.tariff``, because the control process is handed a compiled
tariff and has no use for the libraries that read one.
"""

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ems import units, yamlfile
from ems.dispatch.tariff import HOLIDAY, SLOTS_PER_DAY, SLOTS_PER_H, SUNDAY, WEEKDAYS, Tariff

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
