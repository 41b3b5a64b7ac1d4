"""The rules of grading as a file that an operator may change (``configs/grading``).

Every number names where it comes from. A rule file is held to this model, and to the
laws that keep a grade meaningful: a better grade is never easier to get than a worse.
"""

from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ems import yamlfile
from ems.health.ageing.laws import Usage
from ems.site import Chemistry

DEFAULT_RULES: Final = Path(__file__).parents[3] / "configs" / "grading" / "default.yaml"
"""Beside the package, in a checkout as in an installation."""
GRADES: Final = ("A", "B", "C", "D")
REJECT: Final = "reject"
RECYCLE: Final = "recycle"

UseName = Literal["base-station-backup", "peak-shaving", "street-light", "mobile-charging"]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SourceRule(_Strict):
    """Where numbers come from."""

    text: str
    as_of: date
    confidence: Literal["high", "medium", "low"]


class Number(_Strict):
    """A limit, and its source."""

    value: Annotated[float, Field(ge=0, alias="is")]
    source: Annotated[str, Field(alias="from")]


class Money(Number):
    """An amount of money with what it may be at the least and at the most."""

    low: Annotated[float, Field(ge=0)]
    high: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value:g} is not within low {self.low:g} to high {self.high:g}")
        return self


class GradeRule(_Strict):
    """What a pack needs at least, or may have at most, to earn a grade."""

    name: Literal["A", "B", "C", "D"]
    soh_min_frac: Mapping[Chemistry, Number]
    """Held against the lower bound of SoH."""
    resistance_ratio_max: Number
    capacity_spread_max_frac: Number
    self_discharge_max_frac_per_month: Number
    age_max_years: Number
    cycles_max_efc: Mapping[Chemistry, Number]

    @model_validator(mode="after")
    def _every_chemistry(self) -> Self:
        for name, table in (("soh_min_frac", self.soh_min_frac), ("cycles_max_efc",
                            self.cycles_max_efc)):  # fmt: skip
            _all_chemistries(name, table)
        return self


class Weights(_Strict):
    """What the fit of a pack to a use is made of; shares of the score."""

    soh: Annotated[float, Field(ge=0)]
    resistance: Annotated[float, Field(ge=0)]
    spread: Annotated[float, Field(ge=0)]
    self_discharge: Annotated[float, Field(ge=0)]
    life: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _some(self) -> Self:
        if sum(self.__dict__.values()) <= 0.0:
            raise ValueError("at least one weight must be above 0")
        return self


class UseRule(_Strict):
    """One second life: who may go there and how the pack will be used."""

    name: UseName
    zh: str
    grades: Annotated[tuple[Literal["A", "B", "C", "D"], ...], Field(min_length=1)]
    chemistries: Annotated[tuple[Chemistry, ...], Field(min_length=1)]
    source: Annotated[str, Field(alias="from")]
    """Of grades, chemistries, use and weights."""
    efc_per_day: Annotated[float, Field(ge=0, le=20)]
    mean_soc_frac: Fraction
    dod_frac: Fraction
    temp_c: Annotated[float, Field(ge=-30, le=60)]
    c_rate: Annotated[float, Field(ge=0, le=5)]
    min_life_years: Number
    """Shorter is not worth the trip."""
    full_life_years: Annotated[Number, Field(description="life that earns the whole price")]
    weights: Weights

    @model_validator(mode="after")
    def _grades_from_the_top(self) -> Self:
        if tuple(self.grades) != GRADES[: len(self.grades)]:
            raise ValueError("grades must run from A downwards: a better pack may do it too")
        if self.full_life_years.value <= 0.0:
            raise ValueError("full_life_years must be above 0")
        return self

    @property
    def usage(self) -> Usage:
        return Usage(self.efc_per_day, self.mean_soc_frac, self.dod_frac, self.temp_c, self.c_rate)


class ValueRule(_Strict):
    """What a pack earns and costs."""

    currency: Literal["CNY"]
    price_per_usable_kwh: Mapping[Chemistry, Money]
    """A repurposed, tested and warranted pack with its whole second life before it."""
    test_per_pack: Money
    test_per_kwh: Money
    """Per rated kWh, as the next two."""
    refit_per_kwh: Money
    recycling_per_kwh: Mapping[Chemistry, Money]
    """What a licensed recycler pays for it, delivered."""
    warranty_share: Money
    """Share of the gross price put by for failures."""

    @model_validator(mode="after")
    def _every_chemistry(self) -> Self:
        _all_chemistries("price_per_usable_kwh", self.price_per_usable_kwh)
        _all_chemistries("recycling_per_kwh", self.recycling_per_kwh)
        if self.warranty_share.high >= 1.0:
            raise ValueError("warranty_share must stay below 1")
        return self


class Rules(_Strict):
    """A rule file."""

    name: str
    sources: Mapping[str, SourceRule]
    soh_margin_frac: Number
    """Taken off SoH, or put on, where the assessment gave no bounds."""
    grades: tuple[GradeRule, ...]
    uses: Annotated[tuple[UseRule, ...], Field(min_length=1)]
    value: ValueRule

    @model_validator(mode="after")
    def _meaningful(self) -> Self:
        if tuple(grade.name for grade in self.grades) != GRADES:
            raise ValueError("grades must be A, B, C and D, in this order")
        for better, worse in pairwise(self.grades):
            _ordered(better, worse)
        for name in sorted(_sources(self.model_dump(by_alias=True)) - set(self.sources)):
            raise ValueError(f"source {name!r} is used but not described under sources")
        names = [use.name for use in self.uses]
        if len(set(names)) != len(names):
            raise ValueError("a use is described twice")
        return self


def _all_chemistries(name: str, table: Mapping[Chemistry, Number]) -> None:
    missing = [chemistry for chemistry in Chemistry if chemistry not in table]
    if missing:
        raise ValueError(f"{name} says nothing of {', '.join(missing)}")


def _ordered(better: GradeRule, worse: GradeRule) -> None:
    for chemistry in Chemistry:
        if better.soh_min_frac[chemistry].value < worse.soh_min_frac[chemistry].value:
            raise ValueError(
                f"soh_min_frac of {better.name} is below that of {worse.name} for {chemistry}"
            )
        if better.cycles_max_efc[chemistry].value > worse.cycles_max_efc[chemistry].value:
            raise ValueError(
                f"cycles_max_efc of {better.name} is above that of {worse.name} for {chemistry}"
            )
    for name in (
        "resistance_ratio_max",
        "capacity_spread_max_frac",
        "self_discharge_max_frac_per_month",
        "age_max_years",
    ):
        if getattr(better, name).value > getattr(worse, name).value:
            raise ValueError(f"{name} of {better.name} is above that of {worse.name}")


def _sources(data: object) -> set[str]:
    """Every source named anywhere below."""
    found: set[str] = set()
    if isinstance(data, Mapping):
        if isinstance(name := data.get("from"), str):
            found.add(name)
        for value in data.values():
            found |= _sources(value)
    elif isinstance(data, tuple | list):
        for value in data:
            found |= _sources(value)
    return found


def load(path: Path | None = None) -> Rules:
    """The rules in a file, or the shipped ones.

    Raises:
        FileErrors: everything that is wrong with the file, with line and column.
    """
    return yamlfile.load_model(path or DEFAULT_RULES, Rules)
