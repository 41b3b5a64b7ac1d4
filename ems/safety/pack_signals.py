"""Signals of each pack: cells, currents against their rating, SoC, silence, alarms."""

from collections.abc import Sequence
from math import inf, nan
from typing import NamedTuple

import numpy as np

from ems.model import (
    FloatArray,
    Limits,
    Link,
    Mode,
    PackReading,
    Quality,
    SiteEstimate,
    SiteSnapshot,
)
from ems.safety.cells import CellView, good
from ems.safety.effects import healthy
from ems.safety.repetition import Repetition, follow
from ems.safety.state import SafetyState, connecting
from ems.site import Site

_TESTING = (Mode.INIT, Mode.SELFTEST)
_REFUSED = Link.REFUSED
BACKUP_BURST_S = 900.0
"""How long an outage may use ``BACKUP_C_RATE``, s (cause C11)."""
BACKUP_SILENCE_S = 240.0
"""Added to the trip time of a silent BMS in backup, s (cause C33: 60 becomes 300)."""

UNSEEN_AGE_S = 6.0
"""Age at which a pack stays until it was first seen, s: more than DERATE, less than the
latched STOP of cause C33, because nothing has been closed for it yet (C33b holds it)."""


class PackSignals(NamedTuple):
    """Signals in the order of ``Signal`` and what the next cycle must remember."""

    signals: tuple[FloatArray | Sequence[float], ...]
    """One signal of every pack after the other; some parts hold several signals."""
    current_a: tuple[float, ...]
    """BMS current per pack, NaN where unknown."""
    scalar_at_s: FloatArray
    repetition: Repetition
    newest_s: tuple[float, ...]
    seen: tuple[bool, ...]


def _newest_s(pack: PackReading) -> float:
    """When the BMS last proved that it lives, by its own counter where it has one."""
    if pack.heartbeat.quality is not Quality.MISSING:
        return pack.heartbeat.at_s
    return max(pack.current_a.at_s, pack.voltage_v.at_s, pack.soc_frac.at_s)


def pack_signals(
    state: SafetyState,
    snapshot: SiteSnapshot,
    estimate: SiteEstimate,
    limits: Limits,
    cells: CellView,
    site: Site,
) -> PackSignals:
    """Signals of every pack; arguments as for ``inputs.gather``."""
    now_s, rating = snapshot.now_s, state.program.ratings
    packs = snapshot.packs
    currents = [good(p.current_a) for p in packs]
    i = np.array(currents)
    soc = np.array([good(p.soc_frac) for p in packs])
    alarm = [good(p.alarm_level) for p in packs]
    silence = _silence(state, snapshot, currents, site)
    usable_ah = np.maximum(estimate.capacity_ah, 1e-3) * (0.5 + 0.5 * limits.health)
    burst = state.backup_since_s is not None and now_s - state.backup_since_s < BACKUP_BURST_S
    discharge_c = rating.backup_c if burst else rating.discharge_c
    charging, discharging = i < -rating.small_a, i > rating.small_a
    v_rest = cells.v_min + np.maximum(i, 0.0) * estimate.group_resistance_max_ohm
    gap = np.where(estimate.soc_known, np.abs(soc - estimate.soc_frac), nan)

    # Devices come up piece by piece; the self-test itself asks for all of them.
    unknown = [-inf] * len(packs) if state.mode in _TESTING else _unknown(snapshot, cells)
    scalar_at_s = tuple([max(p.current_a.at_s, p.voltage_v.at_s) for p in packs])
    repetition = follow(
        state.memory.repetition, snapshot, estimate, currents, rating, scalar_at_s, site
    )
    return PackSignals(
        signals=(
            cells.v_max,
            cells.v_min,
            v_rest,
            cells.t_max,
            np.where(discharging, -inf, cells.t_max),
            cells.t_min,
            np.where(charging, cells.t_min, inf),
            np.where(discharging, cells.t_min, inf),
            (-i - rating.charge_tolerance_a) / (rating.charge_c * usable_ah),
            (i - rating.discharge_tolerance_a) / (discharge_c * usable_ah),
            gap,
            np.where(estimate.soc_sigma_frac > 0.05, gap, 0.0),
            unknown,
            (*repetition.frozen_s, *repetition.stuck_frac, *repetition.unseen_v),
            [*silence.age_s, *silence.trip_age_s, *silence.refused, *alarm],
        ),
        current_a=tuple(currents),
        scalar_at_s=np.array(scalar_at_s),
        repetition=repetition,
        newest_s=silence.newest_s,
        seen=silence.seen,
    )


class _Silence(NamedTuple):
    age_s: list[float]
    trip_age_s: list[float]
    refused: list[float]
    newest_s: tuple[float, ...]
    seen: tuple[bool, ...]


def _silence(
    state: SafetyState, snapshot: SiteSnapshot, currents: list[float], site: Site
) -> _Silence:
    """How long each BMS has not proved that it lives (causes C33 and C33b)."""
    memory, packs = state.memory, snapshot.packs
    newest_s = tuple(map(max, memory.pack_at_s, map(_newest_s, packs)))
    seen = tuple(
        [
            before or (p.link is Link.UP and a == a)
            for before, p, a in zip(memory.pack_seen, packs, currents, strict=True)
        ]
    )
    age_s = [snapshot.now_s - at_s for at_s in newest_s]
    absent = 1.0
    if not all(seen):
        grace = connecting(state, snapshot.now_s)
        absent, longest_s = (0.0, 0.0) if grace else (1.0, UNSEEN_AGE_S)
        age_s = [age if s else min(age, longest_s) for age, s in zip(age_s, seen, strict=True)]
    trip_age_s = age_s
    if state.grid_lost:
        spared = healthy(state, site)
        trip_age_s = [a - BACKUP_SILENCE_S * w for a, w in zip(age_s, spared, strict=True)]
    refused = [
        (1.0 if p.link is _REFUSED else 0.0) if alive else absent
        for p, alive in zip(packs, seen, strict=True)
    ]
    return _Silence(age_s, trip_age_s, refused, newest_s, seen)


def _unknown(snapshot: SiteSnapshot, cells: CellView) -> list[float]:
    """Points per pack: a sensor or alarm word counts 1, a cell, voltage or current 2."""
    return [
        2.0 * cell
        + sensor
        + 2.0 * (p.voltage_v.good is None)
        + 2.0 * (p.current_a.good is None)
        + (p.alarm_level.good is None)
        for cell, sensor, p in zip(
            cells.unknown_v.tolist(), cells.unknown_t.tolist(), snapshot.packs, strict=True
        )
    ]
