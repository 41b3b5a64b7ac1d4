"""Writes the reference page of the command line from the commands themselves.

``python -m tests.docs.cli_page > docs/reference/command-line.md``
"""

import re
from collections.abc import Iterator

import typer
from typer.main import get_command

from ems.cli import app

HEAD = """\
# Command line

Written by `python -m tests.docs.cli_page` from the commands' own help; do not edit.

Exit codes: 0 success; 1 the thing checked is bad, or the gate refused; 2 wrong use, or an input
file of `ems simulate` that cannot be used. Words go to standard output, errors to standard error.
The operator commands (`status`, `ack`, `reset`, `arm`, `disarm`, `setpoint`, `notice`) speak to
the running EMS through its door, a UNIX socket that only the service's group may open; who asked
is read from the kernel. See [operate a site](../howto/operate-a-site.md).
"""
HIDDEN = {"--install-completion", "--show-completion", "--help"}


def leaves(
    command: object = None, path: str = "ems"
) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    """Every command that does something: its full name and itself, in the order of ``--help``."""
    command = get_command(app) if command is None else command
    if not isinstance(command, typer.core.TyperGroup):
        assert isinstance(command, typer.core.TyperCommand)
        yield path, command
        return
    for name, child in command.commands.items():
        yield from leaves(child, f"{path} {name}")


def page() -> str:
    """The page as Markdown."""
    commands = list(leaves())
    lines = [HEAD, "| command | |", "|---|---|"]
    for name, command in commands:
        anchor = name.replace(" ", "-")
        lines.append(f"| [`{name}`](#{anchor}) | {told(command)[0].splitlines()[0]} |")
    for name, command in commands:
        lines += ["", f"## `{name}`", "", *section(name, command)]
    return "\n".join(lines) + "\n"


def told(command: typer.core.TyperCommand) -> tuple[str, str]:
    """What the help says, and its example on one line."""
    text, _, example = (command.help or "").partition("Example:")
    return text.strip(), " ".join(example.split())


def section(name: str, command: typer.core.TyperCommand) -> Iterator[str]:
    """Text, usage, example and parameters of one command."""
    text, example = told(command)
    context = typer.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield from (text, "", "```sh", usage.replace("{", "").replace("}", ""))
    if example:
        yield f"{example}  # for example"
    yield "```"
    rows = list(parameters(command, context))
    if rows:
        yield from ("", "| argument or option | | |", "|---|---|---|", *rows)


def parameters(command: typer.core.TyperCommand, context: typer.Context) -> Iterator[str]:
    """One table row a parameter: how it is written, what it means, default and bounds."""
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or HIDDEN & set(parameter.opts):
            continue
        written = record[0].replace(" range>", ">")
        # Typer appends default, bounds and duty in square brackets.
        meaning, extra = re.fullmatch(r"(.*?)\s*(?:\[(.*)\])?", record[1]).groups(default="")
        extra = re.sub(r"x(?=[<>]=)", "", extra).replace("; ", ", ")
        cells = (f"`{written}`", meaning, extra)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    print(page(), end="")
