"""Commands of the laboratory bench: measure, grade and group packs that arrive."""

import importlib

import typer

app = typer.Typer(no_args_is_help=True, help="Assess, grade and group repurposed packs.")

for _module in ("assess", "estimate", "grade", "regroup", "forecast"):
    importlib.import_module(f"ems.commands.health.{_module}").register(app)
