"""Commands that speak to a running EMS through its operator door."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from ems import door
from ems.commands.options import (
    DEFAULT_SOCKET,
    MISUSED,
    JsonOption,
    SocketOption,
    fail,
    finite,
)
from ems.model import RequestKind

app = typer.Typer()

LONGEST_H = 168.0
"""A set-point or a notice lasts a week at most."""
EndOption = Annotated[bool, typer.Option("--end", help="End the one in force instead.")]
ReasonOption = Annotated[str, typer.Option("--reason", "-m", help="Why; goes into the log.")]


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
