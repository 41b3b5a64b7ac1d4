"""The graded table: a row for a spreadsheet, an object for a program."""

from dataclasses import asdict
from typing import Any, Final

from ems.health.grading.rules import RECYCLE, Rules
from ems.health.grading.value import Assessed, Triple, Use

_TERMS: Final = ("usable_kwh", "price", "life_factor", "gross", "test", "refit", "warranty")
_NAMES: Final = {
    "price": "price_cny_per_kwh",
    "gross": "gross_cny",
    "test": "test_cny",
    "refit": "refit_cny",
    "warranty": "warranty_cny",
}


def heading(rules: Rules) -> tuple[str, ...]:
    """Columns of the graded table."""
    terms = [
        f"{_NAMES.get(term, term)}{bound}" for term in _TERMS for bound in ("", "_low", "_high")
    ]
    return (
        *("pack_id", "chemistry", "rated_ah", "nominal_v", "soh_frac", "soh_frac_low"),
        *("soh_frac_high", "resistance_ratio", "grade", "grade_reasons", "recommended"),
        *(f"residual_value_cny{bound}" for bound in ("", "_low", "_high")),
        *("terms_of", "life_years", "life_years_low", "life_years_high"),
        *terms,
        *(f"reuse_value_cny{bound}" for bound in ("", "_low", "_high")),
        *(f"recycling_value_cny{bound}" for bound in ("", "_low", "_high")),
        *(f"score_{_column(use.name)}" for use in rules.uses),
        "excluded",
        "rules",
    )  # fmt: skip


def row(found: Assessed, rules: Rules) -> tuple[str, ...]:
    """One pack as text, in the order of ``heading``."""
    pack, soh = found.pack, found.graded.soh
    shown = shown_use(found)
    bounds = (soh.central, soh.low, soh.high) if soh is not None else (None, None, None)
    if shown is None:
        terms = [""] * (3 * len(_TERMS) + 7)
    else:
        triples = [shown.life_years, *(getattr(shown, term) for term in _TERMS), shown.value]
        terms = [shown.name, *(text for triple in triples for text in _three(triple))]
    return (
        pack.pack_id,
        pack.chemistry.value,
        *(_text(value) for value in (pack.rated_ah, pack.nominal_v, *bounds)),
        _text(pack.resistance_ratio),
        found.graded.grade,
        "; ".join(found.graded.reasons),
        found.recommended,
        *_three(found.residual),
        *terms,
        *_three(found.recycling),
        *(_text(use.score) for use in found.uses or ()),
        *("0" for _ in rules.uses if not found.uses),
        "; ".join(f"{use.name}: {', '.join(use.why_not)}" for use in found.uses if use.why_not),
        rules.name,
    )


def shown_use(found: Assessed) -> Use | None:
    """The use whose terms stand in the row: the recommended one.

    For a pack to be recycled it is the best use that was left out, so that a reader sees
    by how much; ``None`` when the pack was not assessed.
    """
    if found.recommended != RECYCLE:
        return next(use for use in found.uses if use.name == found.recommended)
    return max(found.uses, key=lambda use: (use.allowed, use.value.value), default=None)


def as_json(found: Assessed) -> dict[str, Any]:
    """Everything, for programs."""
    pack = asdict(found.pack)
    return {
        "pack_id": pack.pop("pack_id"),
        "input": pack,
        "grade": found.graded.grade,
        "soh": None if found.graded.soh is None else asdict(found.graded.soh),
        "grade_reasons": list(found.graded.reasons),
        "recommended": found.recommended,
        "residual_value_cny": asdict(found.residual),
        "recycling_value_cny": asdict(found.recycling),
        "uses": [asdict(use) for use in found.uses],
    }


def _column(name: str) -> str:
    return name.replace("-", "_")


def _three(triple: Triple) -> tuple[str, str, str]:
    return _text(triple.value), _text(triple.low), _text(triple.high)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
