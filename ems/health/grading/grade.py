"""The grade of a pack, A to D or reject, with what kept it from a better one.

SoH counts with its lower bound: a pack that may be bad is treated as if it were. A
figure that nobody measured counts as the worst that grade D allows, so such a pack can
be D at best and the reason says what to measure.
"""

from dataclasses import dataclass
from typing import Final

from ems.health.grading.packs import MAX_SOH, Pack
from ems.health.grading.rules import REJECT, GradeRule, Rules
from ems.site import Chemistry

EPSILON: Final = 1e-9
"""A limit met exactly is met, whatever the last bit of a decimal fraction says."""


@dataclass(frozen=True, slots=True)
class Soh:
    """SoH of a pack with bounds, filled in where the table had none."""

    low: float
    central: float
    high: float


@dataclass(frozen=True, slots=True)
class Graded:
    """A grade and its reasons."""

    grade: str
    soh: Soh | None
    """``None``: not assessed."""
    reasons: tuple[str, ...]
    """What kept it from the next better grade, and what was not measured."""


def soh_of(pack: Pack, rules: Rules) -> tuple[Soh | None, tuple[str, ...]]:
    """SoH with bounds, and a word on each bound that had to be assumed."""
    margin, words = rules.soh_margin_frac.value, []
    central = pack.soh_frac if pack.soh_frac is not None else pack.soh_frac_low
    if central is None:
        return None, ("SoH not assessed" + (f": {pack.note}" if pack.note else ""),)
    low, high = pack.soh_frac_low, pack.soh_frac_high
    if low is None:
        low = max(central - margin, 0.0)
        words.append(f"no lower bound of SoH: {margin:g} below the value taken")
    if high is None:
        high = min(max(central, min(central + margin, 1.0)), MAX_SOH)
    return Soh(low, central, high), tuple(words)


def grade(pack: Pack, rules: Rules) -> Graded:
    """The best grade whose every line the pack fulfils.

    Never better for a lower SoH, a higher resistance, spread, self-discharge, age or
    count of cycles.
    """
    soh, words = soh_of(pack, rules)
    if soh is None:
        return Graded(REJECT, None, words)
    if pack.defect:
        return Graded(REJECT, soh, (f"defect: {pack.defect}", *words))
    last = rules.grades[-1]
    missing = tuple(
        f"{name} not measured: the worst that {last.name} allows is taken"
        for name, value, _ in _lines(pack, last)
        if value is None
    )
    failed: tuple[str, ...] = ()
    for rule in rules.grades:
        fails = _fails(pack, soh, rule, worst=last)
        if not fails:
            return Graded(rule.name, soh, (*failed, *words, *missing))
        failed = fails
    return Graded(REJECT, soh, (*failed, *words, *missing))


def _fails(pack: Pack, soh: Soh, rule: GradeRule, worst: GradeRule) -> tuple[str, ...]:
    needed = rule.soh_min_frac[pack.chemistry].value
    found = []
    if soh.low < needed - EPSILON:
        found.append(f"not {rule.name}: SoH lower bound {soh.low:.3g} below {needed:g}")
    for (name, value, limit), (_, _, at_worst) in zip(
        _lines(pack, rule), _lines(pack, worst), strict=True
    ):
        if value is None and at_worst > limit + EPSILON:
            found.append(f"not {rule.name}: {name} not measured")
        elif value is not None and value > limit + EPSILON:
            found.append(f"not {rule.name}: {name} {value:.3g} above {limit:g}")
    return tuple(found)


def _lines(pack: Pack, rule: GradeRule) -> tuple[tuple[str, float | None, float], ...]:
    """Every figure with an upper limit: name, the pack's, the rule's."""
    chemistry: Chemistry = pack.chemistry
    return (
        ("resistance_ratio", pack.resistance_ratio, rule.resistance_ratio_max.value),
        ("capacity_spread_frac", pack.capacity_spread_frac, rule.capacity_spread_max_frac.value),
        (
            "self_discharge_frac_per_month",
            pack.self_discharge_frac_per_month,
            rule.self_discharge_max_frac_per_month.value,
        ),
        ("age_years", pack.age_years, rule.age_max_years.value),
        ("cycles_efc", pack.cycles_efc, rule.cycles_max_efc[chemistry].value),
    )
