"""The BMS's own SoC as one more, weak sensor with a bias of its own.

It drifts by a point an hour, and some jump to 100 % at a false end of charge. So it
teaches only cells that know less, is itself corrected while they know more, and what
it moves without current goes into its bias, never into the estimate.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from ems.health import ocv
from ems.health.inputs import PackInputs
from ems.health.prepare import Prepared
from ems.health.soc import cellfilter
from ems.health.state import NEVER_S, CellState, PackState
from ems.model import BoolArray, FloatArray
from ems.units import S_PER_H

TEACH_S: Final = 300.0
"""Time constant at which the better estimate corrects the worse one, s."""
DRIFT_PER_H: Final = 0.01
"""Growth of the BMS SoC's sigma: integrators without correction drift like this."""
NOISE: Final = 0.02
"""Resolution and definition: full and empty of the BMS are not ours."""
JUMP: Final = 0.03
"""SoC moved without current within ``EXCESS_S``, from which the BMS has re-set itself."""
EXCESS_S: Final = 600.0
PERIOD_S: Final = 10.0
"""A BMS SoC is looked at this often: it moves slowly, and so does its lesson."""
WORST_SIGMA: Final = 0.5
GATE_SIGMAS: Final = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class _Sensor:
    """BMS SoC after looking at the new sample alone."""

    gain: FloatArray
    bias_frac: FloatArray
    sigma_frac: FloatArray
    excess_frac: FloatArray


def fuse(
    cells: CellState,
    packs: PackState,
    inputs: PackInputs,
    usable: BoolArray,
    prepared: Prepared,
) -> tuple[CellState, PackState]:
    """Cells and packs after the BMS SoC of this snapshot.

    Args:
        cells: State after counting.
        packs: Pack state; ``bms_moved_frac`` includes this cycle.
        inputs: This snapshot's packs; a SoC that is unusable, or less than ``PERIOD_S``
            newer than the last one looked at, is left alone.
        usable: Cells whose own voltage may be used: once begun, only their sigma can
            shrink here, because a pack SoC says nothing about one cell nobody sees.
        prepared: Constants of the site.
    """
    fresh = inputs.soc_known & (inputs.soc_at_s - packs.bms_at_s >= PERIOD_S)
    if not fresh.any():
        return cells, packs
    sensor = _look(packs, inputs, fresh)
    own_sigma = cellfilter.pack_sigma(cells, prepared)
    innovation = inputs.soc_frac - sensor.bias_frac - cellfilter.weakest_soc(cells, prepared)
    ours = np.hypot(own_sigma, NOISE)
    theirs = sensor.sigma_frac
    bound = GATE_SIGMAS * (ours + theirs)
    refused = sensor.gain * np.maximum(np.abs(innovation) - bound, 0.0) / GATE_SIGMAS
    learns = sensor.gain * np.maximum(1.0 - (ours / theirs) ** 2, 0.0)
    teaches = sensor.gain * ((theirs < own_sigma) & (np.abs(innovation) <= bound))
    if teaches.any():
        cells = _teach(cells, teaches, innovation, theirs, usable, prepared)
    return cells, replace(
        packs,
        bms_bias_frac=np.clip(sensor.bias_frac + learns * innovation, -1.0, 1.0),
        bms_sigma_frac=np.minimum(theirs + learns * (ours - theirs) + refused, WORST_SIGMA),
        bms_soc_frac=np.where(fresh, inputs.soc_frac, packs.bms_soc_frac),
        bms_at_s=np.where(fresh, inputs.soc_at_s, packs.bms_at_s),
        bms_moved_frac=np.where(fresh, 0.0, packs.bms_moved_frac),
        bms_followed=np.where(fresh, inputs.current_known, packs.bms_followed),
        bms_excess_frac=sensor.excess_frac,
    )


def _look(packs: PackState, inputs: PackInputs, fresh: BoolArray) -> _Sensor:
    """The sample against the one before: what moved without current is bias."""
    apart_s = np.where(fresh, inputs.soc_at_s - packs.bms_at_s, 0.0)
    jump = inputs.soc_frac - packs.bms_soc_frac + packs.bms_moved_frac
    followed = np.where(packs.bms_followed, packs.bms_excess_frac, 0.0)
    kept = followed * np.maximum(1.0 - apart_s / EXCESS_S, 0.0)
    excess = kept + np.where(fresh & packs.bms_followed, jump, 0.0)
    reset = np.abs(excess) > JUMP
    taken = np.where(reset, excess, 0.0)
    started = packs.bms_at_s > NEVER_S
    drift = np.where(started, DRIFT_PER_H / S_PER_H * apart_s, 0.0)
    return _Sensor(
        gain=np.minimum(apart_s / TEACH_S, 1.0),
        bias_frac=packs.bms_bias_frac + taken,
        sigma_frac=np.minimum(packs.bms_sigma_frac + np.abs(taken) + drift, WORST_SIGMA),
        excess_frac=np.where(reset, 0.0, excess),
    )


def _teach(
    cells: CellState,
    gain: FloatArray,
    innovation: FloatArray,
    bms_sigma: FloatArray,
    usable: BoolArray,
    prepared: Prepared,
) -> CellState:
    """Cells pulled by the BMS, each as far as it knows less than the BMS."""
    pack = prepared.layout.pack_of_cell
    theirs = bms_sigma[pack]
    total = cellfilter.sigma(cells)
    share = gain[pack] * np.maximum(1.0 - (theirs / np.maximum(total, 1e-6)) ** 2, 0.0)
    sure = share * (usable | (cells.sigma_frac > WORST_SIGMA))
    pulled = np.maximum(cells.soc_frac + share * innovation[pack], ocv.SOC_LOW_FRAC)
    return replace(
        cells,
        soc_frac=np.minimum(pulled, ocv.SOC_HIGH_FRAC),
        sigma_frac=cells.sigma_frac + sure * (theirs - cells.sigma_frac),
        pace_cov=cells.pace_cov * (1.0 - sure),
        curve_frac=cells.curve_frac * (1.0 - sure),
        drop_frac=cells.drop_frac * (1.0 - sure),
        offset_frac=cells.offset_frac * (1.0 - sure),
    )
