"""What a pack is still good for and what it is worth, with every term shown.

The value in a use is ``usable kWh x price x remaining-life factor`` less testing,
refitting and a share put by for warranty. The residual value is the best of the uses
that a pack may go to and of what a recycler pays. Bounds take every term at its worst,
or best, at once: wider than 90 %, and honest about prices that nobody can look up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ems.health.ageing.forecast import life_days
from ems.health.ageing.laws import DAYS_PER_YEAR, LAWS
from ems.health.grading.grade import Graded, Soh, grade
from ems.health.grading.packs import Pack
from ems.health.grading.rules import RECYCLE, REJECT, Rules, UseRule

Z_90: Final = 1.645
"""Standard deviations to the 5 and 95 % quantiles of a normal distribution."""
NEW_SOH: Final = 0.95
"""SoH at which a retired pack scores full; vehicles keep better ones."""


@dataclass(frozen=True, slots=True)
class Triple:
    """A figure with bounds."""

    low: float
    value: float
    high: float


@dataclass(frozen=True, slots=True)
class Use:
    """A pack in one use."""

    name: str
    allowed: bool
    score: float
    """Technical fit, 0..100; 0 when not allowed."""
    why_not: tuple[str, ...]
    """Every reason for exclusion."""
    life_years: Triple
    usable_kwh: Triple
    price: Triple
    life_factor: Triple
    """Share of a whole second life that the pack still has, 0..1."""
    gross: Triple
    test: Triple
    refit: Triple
    warranty: Triple
    value: Triple
    """CNY; below 0 when the work costs more than it brings."""


@dataclass(frozen=True, slots=True)
class Assessed:
    """Everything found out about one pack."""

    pack: Pack
    graded: Graded
    uses: tuple[Use, ...]
    recycling: Triple
    recommended: str
    residual: Triple
    """CNY, >= 0."""


def assess(packs: Sequence[Pack], rules: Rules) -> tuple[Assessed, ...]:
    """Grade, uses and residual value of every pack, in their order."""
    return tuple(_assess(pack, rules) for pack in packs)


def _assess(pack: Pack, rules: Rules) -> Assessed:
    graded = grade(pack, rules)
    money = rules.value.recycling_per_kwh[pack.chemistry]
    kwh = pack.rated_kwh
    recycling = Triple(money.low * kwh, money.value * kwh, money.high * kwh)
    uses = (
        tuple(_use(pack, graded, graded.soh, rule, rules) for rule in rules.uses)
        if graded.soh is not None
        else ()
    )
    allowed = [use for use in uses if use.allowed]
    best = max(allowed, key=lambda use: (use.value.value, use.score), default=None)
    if best is None or best.value.value <= recycling.value:
        return Assessed(pack, graded, uses, recycling, RECYCLE, _best(recycling, allowed))
    return Assessed(pack, graded, uses, recycling, best.name, _best(recycling, allowed))


def _best(recycling: Triple, uses: Sequence[Use]) -> Triple:
    """The owner may choose: each bound is the best that any way out offers there."""
    ways = [recycling, *(use.value for use in uses)]
    return Triple(
        max(way.low for way in ways), max(way.value for way in ways), max(way.high for way in ways)
    )


def _use(pack: Pack, graded: Graded, soh: Soh, rule: UseRule, rules: Rules) -> Use:
    law, usage = LAWS[pack.chemistry], rule.usage
    years = Triple(
        life_days(law, soh.low, usage, -Z_90) / DAYS_PER_YEAR,
        life_days(law, soh.central, usage) / DAYS_PER_YEAR,
        life_days(law, soh.high, usage, Z_90) / DAYS_PER_YEAR,
    )
    cautious_years = life_days(law, soh.low, usage) / DAYS_PER_YEAR
    why_not = _why_not(pack, graded, rule, cautious_years)
    kwh, money = pack.rated_kwh, rules.value
    price = money.price_per_usable_kwh[pack.chemistry]
    usable = Triple(soh.low * kwh, soh.central * kwh, soh.high * kwh)
    whole = rule.full_life_years.value
    life = Triple(*(min(1.0, each / whole) for each in (years.low, years.value, years.high)))
    gross = Triple(
        usable.low * price.low * life.low,
        usable.value * price.value * life.value,
        usable.high * price.high * life.high,
    )
    test = Triple(
        money.test_per_pack.low + money.test_per_kwh.low * kwh,
        money.test_per_pack.value + money.test_per_kwh.value * kwh,
        money.test_per_pack.high + money.test_per_kwh.high * kwh,
    )
    refit = Triple(*(each * kwh for each in (money.refit_per_kwh.low, money.refit_per_kwh.value,
                                             money.refit_per_kwh.high)))  # fmt: skip
    share = money.warranty_share
    warranty = Triple(gross.low * share.high, gross.value * share.value, gross.high * share.low)
    value = Triple(
        gross.low - test.high - refit.high - warranty.low,
        gross.value - test.value - refit.value - warranty.value,
        gross.high - test.low - refit.low - warranty.high,
    )
    return Use(
        name=rule.name,
        allowed=not why_not,
        score=0.0 if why_not else _score(pack, soh, rule, rules, cautious_years),
        why_not=why_not,
        life_years=years,
        usable_kwh=usable,
        price=Triple(price.low, price.value, price.high),
        life_factor=life,
        gross=gross,
        test=test,
        refit=refit,
        warranty=warranty,
        value=value,
    )


def _why_not(pack: Pack, graded: Graded, rule: UseRule, years: float) -> tuple[str, ...]:
    found = []
    if graded.grade == REJECT:
        found.append("rejected")
    elif graded.grade not in rule.grades:
        found.append(f"grade {graded.grade}, {rule.grades[-1]} or better is needed")
    if pack.chemistry not in rule.chemistries:
        found.append(f"{pack.chemistry} is not used here, only {', '.join(rule.chemistries)}")
    if years < rule.min_life_years.value:
        found.append(
            f"{years:.1f} years left at the lower bound of SoH,"
            f" {rule.min_life_years.value:g} are needed"
        )
    return tuple(found)


def _score(pack: Pack, soh: Soh, rule: UseRule, rules: Rules, years: float) -> float:
    """Weighted mean of how far each figure is from its worst; what is unmeasured counts 0."""
    worst, end = rules.grades[-1], LAWS[pack.chemistry].end_soh_frac
    limits = (
        (rule.weights.resistance, _below(pack.resistance_ratio, 1.0,
                                         worst.resistance_ratio_max.value)),
        (rule.weights.spread, _below(pack.capacity_spread_frac, 0.0,
                                     worst.capacity_spread_max_frac.value)),
        (rule.weights.self_discharge, _below(pack.self_discharge_frac_per_month, 0.0,
                                             worst.self_discharge_max_frac_per_month.value)),
        (rule.weights.soh, _clip((soh.low - end) / (NEW_SOH - end))),
        (rule.weights.life, _clip(years / rule.full_life_years.value)),
    )  # fmt: skip
    return 100.0 * sum(w * part for w, part in limits) / sum(w for w, _ in limits)


def _below(value: float | None, best: float, worst: float) -> float:
    if value is None or worst <= best:
        return 0.0
    return _clip((worst - value) / (worst - best))


def _clip(value: float) -> float:
    return min(max(value, 0.0), 1.0)
