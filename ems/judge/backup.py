"""Can the promise to the critical load be kept?"""

from collections.abc import Iterator
from datetime import date

from ems.health.ocv import soc_from_ocv
from ems.judge.aged import COLD_C, STANDBY_CEILING, AgedPack, aged
from ems.judge.finding import Finding, Severity, error, info, warning
from ems.site import Site, SiteKind
from ems.units import kw_from_w, kwh_from_wh

HOURS_SHOWN_MAX = 99.0


def judge_backup(site: Site, today: date) -> Iterator[Finding]:
    """Hours, power and load behind ``backup.hours``."""
    packs = [aged(pack, _ceiling_frac(site, index), today) for index, pack in enumerate(site.packs)]
    yield from _load(site)
    if site.backup.hours == 0 or site.backup.critical_w == 0:
        yield info("backup_hours", "backup.hours", "no backup is promised")
        return
    yield _hours(site, packs)
    yield from _power(site, packs)


def _ceiling_frac(site: Site, index: int) -> float | None:
    """Highest SoC a pack will stand by at; ``None`` leaves it to the chemistry.

    On a direct bus the packs settle where their open-circuit voltage is the float
    voltage, whatever ceiling the file asks for.
    """
    ceiling = site.backup.soc_ceiling_frac
    pack = site.packs[index]
    shelf = site.converters[int(site.layout.converter_of_pack[index])].rectifier
    if shelf is None:
        return ceiling
    rest_frac = float(soc_from_ocv(pack.chemistry, shelf.float_v / pack.series_cells))
    return min(STANDBY_CEILING[pack.chemistry] if ceiling is None else ceiling, rest_frac)


def _hours(site: Site, packs: list[AgedPack]) -> Finding:
    need_wh = site.backup.hours * site.backup.critical_w
    warm_wh = _deliverable_wh(site, [pack.energy_wh for pack in packs])
    cold_wh = _deliverable_wh(site, [pack.cold_energy_wh for pack in packs])
    weakest = min(range(len(packs)), key=lambda i: packs[i].health)
    pack = packs[weakest]
    why = (
        f"{site.backup.hours:g} h of {kw_from_w(site.backup.critical_w):g} kW need "
        f"{kwh_from_wh(need_wh):.1f} kWh; the packs hold {_held(site, warm_wh)} at 25 °C and "
        f"{_held(site, cold_wh)} at {COLD_C:g} °C between floor and ceiling. Weakest is "
        f"{site.packs[weakest].id}: SoH at least {pack.soh_low_frac:.0%} "
        f"{pack.months:.0f} months after its test, health index {pack.health:.2f}, "
        f"SoC {pack.soc_low_frac:.0%} to {pack.soc_high_frac:.0%}"
    )
    right = (
        f"promise at most {min(warm_wh, cold_wh) / site.backup.critical_w:.1f} h, "
        "a smaller critical load, a fresh capacity test or more packs"
    )
    if warm_wh < need_wh:
        return error("backup_hours", "backup.hours", why, right)
    if cold_wh < need_wh:
        return warning("backup_hours", "backup.hours", f"not in the cold: {why}", right)
    return Finding(Severity.INFO, "backup_hours", "backup.hours", why)


def _held(site: Site, energy_wh: float) -> str:
    hours = min(HOURS_SHOWN_MAX, energy_wh / site.backup.critical_w)
    return f"{kwh_from_wh(energy_wh):.1f} kWh ({hours:.1f} h)"


def _deliverable_wh(site: Site, pack_wh: list[float]) -> float:
    """Energy at the site bus, Wh.

    Packs in parallel are counted as if all were as empty as the first that ends:
    when its contactor opens, the others take its share at a current not foreseen.
    """
    total = 0.0
    for converter in site.converters:
        behind = [pack_wh[i] for i in converter.packs]
        part = len(behind) * min(behind)
        efficiency = 1.0 if site.kind is SiteKind.DIRECT_BUS else converter.efficiency_frac
        total += part * efficiency
    return total


def _power(site: Site, packs: list[AgedPack]) -> Iterator[Finding]:
    """Whether the packs may carry the critical load at all, whatever their energy."""
    total_w = 0.0
    for converter in site.converters:
        behind_w = len(converter.packs) * min(packs[i].power_w for i in converter.packs)
        if site.kind is SiteKind.DIRECT_BUS:
            total_w += behind_w
        else:
            total_w += min(behind_w * converter.efficiency_frac, converter.rated_discharge_w)
    if total_w < site.backup.critical_w:
        yield error(
            "backup_power",
            "backup.critical_kw",
            f"packs and converters together may deliver {kw_from_w(total_w):.1f} kW for hours, "
            f"the critical load draws {kw_from_w(site.backup.critical_w):g} kW",
            "a smaller critical load or more packs",
        )


def _load(site: Site) -> Iterator[Finding]:
    nominal_w = sum(load.nominal_w for load in site.loads if load.critical)
    if nominal_w > site.backup.critical_w * 1.001:
        yield warning(
            "backup_load",
            "backup.critical_kw",
            f"the critical loads draw {kw_from_w(nominal_w):g} kW together, the promise counts on "
            f"{kw_from_w(site.backup.critical_w):g} kW",
            "write their sum, or make a load sheddable",
        )
