"""``ems health estimate``: capacity, resistance and SoC out of a record of one cell."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ems.commands.options import BAD, MISUSED, JsonOption, fail, finite


class Chemistry(StrEnum):
    """As ``--chemistry`` takes them."""

    LFP = "LFP"
    NMC = "NMC"
    NCA = "NCA"
    LMO = "LMO"
    LTO = "LTO"


class Sign(StrEnum):
    """What a positive current means in the file."""

    DISCHARGE = "discharge-positive"
    CHARGE = "charge-positive"


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("estimate")(estimate)


def estimate(
    file: Annotated[
        Path, typer.Argument(help="Record of one cell, .csv or .csv.gz: t_s, current_a, voltage_v.")
    ],
    chemistry: Annotated[Chemistry, typer.Option(help="Of the cell.", case_sensitive=False)],
    rated_ah: Annotated[float, typer.Option(help="Rated capacity, Ah.", min=0.01, callback=finite)],
    current_sign: Annotated[Sign, typer.Option(help="What a positive current means.")],
    as_json: JsonOption = False,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture, .png.")] = None,
) -> None:
    """Estimate capacity, R0 and SoC from records of voltage and current, each with its sigma.

    Example: ems health estimate hppc.csv --chemistry LMO --rated-ah 33.1 --current-sign
    charge-positive --plot hppc.png
    """
    from ems.health.goodsin.tables import TableError  # noqa: PLC0415
    from ems.health.record import report  # noqa: PLC0415
    from ems.health.record.curves import Cell  # noqa: PLC0415
    from ems.health.record.estimate import estimate as one_of  # noqa: PLC0415
    from ems.health.record.read import read  # noqa: PLC0415

    try:
        records = read(file, current_sign is Sign.CHARGE)
        found = [one_of(record, Cell(chemistry.value), rated_ah) for record in records]
    except TableError as error:
        raise fail(error, MISUSED) from None
    if as_json:
        typer.echo(json.dumps(report.as_json(found), indent=1))
    else:
        typer.echo(report.table(found))
    if plot is not None:
        try:
            report.plot(found, plot)
        except (OSError, ValueError) as error:
            raise fail(f"{plot}: cannot be written: {error}", MISUSED) from None
    if not any(one.good for one in found):
        raise typer.Exit(BAD)
