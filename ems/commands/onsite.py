"""Commands for whoever stands beside the devices: look at them, then prove what they do."""

import asyncio
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from ems import yamlfile
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

app = typer.Typer()


@app.command()
def probe(
    site: SiteArgument,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device; may be repeated.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0.0, max=600.0, callback=finite, help="Watch counters so long.")
    ] = 5.0,
    wait: Annotated[
        float, typer.Option(min=0.1, max=600.0, callback=finite, help="For the first answers, s.")
    ] = 12.0,
    as_json: JsonOption = False,
) -> None:
    """Show what the devices of a site say, without writing anything.

    For each device link and identity, every point with value, age, quality and raw
    registers, whether its heartbeat moves, its time-out, and the one sentence of what is
    wrong. Exit code 0: every device answers as described and nothing was written.

    Example: ems probe /etc/secondlife-ems/site.yaml --device bms1
    """
    from ems import probe as probes  # noqa: PLC0415
    from ems.clock import SystemClock  # noqa: PLC0415

    try:
        found, devices = probes.devices_of(site, device or [])
        with _said_in_the_report():
            report = asyncio.run(probes.look(found, devices, SystemClock(), seconds, wait))
    except probes.Busy as error:
        raise fail(error) from None
    except (yamlfile.FileErrors, ValueError, FileNotFoundError) as error:
        raise fail(error, MISUSED) from None
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        from rich.console import Console  # noqa: PLC0415

        from ems.probe import view  # noqa: PLC0415

        Console().print(view.render(report))
    raise typer.Exit(0 if report.ok else BAD)


@contextmanager
def _said_in_the_report() -> Iterator[None]:
    """Keep the drivers' warnings off the screen while the report gathers the same facts."""
    drivers = logging.getLogger("ems.drivers")
    before = drivers.level
    drivers.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        drivers.setLevel(before)


@app.command()
def commission(
    site: SiteArgument,
    device: Annotated[
        list[str] | None, typer.Option(help="Only this device's steps; may be repeated.")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Ask nobody; only for simulated devices on this machine.")
    ] = False,
    data_dir: Annotated[Path | None, typer.Option(help="Instead of the site file's.")] = None,
    socket: SocketOption = DEFAULT_SOCKET,
) -> None:
    """Prove on site what the devices promise, step by step, and keep the record.

    Contactor feedback, the sign of a small discharge at set-point, converter, BMS and
    meter, and the time after which a converter rests by itself. Every active step says what
    it does and asks first; Ctrl-C brings everything to rest. With --device the record keeps
    what it has of the others. Exit code 0: all of it holds, for every device of the site.

    Example: ems commission /etc/secondlife-ems/site.yaml
    """
    from ems import prepare  # noqa: PLC0415
    from ems.clock import SystemClock  # noqa: PLC0415
    from ems.commission import guide, record  # noqa: PLC0415
    from ems.commission.person import Aborted, Terminal  # noqa: PLC0415
    from ems.journal.writer import JournalInUseError  # noqa: PLC0415

    try:
        given = prepare.prepare(site, data_dir)
        only = guide.chosen(given, device) if device else ()
    except (yamlfile.FileErrors, ValueError, FileNotFoundError) as error:
        raise fail(error, MISUSED) from None
    try:
        made = asyncio.run(guide.commission(given, Terminal(yes), SystemClock(), socket, yes, only))
    except (guide.CannotCommission, Aborted, JournalInUseError, OSError) as error:
        raise fail(error) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise fail("ended by hand: the devices are at rest, nothing is recorded") from None
    typer.echo(f"recorded in {given.site.data_dir / record.FILE} as {made['person']}")
    left = record.left_open(given.site, made)
    for line in left:
        typer.echo(f"open: {line}")
    raise typer.Exit(BAD if left else 0)
