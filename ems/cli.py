"""The command line. Each command says what it checked and exits 0, 1 (bad) or 2 (misused)."""

import json
import os
import sys
from dataclasses import asdict
from datetime import date
from enum import StrEnum
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
DEFAULT_SOCKET = Path("/run/secondlife-ems/door.sock")

SiteArgument = Annotated[Path, typer.Argument(help="Site file (YAML).")]
SocketOption = Annotated[
    Path, typer.Option("--socket", envvar="EMS_DOOR", help="Operator door of the running EMS.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer as one JSON object.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; goes into the log.")]


class Switch(StrEnum):
    """on or off."""

    ON = "on"
    OFF = "off"


class Language(StrEnum):
    """Language of the words."""

    EN = "en"
    ZH = "zh"


def fail(message: object, code: int = BAD) -> typer.Exit:
    """Print an error without a traceback; raise the result."""
    typer.echo(str(message), err=True)
    return typer.Exit(code)


def load(path: Path) -> Any:
    """The compiled site, or exit 1 with every error in the file named."""
    from ems.config import load_site  # noqa: PLC0415 - keeps --help and the door commands light

    try:
        return load_site(path)
    except yamlfile.FileErrors as errors:
        raise fail(errors) from None


@app.command()
def run(
    site: SiteArgument,
    data_dir: Annotated[Path | None, typer.Option(help="Instead of the site file's.")] = None,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Run the control process of a site (systemd's main process).

    Example: ems run /etc/secondlife-ems/site.yaml
    """
    # The same process becomes the service, without the command line's own modules and
    # without column tables for tracebacks: together some 4 MB of its 90.
    command = [
        sys.executable,
        "-X",
        "no_debug_ranges",
        "-m",
        "ems.service",
        str(site),
        "--socket",
        str(socket),
    ]
    if data_dir is not None:
        command += ["--data-dir", str(data_dir)]
    sys.stdout.flush()
    os.execv(sys.executable, command)


@app.command()
def demo(
    duration_s: Annotated[
        float | None, typer.Option(min=10.0, help="End by itself after this long.")
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

    Example: ems check configs/sites/*.yaml
    """
    from ems import check as checks  # noqa: PLC0415

    results: dict[str, list[dict[str, str]]] = {}
    bad = False
    for path in sites:
        try:
            results[str(path)] = checks.report(path, date.today())  # noqa: DTZ011 - a duty date
        except yamlfile.FileErrors as errors:
            results[str(path)] = [
                {"severity": "error", "text": str(error)} for error in errors.errors
            ]
        bad |= any(finding["severity"] == "error" for finding in results[str(path)])
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
    else:
        for name, findings in results.items():
            for finding in findings:
                typer.echo(f"{finding['severity']}: {finding['text']}")
            wrong = sum(f["severity"] == "error" for f in findings)
            typer.echo(f"{name}: {'ok' if not wrong else f'{wrong} error(s)'}")
    raise typer.Exit(BAD if bad else 0)


@app.command()
def simulate(
    site: Annotated[Path | None, typer.Argument(help="Site file (YAML).")] = None,
    load_csv: Annotated[Path | None, typer.Option("--load", help="Load CSV.")] = None,
    pv_csv: Annotated[Path | None, typer.Option("--pv", help="PV CSV.")] = None,
    events: Annotated[Path | None, typer.Option(help="Events CSV.")] = None,
    start: Annotated[str, typer.Option(help="Local date, YYYY-MM-DD.")] = "",
    days: Annotated[float, typer.Option(min=0.01, help="Length of the run.")] = 1.0,
    record_s: Annotated[float, typer.Option(min=0.25, help="Seconds a recorded row.")] = 60.0,
    protection: Annotated[Switch, typer.Option(help="The simulated BMS's own.")] = Switch.ON,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    list_events: Annotated[bool, typer.Option("--list-events", help="And exit.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the daemon's own code on virtual time against a simulated plant.

    Example: ems simulate configs/sites/peak-shaving.yaml --load load.csv.gz
    --start 2018-03-01 --days 30 --seed 1 --out out
    """
    from sim import faults, runner  # noqa: PLC0415

    if list_events:
        for name, description in sorted(faults.EVENTS.items()):
            typer.echo(f"{name:24} {description}")
        return
    if site is None or not start:
        raise fail("a site file and --start are needed", MISUSED)
    try:
        start_date = date.fromisoformat(start)
    except ValueError:
        raise fail(f"--start {start!r} is not a date like 2018-03-01", MISUSED) from None
    job = runner.Job(
        site_file=site,
        site=load(site),
        load_csv=load_csv,
        pv_csv=pv_csv,
        events_csv=events,
        start=start_date,
        days=days,
        record_s=record_s,
        protection=protection is Switch.ON,
        seed=seed,
        out=out,
    )
    try:
        summary = runner.simulate(job, progress=sys.stderr.isatty())
    except (ValueError, OSError) as error:
        raise fail(error) from None
    typer.echo(json.dumps(summary, indent=2) if as_json else runner.in_words(summary))


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
    power_kw: Annotated[float, typer.Argument(help="Discharge +, charge −.")],
    reason: ReasonOption,
    minutes: Annotated[float, typer.Option(min=0.1, help="Then back to the plan.")] = 15.0,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Hold a battery power for a while.  Example: ems setpoint 20 --minutes 30 -m "test" """
    _request(
        socket,
        RequestKind.SETPOINT,
        reason=reason,
        value=power_kw * 1000.0,
        duration_s=minutes * 60.0,
    )


@app.command()
def notice(
    hours: Annotated[float, typer.Argument(min=0.0, help="Extra hours of reserve to keep.")],
    reason: ReasonOption,
    for_hours: Annotated[float, typer.Option(min=0.1, help="How long.")] = 24.0,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Raise the reserve ahead of a storm or a planned outage.

    Example: ems notice 4 --for-hours 24 -m "typhoon warning"
    """
    _request(
        socket,
        RequestKind.NOTICE,
        reason=reason,
        value=hours,
        duration_s=for_hours * 3600.0,
    )


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

    for line in show.lines(_existing(path), language.value):
        typer.echo(line)
