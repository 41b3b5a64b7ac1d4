"""``ems health forecast``: what is left of a pack, and what a kWh through it costs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ems.commands.options import MISUSED, JsonOption, fail
from ems.site import Chemistry

if TYPE_CHECKING:
    from ems.health.ageing.history import History


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("forecast")(forecast_pack)


def forecast_pack(
    pack: Annotated[Path, typer.Argument(help="History (CSV): date, soh_frac and maybe sigma.")],
    chemistry: Annotated[Chemistry, typer.Option(help="Of the cells.")],
    efc_per_day: Annotated[
        float, typer.Option(min=0, max=50, help="Equivalent full cycles a day to come.")
    ] = 1.0,
    mean_soc: Annotated[float, typer.Option(min=0, max=1, help="Mean state of charge.")] = 0.5,
    dod: Annotated[float, typer.Option(min=0, max=1, help="Depth of the usual cycle.")] = 0.6,
    temperature_c: Annotated[float, typer.Option(min=-40, max=80, help="Of the cells.")] = 25.0,
    c_rate: Annotated[float, typer.Option(min=0, max=10, help="Current over rated Ah.")] = 0.25,
    end_soh: Annotated[
        float | None, typer.Option(min=0.2, max=0.95, help="Failure criterion instead of usual.")
    ] = None,
    replacement: Annotated[
        float | None, typer.Option(min=0, help="CNY per rated kWh of a pack in its place.")
    ] = None,
    end_value: Annotated[
        float | None, typer.Option(min=0, help="CNY per rated kWh that it fetches at its end.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Print the remaining life of a pack as a distribution, and its wear cost per kWh.

    The use given is taken for the past of the history as well as for the years to come.

    Example: ems health forecast pack.csv --chemistry LFP --efc-per-day 1 --dod 0.6
    """
    from ems.health.ageing.forecast import forecast  # noqa: PLC0415
    from ems.health.ageing.laws import DAYS_PER_YEAR, Usage  # noqa: PLC0415
    from ems.health.ageing.wear import REPLACEMENT_SOH, dwell_per_kwh_day, wear_per_kwh  # noqa: PLC0415
    from ems.health.grading import rules as rulebook  # noqa: PLC0415
    from ems.yamltext import FileErrors  # noqa: PLC0415

    usage = Usage(efc_per_day, mean_soc, dod, temperature_c, c_rate)
    try:
        history = _history(pack)
        money = rulebook.load().value
    except FileErrors as error:
        raise fail(error, MISUSED) from None
    price, scrap = (
        money.price_per_usable_kwh[chemistry].value,
        money.recycling_per_kwh[chemistry].value,
    )
    replacing = price * REPLACEMENT_SOH if replacement is None else replacement
    fetched = scrap if end_value is None else end_value
    found = forecast(chemistry, history, usage, end_soh, seed)
    wear, dwell = (
        float(wear_per_kwh(chemistry, found.soh_frac, usage, mean_soc, c_rate, temperature_c,
                           replacing, fetched, found.pace)),
        float(dwell_per_kwh_day(chemistry, found.soh_frac, usage, mean_soc, temperature_c,
                                replacing, fetched, found.pace)),
    )  # fmt: skip
    if as_json:
        answer = asdict(found) | {
            "wear_cny_per_kwh": wear,
            "dwell_cny_per_kwh_day": dwell,
            "replacement_cny_per_kwh": replacing,
            "end_value_cny_per_kwh": fetched,
        }
        typer.echo(json.dumps(answer))
        return
    low, middle, high = (days / DAYS_PER_YEAR for days in found.life_days)
    cycles = " / ".join(f"{value:.0f}" for value in found.life_efc)
    typer.echo(
        f"SoH {found.soh_frac:.3f}, ends at {found.end_soh_frac:.2f};"
        f" {found.n_measurements} measurements\n"
        f"remaining life 5 / 50 / 95 %: {low:.1f} / {middle:.1f} / {high:.1f} years,"
        f" {cycles} equivalent full cycles\n"
        f"pace against the law: {found.pace:.2f}, sigma of its logarithm"
        f" {found.pace_ln_sigma:.2f}; use causes {found.cycling_share:.0%} of the loss\n"
        f"wear: {wear:.4f} CNY per kWh of throughput, {dwell:.4f} CNY per kWh and day of"
        f" standing\n(replacement {replacing:.0f}, end value {fetched:.0f} CNY per rated kWh)\n"
        f"law, confidence {found.confidence}: {found.source}"
    )


def _history(path: Path) -> "History":
    """The measurements of one pack, oldest first.

    Raises:
        FileErrors: the first thing that is wrong with the table.
    """
    from datetime import date  # noqa: PLC0415

    import numpy as np  # noqa: PLC0415

    from ems.health.ageing.history import DEFAULT_SIGMA_FRAC, History  # noqa: PLC0415
    from ems.health.grading.table import Column, read  # noqa: PLC0415

    table = read(
        path,
        {
            "date": Column(text=True, required=True),
            "soh_frac": Column(0.05, 1.2, required=True),
            "sigma": Column(1e-4, 0.5),
        },
    )
    days: list[int] = []
    for row in table.rows:
        text = row.text("date") or ""
        try:
            days.append(date.fromisoformat(text[:10]).toordinal())
        except ValueError:
            raise table.wrong(row, "date", repr(text), "a date, YYYY-MM-DD") from None
        if len(days) > 1 and days[-1] < days[-2]:
            raise table.wrong(row, "date", f"{text} after a later one", "oldest first")
    return History(
        np.array(days, dtype=np.float64),
        np.array([row.number("soh_frac") or 0.0 for row in table.rows]),
        np.array([row.number("sigma") or DEFAULT_SIGMA_FRAC for row in table.rows]),
    )
