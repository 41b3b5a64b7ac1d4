"""The events file of a simulation: what goes wrong, where, when and for how long."""

import csv
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from ems.site import Site
from sim import faults

COLUMNS = ("local_time", "event", "target", "duration_s", "value")


class EventError(ValueError):
    """A line of an events file that cannot be used."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of an events file."""

    at_s: float
    """Seconds after the start of the simulation."""
    name: str
    target: str
    duration_s: float
    value: float


def read(path: Path, start_utc: datetime, site: Site) -> tuple[Event, ...]:
    """Events in order of time; those before the start or on an unknown target are refused.

    Raises:
        EventError: ``file:line:`` what was found and what would be right; all at once.
    """
    events: list[Event] = []
    problems: list[str] = []
    board = faults.FaultBoard([p.id for p in site.packs], [c.id for c in site.converters])
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [c for c in COLUMNS[:3] if c not in (reader.fieldnames or ())]
        if missing:
            raise EventError(
                f"{path}:1: no column {', '.join(missing)}; expected {', '.join(COLUMNS)}"
            )
        for row in reader:
            try:
                event = _event(row, start_utc, ZoneInfo(site.timezone))
                # The plant would refuse it too, but only when its time has come.
                board.inject(event.name, event.target, 0.0, event.duration_s, event.value)
                events.append(event)
            except (ValueError, TypeError) as error:
                problems.append(f"{path}:{reader.line_num}: {error}")
    if problems:
        raise EventError("\n".join(problems))
    return tuple(sorted(events, key=lambda event: event.at_s))


def _event(row: dict[str, str], start_utc: datetime, zone: ZoneInfo) -> Event:
    name = row["event"].strip()
    known = faults.EVENTS
    if name not in known:
        raise ValueError(f"event {name!r} is unknown; known: {', '.join(sorted(known))}")
    local = datetime.fromisoformat(row["local_time"].strip())
    at = local if local.tzinfo else local.replace(tzinfo=zone)
    at_s = (at - start_utc).total_seconds()
    if at_s < 0.0:
        raise ValueError(f"{row['local_time']} lies before the start of the simulation")
    duration_s, value = float(row.get("duration_s") or 0.0), float(row.get("value") or 0.0)
    if duration_s < 0.0:
        raise ValueError(f"duration_s {duration_s} must not be negative")
    return Event(at_s, name, (row.get("target") or "*").strip() or "*", duration_s, value)
