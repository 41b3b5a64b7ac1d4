"""What of a cycle goes into the log: changes, refusals, and a summary each minute.

Each entry carries the inputs, the limit and the decision, so that a reviewer can judge
it from the entry alone; the words name pack, cell, value, limit, h and debounce.
"""

import re
from dataclasses import asdict
from typing import Any

from ems.clock import wall_step_s
from ems.journal.evidence import (
    converter_inputs,
    decision,
    failed_commands,
    pack_inputs,
    reading,
    summary,
)
from ems.model import (
    ActiveCause,
    CommandResult,
    CycleRecord,
    RequestKind,
    SetContactor,
    SetLoad,
)
from ems.site import Site
from ems.units import S_PER_MIN

Entry = tuple[str, dict[str, Any], bool]
"""Kind, data, and whether the entry must be on the disk at once."""

CLOCK_STEP_S = 2.0
URGENT_LEVEL = 3
_NUMBER = re.compile(r"-?\d[\d.]*(?:e[-+]?\d+)?")
_URGENT_REQUESTS = (RequestKind.ARM, RequestKind.RESET, RequestKind.DISARM)


def entries(previous: CycleRecord | None, record: CycleRecord, site: Site) -> list[Entry]:
    """Entries for the log after one cycle; mostly none.

    Args:
        previous: The cycle before, ``None`` at the first of a run.
        record: The cycle just finished.
        site: The site.
    """
    made, snapshot = record.decision, record.snapshot
    found: list[Entry] = []
    if previous is None:
        found.append(("START", {"site": site.id, **summary(record)}, True))
    old_mode = previous.decision.mode if previous else None
    old_causes = previous.decision.causes if previous else ()
    if made.mode is not old_mode:
        text = f"{old_mode or 'none'} -> {made.mode}"
        found.append(("MODE", {"from": old_mode, "to": made.mode, "text": text}, True))
    if made.causes != old_causes:
        found.extend(_causes(old_causes, record, site))
    if snapshot.requests:
        found.extend(_requests(record))
    if previous is not None:
        found.extend(_switched(previous, record, site))
        if snapshot.results:
            found.extend(_failures(previous, record, site))
        found.extend(_clock(previous, record))
    return found


def _switched(previous: CycleRecord, record: CycleRecord, site: Site) -> list[Entry]:
    """Contactors and loads asked for another state than in the cycle before."""
    before, made = previous.decision, record.decision
    found: list[Entry] = []
    if made.contactor != before.contactor:
        for spec, old, new in zip(site.packs, before.contactor, made.contactor, strict=True):
            if old is not new:
                text = f"{spec.id} {old.name} -> {new.name}"
                data = {"pack": spec.id, "from": old.name, "to": new.name, "text": text}
                found.append(("CONTACTOR", data, True))
    if made.load_on != before.load_on:
        for load, was, on in zip(site.loads, before.load_on, made.load_on, strict=True):
            if was is not on:
                text = f"{load.id} {'on' if on else 'off'}"
                found.append(("LOAD", {"load": load.id, "on": on, "text": text}, False))
    return found


def _clock(previous: CycleRecord, record: CycleRecord) -> list[Entry]:
    """Steps of the wall clock, and the summary when a minute has passed."""
    before, now = previous.snapshot, record.snapshot
    found: list[Entry] = []
    step_s = wall_step_s(before.now_utc, before.now_s, now.now_utc, now.now_s)
    if abs(step_s) > CLOCK_STEP_S:
        text = f"{step_s:+.1f} s, clock {'good' if now.clock_ok else 'not synchronised'}"
        found.append(("CLOCK_STEP", {"step_s": step_s, "text": text}, False))
    if before.now_s // S_PER_MIN != now.now_s // S_PER_MIN:
        found.append(("SUMMARY", summary(record), False))
    return found


def _key(cause: ActiveCause) -> tuple[str, int | None, str]:
    # Causes of converters have no pack: the first word of the detail names the target.
    return cause.cause, cause.pack, cause.detail.partition(":")[0] if cause.pack is None else ""


def _causes(old_causes: tuple[ActiveCause, ...], record: CycleRecord, site: Site) -> list[Entry]:
    old = {_key(cause): cause for cause in old_causes}
    new = {_key(cause): cause for cause in record.decision.causes}
    found: list[Entry] = []
    for key, cause in new.items():
        was = old.get(key)
        if was is None:
            kind = "CAUSE_RAISED"
        elif was.level != cause.level:
            kind = "CAUSE_LEVEL"
        elif cause.latched and not was.latched:
            kind = "CAUSE_LATCHED"
        else:
            continue
        level_from = was.level if was else 0
        data = _cause(cause, level_from, cause.level, record, site)
        found.append((kind, data, max(level_from, cause.level) >= URGENT_LEVEL))
    for key, cause in old.items():
        if key not in new:
            data = _cause(cause, cause.level, 0, record, site)
            found.append(("CAUSE_CLEARED", data, cause.level >= URGENT_LEVEL))
    return found


def _cause(
    cause: ActiveCause, level_from: int, level_to: int, record: CycleRecord, site: Site
) -> dict[str, Any]:
    packs = range(site.n_packs) if cause.pack is None else [cause.pack]
    return {
        "cause": cause.cause,
        "name": cause.name,
        "level_from": level_from,
        "level_to": level_to,
        "since_s": cause.since_s,
        "first_out": cause.first_out,
        "latched": cause.latched,
        "text": f"{cause.cause} {cause.name} {_standing(cause, level_from, level_to)}"
        f": {cause.detail}",
        "packs": [pack_inputs(i, record, site) for i in packs],
        "converters": [converter_inputs(i, record, site) for i in range(len(site.converters))],
        "grid": {
            "power_w": reading(record.snapshot.grid.power_w),
            "voltage_v": reading(record.snapshot.grid.voltage_v),
            "frequency_hz": reading(record.snapshot.grid.frequency_hz),
            "link": int(record.snapshot.grid.link),
            "lateness_s": record.snapshot.lateness_s,
        },
        "decision": decision(record),
    }


def _standing(cause: ActiveCause, level_from: int, level_to: int) -> str:
    """What has become of a cause: gone is not yet cleared while its latch stands."""
    if not level_to:
        how = " after ack or reset" if cause.latched else ""
        return f"cleared{how}, was level {level_from}"
    marks = [", first"] if cause.first_out else []
    if cause.latched:
        marks.append(", condition gone, still latched")
    return f"level {level_to}{''.join(marks)}"


def _requests(record: CycleRecord) -> list[Entry]:
    refused = dict(record.decision.refusals)
    found: list[Entry] = []
    for request in record.snapshot.requests:
        data = asdict(request)
        urgent = request.kind in _URGENT_REQUESTS
        target = f" {request.target}" if request.target else ""
        text = f"{request.kind}{target} by {request.actor}: {request.reason}"
        if request.id in refused:
            why = refused[request.id]
            data |= {"refusal": why, "text": f"{text}; refused: {why}"}
            found.append(("REQUEST_REFUSED", data, urgent))
        else:
            found.append(("REQUEST_GRANTED", data | {"text": text}, urgent))
    return found


def _failures(previous: CycleRecord, record: CycleRecord, site: Site) -> list[Entry]:
    """Commands that failed now and not already in the cycle before for the same reason."""
    known = {_key_of(*_failure(result, site)) for result in failed_commands(previous)}
    found: list[Entry] = []
    for result in failed_commands(record):
        target, reason = _failure(result, site)
        if (key := _key_of(target, reason)) in known:
            continue
        known.add(key)
        data = {"target": target, "command": asdict(result.command), "reason": reason}
        found.append(("COMMAND_REFUSED", data | {"text": f"{target}: {reason}"}, False))
    return found


def _key_of(target: str, reason: str) -> tuple[str, str]:
    """The same complaint with other numbers is the same complaint."""
    return target, _NUMBER.sub("#", reason)


def _failure(result: CommandResult, site: Site) -> tuple[str, str]:
    match result.command:
        case SetContactor(pack=pack):
            target = f"contactor {site.packs[pack].id}"
        case SetLoad(load=load):
            target = f"load {site.loads[load].id}"
        case command:
            target = f"power {site.converters[command.converter].id}"
    return target, result.reason
