"""What is known about every group, each figure with its sigma, source, date and evidence.

For people, records and benchmarks. The envelope sees what ``ems.health.learning.bounds`` hands out.
"""

from dataclasses import dataclass

import numpy as np

from ems.health.learning import resistance, segments
from ems.health.prepare import prepare
from ems.health.state import HealthState
from ems.model import BoolArray, FloatArray
from ems.site import Site


@dataclass(frozen=True, slots=True, eq=False)
class PackFigures:
    """One pack; arrays over its reported cells."""

    pack: str
    capacity_ah: FloatArray
    capacity_sigma_ah: FloatArray
    capacity_learned: BoolArray
    """Learned where true, else expected from intake."""
    capacity_day: int
    """Date (proleptic ordinal) of the last fit in which every group passed; 0: none."""
    discharges: int
    charges: int
    """Segments of at least a tenth of the capacity in either direction: the evidence."""
    anchors: int
    """Anchor points in use."""
    r0_ohm: FloatArray
    """At 25 degC."""
    r0_sigma_ohm: FloatArray
    ten_s_ohm: FloatArray
    ten_s_sigma_ohm: FloatArray
    rc_ohm: FloatArray
    """What comes on top of R0 in 60 s."""
    ratio: FloatArray
    """10 s resistance over that of a new group."""
    resistance_learned: BoolArray
    load_steps: int
    excess_per_h: FloatArray
    """Self-discharge beyond the pack's median, 1/h."""
    excess_sigma_per_h: FloatArray
    leaking: BoolArray
    capacity_spread_frac: float
    """(largest − smallest) / mean over the learned groups; 0 while fewer than two are (C21)."""
    resistance_spread_frac: float
    """Largest over median − 1 over the learned groups (C19)."""
    weakest: int
    """Group of least capacity."""
    knee_level: int
    """Level of cause C15 that the capacity history reaches; 0 without a knee."""
    loss_per_100_efc: float
    """Points of capacity lost per 100 equivalent full cycles lately; 0 while unknown."""


def figures(state: HealthState, site: Site) -> tuple[PackFigures, ...]:
    """Every pack's figures, in site order."""
    prepared, groups = prepare(site), state.groups
    learned, learning = groups.learned, groups.resistance
    ten_s, r0 = resistance.ten_s_ohm(learning), resistance.r0_ohm(learning)
    rc, sure = resistance.rc_ohm(learning), resistance.good(learning, prepared)
    ratio = ten_s / resistance.new_ohm(prepared)
    made = []
    for k, spec in enumerate(site.packs):
        own, anchors = site.layout.cell_slices[k], groups.anchors[k]
        good, knee = learned.capacity_good[own], groups.knees[k]
        made.append(
            PackFigures(
                pack=spec.id,
                capacity_ah=learned.capacity_ah[own],
                capacity_sigma_ah=learned.capacity_sigma_ah[own],
                capacity_learned=good,
                capacity_day=int(groups.capacity_day[k]),
                discharges=anchors.discharges,
                charges=anchors.charges,
                anchors=int(segments.filled(anchors).sum()),
                r0_ohm=r0[own],
                r0_sigma_ohm=np.abs(r0[own]) * learning.sigma_frac[k],
                ten_s_ohm=ten_s[own],
                ten_s_sigma_ohm=np.abs(ten_s[own]) * learning.sigma10_frac[k],
                rc_ohm=rc[own],
                ratio=ratio[own],
                resistance_learned=sure[own],
                load_steps=int(learning.steps[k]),
                excess_per_h=learned.excess_per_h[own],
                excess_sigma_per_h=learned.excess_sigma_per_h[own],
                leaking=learned.leaking[own],
                capacity_spread_frac=_range(learned.capacity_ah[own][good]),
                resistance_spread_frac=_outlier(ten_s[own][sure[own]]),
                weakest=int(learned.capacity_ah[own].argmin()),
                knee_level=knee.level,
                loss_per_100_efc=knee.rate_per_100_efc,
            )
        )
    return tuple(made)


def _range(values: FloatArray) -> float:
    return float(np.ptp(values) / values.mean()) if values.size > 1 else 0.0


def _outlier(values: FloatArray) -> float:
    return float(values.max() / np.median(values) - 1.0) if values.size > 1 else 0.0
