"""From compared values to raised levels: leaky buckets, hysteresis, clear times.

A bucket counts *distinct fresh samples of the source*: +1 when bad, −0.25 when
good, so a fault present more than 20 % of the time acts in the end. An unknown
value, or the same sample seen again, moves nothing: neither towards acting nor
towards clearing. Who decides what to do about unknown values is rows C31 and C33.
"""

from typing import NamedTuple

import numpy as np

from ems.model import BoolArray, FloatArray
from ems.safety.program import Program

LEAK: float = 0.25


class Buckets(NamedTuple):
    """Debounce memory; arrays ``[point, level]`` unless said otherwise."""

    fill: FloatArray
    """Fresh bad samples so far, 0..need."""
    active: BoolArray
    """Raised and not yet back: acting or latched."""
    calm_s: FloatArray
    """How long the value has been beyond the hysteresis, s."""
    sample_at_s: FloatArray
    """Newest sample already counted, shape ``(n_points,)``."""
    interval_s: FloatArray
    """Time between the last two samples, shape ``(n_points,)``."""
    full: BoolArray | None = None
    """Where buckets are full, when every other is empty, none is full without its level
    being active, and no active level has been calm: samples that are bad exactly there,
    and elsewhere not calm, change nothing. ``None`` while anything is being counted."""
    lingers: bool = False
    """Such a level is active with an empty bucket: within its hysteresis."""

    @classmethod
    def empty(cls, program: Program) -> "Buckets":
        shape = (program.n_points, 4)
        return cls(
            fill=np.zeros(shape),
            active=np.zeros(shape, dtype=np.bool_),
            calm_s=np.zeros(shape),
            sample_at_s=np.full(program.n_points, -np.inf),
            interval_s=np.zeros(program.n_points),
            full=np.zeros(shape, dtype=np.bool_),
        )

    def clear(self, program: Program) -> BoolArray:
        """Levels that are active only because they are latched."""
        if self.full is not None:
            return np.zeros(self.active.shape, dtype=np.bool_)
        return self.active & (self.calm_s >= program.clear_s)

    def with_active(self, active: BoolArray, fill: FloatArray | None = None) -> "Buckets":
        """The same with levels taken back by request, or raised from what was stored."""
        return self._replace(active=active, fill=self.fill if fill is None else fill, full=None)


def update(
    program: Program,
    before: Buckets,
    value: FloatArray,
    limit: FloatArray,
    sampled_at_s: FloatArray,
    cycle_s: float,
) -> Buckets:
    """Count this cycle's samples.

    Args:
        program: The site's compiled table.
        before: Buckets after the previous cycle.
        value: Signal times sign, ``[point, level]``; NaN where unknown.
        limit: Threshold times sign at today's health; +inf where there is no level.
        sampled_at_s: Newest sample time of each point's source, shape ``(n_points,)``.
        cycle_s: Period of the control cycle, s.

    Returns:
        New buckets. ``active`` of self-resetting levels falls after their clear time;
        latched levels stay until ``latches.py`` takes them back.
    """
    bad = value >= limit
    sample_at_s, interval_s = _clocks(before, sampled_at_s)
    if before.full is not None and (bad == before.full).all():
        returning = before.lingers and (before.active & (value < limit - program.band)).any()
        if not returning:
            # The usual second: nothing to count, only the clocks move.
            return before._replace(sample_at_s=sample_at_s, interval_s=interval_s)
    fresh = sampled_at_s > before.sample_at_s
    known = fresh[:, None] & (value == value)  # NaN is not equal to itself
    # A sample of a slow poll class stands for the cycles it spans, but one sample
    # alone never raises a level that asks for two. The shorter of two intervals
    # counts, so the first sample after a gap does not weigh as much as the gap.
    spanned_s = np.minimum(interval_s, np.where(before.interval_s > 0, before.interval_s, cycle_s))
    weight = np.minimum(np.maximum(spanned_s / cycle_s, 1.0)[:, None], program.need / 2)
    weight = np.maximum(weight, 1.0)
    step = np.where(bad, weight, -LEAK * weight)
    fill = np.clip(before.fill + np.where(known, step, 0.0), 0.0, program.need)
    beyond = known[:, 3] & (value[:, 3] >= limit[:, 3] + program.at_once)
    fill[beyond, 3] = program.need[beyond, 3]

    # "Calm" needs a value beyond the hysteresis; where a level does not exist it never acts.
    calm = value < limit - program.band
    calm_s = np.where(known, np.where(calm, before.calm_s + spanned_s[:, None], 0.0), before.calm_s)
    raised = fill >= program.need
    calm_s[raised & bad] = 0.0
    returned = program.auto & (calm_s >= program.clear_s)
    active = (before.active | raised) & ~returned
    fill[before.active & returned] = 0.0
    if (active == before.active).all():
        active = before.active
    full = fill >= program.need
    counting = (full != (fill > 0.0)).any() or (full > active).any() or calm_s[active].any()
    return Buckets(
        fill=fill,
        active=active,
        calm_s=calm_s,
        sample_at_s=sample_at_s,
        interval_s=interval_s,
        full=None if counting else full,
        lingers=bool((active > full).any()),
    )


def _clocks(before: Buckets, sampled_at_s: FloatArray) -> tuple[FloatArray, FloatArray]:
    gap_s = sampled_at_s - before.sample_at_s
    interval_s = np.where((gap_s > 0) & (gap_s < np.inf), gap_s, before.interval_s)
    return np.maximum(sampled_at_s, before.sample_at_s), interval_s
