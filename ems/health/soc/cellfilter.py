"""SoC of every reported cell: counting, corrected by the voltage.

The errors of an OCV-based SoC hardly change from one second to the next: they are
those of the curve, of the resistance, of hysteresis. A Kalman filter that takes each
sample as independent would average them away on paper and grow certain of a wrong
value. Here each of these errors is a quantity of its own, whose share in the SoC error
is carried along but which is never estimated by it (a consider filter, after S. F.
Schmidt): the same voltage seen again teaches nothing new, one seen ten points further
on does. The equations are in docs/explanation/health.md.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from ems.health import ocv
from ems.health.inputs import PackInputs
from ems.health.learning.groups import Learned
from ems.health.learning.resistance import ResistanceState
from ems.health.prepare import CELL_HIGH_V, CELL_LOW_V, FORWARD_STEP, INVERSE_STEP_V, Prepared
from ems.health.soc import curve
from ems.health.state import NEVER_S, UNSTARTED_SIGMA, CellState, PackState
from ems.model import BoolArray, FloatArray, IntArray, SiteSnapshot
from ems.units import S_PER_H

TEACH_S: Final = 60.0
"""Time constant at which the voltage corrects the estimate, s: no single sample does."""
SHIFT_SIGMA: Final = 0.004
"""No SoC from voltage is better than this (1 sigma): where a cell's own curve begins."""
OFFSET_PER_H: Final = 0.0005
"""Offset of the current sensor (1 sigma), of C, and self-discharge, 1/h."""
UNSEEN_PER_H: Final = 0.5
"""Growth of sigma while no current is known: the pack may carry 0.5 C either way."""
UNSEEN_CELL_PER_H: Final = 0.10
"""Growth of a cell's sigma while its own voltage is not usable."""
LEAST_DROP: Final = 0.05
"""Relative error (1 sigma) of the voltage drop under load, however well resistance is known."""
NOISE_V: Final = 0.001
NOISE_DROP: Final = 0.07
"""What else is wrong with a voltage for minutes: resolution, and this share of the drop
by the largest current of late (slow relaxation, the shape of the RC pair)."""
NOISE_S: Final = 120.0
"""How long that lasts: samples closer together count only once."""
FLOOR_FRAC: Final = 0.10
"""Where a discharge ends for a healthy pack (cause C12)."""
PACE_RANGE: Final = (-0.5, 1.0)
LEAST_PACE: Final = 0.003
"""How well the pace of a group can be known (1 sigma): cycles are never quite alike."""
GATE_SIGMAS: Final = 2.0
UNSURE_FRAC: Final = 0.3
"""From this sigma on a cell starts anew from its voltage."""
SPREAD: Final = 3.0**0.5
"""The three points whose voltages stand for an uncertain SoC lie this many sigma apart."""
WIDEST_V: Final = 0.5


def sigma(cells: CellState) -> FloatArray:
    """Total SoC error (1 sigma) per cell."""
    variance = _variance(cells)
    variance += SHIFT_SIGMA**2
    return np.sqrt(variance, out=variance)


def _variance(cells: CellState) -> FloatArray:
    """All but the cell's own shift, which no voltage can show."""
    variance = cells.sigma_frac * cells.sigma_frac
    for part in (cells.curve_frac, cells.drop_frac, cells.offset_frac):
        variance += part * part
    return variance


def weakest_soc(cells: CellState, prepared: Prepared) -> FloatArray:
    """SoC of each pack, 0..1: that of its lowest cell.

    In a pack balanced at the top, as nearly all are, the group of least capacity is
    the lowest everywhere but at the top, and its capacity is the pack's.
    """
    lowest: FloatArray = np.minimum.reduceat(cells.soc_frac, prepared.layout.cell_start)
    return np.minimum(np.maximum(lowest, 0.0), 1.0)


def pack_sigma(cells: CellState, prepared: Prepared) -> FloatArray:
    """How far the lowest (highest) cell of each pack may lie beyond its estimate, 1 sigma.

    Every cell counts with its own sigma, because one that nobody sees may be the lowest.
    """
    start = prepared.layout.cell_start
    soc, error = cells.soc_frac, sigma(cells)
    below = np.minimum.reduceat(soc, start) - np.minimum.reduceat(soc - error, start)
    above = np.maximum.reduceat(soc + error, start) - np.maximum.reduceat(soc, start)
    return np.asarray(np.maximum(below, above))


def count(
    cells: CellState,
    moved_frac: FloatArray,
    grow_frac: FloatArray,
    usable: BoolArray,
    dt_s: float,
    prepared: Prepared,
) -> CellState:
    """Cells after coulomb counting.

    Args:
        cells: State before.
        moved_frac: SoC drawn from each pack since the last cycle, by its capacity,
            discharge positive.
        grow_frac: Growth of sigma per pack.
        usable: Cells whose voltage may be used; the others lose certainty faster.
        dt_s: Time counted, s.
        prepared: Constants of the site.
    """
    pack = prepared.layout.pack_of_cell
    moved = moved_frac.take(pack)
    moved += moved * cells.pace_frac
    soc = cells.soc_frac - moved
    np.maximum(soc, ocv.SOC_LOW_FRAC, out=soc)
    np.minimum(soc, ocv.SOC_HIGH_FRAC, out=soc)
    seen = usable.all()
    if seen and not grow_frac.any():
        return replace(cells, soc_frac=soc)
    error = cells.sigma_frac + grow_frac.take(pack)
    if not seen:
        error += (UNSEEN_CELL_PER_H * dt_s / S_PER_H) * ~usable
    np.minimum(error, UNSTARTED_SIGMA, out=error)
    return replace(cells, soc_frac=soc, sigma_frac=error)


def correct(
    cells: CellState,
    packs: PackState,
    snapshot: SiteSnapshot,
    usable: BoolArray,
    inputs: PackInputs,
    learning: ResistanceState,
    group_ohm: FloatArray,
    since_s: float,
    prepared: Prepared,
) -> tuple[CellState, PackState]:
    """Cells and packs after the voltages of this snapshot; a repeated sample changes nothing.

    Args:
        cells: State after counting.
        packs: State after this cycle's current; ``travel_frac`` since the last call.
        snapshot: The sample.
        usable: Cells that may be used.
        inputs: Pack currents.
        learning: What each cell's resistance is.
        group_ohm: Worst group by intake at the present temperature, ohm, per pack.
        since_s: Time since the last call, s.
        prepared: Constants of the site.
    """
    pack = prepared.layout.pack_of_cell
    at_s = snapshot.cells.voltage_at_s
    apart_s = at_s - cells.seen_at_s
    used = usable & inputs.current_known.take(pack) & (apart_s > 0.0)
    gain = np.minimum(apart_s * (1.0 / TEACH_S), 1.0)
    gain *= used

    load_a = np.maximum(np.abs(inputs.current_a), np.abs(packs.relax_a))
    load_v = NOISE_DROP * group_ohm * np.maximum(load_a, packs.slow_a)
    lost_v = _lost_v(learning, inputs.current_a, packs.relax_a, prepared)
    seen_v = np.where(used, snapshot.cells.voltage_v, 3.0) + lost_v

    drifted = OFFSET_PER_H * since_s / S_PER_H
    cells = _moved_on(cells, packs.travel_frac.take(pack), packs.drawn_frac.take(pack), drifted)
    curve_v = curve.sigma_v(packs, prepared)
    own_v = curve_v.take(pack)
    if cells.sigma_frac.max() > UNSURE_FRAC:
        cells = _begin(cells, seen_v, used, np.hypot(curve_v, load_v), own_v, prepared)

    expected_v, slope_v, bent_v2 = _look_up(cells, prepared)
    miss_v = seen_v - expected_v
    once_v2 = (NOISE_V**2 + load_v * load_v).take(pack)
    noise_v2 = once_v2 * (NOISE_S / np.minimum(np.maximum(apart_s, 1.0), NOISE_S))
    noise_v2 += bent_v2
    # What one sigma of each error adds to (expected minus seen) voltage.
    curve_off_v = slope_v * cells.curve_frac - own_v
    drop_off_v = slope_v * cells.drop_frac - lost_v * np.maximum(
        learning.sigma10_frac, LEAST_DROP
    ).take(pack)
    offset_off_v = slope_v * cells.offset_frac
    own_var = cells.sigma_frac * cells.sigma_frac
    own_v2 = slope_v * own_var * slope_v
    others_v2 = own_v2 + drop_off_v * drop_off_v + offset_off_v * offset_off_v
    curve_v2 = curve_off_v * curve_off_v
    scale = gain / (others_v2 + curve_v2 + noise_v2)
    share = slope_v * own_var
    share += cells.curve_frac * curve_off_v
    share += cells.drop_frac * drop_off_v
    share += cells.offset_frac * offset_off_v
    share *= scale
    np.maximum(share, 0.0, out=share)
    pace = slope_v * cells.pace_cov
    pace += cells.pace_curve * curve_off_v
    pace += cells.pace_drop * drop_off_v
    pace += cells.pace_offset * offset_off_v
    pace *= scale

    most_v = GATE_SIGMAS * np.sqrt(others_v2 + curve_v2 + noise_v2)
    taken_v = np.minimum(np.maximum(miss_v, -most_v), most_v)
    beyond = np.abs(miss_v - taken_v) * gain / np.maximum(slope_v, 0.1)
    kept = 1.0 - share * slope_v
    error_var = kept * kept * own_var + share * share * noise_v2
    pace_var = cells.pace_var + pace * (pace * (own_v2 + noise_v2) - 2.0 * slope_v * cells.pace_cov)
    pace_cov = kept * (cells.pace_cov - pace * slope_v * own_var) + share * pace * noise_v2
    others_v2 += once_v2 + bent_v2
    packs = curve.learn(packs, miss_v, others_v2, curve_off_v, own_v, share * slope_v, prepared)
    corrected = replace(
        cells,
        soc_frac=np.clip(cells.soc_frac + share * taken_v, ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC),
        sigma_frac=np.minimum(np.sqrt(error_var) + beyond, UNSTARTED_SIGMA),
        pace_frac=np.clip(cells.pace_frac + pace * taken_v, *PACE_RANGE),
        pace_var=np.maximum(pace_var, LEAST_PACE**2),
        pace_cov=pace_cov,
        curve_frac=cells.curve_frac - share * curve_off_v,
        drop_frac=cells.drop_frac - share * drop_off_v,
        offset_frac=cells.offset_frac - share * offset_off_v,
        pace_curve=cells.pace_curve - pace * curve_off_v,
        pace_drop=cells.pace_drop - pace * drop_off_v,
        pace_offset=cells.pace_offset - pace * offset_off_v,
        seen_at_s=np.where(usable, np.maximum(at_s, cells.seen_at_s), cells.seen_at_s),
    )
    return corrected, packs


def appeared(cells: CellState, usable: BoolArray, inputs: PackInputs, prepared: Prepared) -> bool:
    """Whether a pack answers whose cells have never been seen: it need not wait for its turn."""
    new = usable & (cells.seen_at_s <= NEVER_S)
    return bool(
        (np.logical_or.reduceat(new, prepared.layout.cell_start) & inputs.current_known).any()
    )


def _moved_on(
    cells: CellState, travel_frac: FloatArray, drawn_frac: FloatArray, drifted_frac: float
) -> CellState:
    """Cells whose SoC has moved since the last look.

    By the error of their pace they are now further off; and the errors of curve and drop
    are no longer quite the same ones: what is no longer shared becomes their own.
    """
    same = np.exp(travel_frac * (-1.0 / curve.LENGTH_FRAC))
    other = 1.0 - same * same
    curve_frac = cells.curve_frac - drawn_frac * cells.pace_curve
    drop_frac = cells.drop_frac - drawn_frac * cells.pace_drop
    cov = cells.pace_cov - drawn_frac * cells.pace_var
    var = cells.sigma_frac * cells.sigma_frac - drawn_frac * (cells.pace_cov + cov)
    var += other * (curve_frac * curve_frac + drop_frac * drop_frac)
    cov += other * (curve_frac * cells.pace_curve + drop_frac * cells.pace_drop)
    pace_curve, pace_drop = cells.pace_curve, cells.pace_drop
    return replace(
        cells,
        sigma_frac=np.sqrt(np.maximum(var, 0.0)),
        pace_var=cells.pace_var + other * (pace_curve * pace_curve + pace_drop * pace_drop),
        pace_cov=cov,
        curve_frac=curve_frac * same,
        drop_frac=drop_frac * same,
        offset_frac=cells.offset_frac - drawn_frac * cells.pace_offset + drifted_frac,
        pace_curve=pace_curve * same,
        pace_drop=pace_drop * same,
    )


def _lost_v(
    learning: ResistanceState, current_a: FloatArray, relax_a: FloatArray, prepared: Prepared
) -> FloatArray:
    """By how much each cell stands below rest, V; the fast RC pair counts as immediate.

    With the currents of this snapshot: those that resistance is learned from may be older
    where voltage and current are read apart.
    """
    pack = prepared.layout.pack_of_cell
    immediate, fast, slow, departure = learning.parts_ohm[:4]
    warm_a = learning.warmth * current_a
    lost_v: FloatArray = (immediate + fast) * warm_a.take(pack)
    lost_v += departure * (warm_a * learning.departure).take(pack)
    lost_v += slow * (learning.warmth * relax_a).take(pack)
    return lost_v


def adopted(cells: CellState, learned: Learned, prepared: Prepared) -> CellState:
    """Cells that count with the capacities learned from anchors, where those know more."""
    relative = prepared.capacity_ah.take(prepared.layout.pack_of_cell) / learned.capacity_ah
    learned_var = (relative * learned.capacity_sigma_ah / learned.capacity_ah) ** 2
    better = learned.capacity_good & (learned_var < pace_variance(cells))
    if not better.any():
        return cells
    kept = np.where(better, 0.0, 1.0)
    return replace(
        cells,
        pace_frac=np.where(better, np.clip(relative - 1.0, *PACE_RANGE), cells.pace_frac),
        pace_var=np.where(better, learned_var, cells.pace_var),
        pace_cov=cells.pace_cov * kept,
        pace_curve=cells.pace_curve * kept,
        pace_drop=cells.pace_drop * kept,
        pace_offset=cells.pace_offset * kept,
    )


def pace_variance(cells: CellState) -> FloatArray:
    """Squared relative error (1 sigma) of the SoC that a charge moves."""
    variance = cells.pace_var.copy()
    for part in (cells.pace_curve, cells.pace_drop, cells.pace_offset):
        variance += part * part
    return variance


def ends(cells: CellState, prepared: Prepared) -> tuple[IntArray, IntArray]:
    """The cell of each pack with the least charge left above ``FLOOR_FRAC``, and the one
    that the least charge makes full."""
    slices = prepared.layout.cell_slices
    left = (cells.soc_frac - FLOOR_FRAC) / (1.0 + cells.pace_frac)
    room = (1.0 - cells.soc_frac) / (1.0 + cells.pace_frac)
    return (
        np.array([left[part].argmin() for part in slices], np.int64),
        np.array([room[part].argmin() for part in slices], np.int64),
    )


def _look_up(cells: CellState, prepared: Prepared) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(mean V, V per unit of SoC, V² that no straight line explains) of uncertain cells.

    From three points of the curve, at the estimate and sqrt(3) sigma to either side, as
    the unscented transform of a scalar does.
    """
    soc_frac = cells.soc_frac
    wide = np.maximum(np.sqrt(_variance(cells)) * SPREAD, 0.002)
    low = np.maximum(soc_frac - wide, ocv.SOC_LOW_FRAC)
    high = np.minimum(soc_frac + wide, ocv.SOC_HIGH_FRAC - FORWARD_STEP)
    low_v, here_v, high_v = (
        prepared.forward_v.take((at * (1.0 / FORWARD_STEP) + prepared.forward_base).astype(np.intp))
        for at in (low, soc_frac, high)
    )
    slope_v = (high_v - low_v) / (high - low)
    bend_v = (low_v + high_v) * 0.5 - here_v
    return here_v + bend_v / 3.0, slope_v, bend_v * bend_v * (2.0 / 9.0)


def _begin(
    cells: CellState,
    seen_v: FloatArray,
    used: BoolArray,
    wide_v: FloatArray,
    own_v: FloatArray,
    prepared: Prepared,
) -> CellState:
    """Cells of which nothing is known start from what the curve says of their voltage."""
    anew = used & (cells.sigma_frac > UNSURE_FRAC)
    pack = prepared.layout.pack_of_cell
    steps = (np.minimum(2.0 * wide_v, WIDEST_V) / INVERSE_STEP_V).astype(np.intp).take(pack)
    place = np.minimum(np.maximum(seen_v, CELL_LOW_V), CELL_HIGH_V) * (1.0 / INVERSE_STEP_V)
    middle = (place + prepared.inverse_base).astype(np.intp)
    low, high = prepared.inverse.take(middle - steps), prepared.inverse.take(middle + steps)
    error = (high - low) * 0.25
    by_curve = error * np.minimum(own_v / wide_v.take(pack), 0.9)
    rest = np.sqrt(error * error - by_curve * by_curve)
    zero = np.where(anew, 0.0, 1.0)
    return replace(
        cells,
        soc_frac=np.where(anew, (low + high) * 0.5, cells.soc_frac),
        sigma_frac=np.where(anew, rest, cells.sigma_frac),
        pace_cov=cells.pace_cov * zero,
        curve_frac=np.where(anew, by_curve, cells.curve_frac),
        drop_frac=cells.drop_frac * zero,
        offset_frac=cells.offset_frac * zero,
    )
