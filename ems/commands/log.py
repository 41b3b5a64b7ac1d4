"""Commands that read and verify the interlock log."""

import json
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ems.commands.options import BAD, MISUSED, JsonOption, fail

app = typer.Typer(no_args_is_help=True, help="Read and verify the interlock log.")


class Language(StrEnum):
    """Language of the words."""

    EN = "en"
    ZH = "zh"


def _existing(path: Path) -> Path:
    if not path.exists():
        raise fail(f"{path}: no log there")
    return path


@app.command("verify")
def log_verify(
    path: Annotated[Path, typer.Argument(help="Log folder or file.")],
    expect: Annotated[
        str, typer.Option(help="SEQ:HASH of a record noted outside the box; finds a cut-off tail.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Check the hash chain of an interlock log, without a network.

    Example: ems log verify /var/lib/secondlife-ems/log
    """
    from ems.journal import verify  # noqa: PLC0415

    seq, colon, head = expect.partition(":")
    if expect and not (colon and seq.isdecimal() and head):
        raise fail(f"--expect {expect!r} is not SEQ:HASH", MISUSED)
    report = verify.verify(_existing(path), (int(seq), head.lower()) if expect else None)
    if as_json:
        typer.echo(json.dumps({"ok": report.ok, **asdict(report)}))
    else:
        typer.echo(str(report))
    raise typer.Exit(0 if report.ok else BAD)


@app.command("show")
def log_show(
    path: Annotated[Path, typer.Argument(help="Log folder or file.")],
    language: Annotated[Language, typer.Option("--lang", help="Of the words.")] = Language.EN,
) -> None:
    """Print an interlock log as a protocol.

    Example: ems log show /var/lib/secondlife-ems/log --lang zh
    """
    from ems.journal import show  # noqa: PLC0415
    from ems.safety.table import ROWS  # noqa: PLC0415

    names = {row.id: row.zh for row in ROWS}
    for line in show.lines(_existing(path), language.value, names=names):
        typer.echo(line)
