"""A probe on the terminal: one table a device, small enough for a phone on a ladder."""

from collections.abc import Iterator
from typing import Final

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ems.probe.report import DeviceSeen, PointSeen, ProbeReport, Raw, plain

_STYLE: Final = {"good": "green", "uncertain": "yellow", "stale": "yellow"}
_WORDS_SHOWN: Final = 4
"""Registers of one point shown; all of them are in the JSON."""


def render(report: ProbeReport) -> RenderableType:
    """Every device, then the proof that nothing was written."""
    return Group(*(part for device in report.devices for part in _device(device)), _sum(report))


def _device(device: DeviceSeen) -> Iterator[RenderableType]:
    up = device.link == "up"
    verdict = f"[red]{escape(device.problem)}" if device.problem else "[green]ok"
    link = f"[{'green' if up else 'red'}]{device.link}[/]"
    yield Text.from_markup(f"[bold]{escape(device.id)}[/]  link {link}  {verdict}")
    yield Text(f"  {device.profile} ({device.maturity}), {device.address}", style="dim")
    for line in _facts(device):
        yield Text.from_markup(f"  {line}")
    if any(point.age_s is not None for point in device.points):
        yield _points(device)
    yield Text("")


def _facts(device: DeviceSeen) -> Iterator[str]:
    for check in device.identity:
        told = f"identity   {escape(check.what)}: {escape(check.found)}"
        yield f"{told}  [red]{escape(check.problem)}[/]" if check.problem else told
    beat = device.heartbeat
    if beat is not None and beat.first is not None and beat.last is not None:
        moved = (
            f"{plain(beat.first)} → {plain(beat.last)}, {beat.changes} steps in "
            f"{beat.watched_s:.0f} s"
            if beat.changes
            else f"[yellow]still at {plain(beat.last)} for {beat.watched_s:.0f} s[/]"
        )
        yield f"heartbeat  {escape(beat.point)}: {moved}"
    timeout = device.timeout
    if timeout is not None and timeout.seen_s is not None:
        kept = 0.0 < timeout.seen_s <= timeout.expected_s
        setting = "" if kept or not timeout.written_by_run else "; ems run sets it"
        yield (
            f"time-out   {escape(timeout.point)}: {timeout.seen_s:g} s, promised "
            f"{timeout.expected_s:g} s{setting}. Then: {escape(timeout.on_expiry)}"
        )
    yield from (f"[dim]note       {escape(note)}[/]" for note in device.notes)
    if device.withheld:
        would = escape(", ".join(device.withheld))
        yield f"[dim]not sent   {would}: ems run writes it, a probe must not[/]"


def _points(device: DeviceSeen) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="dim")
    table.add_column("point", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("age s", justify="right")
    table.add_column("quality")
    table.add_column("raw", overflow="fold")
    for point in device.points:
        style = _STYLE.get(point.quality, "red")
        age = "" if point.age_s is None else f"{point.age_s:.1f}"
        table.add_row(
            escape(point.name),
            escape(_value(point)),
            point.unit,
            age,
            f"[{style}]{point.quality}",
            escape(_raw(point.raw)),
        )
    return table


def _value(point: PointSeen) -> str:
    value = point.value
    if value is None:
        return "—"
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        known = [item for item in value if item is not None]
        if not known:
            return f"none of {len(value)}"
        span = f"{plain(min(known))} … {plain(max(known))}"
        return f"{len(known)} of {len(value)}: {span}" if len(known) < len(value) else span
    return f"{plain(value)} {point.words}".strip()


def _raw(raw: Raw | None) -> str:
    if raw is None:
        return ""
    if raw.address is None:
        return f"{raw.node} = {raw.content}"
    shown = " ".join(f"{word:04X}" for word in raw.registers[:_WORDS_SHOWN])
    more = len(raw.registers) - _WORDS_SHOWN
    return f"{raw.address} (0x{raw.address:04X}): {shown}{f' +{more}' if more > 0 else ''}"


def _sum(report: ProbeReport) -> Text:
    bad = [device.id for device in report.devices if device.problem]
    style = "green" if report.ok else "red"
    devices = (
        f"{len(report.devices) - len(bad)} of {len(report.devices)} devices answer as described"
    )
    wrong = f" (not {', '.join(bad)})" if bad else ""
    written = f"{report.sent_writes} writes sent"
    if report.refused_writes:
        held = sorted({d.id for d in report.devices if d.withheld})
        to = f" to {', '.join(held)}" if held else ""
        written += f", {report.refused_writes}{to} stopped before the wire, as it should be"
    return Text(f"{devices}{wrong}; {written}", style=style)
