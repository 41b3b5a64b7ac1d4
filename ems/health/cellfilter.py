"""SoC of every reported cell: counting, corrected by the voltage.

The errors of an OCV-based SoC hardly change from one second to the next: they are
those of the curve, of the resistance, of hysteresis. A Kalman filter that takes each
sample as independent would average them away on paper and grow certain of a wrong
value. Here two estimates are combined as if their errors were fully correlated: the
better one teaches the worse one, at a limited rate, and sigma never falls below the
better of the two. The equations are in docs/explanation/health.md.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from ems.health import ocv
from ems.health.inputs import PackInputs
from ems.health.prepare import (
    CELL_HIGH_V,
    CELL_LOW_V,
    INVERSE_STEP_V,
    R0_SHARE,
    R1_SHARE,
    Prepared,
)
from ems.health.state import UNSTARTED_SIGMA, CellState
from ems.model import BoolArray, FloatArray, SiteSnapshot
from ems.units import S_PER_H

TEACH_S: Final = 60.0
"""Time constant at which the voltage corrects the estimate, s."""
SIGMA_FLOOR: Final = 0.005
"""No SoC from voltage is better than this (1 sigma): temperature, quantisation."""
DRIFT_PER_H: Final = 0.002
"""Growth of sigma while all is well: current offset of 0.2 % of C, self-discharge."""
UNSEEN_PER_H: Final = 0.5
"""Growth of sigma while no current is known: the pack may carry 0.5 C either way."""
UNSEEN_CELL_PER_H: Final = 0.10
"""Growth of a cell's sigma while its own voltage is not usable."""
RESISTANCE_SIGMA: Final = 0.25
"""Relative error (1 sigma) of the voltage drop under load."""
WIDEST_V: Final = 0.5


def sigma(cells: CellState, prepared: Prepared) -> FloatArray:
    """Total SoC error (1 sigma) per cell."""
    variance = cells.sigma_frac * cells.sigma_frac
    variance += prepared.carry_var * (cells.carry_frac * cells.carry_frac)
    return np.sqrt(variance, out=variance)


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
    soc, error = cells.soc_frac, sigma(cells, prepared)
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
        moved_frac: SoC drawn from each pack since the last cycle, discharge positive.
        grow_frac: Growth of sigma per pack.
        usable: Cells whose voltage may be used; the others lose certainty faster.
        dt_s: Time counted, s.
        prepared: Constants of the site.
    """
    pack = prepared.layout.pack_of_cell
    moved = moved_frac.take(pack)
    error = cells.sigma_frac + grow_frac.take(pack)
    if not usable.all():
        error += (UNSEEN_CELL_PER_H * dt_s / S_PER_H) * ~usable
    soc = cells.soc_frac - moved
    np.maximum(soc, ocv.SOC_LOW_FRAC, out=soc)
    return CellState(
        soc_frac=np.minimum(soc, ocv.SOC_HIGH_FRAC, out=soc),
        sigma_frac=np.minimum(error, UNSTARTED_SIGMA, out=error),
        carry_frac=cells.carry_frac + moved,
        seen_at_s=cells.seen_at_s,
        resistance_factor=cells.resistance_factor,
        resistance_steps=cells.resistance_steps,
    )


def correct(
    cells: CellState,
    snapshot: SiteSnapshot,
    usable: BoolArray,
    inputs: PackInputs,
    relax_a: FloatArray,
    slow_a: FloatArray,
    group_ohm: FloatArray,
    prepared: Prepared,
) -> CellState:
    """Cells after the voltages of this snapshot; a repeated sample changes nothing.

    The terminal voltage plus the drop over R0 and the RC pair is read back through the
    OCV curve twice, 2 sigma below and above. Inside that interval the voltage has
    nothing against the estimate; its middle only counts where it is the better one.

    Args:
        cells: State after counting.
        snapshot: The sample.
        usable: Cells that may be used.
        inputs: Pack currents.
        relax_a: Current in the RC pair, A, per pack.
        slow_a: Recent mean magnitude of the current, A, per pack.
        group_ohm: Worst group by intake at the present temperature, ohm, per pack.
        prepared: Constants of the site.
    """
    pack = prepared.layout.pack_of_cell
    at_s = snapshot.cells.voltage_at_s
    gain = np.minimum(np.maximum((at_s - cells.seen_at_s) / TEACH_S, 0.0), 1.0)
    gain *= usable & inputs.current_known[pack]

    drop_v = group_ohm * (R0_SHARE * inputs.current_a + R1_SHARE * relax_a)
    load_a = np.maximum(np.maximum(np.abs(inputs.current_a), np.abs(relax_a)), slow_a)
    wide_v = 2.0 * np.hypot(prepared.ocv_sigma_v, RESISTANCE_SIGMA * group_ohm * load_a)
    wide_steps = (np.minimum(wide_v, WIDEST_V) / INVERSE_STEP_V).astype(np.intp).take(pack)

    rested_v = np.where(usable, snapshot.cells.voltage_v, 3.0)
    rested_v += drop_v.take(pack) * cells.resistance_factor
    np.maximum(rested_v, CELL_LOW_V, out=rested_v)
    np.minimum(rested_v, CELL_HIGH_V, out=rested_v)
    rested_v *= 1.0 / INVERSE_STEP_V
    rested_v += prepared.inverse_base
    middle = rested_v.astype(np.intp)
    low = prepared.inverse.take(middle - wide_steps)
    high = prepared.inverse.take(middle + wide_steps)

    total = sigma(cells, prepared)
    seen_sigma = high - low
    seen_sigma *= 0.25
    seen_sigma += SIGMA_FLOOR
    ratio = seen_sigma / np.maximum(total, SIGMA_FLOOR)
    ratio *= ratio
    weight = 1.0 - ratio
    np.maximum(weight, 0.0, out=weight)
    edge = np.minimum(np.maximum(cells.soc_frac, low), high)
    target = edge + weight * ((low + high) * 0.5 - edge)
    outside = np.maximum(np.abs(edge - cells.soc_frac) * 0.5 - total, 0.0)
    share = gain * weight
    error = cells.sigma_frac
    return replace(
        cells,
        soc_frac=cells.soc_frac + gain * (target - cells.soc_frac),
        sigma_frac=error + share * (seen_sigma - error) + gain * outside,
        carry_frac=cells.carry_frac * (1.0 - share),
        seen_at_s=np.where(usable, np.maximum(at_s, cells.seen_at_s), cells.seen_at_s),
    )
