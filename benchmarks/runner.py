"""Runs the sections of a benchmark and prints their tables.

The command fails when a goal is missed, so that a table cannot be read past.
"""

import argparse
import importlib
import json
import pkgutil
import platform
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.sections import Figure


def names(package: ModuleType) -> list[str]:
    """Every section there is: one module each in the package."""
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def table(title: str, figures: list[Figure]) -> Table:
    """One section as a table."""
    found = Table(title=title)
    for heading, justify in (("measured", "left"), ("figure", "right"), ("unit", "left"),
                             ("goal", "right"), ("met", "left")):  # fmt: skip
        found.add_column(heading, justify=justify)  # type: ignore[arg-type]
    for figure in figures:
        met = {True: "yes", False: "NO", None: ""}[figure.met]
        found.add_row(figure.name, f"{figure.value:.4g}", figure.unit, figure.goal, met)
    return found


def main(package: ModuleType, purpose: str | None) -> int:
    """Command line of the benchmark whose sections are in this package."""
    parser = argparse.ArgumentParser(description=purpose)
    parser.add_argument("section", nargs="*", help="sections to run; all when left out")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    unknown = sorted(set(options.section) - set(names(package)))
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; there are {', '.join(names(package))}")
    console, missed = Console(), False
    report: dict[str, Any] = {"python": platform.python_version(), "machine": platform.machine()}
    for name in options.section or names(package):
        section = importlib.import_module(f"{package.__name__}.{name}")
        figures: list[Figure] = section.run()
        console.print(table(section.TITLE, figures))
        missed = missed or any(figure.met is False for figure in figures)
        report[name] = [{**asdict(figure), "met": figure.met} for figure in figures]
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if missed else 0
