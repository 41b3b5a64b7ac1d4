"""``ems health assess``: a figure with bounds for every pack of a laboratory table."""

from pathlib import Path
from typing import Annotated

import typer

from ems.commands.options import MISUSED, fail


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("assess")(assess)


def assess(
    table: Annotated[Path, typer.Argument(help="Measurements, .csv or .csv.gz.")],
    task: Annotated[
        str,
        typer.Option(help="pulse, relaxation, second-life-cycles, cycle-life or charge-features."),
    ],
    out: Annotated[Path, typer.Option(help="Where to write, .csv or .csv.gz.")],
    fit: Annotated[
        Path | None,
        typer.Option(
            help="Own measurements with the target, to fit on instead of shipped figures."
        ),
    ] = None,
) -> None:
    """Assess packs or cells that arrive, each with 90 % bounds or the reason for none.

    Example: ems health assess pulses.csv --task pulse --out soh.csv
    """
    from ems.health.goodsin import assess as goodsin  # noqa: PLC0415
    from ems.health.goodsin.tables import TableError  # noqa: PLC0415

    try:
        found, target = goodsin.run(task, table, out, fit)
    except TableError as error:
        raise fail(error, MISUSED) from None
    refused = int(found[target].isna().sum())
    typer.echo(f"{out}: {len(found)} rows, {len(found) - refused} assessed, {refused} refused")
