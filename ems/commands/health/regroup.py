"""``ems health regroup``: parallel groups and strings out of a heap of graded packs."""

import json
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from ems.commands.options import BAD, MISUSED, JsonOption, fail


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("regroup")(regroup_packs)


def regroup_packs(
    packs: Annotated[Path, typer.Argument(help="Table of measured or graded packs (CSV).")],
    out: Annotated[Path, typer.Option(help="Table to write (CSV): string and group of each pack.")],
    series: Annotated[int, typer.Option(min=1, max=200, help="Groups in series in a string.")],
    parallel: Annotated[int, typer.Option(min=1, max=50, help="Packs in a group.")],
    max_soh_spread: Annotated[
        float, typer.Option(min=0, max=1, help="Largest less smallest SoH in a string.")
    ] = 0.10,
    max_resistance_spread: Annotated[
        float, typer.Option(min=0, max=20, help="The same of the resistance ratio.")
    ] = 0.4,
    time_limit_s: Annotated[float, typer.Option(min=1, max=600, help="For the solver.")] = 60.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random groupings compared.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Propose the strings that hold the most usable energy, with the gain over chance.

    Packs of one string share chemistry and nominal voltage; rejected ones stay out.

    Example: ems health regroup graded.csv --out strings.csv --series 4 --parallel 2
    """
    from ems.health.grading import table  # noqa: PLC0415
    from ems.health.grading.packs import load  # noqa: PLC0415
    from ems.health.grading.regroup import regroup  # noqa: PLC0415
    from ems.health.grading.strings import Limits  # noqa: PLC0415
    from ems.yamltext import FileErrors  # noqa: PLC0415

    limits = Limits(series, parallel, max_soh_spread, max_resistance_spread)
    try:
        read, _ = load(packs)
        found = regroup(read, limits, time_limit_s, seed)
        places = {
            row: (f"S{number}", f"S{number}G{at}", string.usable_kwh)
            for number, string in enumerate(found.strings, 1)
            for at, group in enumerate(string.groups, 1)
            for row in group
        }
        rows = []
        for row, pack in enumerate(read):
            string, group, energy = places.get(row, ("", "", inf))
            kept = "" if energy == inf else f"{energy:.5g}"
            soh = "" if pack.soh_frac is None else f"{pack.soh_frac:.5g}"
            rows.append((pack.pack_id, pack.chemistry.value, soh, string, group, kept,
                         found.left_over.get(row, "")))  # fmt: skip
        table.write(
            out,
            ("pack_id", "chemistry", "soh_frac", "string", "group", "string_kwh", "left_over"),
            rows,
        )
    except FileErrors as error:
        raise fail(error, MISUSED) from None
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "strings": [
                        {
                            "usable_kwh": string.usable_kwh,
                            "groups": [[read[row].pack_id for row in g] for g in string.groups],
                        }
                        for string in found.strings
                    ],
                    "left_over": {read[row].pack_id: why for row, why in found.left_over.items()},
                    "usable_kwh": found.usable_kwh,
                    "bound_kwh": found.bound_kwh,
                    "gap_frac": found.gap_frac,
                    "random_kwh": found.random_kwh,
                    "random_strings": found.random_strings,
                    "gain_frac": found.gain_frac,
                    "finished": found.finished,
                }
            )
        )
    else:
        typer.echo(
            f"{len(found.strings)} strings of {series}s{parallel}p, {found.usable_kwh:.1f} kWh"
            f" usable; at most {found.bound_kwh:.1f} kWh (gap {found.gap_frac:.1%})"
            + ("" if found.finished else "; stopped by the time limit")
        )
        typer.echo(
            f"at random: {found.random_strings:.1f} strings, {found.random_kwh:.1f} kWh;"
            f" gain {found.gain_frac:.1%}"
        )
        typer.echo(f"{len(found.left_over)} packs left over; written to {out}")
    if not found.strings:
        raise fail(f"{packs}: no string can be built within these limits", BAD)
