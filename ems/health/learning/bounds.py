"""What of the learned health the envelope may see: it may tighten, never loosen.

The envelope computes limits from SoH, its sigma, resistance ratio and capacity as they
come. So what is handed out lies on the safe side of both intake and everything handed
out before; better news waits for a new intake record in the signed site file. The
learned values themselves stay visible beside.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from ems.health.learning import resistance
from ems.health.learning.resistance import ResistanceState
from ems.health.prepare import Prepared
from ems.model import FloatArray

if TYPE_CHECKING:
    from ems.health.learning.groups import Learned

SOH_SIGMA_PER_DAY: Final = 0.005 / 30.44
"""Half a point a month since the capacity test (safety reference, section b)."""
SIGMAS: Final = 2.0
"""The envelope takes SoH this many sigma below its value."""


@dataclass(frozen=True, slots=True, eq=False)
class Handed:
    """Per pack, as ``SiteEstimate`` shows it; arrays are read-only."""

    day: int
    capacity_ah: FloatArray
    soh_frac: FloatArray
    soh_sigma_frac: FloatArray
    resistance_ratio: FloatArray
    floor_frac: FloatArray
    """Lowest SoH less two sigma that measurement has ever given; ``inf`` before."""
    ceiling_ratio: FloatArray
    """Highest resistance ratio that measurement has ever given; 0 before."""
    intake: FloatArray
    """What intake said: SoH, its sigma, resistance ratio, date; ``(4, n_packs)``. Where
    it changes, a signed record has spoken, and what was tightened before is forgotten."""


def hand_out(
    before: Handed | None,
    learned: "Learned",
    learning: ResistanceState,
    day: int,
    prepared: Prepared,
) -> Handed:
    """What may be handed out now; ``before`` itself when nothing changed.

    Args:
        before: What was handed out last.
        learned: Capacities.
        learning: Resistances.
        day: Date, proleptic ordinal; ages the intake test.
        prepared: Constants of the site.
    """
    start = prepared.layout.cell_start
    n_packs = prepared.series.size
    rated_ah = prepared.capacity_ah / prepared.soh_frac
    age_days = np.maximum(day - prepared.intake_day, 0.0)
    intake_sigma = prepared.soh_sigma_frac + SOH_SIGMA_PER_DAY * age_days
    intake_low = prepared.soh_frac - SIGMAS * intake_sigma

    weakest, weakest_sigma = _weakest(learned, prepared)
    soh, low = _pooled(weakest, weakest_sigma, prepared.soh_frac, intake_sigma)
    floor = np.full(n_packs, np.inf) if before is None else before.floor_frac
    floor = np.minimum(floor, low)
    bound = np.minimum(intake_low, floor)
    sigma = np.maximum((soh - bound) / SIGMAS, 0.0)

    sure = resistance.good(learning, prepared)
    ratio = resistance.ten_s_ohm(learning) / resistance.new_ohm(prepared)
    worst = np.maximum.reduceat(np.where(sure, ratio, 0.0), start)
    ceiling = np.zeros(n_packs) if before is None else before.ceiling_ratio
    ceiling = np.maximum(ceiling, worst)
    known = prepared.ratio_out > 0.0
    handed = Handed(
        day=day,
        capacity_ah=soh * rated_ah,
        soh_frac=soh,
        soh_sigma_frac=sigma,
        resistance_ratio=np.where(known, np.maximum(prepared.ratio_out, ceiling), 0.0),
        floor_frac=floor,
        ceiling_ratio=ceiling,
        intake=intake_of(prepared),
    )
    if before is not None and _same(before, handed):
        return before
    for name in Handed.__slots__[1:]:
        getattr(handed, name).setflags(write=False)
    return handed


def intake_of(prepared: Prepared) -> FloatArray:
    """``Handed.intake`` of a site."""
    return np.array(
        (prepared.soh_frac, prepared.soh_sigma_frac, prepared.ratio_out, prepared.intake_day)
    )


def _weakest(learned: "Learned", prepared: Prepared) -> tuple[FloatArray, FloatArray]:
    """SoH of the weakest learned group and its sigma, per pack; ``inf`` and 1 where none is."""
    rated_ah = prepared.capacity_ah / prepared.soh_frac
    pack, start = prepared.layout.pack_of_cell, prepared.layout.cell_start
    soh = np.where(learned.capacity_good, learned.capacity_ah / rated_ah.take(pack), np.inf)
    lowest = np.minimum.reduceat(soh, start)
    own = learned.capacity_good & (soh <= lowest.take(pack))
    sigma = np.where(own, learned.capacity_sigma_ah / rated_ah.take(pack), 0.0)
    return lowest, np.where(np.isfinite(lowest), np.maximum.reduceat(sigma, start), 1.0)


def _pooled(
    learned: FloatArray, learned_sigma: FloatArray, intake: FloatArray, intake_sigma: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(SoH, its lower bound) per pack from intake and learning, SoH at most intake's.

    Where they agree, each weighs by its precision; a coarse first figure therefore does
    not tighten for good. Where learning contradicts intake, the pack has aged or intake
    was wrong, and learning alone counts.
    """
    known = np.isfinite(learned)
    value = np.where(known, learned, intake)
    share = intake_sigma**2 / np.maximum(intake_sigma**2 + learned_sigma**2, 1e-12)
    against = value < intake - SIGMAS * np.hypot(intake_sigma, learned_sigma)
    share = np.where(against, 1.0, np.where(known, share, 0.0))
    pooled = intake + share * (value - intake)
    sigma = np.where(against, learned_sigma, np.sqrt(1.0 - share) * intake_sigma)
    return np.minimum(pooled, intake), pooled - SIGMAS * sigma


def _same(one: Handed, two: Handed) -> bool:
    return one.day == two.day and all(
        np.array_equal(getattr(one, name), getattr(two, name)) for name in Handed.__slots__[1:]
    )
