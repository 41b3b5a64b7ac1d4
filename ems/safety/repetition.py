"""Data that looks alive and is not: frames that repeat while current flows (cause C32).

Cells alone prove nothing: a resting or lightly loaded LFP pack repeats its millivolts for
minutes. So either the whole frame repeats with its counter, which takes time to judge, or
everything but the counter repeats while so much charge moves that SoC had to change.
"""

from dataclasses import dataclass

import numpy as np

from ems.model import FloatArray, SiteEstimate, SiteSnapshot
from ems.site import Site
from ems.units import S_PER_H

Frame = tuple[float | None, float | None, float | None]
"""Current, SoC and counter of one pack."""


@dataclass(frozen=True, slots=True, eq=False)
class Repetition:
    """The last frame of each pack and what has repeated since; arrays ``(n_packs,)``."""

    cell_v: FloatArray
    temp_c: FloatArray
    frames: tuple[Frame, ...]
    sampled_at_s: FloatArray
    frozen_s: FloatArray
    """How long fresh whole frames have repeated while current flows, s."""
    stuck_frac: FloatArray
    """Charge moved / capacity while all but the counter repeated."""


def follow(
    before: Repetition | None,
    snapshot: SiteSnapshot,
    estimate: SiteEstimate,
    current_a: FloatArray,
    moving_a: FloatArray,
    sampled_at_s: FloatArray,
    site: Site,
) -> Repetition:
    """Compare this cycle's frames with the last.

    Args:
        before: After the previous cycle, ``None`` at the first.
        snapshot: What the BMS said.
        estimate: For the capacity.
        current_a: Per pack, NaN where unknown (then nothing is judged).
        moving_a: Current above which readings must change.
        sampled_at_s: Newest sample time of each pack; the same time is no new sample.
        site: For the layout of the cells.
    """
    cells, layout = snapshot.cells, site.layout
    frames: tuple[Frame, ...] = tuple(
        [(p.current_a.value, p.soc_frac.value, p.heartbeat.value) for p in snapshot.packs]
    )
    frozen_s = stuck_frac = np.zeros(len(frames))
    if before is not None:
        same = [a[:2] == b[:2] for a, b in zip(frames, before.frames, strict=True)]
        gap_s = sampled_at_s - before.sampled_at_s
        if any(same):
            changed = np.logical_or.reduceat(cells.voltage_v != before.cell_v, layout.cell_start)
            changed |= np.logical_or.reduceat(cells.temp_c != before.temp_c, layout.temp_start)
            flowing_a = np.fmax(np.abs(current_a), 0.0)  # NaN becomes 0
            repeats = np.array(same) & (flowing_a > moving_a) & ~changed
            counter = [a[2] == b[2] for a, b in zip(frames, before.frames, strict=True)]
            frozen_s = np.where(repeats & counter, before.frozen_s + gap_s, 0.0)
            moved_ah = flowing_a * gap_s / S_PER_H
            share = moved_ah / np.maximum(estimate.capacity_ah, 1e-3)
            stuck_frac = np.where(repeats, before.stuck_frac + share, 0.0)
        fresh = gap_s > 0
        frozen_s = np.where(fresh, frozen_s, before.frozen_s)
        stuck_frac = np.where(fresh, stuck_frac, before.stuck_frac)
    return Repetition(cells.voltage_v, cells.temp_c, frames, sampled_at_s, frozen_s, stuck_frac)
