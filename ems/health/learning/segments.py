"""Anchor points: voltages as of a rested cell, with the charge drawn until then.

Between two anchors a known charge flowed, and the OCV curve tells where each group
stood at either end: that is a segment, from which capacity follows. An anchor is not a
rest of so many minutes but the least disturbed moment of a stretch of 2.5 % of capacity or
4 h; how disturbed is part of it. Each pack keeps a fixed number, a few per SoC bin and
some time apart, so that both the whole range and some days stay in sight.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.model import BoolArray, FloatArray

BINS: Final = 16
PER_BIN: Final = 6
SLOTS: Final = BINS * PER_BIN
SPACED_H: Final = 16.0
"""A bin replaces its newest anchor until that is so much younger than the one before,
then its oldest."""
STRETCH_FRAC: Final = 0.025
STRETCH_H: Final = 4.0
SAME_FRAC: Final = 0.002
"""Looks within this charge are averaged into one anchor."""
MOST_LOOKS: Final = 30
SIMILAR: Final = 1.25
NOISE_V: Final = 0.001
LEAST_NOISE_V: Final = 0.0003
DROP_SIGMA: Final = 0.05
"""Error of the immediate drop (1 sigma), of the drop itself."""
RELAX_SIGMA: Final = 0.10
"""Error of the part that relaxes over a minute."""
DIFFUSION_SIGMA: Final = 0.10
"""What is not modelled and relaxes over a quarter of an hour, of the drop at that current."""
MOST_SIGMA_V: Final = 0.015
"""A moment more disturbed than this is no anchor."""
FLIP_FRAC: Final = 0.10
"""Charge in one direction, of capacity, that makes a segment of that direction."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """The least disturbed moment of the present stretch."""

    start_ah: float
    start_h: float
    ah: float
    at_h: float
    sigma_v: float
    """Disturbance alone; ``inf`` while there is no moment yet."""
    looks: int
    soc_frac: float
    volts: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Anchors:
    """Of one pack; arrays of shape ``(SLOTS,)``, ``volts`` ``(SLOTS, n)``."""

    at_h: FloatArray
    """Hours of operation at the anchor; ``-inf`` in an empty slot."""
    ah: FloatArray
    """Charge drawn until then, Ah."""
    epoch: NDArray[np.int64]
    """Stretches of unbroken counting; charge is not comparable between two of them."""
    sigma_v: FloatArray
    volts: FloatArray
    """Voltage each group would rest at, V; NaN where it was not usable."""
    added: int
    """Anchors ever added: evidence, and whether anything is new."""
    day: int
    """Date of the last one (proleptic ordinal), 0 before."""
    discharges: int
    charges: int
    """Segments of at least ``FLIP_FRAC`` in either direction."""
    turn_ah: float
    """Charge at the end of the last segment."""
    candidate: Candidate


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A pack now."""

    volts: FloatArray
    """Voltage each group would rest at, V; NaN where not usable."""
    sigma_v: float
    """How disturbed: error of that voltage apart from noise and curve, V."""
    ah: float
    at_h: float
    epoch: int
    soc_frac: float
    capacity_ah: float
    day: int


def empty(n_cells: int) -> Anchors:
    """No anchor yet."""
    return Anchors(
        at_h=np.full(SLOTS, -np.inf),
        ah=np.zeros(SLOTS),
        epoch=np.zeros(SLOTS, np.int64),
        sigma_v=np.full(SLOTS, MOST_SIGMA_V),
        volts=np.full((SLOTS, n_cells), np.nan, np.float32).astype(np.float64),
        added=0,
        day=0,
        discharges=0,
        charges=0,
        turn_ah=0.0,
        candidate=_begin(0.0, 0.0, n_cells),
    )


def disturbance_v(ohm: float, now_a: float, slow_a: float, mean_a: float) -> float:
    """How far a voltage corrected for its drop may lie from rest, V (1 sigma).

    Args:
        ohm: Resistance of a group at the present temperature.
        now_a: Present current.
        slow_a: Current behind the slow time constant.
        mean_a: Mean magnitude over a quarter of an hour.
    """
    return abs(ohm) * math.hypot(DROP_SIGMA * now_a, RELAX_SIGMA * slow_a, DIFFUSION_SIGMA * mean_a)


def look(anchors: Anchors, seen: Look) -> Anchors:
    """Anchors after a look at the pack; most looks only improve the candidate."""
    best = anchors.candidate
    moved = abs(seen.ah - best.start_ah) > STRETCH_FRAC * seen.capacity_ah
    if moved or seen.at_h - best.start_h > STRETCH_H:
        if math.isfinite(best.sigma_v):
            anchors = _add(anchors, best, seen)
        best = _begin(seen.ah, seen.at_h, seen.volts.size)
    if seen.sigma_v > MOST_SIGMA_V:
        return _with(anchors, best)
    near = abs(seen.ah - best.ah) <= SAME_FRAC * seen.capacity_ah
    if best.looks and near and seen.sigma_v <= SIMILAR * best.sigma_v:
        n = min(best.looks + 1, MOST_LOOKS)
        known = np.isnan(best.volts) | np.isnan(seen.volts)
        mixed = np.where(known, seen.volts, best.volts + (seen.volts - best.volts) / n)
        best = replace(
            best,
            ah=best.ah + (seen.ah - best.ah) / n,
            at_h=best.at_h + (seen.at_h - best.at_h) / n,
            sigma_v=min(seen.sigma_v, best.sigma_v),
            looks=n,
            volts=mixed,
        )
    elif seen.sigma_v < best.sigma_v:
        best = replace(
            best,
            ah=seen.ah,
            at_h=seen.at_h,
            sigma_v=seen.sigma_v,
            looks=1,
            soc_frac=seen.soc_frac,
            volts=seen.volts,
        )
    return _with(anchors, best)


def _with(anchors: Anchors, best: Candidate) -> Anchors:
    """Anchors with this candidate; the same object if it is theirs already."""
    return anchors if best is anchors.candidate else replace(anchors, candidate=best)


def broken(anchors: Anchors) -> Anchors:
    """Anchors after a stretch in which nobody counted: the candidate is lost."""
    return replace(anchors, candidate=_begin(0.0, -np.inf, anchors.volts.shape[1]))


def filled(anchors: Anchors) -> BoolArray:
    """Slots that hold an anchor."""
    return np.isfinite(anchors.at_h)


def _begin(ah: float, at_h: float, n_cells: int) -> Candidate:
    return Candidate(ah, at_h, ah, at_h, math.inf, 0, 0.5, np.full(n_cells, np.nan))


def _add(anchors: Anchors, best: Candidate, seen: Look) -> Anchors:
    place = _place(anchors, best)
    at_h, ah, epoch = anchors.at_h.copy(), anchors.ah.copy(), anchors.epoch.copy()
    sigma_v, volts = anchors.sigma_v.copy(), anchors.volts.copy()
    at_h[place], ah[place], epoch[place] = best.at_h, best.ah, seen.epoch
    noise_v = max(NOISE_V / math.sqrt(best.looks), LEAST_NOISE_V)
    sigma_v[place], volts[place] = math.hypot(best.sigma_v, noise_v), best.volts
    gone_ah = best.ah - anchors.turn_ah
    turned = abs(gone_ah) >= FLIP_FRAC * seen.capacity_ah
    return replace(
        anchors,
        at_h=at_h,
        ah=ah,
        epoch=epoch,
        sigma_v=sigma_v,
        volts=volts,
        added=anchors.added + 1,
        day=max(seen.day, anchors.day),
        discharges=anchors.discharges + int(turned and gone_ah > 0.0),
        charges=anchors.charges + int(turned and gone_ah < 0.0),
        turn_ah=best.ah if turned else anchors.turn_ah,
    )


def _place(anchors: Anchors, best: Candidate) -> int:
    """Slot for a new anchor: its bin's free one, or its newest or oldest."""
    chosen = min(max(int(best.soc_frac * BINS), 0), BINS - 1) * PER_BIN
    at_h = anchors.at_h[chosen : chosen + PER_BIN]
    order = np.argsort(at_h, kind="stable")
    newest, before = int(order[-1]), int(order[-2])
    if np.isfinite(at_h[newest]) and at_h[newest] - at_h[before] < SPACED_H:
        return chosen + newest
    return chosen + int(order[0])
