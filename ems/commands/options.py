"""What the commands share: exit codes, options, errors without a traceback."""

from math import isfinite
from pathlib import Path
from typing import Annotated

import typer

BAD, MISUSED = 1, 2
DEFAULT_SOCKET = Path("/run/secondlife-ems/door.sock")

SiteArgument = Annotated[Path, typer.Argument(help="Site file (YAML).")]
SocketOption = Annotated[
    Path, typer.Option("--socket", envvar="EMS_DOOR", help="Operator door of the running EMS.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")]


def finite(value: float | None) -> float | None:
    """The value of an option; NaN and infinity slip through the bounds of ranges."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"{value} is not a number to work with")
    return value


def fail(message: object, code: int = BAD) -> typer.Exit:
    """Print an error without a traceback; raise the result."""
    typer.echo(str(message), err=True)
    return typer.Exit(code)
