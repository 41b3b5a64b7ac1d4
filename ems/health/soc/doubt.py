"""Readings that look alive and contradict each other: they must not teach the estimator.

Cell voltages that stay the same to the last digit although current or charge had to move
them (a charge at constant voltage, whose current falls meanwhile, is no such case); a
current whose sign is turned, so that a load raises the voltage; a current the converter
says nothing of. Nothing here stops a pack, that is the interlock table's; here they only
cost certainty, and the SoC its standing as known.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ems.health import ocv
from ems.health.inputs import UNCERTAIN, PackInputs
from ems.health.prepare import R0_SHARE, Prepared
from ems.model import BoolArray, FloatArray, SiteSnapshot
from ems.site import Site

FROZEN_V: Final = 0.020
"""A cell that should have moved this far and did not by a millivolt is frozen: twice the
resolution of a coarse BMS."""
FROZEN_FRAC: Final = 0.03
"""Charge over capacity after which not one cell of a pack may read the same still."""
TOP_FRAC: Final = 0.80
"""A charge at constant voltage holds a voltage at which a rested cell has this SoC or more."""
TAPER: Final = 0.9
"""Its current has fallen to this share or less once twice ``FROZEN_FRAC`` has moved (a
coarse voltage stands still for a while before)..."""
GROWN_FRAC: Final = 0.02
"""...and has never grown by more than this share of C."""
MOST_TAPER_FRAC: Final = 0.25
"""More charge than this does not flow at constant voltage, over capacity."""
STEP_V: Final = 0.008
"""Drop by a change of current from which its sign can be told..."""
SURE: Final = 0.25
"""...where the voltages answer by at least this share of it."""
MOST_OPPOSED: Final = 6.0
OPPOSED: Final = 3.0
"""Steps answered the wrong way, less twice those answered the right way, from which on the
current is not believed."""
ALIGNED_S: Final = 1.0
APART_FRAC: Final = 0.05
APART_SHARE: Final = 0.10
"""Converter and pack may differ by this much of C and of the current, in magnitude."""
APART_S: Final = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class DoubtState:
    """What is compared with, and the verdict; not kept over a restart."""

    at_s: float
    """Cycle time of the last look, s."""
    seen_s: FloatArray
    """Time stamp of the last voltage looked at: one that is only repeated says nothing."""
    cell_v: FloatArray
    """Voltage of each reported cell, V..."""
    cell_a: FloatArray
    cell_ah: FloatArray
    """...and current and charge of its pack when that voltage was new."""
    mean_v: FloatArray
    """Mean cell voltage of each pack at the last look, V; NaN before the first."""
    current_a: FloatArray
    current_known: BoolArray
    opposed: FloatArray
    apart_s: FloatArray
    """How long the converter has told another current, s."""
    frozen: BoolArray
    """Reported cells that may not be used."""
    denied: BoolArray
    """Packs whose current may not be used."""
    unknown: BoolArray
    """Packs of which no SoC may be called known."""


def initial(n_packs: int, n_cells: int) -> DoubtState:
    """Nothing to compare with, no doubts."""
    return DoubtState(
        at_s=0.0,
        seen_s=np.full(n_cells, -np.inf),
        cell_v=np.zeros(n_cells),
        cell_a=np.zeros(n_cells),
        cell_ah=np.zeros(n_cells),
        mean_v=np.full(n_packs, np.nan),
        current_a=np.zeros(n_packs),
        current_known=np.zeros(n_packs, np.bool_),
        opposed=np.zeros(n_packs),
        apart_s=np.zeros(n_packs),
        frozen=np.zeros(n_cells, np.bool_),
        denied=np.zeros(n_packs, np.bool_),
        unknown=np.zeros(n_packs, np.bool_),
    )


def believed(state: DoubtState, inputs: PackInputs) -> PackInputs:
    """Inputs without the currents that are not believed."""
    if not state.denied.any():
        return inputs
    return replace(
        inputs,
        current_a=np.where(state.denied, 0.0, inputs.current_a),
        current_known=inputs.current_known & ~state.denied,
    )


def look(
    state: DoubtState,
    snapshot: SiteSnapshot,
    inputs: PackInputs,
    usable: BoolArray,
    group_ohm: FloatArray,
    slope_v: FloatArray,
    drawn_ah: FloatArray,
    site: Site,
    prepared: Prepared,
) -> DoubtState:
    """State after this snapshot.

    Args:
        state: Before.
        snapshot: The sample.
        inputs: Its packs as reported, doubted or not.
        usable: Cells that may be used by their quality.
        group_ohm: Worst group by intake at the present temperature, ohm, per pack.
        slope_v: dOCV/dSoC about the present SoC, V, per pack.
        drawn_ah: Charge drawn so far, per pack.
        site: The site.
        prepared: Its constants.
    """
    layout = prepared.layout
    pack, start = layout.pack_of_cell, layout.cell_start
    now_v = np.where(usable, snapshot.cells.voltage_v, 0.0)
    now_a, now_ah = inputs.current_a.take(pack), drawn_ah.take(pack)
    fresh = (now_v != state.cell_v) | ~usable | ~inputs.current_known.take(pack)
    moved = (now_ah - state.cell_ah) / prepared.capacity_ah.take(pack)
    fall_v = (R0_SHARE * group_ohm).take(pack) * (now_a - state.cell_a)
    fall_v += slope_v.take(pack) * moved
    seen_s = snapshot.cells.voltage_at_s
    still = ~fresh & (seen_s > state.seen_s)
    whole = np.logical_and.reduceat(still, start).take(pack)
    frozen = still & (np.abs(fall_v) > FROZEN_V)
    frozen |= whole & (np.abs(moved) > FROZEN_FRAC)
    if frozen.any():
        frozen &= ~_held(now_v, now_a, state.cell_a, moved, prepared)
    frozen |= state.frozen & ~fresh

    counted = np.maximum(np.add.reduceat(usable.astype(np.float64), start), 1.0)
    mean_v = np.add.reduceat(now_v, start) / counted
    step_v = R0_SHARE * group_ohm * (inputs.current_a - state.current_a)
    late_s = np.abs(snapshot.cells.voltage_at_s[start] - inputs.current_at_s)
    told = inputs.current_known & state.current_known & (np.abs(step_v) > STEP_V)
    told &= (late_s < ALIGNED_S) & np.logical_and.reduceat(usable, start)
    answer = np.where(told, (state.mean_v - mean_v) / np.where(told, step_v, 1.0), 0.0)
    opposed = state.opposed + (answer < -SURE) - 2.0 * (answer > SURE)
    opposed = np.minimum(np.maximum(opposed, 0.0), MOST_OPPOSED)

    dt_s = max(snapshot.now_s - state.at_s, 0.0)
    apart_s = np.where(_apart(snapshot, inputs, site, prepared), state.apart_s + dt_s, 0.0)
    denied = (opposed >= OPPOSED) | (apart_s > APART_S)
    return DoubtState(
        at_s=snapshot.now_s,
        seen_s=np.maximum(seen_s, state.seen_s),
        cell_v=np.where(fresh, now_v, state.cell_v),
        cell_a=np.where(fresh, now_a, state.cell_a),
        cell_ah=np.where(fresh, now_ah, state.cell_ah),
        mean_v=mean_v,
        current_a=inputs.current_a,
        current_known=inputs.current_known,
        opposed=opposed,
        apart_s=apart_s,
        frozen=frozen,
        denied=denied,
        unknown=denied | np.logical_and.reduceat(frozen | ~usable, start) & _any(frozen, start),
    )


def _held(
    now_v: FloatArray,
    now_a: FloatArray,
    begun_a: FloatArray,
    moved_frac: FloatArray,
    prepared: Prepared,
) -> BoolArray:
    """Cells whose charger may hold their voltage: near the top, at a current that falls.

    What the drop gives back the OCV takes up; neither is known well enough at the top to
    expect a voltage from them.

    Args:
        now_v: Voltage, V.
        now_a: Current of the pack.
        begun_a: The same when the voltage was new.
        moved_frac: Charge drawn since, over capacity.
        prepared: Constants of the site.
    """
    pack = prepared.layout.pack_of_cell
    falling = (begun_a < 0.0) & (now_a <= 0.0)
    falling &= now_a > begun_a - GROWN_FRAC * prepared.capacity_ah.take(pack)
    falling &= (now_a >= TAPER * begun_a) | (moved_frac > -2.0 * FROZEN_FRAC)
    top = ocv.soc_from_ocv_of(prepared.chem.take(pack), now_v) >= TOP_FRAC
    return np.asarray(falling & top & (moved_frac > -MOST_TAPER_FRAC))


def _any(values: BoolArray, start: np.typing.NDArray[np.intp]) -> BoolArray:
    return np.asarray(np.logical_or.reduceat(values, start))


def _apart(snapshot: SiteSnapshot, inputs: PackInputs, site: Site, prepared: Prepared) -> BoolArray:
    """Packs whose converter tells another direct current than they do, whatever its sign."""
    apart = np.zeros(inputs.current_a.size, np.bool_)
    for spec, reading in zip(site.converters, snapshot.converters, strict=True):
        direct = reading.dc_current_a
        if direct.value is None or direct.quality > UNCERTAIN or spec.rectifier is not None:
            continue
        packs = list(spec.packs)
        if not inputs.current_known[packs].all():
            continue
        sum_a = abs(float(inputs.current_a[packs].sum()))
        bound_a = APART_FRAC * float(prepared.capacity_ah[packs].sum()) + APART_SHARE * sum_a
        if not abs(abs(direct.value) - sum_a) <= bound_a:
            apart[packs] = True
    return apart
