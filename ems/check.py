"""What the numbers of a site promise, and whether they can keep it.

``ems.config`` says whether a site file is well formed; this module judges what it
promises: backup hours, voltages, chemistry, tariff, devices and papers. It needs the
safety table, the tariff and the device profiles, so it stands above all of them.
"""

import re
from datetime import date
from pathlib import Path
from typing import Any, Final

from ems.config import Declared, load
from ems.dispatch.tariff import Tariff
from ems.dispatch.tariff_file import load_tariff
from ems.judge.backup import judge_backup
from ems.judge.devices import judge_devices
from ems.judge.finding import Finding, Severity
from ems.judge.plant import (
    judge_chemistry,
    judge_import,
    judge_intake,
    judge_papers,
    judge_parallel,
    judge_safety,
    judge_tariff,
    judge_voltages,
)
from ems.site import Site
from ems.yamltext import Document, FileErrors, Place, parse

_TOKEN: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")

__all__ = ["Finding", "Severity", "judge", "judge_file", "report"]


def judge(
    site: Site, declared: Declared, tariff: Tariff | None, today: date
) -> tuple[Finding, ...]:
    """Every judgement about a site, errors first, each with its numbers.

    Args:
        site: The compiled site.
        declared: What its file declares besides.
        tariff: Its tariff; without one nothing is said about it.
        today: The day to judge for: intake tests age.
    """
    findings = [
        *judge_backup(site, today),
        *judge_voltages(site, declared, today),
        *judge_parallel(site),
        *judge_chemistry(site),
        *judge_import(site),
        *judge_intake(site, today),
        *(judge_tariff(site, tariff) if tariff is not None else ()),
        *judge_papers(declared),
        *judge_safety(site),
        *judge_devices(site),
    ]
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def judge_file(path: Path, today: date) -> tuple[Finding, ...]:
    """Every judgement about the site file at ``path``.

    Raises:
        FileErrors: the site file or its tariff is not well formed; all errors of
            the first of the two that is not.
    """
    site, declared = load(path)
    return judge(site, declared, load_tariff(site.grid.tariff), today)


def report(path: Path, today: date) -> dict[str, Any]:
    """The judgements as plain data for the command line and for scripts, always alike.

    Returns:
        ``ok``; ``errors``, what keeps the files from being judged at all, each with its
        ``file``, ``line``, ``col``, ``path`` and ``text``; ``findings``, the judgements,
        each with its ``severity``, ``rule`` and place in the site file alike.
    """
    errors: list[dict[str, Any]] = []
    findings: tuple[Finding, ...] = ()
    try:
        findings = judge_file(path, today)
    except FileErrors as wrong:
        errors = [
            {"file": str(e.file), "line": e.line, "col": e.col, "path": e.path, "text": str(e)}
            for e in wrong.errors
        ]
    document = parse(path) if findings else None
    return {
        "ok": not errors and all(f.severity is not Severity.ERROR for f in findings),
        "errors": errors,
        "findings": [_placed(finding, document) for finding in findings if document is not None],
    }


def _placed(finding: Finding, document: Document) -> dict[str, Any]:
    """A judgement with its place in the file, as an editor can jump to it."""
    at = document.error(_place(finding.where), finding.told)
    return {
        "severity": str(finding.severity),
        "rule": finding.rule,
        "where": finding.where,
        "file": str(at.file),
        "line": at.line,
        "col": at.col,
        "text": str(at),
    }


def _place(where: str) -> Place:
    """``("packs", 2, "soh_pct")`` for ``packs[2].soh_pct``."""
    return tuple(int(n) if n else word for word, n in _TOKEN.findall(where))
