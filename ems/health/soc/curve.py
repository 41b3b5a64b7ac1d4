"""How far this pack's cells lie from the OCV table, learned from the cells themselves.

The table is another maker's cell. How wrong it is decides what a voltage is worth, so it
is not left at a guess: counting moves the SoC along the curve, and by how much the
voltages then disagree shows the error of the table. What no comparison shows, a constant
shift, stays in the error of the cell (``cellfilter.SHIFT_SIGMA``).
"""

from dataclasses import replace
from typing import Final

import numpy as np

from ems.health.prepare import Prepared
from ems.health.state import PackState
from ems.model import FloatArray

LENGTH_FRAC: Final = 0.10
"""SoC over which the error of a curve is the same error."""
PRIOR_WEIGHT: Final = 1.0
"""Stretches of that length the value of the chemistry counts for."""
MOST_FRESH: Final = 2.0
MOST_WEIGHT: Final = 60.0
"""From then on old stretches fade, so that ageing is followed."""
LEAST_V: Final = (0.003, 0.001, 0.001, 0.001)
"""No pack is held to lie closer to the table than this, in the order of
``ocv.CHEMISTRIES``. LFP: hysteresis; and on a plateau a bent curve and another SoC look so
much alike that agreement proves little."""
_LEAST_V2: Final = np.array(LEAST_V) ** 2


def sigma_v(packs: PackState, prepared: Prepared) -> FloatArray:
    """Error (1 sigma) of the OCV table for each pack, V."""
    first_v2 = prepared.ocv_sigma_v**2
    learned_v2 = packs.curve_v2 + PRIOR_WEIGHT * first_v2
    learned_v2 /= packs.curve_weight + PRIOR_WEIGHT
    return np.sqrt(np.clip(learned_v2, _LEAST_V2[prepared.chem], 9.0 * first_v2))


def learn(
    packs: PackState,
    miss_v: FloatArray,
    others_v2: FloatArray,
    by_curve_v: FloatArray,
    curve_v: FloatArray,
    absorbed: FloatArray,
    prepared: Prepared,
) -> PackState:
    """Packs after these innovations; the travelled SoC is used up.

    Args:
        packs: State before; ``travel_frac`` since the last call weighs the sample.
        miss_v: Voltage seen minus expected, per cell.
        others_v2: Variance of it by everything but the curve, V², per cell.
        by_curve_v: Share of it (1 sigma) by the curve, V, per cell.
        curve_v: Error of the curve (1 sigma) that ``by_curve_v`` was made with, V.
        absorbed: Share of the miss that the SoC has taken up, 0..1; 0 for unused cells.
        prepared: Constants of the site.
    """
    layout = prepared.layout
    own_v2 = by_curve_v * by_curve_v
    # Weighed by information: where the curve is not what the miss is made of, it says nothing.
    clear = own_v2 / (own_v2 + others_v2)
    clear *= clear
    # New evidence comes with SoC moved, and waits for a clear moment; or with a miss that
    # has been taken up since.
    fresh = np.minimum(packs.curve_fresh + (2.0 / LENGTH_FRAC) * packs.travel_frac, MOST_FRESH)
    spent = np.add.reduceat(clear * (absorbed > 0.0), layout.cell_start) / prepared.cells_of_pack
    clear *= np.maximum(fresh.take(layout.pack_of_cell), absorbed) * (absorbed > 0.0)
    found_v2 = np.minimum(miss_v * miss_v, 9.0 * (own_v2 + others_v2)) - others_v2
    seen_v2 = np.add.reduceat(clear * found_v2, layout.cell_start) / prepared.cells_of_pack
    weight = np.add.reduceat(clear * own_v2 / (curve_v * curve_v), layout.cell_start)
    sum_v2 = np.maximum(packs.curve_v2 + seen_v2, 0.0)
    sum_weight = packs.curve_weight + weight / prepared.cells_of_pack
    fade = np.minimum(MOST_WEIGHT / np.maximum(sum_weight, 1.0), 1.0)
    return replace(
        packs,
        travel_frac=np.zeros_like(packs.travel_frac),
        drawn_frac=np.zeros_like(packs.drawn_frac),
        curve_fresh=fresh * (1.0 - spent),
        curve_v2=sum_v2 * fade,
        curve_weight=sum_weight * fade,
    )
