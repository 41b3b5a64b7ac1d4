"""What the gate remembers from cycle to cycle, and what survives a restart.

``save`` writes ages instead of times, because monotonic time starts anew at a
reboot. Time without power does not count: a latch's 24 h reset window only grows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, NamedTuple

from ems.model import ActiveCause, FloatArray, Mode, Standing
from ems.safety.debounce import Buckets
from ems.safety.program import Program, compile_table
from ems.safety.repetition import Repetition
from ems.safety.row import Latch
from ems.safety.table import ROW_OF_ID
from ems.site import Site, SiteKind

CONNECT_GRACE_S = 10.0
"""After a start, how long a device that has never answered is not called missing, s."""


class StringPhase(IntEnum):
    """Where a pack stands between open and closed, as the gate sees it."""

    OFF = 0
    """Open, or not closed by us."""
    CLOSING = 1
    ON = 2
    OPENING = 3
    """At 0 W, waiting for the current to fall before the contactor opens."""
    LOCKED = 4
    """Opened by a trip; stays so until its latch is reset."""


@dataclass(frozen=True, slots=True)
class StringState:
    """One pack's connection."""

    phase: StringPhase = StringPhase.OFF
    since_s: float = 0.0
    tries: int = 0
    """Failed attempts to close since the last arm, reset or long time closed."""
    withdrawn: bool = False
    """Opened for current between strings or for a cause that came while it was closing,
    not because of a latch: it may close again after a pause."""


@dataclass(frozen=True, slots=True)
class ActiveLevel:
    """Book-keeping of one raised level of one point."""

    since_s: float
    detail: str
    first_out: bool
    acknowledged: bool = False


Levels = Mapping[tuple[int, int], ActiveLevel]
"""Raised levels by (point, level index)."""


@dataclass(frozen=True, slots=True, eq=False)
class Effects:
    """What raised levels take away, per pack."""

    flags: list[int]
    reason: list[str]
    """Fault name of the highest level that takes something away."""
    trip: list[bool]
    blocked: list[bool]
    """Stopped in both directions."""
    no_close: list[bool]
    levels: Levels
    """What this was made from, and with which effects."""
    grid_lost: bool


class Memory(NamedTuple):
    """What the signals need from earlier snapshots."""

    repetition: Repetition | None = None
    pack_at_s: tuple[float, ...] = ()
    """Newest sample of each pack's own counter or clock, s."""
    pack_seen: tuple[bool, ...] = ()
    """Whether the pack has been seen alive since this start."""
    converter_at_s: tuple[float, ...] = ()
    converter_seen: tuple[bool, ...] = ()
    meter_at_s: float = 0.0
    health: FloatArray | None = None
    limit: FloatArray | None = None
    """Thresholds times sign at that health, ``[point, level]``."""


class SafetyState(NamedTuple):
    """Everything ``decide`` needs besides its arguments."""

    program: Program
    buckets: Buckets
    levels: Levels
    memory: Memory
    strings: tuple[StringState, ...]
    standing: Standing
    """Verdict for the layers before the gate; the same object while nothing changes."""
    effects: Effects | None = None
    causes: tuple[ActiveCause, ...] = ()
    """Of the previous cycle, like ``effects``: kept while nothing changes."""
    mode: Mode = Mode.INIT
    armed: bool = False
    released: bool = False
    """A disarm asked for open contactors (a fresh start leaves them as they are)."""
    started_s: float | None = None
    """First cycle of this run; ``None`` before it."""
    now_s: float = 0.0
    selftest_s: float = 0.0
    """When the self-test began."""
    fresh_since_s: tuple[float | None, ...] = ()
    """Since when each pack and its converter are complete and fresh; ``None`` if not."""
    meter_fresh_since_s: float | None = None
    grid_lost: bool = False
    backup_since_s: float | None = None
    power_w: tuple[float, ...] = ()
    """Converter power asked for in the previous cycle, W."""
    commands_w: tuple[tuple[float, ...], ...] = ()
    """The same of the last seconds, newest last."""
    net_load_w: tuple[float, ...] = ()
    """Last three estimates of load minus PV, newest last, W."""
    soft_low_w: tuple[float, ...] = ()
    """How far each converter may charge while it comes back from a stop, W, >= 0."""
    soft_high_w: tuple[float, ...] = ()
    """The same for discharge, W."""
    resets: tuple[tuple[str, str, float], ...] = ()
    """(row id, target id, time) of granted resets of persistent latches."""


def initial(site: Site) -> SafetyState:
    """State of a first start: disarmed, no latch.

    Raises:
        ValueError: the site's ``safety`` section loosens the table.
    """
    program = compile_table(site)
    n, m = site.n_packs, len(site.converters)
    return SafetyState(
        program=program,
        buckets=Buckets.empty(program),
        levels={},
        memory=Memory(),
        strings=(StringState(),) * n,
        standing=Standing(grid_lost=False, discharge_ok=(True,) * n),
        fresh_since_s=(None,) * n,
        power_w=(0.0,) * m,
        soft_low_w=program.rated_charge_w,
        soft_high_w=program.rated_discharge_w,
    )


def save(state: SafetyState) -> dict[str, Any]:
    """What must survive a restart, as JSON-able data: arming, latches, reset counts."""
    program = state.program
    return {
        "armed": state.armed,
        "latches": [
            {
                "cause": program.rows[k].id,
                "target": program.target_ids[k],
                "level": level + 1,
                "age_s": max(0.0, state.now_s - entry.since_s),
                "detail": entry.detail,
                "first_out": entry.first_out,
                "acknowledged": entry.acknowledged,
            }
            for (k, level), entry in sorted(state.levels.items())
            if not program.auto[k, level]
        ],
        "resets": [
            {"cause": cause, "target": target, "age_s": max(0.0, state.now_s - at_s)}
            for cause, target, at_s in state.resets
        ],
    }


def load(data: Mapping[str, Any], site: Site) -> SafetyState:
    """State after a restart: latches stand, nothing else is believed.

    Args:
        data: What ``save`` returned.
        site: The site; a latch on a pack that no longer exists is dropped, because
            removing a pack is a change of the site file with its own record.

    Raises:
        KeyError: not what ``save`` returned; an empty section is no proof of no latches.
        ValueError: a latch names a row this version does not have, or one declared not
            applicable since. Forgetting a latch silently would be loosening.
    """
    state = initial(site)
    program = state.program
    active = state.buckets.active.copy()
    levels: dict[tuple[int, int], ActiveLevel] = {}
    for latch in data["latches"]:
        cause, target, level = str(latch["cause"]), str(latch["target"]), int(latch["level"]) - 1
        k = program.point(cause, target)
        if k is None:
            if cause in ROW_OF_ID and cause not in site.safety.not_applicable:
                continue
            raise ValueError(
                f"stored latch {cause}: this version or site file has no such row; "
                "reset the latch with the version that set it"
            )
        active[k, level] = True
        levels[k, level] = ActiveLevel(
            since_s=-float(latch["age_s"]),
            detail=str(latch["detail"]),
            first_out=bool(latch["first_out"]),
            acknowledged=bool(latch["acknowledged"]),
        )
    return state._replace(
        armed=bool(data["armed"]),
        buckets=state.buckets.with_active(active),
        levels=levels,
        resets=tuple(
            (str(r["cause"]), str(r["target"]), -float(r["age_s"])) for r in data["resets"]
        ),
    )


def started(state: SafetyState, now_s: float, site: Site) -> SafetyState:
    """The state at its first cycle: stored ages become times of this run."""
    n, m = site.n_packs, len(site.converters)
    return state._replace(
        started_s=now_s,
        selftest_s=now_s,
        now_s=now_s,
        levels={
            key: replace(entry, since_s=now_s + entry.since_s)
            for key, entry in state.levels.items()
        },
        resets=tuple((cause, target, now_s + at_s) for cause, target, at_s in state.resets),
        strings=tuple(replace(s, since_s=now_s) for s in state.strings),
        memory=state.memory._replace(
            pack_at_s=(now_s,) * n,
            pack_seen=(False,) * n,
            converter_at_s=(now_s,) * m,
            converter_seen=(False,) * m,
            meter_at_s=now_s,
        ),
    )


def connecting(state: SafetyState, now_s: float) -> bool:
    """Whether links may still be on their way up: the first seconds of the self-test.

    Nothing is closed and no power is allowed in a self-test, so a cause raised here
    would only fill the log with what every start looks like.
    """
    since_s = now_s if state.started_s is None else state.started_s
    return state.mode in (Mode.INIT, Mode.SELFTEST) and now_s - since_s < CONNECT_GRACE_S


def needs_two_persons(latch: str) -> bool:
    """Latch classes that no remote request may clear."""
    return latch in (Latch.TWO_PERSONS, Latch.RETIRE)


def on_direct_bus(site: Site) -> bool:
    """Whether the packs float on the load's own bus."""
    return site.kind is SiteKind.DIRECT_BUS
