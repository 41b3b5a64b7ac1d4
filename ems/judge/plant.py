"""Do voltages, chemistry, tariff, papers and the safety section fit the site?"""

from collections.abc import Iterator
from datetime import date
from typing import Final

from ems.config import Declared
from ems.dispatch.tariff import Tariff
from ems.health.ocv import ocv_v
from ems.judge.aged import TEST_VALID_MONTHS, aged
from ems.judge.finding import Finding, error, info, warning
from ems.safety.program import compile_table
from ems.safety.table import RESISTANCE_END_OF_LIFE, ROW_OF_ID, SOH_END_OF_LIFE
from ems.site import Chemistry, Site, SiteKind
from ems.units import S_PER_MIN, kw_from_w, kwh_from_wh

LARGE_W: Final = 500_000.0
LARGE_WH: Final = 500_000.0
"""From this size on neither ternary nor manganese packs are accepted (after the fire
rules for storage stations; the number is engineering judgement)."""
FIRE_PRONE: Final = (Chemistry.NMC, Chemistry.LMO)
_DERATE, _TRIP = 1, 3


def judge_voltages(site: Site, declared: Declared, today: date) -> Iterator[Finding]:
    """Float, boost and LVD against the cells of the packs on a direct bus."""
    for index, converter in enumerate(site.converters):
        shelf = converter.rectifier
        if shelf is None:
            continue
        where = f"converters[{index}].rectifier"
        packs = [site.packs[i] for i in converter.packs]
        healths = [aged(pack, None, today).health for pack in packs]
        highest = min(
            (pack.series_cells * _limit_v("C01", pack.chemistry, _DERATE, h), pack.id)
            for pack, h in zip(packs, healths, strict=True)
        )
        lowest = max(
            (pack.series_cells * _limit_v("C02", pack.chemistry, _TRIP, h), pack.id)
            for pack, h in zip(packs, healths, strict=True)
        )
        cells = packs[0].series_cells
        for key, volts in (("float_v", shelf.float_v), ("boost_v", declared.boost_v)):
            if volts is not None and volts > highest[0]:
                yield error(
                    f"{key.removesuffix('_v')}_voltage",
                    f"{where}.{key}",
                    f"{volts:g} V is {volts / cells:.3f} V a cell, above the {highest[0]:.1f} V "
                    f"that {highest[1]} may be charged to at today's health",
                    f"at most {highest[0]:.1f} V",
                )
        if shelf.lvd_disconnect_v < lowest[0]:
            yield error(
                "lvd_voltage",
                f"{where}.lvd_disconnect_v",
                f"{shelf.lvd_disconnect_v:g} V is {shelf.lvd_disconnect_v / cells:.3f} V a cell, "
                f"below the {lowest[0]:.1f} V at which {lowest[1]} trips and opens its contactor",
                f"at least {lowest[0]:.1f} V",
            )
        if shelf.float_v <= highest[0] and shelf.lvd_disconnect_v >= lowest[0]:
            yield info(
                "bus_voltages",
                where,
                f"float {shelf.float_v:g} V and LVD {shelf.lvd_disconnect_v:g} V lie within "
                f"{lowest[0]:.1f} V to {highest[0]:.1f} V, what the cells allow at today's health",
            )


def _limit_v(cause: str, chemistry: Chemistry, level: int, health: float) -> float:
    """A cell voltage of the interlock table at a health index, V."""
    row = ROW_OF_ID[cause]
    limit, slope = row.limit[chemistry][level], row.tighten[chemistry][level]
    if limit is None or slope is None:
        raise ValueError(f"{cause} has no level {level + 1} for {chemistry}")
    return limit + slope * (1.0 - health)


def judge_parallel(site: Site) -> Iterator[Finding]:
    """Packs in parallel must share chemistry and number of series groups."""
    if site.kind is SiteKind.OWN_CONVERTERS:
        return
    for index, converter in enumerate(site.converters):
        packs = [site.packs[i] for i in converter.packs]
        kinds = sorted({f"{pack.series_cells}S {pack.chemistry}" for pack in packs})
        if len(kinds) > 1:
            yield error(
                "parallel_packs",
                f"converters[{index}].packs",
                f"packs in parallel have different voltages: {', '.join(kinds)}",
                "one chemistry and one number of series cells behind one bus",
            )


def judge_chemistry(site: Site) -> Iterator[Finding]:
    """Whether chemistries that burn more readily are allowed at this size."""
    power_w = sum(max(c.rated_charge_w, c.rated_discharge_w) for c in site.converters)
    energy_wh = sum(
        pack.rated_ah * float(ocv_v(pack.chemistry, 0.5)) * pack.series_cells for pack in site.packs
    )
    size = f"{kw_from_w(power_w):g} kW and {kwh_from_wh(energy_wh):.0f} kWh nameplate"
    prone = [pack for pack in site.packs if pack.chemistry in FIRE_PRONE]
    if prone and (power_w >= LARGE_W or energy_wh >= LARGE_WH):
        yield error(
            "chemistry_size",
            "packs",
            f"{', '.join(f'{p.id} ({p.chemistry})' for p in prone)} at a site of {size}: "
            "not accepted from 500 kW or 500 kWh",
            "LFP or LTO packs only, or a smaller site",
        )
    else:
        found = ", ".join(sorted({str(pack.chemistry) for pack in site.packs}))
        yield info("chemistry_size", "packs", f"{found} is allowed at {size}")


def judge_import(site: Site) -> Iterator[Finding]:
    """Whether what may be imported carries the loads when the packs give nothing."""
    limit_w = site.grid.import_limit_w
    critical_w = max(
        site.backup.critical_w, sum(load.nominal_w for load in site.loads if not load.sheddable)
    )
    all_w = critical_w + sum(load.nominal_w for load in site.loads if load.sheddable)
    if limit_w >= all_w:
        return
    loads = "what cannot be shed" if limit_w < critical_w else "all loads together"
    needed_w = critical_w if limit_w < critical_w else all_w
    yield warning(
        "import_limit",
        "grid.import_limit_kw",
        f"{kw_from_w(limit_w):g} kW is less than the {kw_from_w(needed_w):g} kW of {loads}: "
        "with the packs empty or stopped it cannot be kept",
        f"at least {kw_from_w(all_w):g} kW, or smaller loads",
    )


def judge_intake(site: Site, today: date) -> Iterator[Finding]:
    """Age of the capacity tests, and packs at the end of their second life."""
    for index, pack in enumerate(site.packs):
        where = f"packs[{index}].intake"
        state = aged(pack, None, today)
        if pack.intake_date > today:
            yield error(
                "intake_date",
                f"{where}.date",
                f"{pack.intake_date} is after today, {today}",
                "the day of the capacity test",
            )
        elif state.months > TEST_VALID_MONTHS:
            yield warning(
                "intake_age",
                f"{where}.date",
                f"the capacity test of {pack.id} is {state.months:.1f} months old, so its health "
                f"index is held at {state.health:.2f}",
                f"a new capacity test; they are valid for {TEST_VALID_MONTHS:g} months",
            )
        if state.health == 0.0:
            end = SOH_END_OF_LIFE[pack.chemistry]
            ratio = pack.resistance_ratio or 0.0
            worn = pack.soh_frac <= end or ratio >= RESISTANCE_END_OF_LIFE
            yield (error if worn else warning)(
                "intake_health",
                f"{where}.soh_pct",
                f"{pack.id} has health index 0: SoH {pack.soh_frac:.0%}, at least "
                f"{state.soh_low_frac:.0%} counting the age of its test (end of life {end:.0%}), "
                f"resistance ratio {f'{ratio:g}' if ratio else 'unknown'} "
                f"(end of life {RESISTANCE_END_OF_LIFE:g})",
                "retire the pack" if worn else "a new capacity test",
            )


def judge_tariff(site: Site, tariff: Tariff) -> Iterator[Finding]:
    """Demand window and zone of the tariff against the site's."""
    if tariff.demand_rate_per_kw > 0 and tariff.demand_window_s != site.grid.demand_window_s:
        yield error(
            "demand_window",
            "grid.demand_window_min",
            f"the site averages over {site.grid.demand_window_s / S_PER_MIN:g} min, the tariff "
            f"{tariff.name!r} bills {tariff.demand_window_s / S_PER_MIN:g} min",
            f"{tariff.demand_window_s / S_PER_MIN:g}",
        )
    if tariff.timezone != site.timezone:
        yield warning(
            "tariff_timezone",
            "site.timezone",
            f"the site is in {site.timezone}, the tariff {tariff.name!r} in {tariff.timezone}",
            "a tariff of the site's own zone",
        )


def judge_papers(declared: Declared) -> Iterator[Finding]:
    """Duties of a second-life storage site: reports and the maker's word."""
    papers = (
        (
            "safety_report_sha256",
            declared.safety_report_sha256,
            "safety report of a qualified body",
        ),
        (
            "screening_report_sha256",
            declared.screening_report_sha256,
            "consistency screening report",
        ),
    )
    for key, value, name in papers:
        if value is None:
            yield error(
                key.removesuffix("_sha256"),
                f"site.{key}",
                f"no {name} is declared; second-life storage needs one "
                "(NEA 国能发科技规〔2021〕47号)",
                "sha256sum of the report",
            )
    if declared.maker_authorisation is None:
        yield warning(
            "maker_authorisation",
            "site.maker_authorisation",
            "no authorisation of the original maker is declared",
            "the reference of its letter, or of the contract that replaces it",
        )


def judge_safety(site: Site) -> Iterator[Finding]:
    """Whether the safety section only tightens rows that exist."""
    try:
        compile_table(site)
    except ValueError as refusal:
        yield error("safety_section", "safety", str(refusal), "a tighter number of a known row")
