"""One step of the estimator: state and snapshot in, state and ``SiteEstimate`` out."""

import math
from datetime import datetime
from typing import Final

import numpy as np

from ems.health.inputs import PackInputs, coldest_c, read_packs, usable_cells
from ems.health.learning import groups, pairs
from ems.health.prepare import FORWARD_STEP, TAU_S, Prepared, prepare
from ems.health.soc import bmssoc, cellfilter, doubt
from ems.health.state import CellState, HealthState, PackState, SlowState
from ems.model import FloatArray, SiteEstimate, SiteSnapshot
from ems.site import Site
from ems.units import S_PER_H

LONGEST_CYCLE_S: Final = 10.0
"""A longer gap between two cycles is not counted: what flowed in it is unknown."""
UNKNOWN_GAP_S: Final = 3_600.0
"""Gap assumed over a restart when the wall clock cannot tell."""
SLOW_S: Final = 900.0
CORRECT_PERIOD_S: Final = 10.0
"""Voltages correct the count this often: often enough for a time constant of a minute,
and most cycles stay cheap."""
MOST_SIGMA: Final = 0.5
KNOWN_SIGMA: Final = 0.15
"""SoC with a larger sigma is as good as unknown."""
CURRENT_FRESH_S: Final = 60.0
"""Without a usable current for longer, SoC counts as unknown whatever sigma says."""


FRESH: Final = (
    "soc_frac",
    "soc_known",
    "soc_max_frac",
    "ocv_v",
    "ocv_cell_min_v",
    "ocv_cell_max_v",
    "voltage_v",
    "current_a",
)
"""Arrays of the estimate that are new in every cycle; the others are read-only already."""
SLOW: Final = ("sigma_frac", "pack_ohm", "worst_ohm", "weakest_cell", "fullest_cell")
"""Arrays of the slow state that the estimate shows."""


def update(
    state: HealthState, snapshot: SiteSnapshot, site: Site
) -> tuple[HealthState, SiteEstimate]:
    """Next state and what is believed about each pack now.

    Counting comes first, then the BMS's own SoC, then the cell voltages, so that the
    better source has the last word. Unusable readings are left out and sigma grows;
    no reading, however wrong, makes the result anything but finite.

    Args:
        state: From :func:`ems.health.initial`, :func:`ems.health.load` or the last call.
        snapshot: Everything known now; ``now_s`` must not run backwards within a
            process (such a cycle counts nothing).
        site: The site the state was made for.
    """
    prepared = prepare(site)
    dt_s, gap_s = _elapsed(state, snapshot)
    reported, answering = read_packs(snapshot), usable_cells(snapshot)
    correct = snapshot.now_s - state.slow.at_s >= CORRECT_PERIOD_S
    if not correct and state.slow.sigma_frac.max() >= MOST_SIGMA:
        correct = cellfilter.appeared(state.cells, answering, reported, prepared)
    group_ohm, doubts = state.slow.group_ohm, state.doubt
    if correct:
        group_ohm, slow_state = _group_ohm(snapshot, prepared), state.groups
        doubts = doubt.look(
            doubts,
            snapshot,
            reported,
            answering,
            group_ohm,
            slow_state.resistance.slope_v,
            slow_state.drawn_ah,
            site,
            prepared,
        )
    inputs, usable = doubt.believed(doubts, reported), answering & ~doubts.frozen

    moved = inputs.current_a * (dt_s / S_PER_H) / prepared.capacity_ah
    unseen_s = gap_s + dt_s * ~inputs.current_known
    grow = np.asarray(unseen_s * (cellfilter.UNSEEN_PER_H / S_PER_H), np.float64)
    cells = cellfilter.count(state.cells, moved, grow, usable, dt_s, prepared)
    packs = _follow(state, inputs, moved, dt_s, gap_s, snapshot.now_s)
    cells, packs = bmssoc.fuse(cells, packs, inputs, usable, prepared)
    day = max(state.day, snapshot.now_utc.toordinal()) if snapshot.clock_ok else state.day
    learning = groups.learn(
        state.groups, cells.soc_frac, snapshot, inputs, usable, dt_s, gap_s, day, site, prepared
    )
    if learning.learned is not state.groups.learned:
        cells = groups.applied(cells, learning, prepared)
        cells = cellfilter.adopted(cells, learning.learned, prepared)
    slow = state.slow
    if correct:
        since_s = min(snapshot.now_s - state.slow.at_s, S_PER_H) if state.now_s is not None else 0.0
        cells, packs = cellfilter.correct(
            cells,
            packs,
            snapshot,
            usable,
            inputs,
            learning.resistance,
            group_ohm,
            since_s,
            prepared,
        )
        slow = _slow(cells, group_ohm, snapshot.now_s, prepared)
    after = HealthState(
        layout=state.layout,
        now_s=snapshot.now_s,
        now_utc=snapshot.now_utc if snapshot.clock_ok else state.now_utc,
        day=day,
        cells=cells,
        packs=packs,
        groups=learning,
        doubt=doubts,
        slow=slow,
    )
    return after, _estimate(after, inputs, snapshot.now_s, prepared)


def _elapsed(state: HealthState, snapshot: SiteSnapshot) -> tuple[float, float]:
    """(time to count, time about which nothing is known), both in s and >= 0."""
    if state.now_s is None:
        return 0.0, _restart_gap_s(state.now_utc, snapshot)
    dt_s = snapshot.now_s - state.now_s
    if dt_s > LONGEST_CYCLE_S:
        return 0.0, dt_s
    return max(dt_s, 0.0), 0.0


def _restart_gap_s(before_utc: datetime | None, snapshot: SiteSnapshot) -> float:
    if before_utc is None:
        return 0.0
    if not snapshot.clock_ok:
        return UNKNOWN_GAP_S
    return max(0.0, (snapshot.now_utc - before_utc).total_seconds())


def _follow(
    state: HealthState,
    inputs: PackInputs,
    moved: FloatArray,
    dt_s: float,
    gap_s: float,
    now_s: float,
) -> PackState:
    """Pack state after this cycle's current."""
    before = state.packs
    known = inputs.current_known
    if state.now_s is None or gap_s > 0.0:
        relax_a, slow_a = inputs.current_a, np.abs(inputs.current_a)
    else:
        rise = known * (1.0 - math.exp(-dt_s / TAU_S))
        relax_a = before.relax_a + rise * (inputs.current_a - before.relax_a)
        slow = known * (1.0 - math.exp(-dt_s / SLOW_S))
        slow_a = before.slow_a + slow * (np.abs(inputs.current_a) - before.slow_a)
    return PackState(
        relax_a=relax_a,
        slow_a=slow_a,
        travel_frac=before.travel_frac + np.abs(moved),
        drawn_frac=before.drawn_frac + moved,
        curve_fresh=before.curve_fresh,
        curve_v2=before.curve_v2,
        curve_weight=before.curve_weight,
        current_seen_s=np.where(known, now_s, before.current_seen_s),
        bms_bias_frac=before.bms_bias_frac,
        bms_sigma_frac=before.bms_sigma_frac,
        bms_soc_frac=before.bms_soc_frac,
        bms_at_s=before.bms_at_s,
        bms_moved_frac=before.bms_moved_frac + moved,
        bms_followed=before.bms_followed & known & (gap_s == 0.0),
        bms_excess_frac=before.bms_excess_frac,
    )


def _group_ohm(snapshot: SiteSnapshot, prepared: Prepared) -> FloatArray:
    """Worst group by intake, as cold as the coldest sensor of the pack says, ohm."""
    return prepared.group_ohm * pairs.arrhenius(coldest_c(snapshot, prepared))


def _slow(cells: CellState, group_ohm: FloatArray, now_s: float, prepared: Prepared) -> SlowState:
    """Sigma, resistances and the extreme cells after a correction."""
    layout, factor = prepared.layout, cells.resistance_factor
    first_empty, first_full = cellfilter.ends(cells, prepared)
    mean = np.add.reduceat(factor, layout.cell_start) / prepared.cells_of_pack
    worst: FloatArray = np.maximum.reduceat(factor, layout.cell_start)
    slow = SlowState(
        at_s=now_s,
        sigma_frac=np.minimum(cellfilter.pack_sigma(cells, prepared), MOST_SIGMA),
        group_ohm=group_ohm,
        pack_ohm=prepared.series * group_ohm * mean,
        worst_ohm=group_ohm * np.maximum(worst, 1.0),
        weakest_cell=first_empty,
        fullest_cell=first_full,
    )
    for name in SLOW:
        getattr(slow, name).setflags(write=False)
    return slow


def _estimate(
    state: HealthState, inputs: PackInputs, now_s: float, prepared: Prepared
) -> SiteEstimate:
    """The state as the rest of the program sees it."""
    cells, slow, handed = state.cells, state.slow, state.groups.handed
    lowest = np.minimum.reduceat(cells.soc_frac, prepared.layout.cell_start)
    highest = np.maximum.reduceat(cells.soc_frac, prepared.layout.cell_start)
    fresh = now_s - state.packs.current_seen_s <= CURRENT_FRESH_S
    place = cells.soc_frac * (1.0 / FORWARD_STEP)
    place += prepared.forward_base
    table_v = prepared.forward_v.take(place.astype(np.intp))
    sum_v = np.add.reduceat(table_v, prepared.layout.cell_start)
    ocv_v = prepared.series_per_cell * sum_v
    ends = np.array((lowest, highest))
    place = ends * (1.0 / FORWARD_STEP) + prepared.forward_base_pack
    ends_v = prepared.forward_v.take(place.astype(np.intp))
    inside = np.minimum(np.maximum(ends, 0.0), 1.0)
    estimate = SiteEstimate(
        soc_frac=inside[0],
        soc_sigma_frac=slow.sigma_frac,
        soc_known=fresh & (slow.sigma_frac <= KNOWN_SIGMA) & ~state.doubt.unknown,
        weakest_cell=slow.weakest_cell,
        fullest_cell=slow.fullest_cell,
        capacity_ah=handed.capacity_ah,
        soh_frac=handed.soh_frac,
        soh_sigma_frac=handed.soh_sigma_frac,
        resistance_ratio=handed.resistance_ratio,
        resistance_ohm=slow.pack_ohm,
        ocv_v=ocv_v,
        ocv_cell_min_v=ends_v[0],
        ocv_cell_max_v=ends_v[1],
        group_resistance_max_ohm=slow.worst_ohm,
        voltage_v=np.where(inputs.voltage_v > 0.0, inputs.voltage_v, ocv_v),
        current_a=inputs.current_a,
        soc_max_frac=inside[1],
    )
    for name in FRESH:  # ems.model promises read-only arrays
        getattr(estimate, name).setflags(write=False)
    return estimate
