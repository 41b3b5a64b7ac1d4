"""The events file of a simulation: what goes wrong, where, when and for how long."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from ems.site import Site
from sim import faults
from sim.csvfile import InputError, Table, read_number, read_table, read_time

REQUIRED = ("local_time", "event", "target")
OPTIONAL = ("duration_s", "value")
SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an events file."""

    at_s: float
    """Seconds after the start of the simulation."""
    name: str
    target: str
    duration_s: float
    """0: to the end of the run."""
    value: float


def read(path: Path, start_utc: datetime, length_s: float, site: Site) -> tuple[Event, ...]:
    """Events in order of time; a file with no more than a header has none.

    Args:
        path: CSV with the columns ``REQUIRED`` and, if need be, ``OPTIONAL``.
        start_utc: Start of the run.
        length_s: Its length; an event outside the run would never happen and is refused.
        site: For its time zone and the ids that may be targets.

    Raises:
        InputError: ``file:line:`` what was found and what would be right; all at once.
    """
    table = read_table(path)
    missing = [name for name in REQUIRED if name not in table.names]
    if missing:
        raise table.lacks(missing, ", ")
    odd = [name for name in table.names if name not in (*REQUIRED, *OPTIONAL, "")]
    if odd:
        raise table.error(
            f"unknown column {odd[0]!r}; expected {', '.join((*REQUIRED, *OPTIONAL))}"
        )
    events: list[Event] = []
    problems: list[str] = []
    zone = ZoneInfo(site.timezone)
    board = faults.FaultBoard([p.id for p in site.packs], [c.id for c in site.converters])
    for line, row in table.rows:
        try:
            event = _event(table, line, row, start_utc, length_s, zone)
            # The plant would refuse it too, but only when its time has come.
            board.inject(event.name, event.target, 0.0, event.duration_s, event.value)
            events.append(event)
        except InputError as error:
            problems.append(str(error))
        except ValueError as error:
            problems.append(f"{path}:{line}: {error}")
    if len(problems) > SHOWN_PROBLEMS:
        problems[SHOWN_PROBLEMS:] = [f"{path}: and {len(problems) - SHOWN_PROBLEMS} more lines"]
    if problems:
        raise InputError("\n".join(problems))
    return tuple(sorted(events, key=lambda event: event.at_s))


def _event(
    table: Table, line: int, row: list[str], start_utc: datetime, length_s: float, zone: ZoneInfo
) -> Event:
    table.check(line, row)
    fields = {name: field.strip() for name, field in zip(table.names, row, strict=True)}
    at_s = (_time(fields["local_time"], zone) - start_utc).total_seconds()
    if not 0.0 <= at_s < length_s:
        where = "before the start" if at_s < 0.0 else "after the end"
        first = start_utc.astimezone(zone).strftime("%Y-%m-%dT%H:%M")
        raise ValueError(
            f"{fields['local_time']} lies {where} of the simulation, "
            f"which runs {length_s / 86_400.0:g} days from {first}"
        )
    duration_s = _number(fields, "duration_s")
    if duration_s < 0.0:
        raise ValueError(f"duration_s {duration_s:g} must not be negative; 0 lasts to the end")
    return Event(
        at_s,
        fields["event"],
        fields["target"] or "*",
        duration_s,
        _number(fields, "value"),
    )


def _time(text: str, zone: ZoneInfo) -> datetime:
    try:
        return read_time(text, zone)
    except ValueError as error:
        raise ValueError(f"local_time {error}") from None


def _number(fields: dict[str, str], name: str) -> float:
    """Value of an optional column, 0 where it is empty or absent."""
    text = fields.get(name, "")
    try:
        return read_number(text) if text else 0.0
    except ValueError as error:
        raise ValueError(f"{name} {error}") from None
