"""What is learned slowly about every series group, and what of it the rest may use.

Every cycle counts charge and lets resistance learn; one pack in turn is looked at for an
anchor, and at most one solution or fit is made: the cost is spread over the cycles. A
pack whose BMS reports only its extremes has no groups to tell apart; it learns
resistance and keeps the capacity of intake.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ems.health.inputs import PackInputs
from ems.health.learning import (
    capacity,
    knee,
    resistance,
    segments,
    selfdischarge,
    surroundings,
)
from ems.health.learning.bounds import Handed, hand_out
from ems.health.learning.resistance import NEVER_S, ResistanceState
from ems.health.learning.segments import Anchors, Look
from ems.health.prepare import Prepared
from ems.model import BoolArray, FloatArray, SiteSnapshot
from ems.site import Site
from ems.units import S_PER_H

Number = TypeVar("Number", bound=np.generic)

if TYPE_CHECKING:
    from ems.health.state import CellState

LOOK_S: Final = 20.0
"""A pack is looked at this often at most."""
WARM_S: Final = 10.0
FIT_H: Final = 3.0
"""A pack's capacities are fitted this often at most."""
MOST_STEPS: Final = 1_000.0
"""Load steps beyond this are not told apart."""
LOST_S: Final = 60.0
"""Unknown current for longer breaks the count of charge."""
ROUND_S: Final = 900.0
"""Time constant of the mean magnitude of current, for diffusion, s."""


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """Per reported cell, changed only by a fit or a solution; arrays are read-only."""

    capacity_ah: FloatArray
    """Learned, or expected from intake where ``capacity_good`` is false."""
    capacity_sigma_ah: FloatArray
    capacity_good: BoolArray
    excess_per_h: FloatArray
    """Self-discharge beyond the pack's median, 1/h."""
    excess_sigma_per_h: FloatArray
    leaking: BoolArray
    factor: FloatArray
    """10 s resistance over that of intake."""


@dataclass(frozen=True, slots=True, eq=False)
class GroupState:
    """Memory of the slow estimators; arrays per pack unless they say otherwise."""

    resistance: ResistanceState
    anchors: tuple[Anchors, ...]
    drawn_ah: FloatArray
    """Charge drawn since the pack came here, discharge positive."""
    through_ah: FloatArray
    """The same without sign."""
    mean_a: FloatArray
    """Mean magnitude of the current over a quarter of an hour."""
    lost_s: FloatArray
    """How long the current has been unknown."""
    epoch: NDArray[np.int64]
    hours: float
    """Hours of operation."""
    looked_s: FloatArray
    warmed_s: float
    fitted_h: FloatArray
    """Hours of operation at the last fit."""
    fitted_on: NDArray[np.int64]
    """Anchors that had been added by then."""
    capacity_day: NDArray[np.int64]
    """Date of the last good fit, 0 before."""
    curve_v: FloatArray
    history: tuple[knee.History, ...]
    knees: tuple[knee.Knee, ...]
    learned: Learned
    handed: Handed


def initial(site: Site, prepared: Prepared) -> GroupState:
    """State that knows what intake knows."""
    n_packs, n_cells = site.n_packs, site.layout.n_cells
    pack = site.layout.pack_of_cell
    prior_ah = prepared.capacity_ah.take(pack)
    sigma = np.hypot(prepared.soh_sigma_frac / prepared.soh_frac, capacity.PRIOR_SPREAD)
    learned = Learned(
        capacity_ah=prior_ah,
        capacity_sigma_ah=prior_ah * sigma.take(pack),
        capacity_good=np.zeros(n_cells, np.bool_),
        excess_per_h=np.zeros(n_cells),
        excess_sigma_per_h=np.full(n_cells, capacity.DRIFT_SIGMA_PER_H),
        leaking=np.zeros(n_cells, np.bool_),
        factor=np.ones(n_cells),
    )
    return GroupState(
        resistance=resistance.initial(prepared),
        anchors=tuple(segments.empty(p.reported_cells) for p in site.packs),
        drawn_ah=np.zeros(n_packs),
        through_ah=np.zeros(n_packs),
        mean_a=np.zeros(n_packs),
        lost_s=np.zeros(n_packs),
        epoch=np.zeros(n_packs, np.int64),
        hours=0.0,
        looked_s=np.full(n_packs, NEVER_S),
        warmed_s=NEVER_S,
        fitted_h=np.full(n_packs, NEVER_S),
        fitted_on=np.zeros(n_packs, np.int64),
        capacity_day=np.zeros(n_packs, np.int64),
        curve_v=np.full(n_packs, capacity.LEAST_CURVE_V * 10.0),
        history=tuple(knee.empty() for _ in site.packs),
        knees=(knee.NONE,) * n_packs,
        learned=_sealed(learned),
        handed=hand_out(None, learned, resistance.initial(prepared), 0, prepared),
    )


def learn(
    state: GroupState,
    soc_frac: FloatArray,
    snapshot: SiteSnapshot,
    inputs: PackInputs,
    usable: BoolArray,
    dt_s: float,
    gap_s: float,
    day: int,
    site: Site,
    prepared: Prepared,
) -> GroupState:
    """State after this cycle.

    Args:
        state: Before.
        soc_frac: SoC of every reported cell by the filter.
        snapshot: This sample.
        inputs: Its packs.
        usable: Cells that may be used.
        dt_s: Time counted, s.
        gap_s: Time about which nothing is known, s.
        day: Date (proleptic ordinal) of a good clock, 0 before there was one.
        site: The site.
        prepared: Its constants.
    """
    now_s = snapshot.now_s
    learning, warmed_s = state.resistance, state.warmed_s
    if now_s - warmed_s >= WARM_S or now_s < warmed_s:
        warmed_s = now_s
        learning = resistance.warm(
            learning,
            surroundings.mean_c(snapshot, prepared),
            *surroundings.slopes_v(soc_frac, learning, prepared),
        )
    learning = resistance.learn(learning, snapshot, inputs, usable, prepared)
    state = _counted(state, learning, warmed_s, inputs, dt_s, gap_s)

    turn = int(state.looked_s.argmin())
    if not LOOK_S > now_s - float(state.looked_s[turn]) >= 0.0:
        state = _look(state, turn, soc_frac, snapshot, inputs, usable, day, site, prepared)
    if state.handed.day != day:
        state = _handed(state, day, prepared)
    late = resistance.due(state.resistance, now_s)
    if late is not None:
        return _solved(state, late, now_s, day, prepared)
    if _fit_due(state, turn, site):
        return _fitted(state, turn, soc_frac, day, site, prepared)
    return state


def applied(cells: "CellState", state: GroupState, prepared: Prepared) -> "CellState":
    """Cells with the resistance as it was learned."""
    return replace(
        cells,
        resistance_factor=state.learned.factor,
        resistance_steps=np.minimum(state.resistance.steps, MOST_STEPS).take(
            prepared.layout.pack_of_cell
        ),
    )


def _counted(
    state: GroupState,
    learning: ResistanceState,
    warmed_s: float,
    inputs: PackInputs,
    dt_s: float,
    gap_s: float,
) -> GroupState:
    """State with resistance as learned, charge, hours, and where the count breaks."""
    moved_ah = inputs.current_a * (dt_s / S_PER_H)
    rise_a = np.abs(inputs.current_a)
    rise_a -= state.mean_a
    rise_a *= -math.expm1(-dt_s / ROUND_S)
    lost_s, anchors, epoch = state.lost_s, state.anchors, state.epoch
    known = np.count_nonzero(inputs.current_known) == lost_s.size
    if gap_s > 0.0 or not known or np.count_nonzero(lost_s):
        lost_s = np.where(inputs.current_known, 0.0, state.lost_s + dt_s)
        breaks = (lost_s >= LOST_S) & (state.lost_s < LOST_S)
        breaks |= gap_s > 0.0
        epoch = epoch + breaks
        anchors = tuple(
            segments.broken(a) if b else a for a, b in zip(anchors, breaks.tolist(), strict=True)
        )
    return GroupState(
        resistance=learning,
        anchors=anchors,
        drawn_ah=state.drawn_ah + moved_ah,
        through_ah=state.through_ah + np.abs(moved_ah, out=moved_ah),
        mean_a=np.add(state.mean_a, rise_a, out=rise_a),
        lost_s=lost_s,
        epoch=epoch,
        hours=state.hours + (dt_s + gap_s) / S_PER_H,
        looked_s=state.looked_s,
        warmed_s=warmed_s,
        fitted_h=state.fitted_h,
        fitted_on=state.fitted_on,
        capacity_day=state.capacity_day,
        curve_v=state.curve_v,
        history=state.history,
        knees=state.knees,
        learned=state.learned,
        handed=state.handed,
    )


def _look(
    state: GroupState,
    pack: int,
    soc_frac: FloatArray,
    snapshot: SiteSnapshot,
    inputs: PackInputs,
    usable: BoolArray,
    day: int,
    site: Site,
    prepared: Prepared,
) -> GroupState:
    """A look at one pack, for an anchor."""
    looked_s = state.looked_s.copy()
    looked_s[pack] = snapshot.now_s
    learning, own = state.resistance, site.layout.cell_slices[pack]
    same = float(learning.at_s[pack]) == float(inputs.current_at_s[pack])
    fit = usable[own]
    if not inputs.current_known[pack] or not same or not fit.any():
        return replace(state, looked_s=looked_s)
    ohm = float(prepared.group_ohm[pack] * learning.warmth[pack])
    rested_v = snapshot.cells.voltage_v[own] + resistance.drop_v(learning, pack, own)
    seen = Look(
        volts=rested_v if np.count_nonzero(fit) == fit.size else np.where(fit, rested_v, np.nan),
        sigma_v=segments.disturbance_v(
            ohm,
            float(learning.current_a[pack]),
            float(learning.slow_a[pack]),
            float(state.mean_a[pack]),
        ),
        ah=float(state.drawn_ah[pack]),
        at_h=state.hours,
        epoch=int(state.epoch[pack]),
        soc_frac=float(soc_frac[own].min()),
        capacity_ah=float(prepared.capacity_ah[pack]),
        day=day,
    )
    looked = segments.look(state.anchors[pack], seen)
    if looked is state.anchors[pack]:
        return replace(state, looked_s=looked_s)
    anchors = (*state.anchors[:pack], looked, *state.anchors[pack + 1 :])
    return replace(state, looked_s=looked_s, anchors=anchors)


def _fit_due(state: GroupState, pack: int, site: Site) -> bool:
    spec = site.packs[pack]
    return (
        spec.reported_cells == spec.series_cells
        and state.hours - float(state.fitted_h[pack]) >= FIT_H
        and state.anchors[pack].added > int(state.fitted_on[pack])
    )


def _solved(state: GroupState, pack: int, now_s: float, day: int, prepared: Prepared) -> GroupState:
    """State after the resistances of one pack were solved for."""
    own = prepared.layout.cell_slices[pack]
    learning = resistance.solve(state.resistance, pack, now_s, prepared)
    if learning.parts_ohm is state.resistance.parts_ohm:
        return replace(state, resistance=learning)
    factor = state.learned.factor.copy()
    ratio = resistance.ten_s_ohm(learning)[own] / prepared.group_ohm[pack]
    factor[own] = np.minimum(np.maximum(ratio, 0.3), 3.0)
    state = replace(
        state, resistance=learning, learned=_sealed(replace(state.learned, factor=factor))
    )
    return _handed(state, day, prepared)


def _fitted(
    state: GroupState, pack: int, soc_frac: FloatArray, day: int, site: Site, prepared: Prepared
) -> GroupState:
    """State after the capacities of one pack were fitted, and its leaks looked for."""
    spec, own = site.packs[pack], site.layout.cell_slices[pack]
    anchors = state.anchors[pack]
    fitted_h, fitted_on = state.fitted_h.copy(), state.fitted_on.copy()
    fitted_h[pack], fitted_on[pack] = state.hours, anchors.added
    state = replace(state, fitted_h=fitted_h, fitted_on=fitted_on)
    newest = int(anchors.at_h.argmax())
    since_ah = float(state.drawn_ah[pack]) - float(anchors.ah[newest])
    prior = capacity.Prior(
        capacity_ah=float(prepared.capacity_ah[pack]),
        soh_sigma_frac=float(prepared.soh_sigma_frac[pack] / prepared.soh_frac[pack]),
        soc_frac=np.clip(soc_frac[own] + since_ah / prepared.capacity_ah[pack], 0.0, 1.0),
        curve_v=float(state.curve_v[pack]),
        rated_ah=spec.rated_ah,
    )
    found = capacity.fit(spec.chemistry, anchors, prior)
    if found is None:
        return state
    leak = selfdischarge.find(found)
    learned = state.learned
    good = found.good
    capacity_ah = found.capacity_ah / (1.0 + leak.k_shift * found.capacity_ah / prior.capacity_ah)
    learned = Learned(
        capacity_ah=_put(learned.capacity_ah, own, capacity_ah, good),
        capacity_sigma_ah=_put(learned.capacity_sigma_ah, own, found.sigma_ah, good),
        capacity_good=_put(learned.capacity_good, own, good, good),
        excess_per_h=_put(learned.excess_per_h, own, leak.excess_per_h),
        excess_sigma_per_h=_put(learned.excess_sigma_per_h, own, leak.sigma_per_h),
        leaking=_put(learned.leaking, own, leak.outlier),
        factor=learned.factor,
    )
    curve_v, days = state.curve_v.copy(), state.capacity_day.copy()
    curve_v[pack] = found.curve_v
    history, knees = list(state.history), list(state.knees)
    if good.all():
        days[pack] = day
        efc = float(state.through_ah[pack]) / (2.0 * spec.rated_ah)
        weakest = float(learned.capacity_ah[own].min()) / spec.rated_ah
        noted = knee.note(history[pack], efc, weakest, day)
        if noted is not history[pack]:
            history[pack], knees[pack] = noted, knee.find(noted, spec.chemistry)
    state = replace(
        state,
        curve_v=curve_v,
        capacity_day=days,
        learned=_sealed(learned),
        history=tuple(history),
        knees=tuple(knees),
    )
    return _handed(state, day, prepared)


def restored(state: GroupState, prepared: Prepared) -> GroupState:
    """State with everything worked out again that is not kept over a restart."""
    for pack in range(prepared.series.size):
        if state.resistance.steps[pack] > 0.0:
            state = _solved(state, pack, NEVER_S, 0, prepared)
    return _handed(replace(state, learned=_sealed(state.learned)), 0, prepared)


def _handed(state: GroupState, day: int, prepared: Prepared) -> GroupState:
    handed = hand_out(state.handed, state.learned, state.resistance, day, prepared)
    return state if handed is state.handed else replace(state, handed=handed)


def _put(
    values: NDArray[Number], own: slice, new: NDArray[Number], where: BoolArray | None = None
) -> NDArray[Number]:
    """A copy with one pack's values replaced, all or where it is said."""
    after = values.copy()
    after[own] = new if where is None else np.where(where, new, values[own])
    return after


def _sealed(learned: Learned) -> Learned:
    for name in Learned.__slots__:
        getattr(learned, name).setflags(write=False)
    return learned
