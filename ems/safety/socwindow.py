"""The SoC window of each pack: what age, doubt and a disagreeing BMS do to its ends (b6)."""

from typing import NamedTuple

import numpy as np

from ems.model import BoolArray, FloatArray, SiteEstimate, SiteSnapshot
from ems.safety.cells import good

SOC_LOW = 0.10
SOC_TAPER = 0.03
"""Power falls to 0 over this much SoC before an end of the window, so that a pack
settles at the edge instead of switching there."""
SOC_GAP_SEEN, SOC_GAP_FULL = 0.08, 0.12
"""Disagreement with the BMS from which, and at which fully, the window shrinks (C22)."""
RECALIBRATE_SEEN, RECALIBRATE_FULL = 0.04, 0.05
"""Sigma from which, and at which fully, a SoC has to be measured anew at the top of a flat
OCV curve; between them the upper end moves, so that a sigma that hovers switches nothing."""
RECALIBRATE_C = 0.1
"""Charge rate beyond the SoC at which the BMS would have ended the charge. [E]"""
TO_THE_TOP = 1.0 + SOC_TAPER
"""Upper end of such a pack: no taper even at an estimate of 100 %; cell voltage ends it."""


class SocWindow(NamedTuple):
    """Where discharge and charge end, fractions, one value per pack."""

    low: FloatArray
    """Of the lowest cell."""
    high: FloatArray
    """Of the fullest cell; above 1 its voltage ends the charge."""
    agreed_high: FloatArray
    """The end that BMS and EMS agree on: ``high`` itself where nobody is in doubt."""
    disputed: FloatArray
    """0 where the BMS may go along with what lies above, 1 where it says full long before."""


def soc_window(
    estimate: SiteEstimate,
    snapshot: SiteSnapshot,
    margin: FloatArray,
    soc_high: FloatArray,
    flat: BoolArray,
) -> SocWindow:
    """SoC of the lowest cell at which discharge ends, and of the fullest at which charge does.

    Two sigma inside the chemistry's window, narrower with age. Where the BMS disagrees
    by more than 8 points, the tighter of both opinions counts on each side, fully from
    12 points on.

    A pack with a flat OCV curve whose SoC is not known to 5 points may charge until its
    cells' voltage ends it: only the steep end tells where the pack stands, and a window
    that shrinks with the doubt would keep it from ever getting there. That holds when the
    BMS says more than we do as well: nothing else would ever settle who is right.

    Args:
        estimate: SoC and its sigma.
        snapshot: SoC as the BMS reports it.
        margin: What age takes off both ends.
        soc_high: Upper end at h = 1, by chemistry.
        flat: Packs whose OCV curve is flat between its ends.

    Source:
        b6 and cause C22 (shrink by the difference, force recalibration).
    """
    sigma = estimate.soc_sigma_frac
    margin = margin + 2.0 * sigma
    low, high = SOC_LOW + margin, soc_high - margin
    gap = np.array([good(p.soc_frac) for p in snapshot.packs]) - estimate.soc_frac
    disputed = np.zeros(gap.size)
    if np.fmax.reduce(np.abs(gap)) > SOC_GAP_SEEN:
        share = np.minimum((np.abs(gap) - SOC_GAP_SEEN) / (SOC_GAP_FULL - SOC_GAP_SEEN), 1.0)
        doubt = np.where(share > 0.0, gap * share, 0.0)  # NaN, a silent BMS, is no opinion
        low = low + np.maximum(-doubt, 0.0)
        high = high - np.maximum(doubt, 0.0)
        disputed = np.where(doubt > 0.0, share, 0.0)
    low, high = np.minimum(low, 1.0), np.maximum(high, 0.0)
    agreed = high
    if np.maximum.reduce(sigma) > RECALIBRATE_SEEN:
        unsure = (sigma - RECALIBRATE_SEEN) / (RECALIBRATE_FULL - RECALIBRATE_SEEN)
        unsure = np.minimum(np.maximum(unsure, 0.0), 1.0)
        high = high + flat * unsure * (TO_THE_TOP - high)
    return SocWindow(low, high, agreed, disputed)


def recalibrating_a(
    estimate: SiteEstimate, window: SocWindow, to_the_top_a: FloatArray, base_a: FloatArray
) -> FloatArray:
    """Charge current by SoC, A: slow beyond what a BMS that says more agrees to."""
    slow_a = np.minimum(to_the_top_a, RECALIBRATE_C * estimate.capacity_ah)
    below = (window.agreed_high - estimate.soc_max_frac) / SOC_TAPER
    agreed_a = np.minimum(np.maximum(below, 0.0), 1.0) * base_a
    beyond_a = slow_a + (1.0 - window.disputed) * (to_the_top_a - slow_a)
    return np.asarray(np.maximum(agreed_a, beyond_a))
