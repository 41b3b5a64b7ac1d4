"""Resistance: from intake and temperature, refined by what load steps show."""

from dataclasses import replace
from typing import Final

import numpy as np

from ems.health.inputs import PackInputs
from ems.health.prepare import ARRHENIUS_K, ROOM_K, STEP_SHARE, Prepared
from ems.health.state import CellState, StepState
from ems.model import BoolArray, FloatArray, SiteSnapshot

KELVIN: Final = 273.15
LOW_FACTOR: Final = 0.5
HIGH_FACTOR: Final = 3.0
PRIOR_STEPS: Final = 5.0
"""Weight of the intake value, counted in load steps."""
MOST_STEPS: Final = 20.0
"""From then on old steps fade, so that ageing is followed."""
ALIGNED_S: Final = 0.3
"""Voltage and current of a sample must be this close, or the step is not used: with
the blocks of a slow bus read apart, one shows the step and the other does not."""
LONGEST_STEP_S: Final = 3.0


def arrhenius(temp_c: FloatArray) -> FloatArray:
    """Resistance at a temperature over that at 25 degC, > 0, 1 at 25 degC."""
    return np.asarray(np.exp(ARRHENIUS_K * (1.0 / (temp_c + KELVIN) - 1.0 / ROOM_K)))


def learn(
    cells: CellState,
    before: StepState,
    snapshot: SiteSnapshot,
    inputs: PackInputs,
    usable: BoolArray,
    group_ohm: FloatArray,
    prepared: Prepared,
) -> tuple[CellState, StepState]:
    """Resistance factors after this sample, and the sample for the next call.

    A load step of more than 0.1 C between two samples shows, as ΔV/ΔI, the part of the
    10 s resistance that is there after one sample. The ratio to the value expected
    is clipped to 0.5..3 and averaged with the intake value in, so that no single
    step counts more than a sixth.

    Args:
        cells: Present factors and counts.
        before: The previous sample.
        snapshot: This sample.
        inputs: Its packs.
        usable: Cells that may be used.
        group_ohm: Worst group by intake at the present temperature, ohm, per pack.
        prepared: Constants of the site.
    """
    sample = StepState(
        voltage_v=snapshot.cells.voltage_v,
        voltage_at_s=snapshot.cells.voltage_at_s,
        usable=usable,
        current_a=inputs.current_a,
        current_at_s=inputs.current_at_s,
        current_known=inputs.current_known,
    )
    step_a = sample.current_a - before.current_a
    stepped = np.abs(step_a) > prepared.step_a
    if not stepped.any():
        return cells, sample
    lasted_s = sample.current_at_s - before.current_at_s
    stepped &= sample.current_known & before.current_known
    stepped &= (lasted_s > 0.0) & (lasted_s < LONGEST_STEP_S)
    if not stepped.any():
        return cells, sample
    pack = prepared.layout.pack_of_cell
    fit = stepped[pack] & sample.usable & before.usable
    fit &= np.abs(sample.voltage_at_s - sample.current_at_s[pack]) < ALIGNED_S
    fit &= np.abs(before.voltage_at_s - before.current_at_s[pack]) < ALIGNED_S
    drop_v = np.subtract(before.voltage_v, sample.voltage_v, out=np.zeros(fit.shape), where=fit)
    expected_v = np.where(stepped, step_a * group_ohm * STEP_SHARE, 1.0)
    seen = drop_v / expected_v[pack]
    factor, steps = cells.resistance_factor, cells.resistance_steps
    moved = (np.clip(seen, LOW_FACTOR, HIGH_FACTOR) - factor) / (steps + PRIOR_STEPS + 1.0)
    return (
        replace(
            cells,
            resistance_factor=np.where(fit, factor + moved, factor),
            resistance_steps=np.where(fit, np.minimum(steps + 1.0, MOST_STEPS), steps),
        ),
        sample,
    )
