"""The command line. Each command says what it checked and exits 0, 1 (bad) or 2 (misused)."""

import json
import os
import sys
from dataclasses import asdict
from datetime import date
from enum import StrEnum
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

import typer

from ems import door, yamlfile
from ems.model import RequestKind

app = typer.Typer(
    name="ems",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Energy management for storage built from repurposed EV packs of unequal health.",
)
log_app = typer.Typer(no_args_is_help=True, help="Read and verify the interlock log.")
app.add_typer(log_app, name="log")

BAD, MISUSED = 1, 2
FIRST_YEAR, LAST_YEAR = 1970, 2100
LONGEST_H = 168.0
"""A set-point or a notice lasts a week at most."""
DEFAULT_SOCKET = Path("/run/secondlife-ems/door.sock")

SiteArgument = Annotated[Path, typer.Argument(help="Site file (YAML).")]
SocketOption = Annotated[
    Path, typer.Option("--socket", envvar="EMS_DOOR", help="Operator door of the running EMS.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")]
EndOption = Annotated[bool, typer.Option("--end", help="End the one in force instead.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; goes into the log.")]


class Switch(StrEnum):
    """on or off."""

    ON = "on"
    OFF = "off"


class Language(StrEnum):
    """Language of the words."""

    EN = "en"
    ZH = "zh"


def finite(value: float | None) -> float | None:
    """The value of an option; NaN and infinity slip through the bounds of ranges."""
    if value is not None and not isfinite(value):
        raise typer.BadParameter(f"{value} is not a number to work with")
    return value


def fail(message: object, code: int = BAD) -> typer.Exit:
    """Print an error without a traceback; raise the result."""
    typer.echo(str(message), err=True)
    return typer.Exit(code)


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


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", help="Redraw until interrupted.")] = False,
    socket: SocketOption = DEFAULT_SOCKET,
    as_json: JsonOption = False,
) -> None:
    """Show the state of a running site.

    Example: ems status --watch
    """
    if as_json:
        typer.echo(json.dumps(_ask(socket, {"op": "status"})["status"], ensure_ascii=False))
        return
    from rich.console import Console  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from ems import screen  # noqa: PLC0415

    if not watch:
        Console().print(screen.render(_ask(socket, {"op": "status"})["status"]))
        return
    import time  # noqa: PLC0415

    with Live(refresh_per_second=4, screen=True) as live:
        try:
            while True:
                try:
                    live.update(screen.render(_ask(socket, {"op": "status"})["status"]))
                except typer.Exit:  # a restart of the service is no reason to stop watching
                    live.update(f"no EMS answers at {socket}; waiting")
                time.sleep(0.5)
        except KeyboardInterrupt:
            return


def _ask(socket: Path, message: dict[str, Any]) -> dict[str, Any]:
    try:
        answer = door.call(socket, message)
    except (OSError, ValueError) as error:
        raise fail(f"no EMS answers at {socket}: {error}") from None
    if "ok" not in answer or (message["op"] == "status" and "status" not in answer):
        raise fail(f"{socket} is not the door of an EMS")
    return answer


def _request(socket: Path, kind: RequestKind, **fields: Any) -> None:
    answer = _ask(socket, {"op": "request", "kind": kind.value, **fields})
    if not answer["ok"]:
        raise fail(f"refused: {answer['error']}")
    typer.echo(f"granted ({answer['actor']}, {answer['id']})")
    if note := answer.get("note"):
        typer.echo(f"but {note}", err=True)


@app.command()
def ack(target: str, reason: ReasonOption, socket: SocketOption = DEFAULT_SOCKET) -> None:
    """Acknowledge a cause that has cleared.  Example: ems ack C02 -m "pack recharged" """
    _request(socket, RequestKind.ACK, target=target, reason=reason)


@app.command()
def reset(target: str, reason: ReasonOption, socket: SocketOption = DEFAULT_SOCKET) -> None:
    """Reset a latched cause.  Example: ems reset C01 -m "cell 7 replaced, WO 114" """
    _request(socket, RequestKind.RESET, target=target, reason=reason)


@app.command()
def arm(reason: ReasonOption, socket: SocketOption = DEFAULT_SOCKET) -> None:
    """Allow contactors to close and power to flow.  Example: ems arm -m "commissioned" """
    _request(socket, RequestKind.ARM, reason=reason)


@app.command()
def disarm(reason: ReasonOption, socket: SocketOption = DEFAULT_SOCKET) -> None:
    """Bring power to zero and open contactors.  Example: ems disarm -m "rack work" """
    _request(socket, RequestKind.DISARM, reason=reason)


@app.command(context_settings={"ignore_unknown_options": True})  # -5 is a power
def setpoint(
    reason: ReasonOption,
    power_kw: Annotated[
        float | None, typer.Argument(callback=finite, help="Discharge +, charge −.")
    ] = None,
    minutes: Annotated[
        float,
        typer.Option(min=0.1, max=LONGEST_H * 60.0, callback=finite, help="Then back to the plan."),
    ] = 15.0,
    end: EndOption = False,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Hold a battery power for a while, or end that early.

    Example: ems setpoint 20 --minutes 30 -m "test"; ems setpoint --end -m "test done"
    """
    value = _order(power_kw, end, "a power in kW")
    duration_s = 0.0 if end else minutes * 60.0
    _request(
        socket, RequestKind.SETPOINT, reason=reason, value=value * 1000.0, duration_s=duration_s
    )


@app.command()
def notice(
    reason: ReasonOption,
    hours: Annotated[
        float | None,
        typer.Argument(
            min=0.0, max=LONGEST_H, callback=finite, help="Extra hours of reserve to keep."
        ),
    ] = None,
    for_hours: Annotated[
        float, typer.Option(min=0.1, max=LONGEST_H, callback=finite, help="How long.")
    ] = 24.0,
    end: EndOption = False,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Raise the reserve ahead of a storm or a planned outage, or end that early.

    Example: ems notice 4 --for-hours 24 -m "typhoon warning"; ems notice --end -m "it passed"
    """
    value = _order(hours, end, "hours of reserve")
    duration_s = 0.0 if end else for_hours * 3600.0
    _request(socket, RequestKind.NOTICE, reason=reason, value=value, duration_s=duration_s)


def _order(value: float | None, end: bool, what: str) -> float:
    """The value of an order; an order that ends one has none."""
    if end is (value is not None):
        raise fail(f"either {what} or --end", MISUSED)
    return value or 0.0


def _existing(path: Path) -> Path:
    if not path.exists():
        raise fail(f"{path}: no log there")
    return path


@log_app.command("verify")
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


@log_app.command("show")
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
