"""Data that looks alive and is not: readings that repeat while current flows.

Cells alone prove nothing: a resting or lightly loaded LFP pack repeats its millivolts for
minutes. So either the whole frame repeats with its counter, which takes time to judge
(C32), or everything but the counter repeats while so much charge moves that SoC had to
change (C32b), or the cells repeat while the change of current, or the charge moved, is
larger than they could hide (C32c).
"""

from math import nan
from typing import NamedTuple

import numpy as np

from ems.model import FloatArray, SiteEstimate, SiteSnapshot
from ems.safety.ratings import Ratings
from ems.site import Site
from ems.units import S_PER_H

Frame = tuple[float | None, float | None, float | None]
"""Current, SoC and counter of one pack."""
Still = tuple[float, float]
"""Current when a cell voltage of the pack last changed, A, and charge since, Ah."""


class Repetition(NamedTuple):
    """The last frame of each pack and what has repeated since; one entry per pack."""

    cell_v: FloatArray
    temp_c: FloatArray
    frames: tuple[Frame, ...]
    sampled_at_s: tuple[float, ...]
    frozen_s: tuple[float, ...]
    """How long fresh whole frames have repeated while current flows, s."""
    stuck_frac: tuple[float, ...]
    """Charge moved / capacity while all but the counter repeated."""
    still: tuple[Still, ...]
    unseen_v: tuple[float, ...]
    """Change of cell voltage since no cell moved, from current and charge, V, >= 0."""


def follow(
    before: Repetition | None,
    snapshot: SiteSnapshot,
    estimate: SiteEstimate,
    current_a: list[float],
    ratings: Ratings,
    sampled_at_s: tuple[float, ...],
    site: Site,
) -> Repetition:
    """Compare this cycle's frames with the last.

    Args:
        before: After the previous cycle, ``None`` at the first.
        snapshot: What the BMS said.
        estimate: For the capacity.
        current_a: Per pack, NaN where unknown (then nothing is judged).
        ratings: Current above which readings must change, and by how much.
        sampled_at_s: Newest sample time of each pack; the same time is no new sample.
        site: For the layout of the cells.
    """
    cells, layout = snapshot.cells, site.layout
    frames: tuple[Frame, ...] = tuple(
        [(p.current_a.value, p.soc_frac.value, p.heartbeat.value) for p in snapshot.packs]
    )
    if before is None:
        zero = (0.0,) * len(frames)
        still = tuple([(a, 0.0) for a in current_a])
        return Repetition(
            cells.voltage_v, cells.temp_c, frames, sampled_at_s, zero, zero, still, zero
        )
    moved = np.logical_or.reduceat(cells.voltage_v != before.cell_v, layout.cell_start).tolist()
    warmed: list[bool] | None = None
    frozen, stuck, stills, unseen = [], [], [], []
    for i, (frame, last, amps) in enumerate(zip(frames, before.frames, current_a, strict=True)):
        gap_s = sampled_at_s[i] - before.sampled_at_s[i]
        frozen_s, stuck_frac = before.frozen_s[i], before.stuck_frac[i]
        if gap_s > 0:
            repeats = frame[:2] == last[:2] and not moved[i] and abs(amps) > ratings.moving_a[i]
            if repeats:
                if warmed is None:
                    changed = cells.temp_c != before.temp_c
                    warmed = np.logical_or.reduceat(changed, layout.temp_start).tolist()
                repeats = not warmed[i]
            frozen_s = frozen_s + gap_s if repeats and frame[2] == last[2] else 0.0
            share = abs(amps) * gap_s / S_PER_H / max(float(estimate.capacity_ah[i]), 1e-3)
            stuck_frac = stuck_frac + share if repeats else 0.0
        frozen.append(frozen_s)
        stuck.append(stuck_frac)
        since_a, since_ah = before.still[i]
        if moved[i] or since_a != since_a:
            since_a, since_ah = amps, 0.0
        elif amps == amps:
            since_ah += amps * gap_s / S_PER_H
        stills.append((since_a, since_ah))
        drop_v = ratings.seen_ohm[i] * (amps - since_a) + ratings.seen_v_per_ah[i] * since_ah
        unseen.append(abs(drop_v) if amps == amps else nan)
    return Repetition(
        cell_v=cells.voltage_v,
        temp_c=cells.temp_c,
        frames=frames,
        sampled_at_s=sampled_at_s,
        frozen_s=tuple(frozen),
        stuck_frac=tuple(stuck),
        still=tuple(stills),
        unseen_v=tuple(unseen),
    )
