"""The command line. Each command says what it checked and exits 0, 1 (bad) or 2 (misused)."""

import json
import os
import sys
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ems import yamlfile
from ems.commands import health, log, onsite, operator
from ems.commands.options import (
    BAD,
    DEFAULT_SOCKET,
    MISUSED,
    JsonOption,
    SiteArgument,
    SocketOption,
    fail,
    finite,
)

app = typer.Typer(
    name="ems",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Energy management for storage built from repurposed EV packs of unequal health.",
)

FIRST_YEAR, LAST_YEAR = 1970, 2100


class Switch(StrEnum):
    """on or off."""

    ON = "on"
    OFF = "off"


@app.command()
def run(
    site: SiteArgument,
    data_dir: Annotated[Path | None, typer.Option(help="Instead of the site file's.")] = None,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Run the control process of a site (systemd's main process).

    Example: ems run /etc/secondlife-ems/site.yaml
    """
    from ems import handover, prepare  # noqa: PLC0415

    try:
        given = handover.write(prepare.prepare(site, data_dir))
    except (yamlfile.FileErrors, ValueError, FileNotFoundError) as error:
        raise fail(error) from None
    # The same process becomes the service, without what it took to get here and without
    # column tables for tracebacks: together some 14 MB of its 90.
    python = (sys.executable, "-X", "no_debug_ranges", "-m", "ems.service")
    sys.stdout.flush()
    os.execv(sys.executable, (*python, str(given), str(site), "--socket", str(socket)))


@app.command()
def demo(
    duration_s: Annotated[
        float | None, typer.Option(min=10.0, callback=finite, help="End by itself after this long.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="Site to run instead of the demo's.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and data in this folder.")] = None,
    plain: Annotated[bool, typer.Option(help="No live screen, only the summary.")] = False,
) -> None:
    """Run the whole product against a simulated site over real sockets.

    A site of your own needs an uplink section, which the demo shows, and devices of the
    shipped profiles; everything is moved to this machine. Exit code 2: it cannot be shown.

    Example: ems demo --duration-s 60
    """
    from sim import demo as demo_run  # noqa: PLC0415

    raise typer.Exit(demo_run.main(duration_s, site, keep, plain))


@app.command()
def check(
    sites: Annotated[list[Path], typer.Argument(help="Site files.")], as_json: JsonOption = False
) -> None:
    """Validate site files and judge what their numbers promise.

    With --json one object: for each file ``ok``, ``errors`` and ``findings``.

    Example: ems check configs/sites/*.yaml
    """
    from ems import check as checks  # noqa: PLC0415

    results = {
        str(path): checks.report(path, date.today())  # noqa: DTZ011 - a duty date
        for path in sites
    }
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
    for name, found in () if as_json else results.items():
        lines = [("error", e["text"]) for e in found["errors"]]
        lines += [(f["severity"], f["text"]) for f in found["findings"]]
        for severity, text in lines:
            typer.echo(f"{severity}: {text}")
        wrong = sum(severity == "error" for severity, _ in lines)
        typer.echo(f"{name}: {'ok' if found['ok'] else f'{wrong} error(s)'}")
    raise typer.Exit(0 if all(found["ok"] for found in results.values()) else BAD)


@app.command()
def simulate(
    site: Annotated[Path | None, typer.Argument(help="Site file (YAML).")] = None,
    load_csv: Annotated[Path | None, typer.Option("--load", help="Load CSV.")] = None,
    pv_csv: Annotated[Path | None, typer.Option("--pv", help="PV CSV.")] = None,
    events: Annotated[Path | None, typer.Option(help="Events CSV.")] = None,
    start: Annotated[str, typer.Option(help="Local date, YYYY-MM-DD.")] = "",
    days: Annotated[float, typer.Option(min=0.01, max=3660.0, help="Length of the run.")] = 1.0,
    record_s: Annotated[
        float, typer.Option(min=0.25, max=86_400.0, help="Seconds a recorded row.")
    ] = 60.0,
    protection: Annotated[Switch, typer.Option(help="The simulated BMS's own.")] = Switch.ON,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    list_events: Annotated[bool, typer.Option("--list-events", help="And exit.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the daemon's own code on virtual time against a simulated plant.

    Example: ems simulate configs/sites/peak-shaving.yaml --load load.csv.gz
    --start 2018-03-01 --days 30 --seed 1 --out out
    """
    from ems.config import load_site  # noqa: PLC0415 - keeps --help and the door commands light
    from sim import faults, runner  # noqa: PLC0415
    from sim.csvfile import InputError  # noqa: PLC0415

    if list_events:
        for name, description in sorted(faults.EVENTS.items()):
            typer.echo(f"{name:24} {description}")
        return
    if site is None or not start:
        raise fail("a site file and --start are needed", MISUSED)
    try:
        summary = runner.simulate(
            runner.Job(
                site_file=site,
                site=load_site(site),
                load_csv=load_csv,
                pv_csv=pv_csv,
                events_csv=events,
                start=_start_date(start),
                days=days,
                record_s=record_s,
                protection=protection is Switch.ON,
                seed=seed,
                out=out,
            ),
            progress=sys.stderr.isatty(),
        )
    except (InputError, yamlfile.FileErrors) as error:
        raise fail(error, MISUSED) from None
    except OSError as error:
        raise fail(error) from None
    typer.echo(json.dumps(summary, indent=2) if as_json else runner.in_words(summary))


def _start_date(text: str) -> date:
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise fail(f"--start {text!r} is not a date like 2018-03-01", MISUSED) from None
    if not FIRST_YEAR <= found.year <= LAST_YEAR:
        raise fail(f"--start {text}: the year must be {FIRST_YEAR} to {LAST_YEAR}", MISUSED)
    return found


@app.command()
def table() -> None:
    """Print the interlock table as Markdown.

    Example: ems table > docs/reference/interlocks.md
    """
    from ems.safety import markdown  # noqa: PLC0415

    typer.echo(markdown.to_markdown(), nl=False)


app.add_typer(onsite.app)
app.add_typer(operator.app)
app.add_typer(log.app, name="log")
app.add_typer(health.app, name="health")
