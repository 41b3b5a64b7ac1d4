"""``ems health grade``: grades, uses and residual value of a table of measured packs."""

import json
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from ems.commands.options import MISUSED, JsonOption, fail


def register(app: typer.Typer) -> None:
    """Add the commands of this file."""
    app.command("grade")(grade_packs)


def grade_packs(
    packs: Annotated[Path, typer.Argument(help="Table of measured packs (CSV).")],
    out: Annotated[Path, typer.Option(help="Graded table to write (CSV).")],
    rules: Annotated[
        Path | None, typer.Option(help="Rule file (YAML) instead of the shipped one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Give each pack a grade, the uses it fits, and a residual value in CNY with its terms.

    Example: ems health grade packs.csv --out graded.csv
    """
    from ems.health.grading import report, table, value  # noqa: PLC0415
    from ems.health.grading import rules as rulebook  # noqa: PLC0415
    from ems.health.grading.packs import COLUMNS, load  # noqa: PLC0415
    from ems.yamltext import FileErrors  # noqa: PLC0415

    try:
        found_rules = rulebook.load(rules)
        read, source = load(packs)
        found = value.assess(read, found_rules)
        table.write(
            out, report.heading(found_rules), [report.row(each, found_rules) for each in found]
        )
    except FileErrors as error:
        raise fail(error, MISUSED) from None
    unused = source.unused(COLUMNS)
    if unused:
        typer.echo(f"{packs}: not used: {', '.join(unused)}", err=True)
    if as_json:
        typer.echo(json.dumps({"rules": found_rules.name,
                               "packs": [report.as_json(each) for each in found]}))  # fmt: skip
        return
    for each in found:
        worth = each.residual
        typer.echo(
            f"{each.pack.pack_id}  {each.graded.grade:6}  {each.recommended:20}"
            f"  {worth.value:8.0f} CNY ({worth.low:.0f} to {worth.high:.0f})"
        )
    counts = Counter(each.graded.grade for each in found)
    total = sum(each.residual.value for each in found)
    grades = ", ".join(f"{counts[name]} {name}" for name in sorted(counts))
    typer.echo(f"{len(found)} packs: {grades}; together {total:.0f} CNY; written to {out}")
