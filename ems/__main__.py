"""``python -m ems``: the command line without the installed script."""

from ems.cli import app

app(prog_name="ems")
