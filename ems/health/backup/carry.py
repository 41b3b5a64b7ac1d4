"""How packs share a constant load, drop out one after the other, and when it goes dark."""

from collections.abc import Sequence
from typing import Final, NamedTuple

OVERLOAD: Final = 1.08
"""Power over what the envelope allows from which a pack is taken off: cause C11 stops it at
1.15 times the current, and current rises as the voltage of a discharge falls."""


class Carried(NamedTuple):
    """One discharge from now until the load goes dark; one number per pack."""

    hours: float
    mean_w: list[float]
    """Power weighted by the energy that left at it: what resistance takes follows this."""
    last_w: list[float]
    """Power at which each pack ended: what its voltage must stand at the end."""


def carry(
    energy_wh: Sequence[float],
    power_w: Sequence[float],
    weight: Sequence[float],
    load_w: float,
    together_w: float,
) -> Carried:
    """Hours for which the packs carry a constant load.

    They share it in proportion to ``weight``; neither a common bus nor converters that
    form a grid ask the packs how much they may give. One that is empty leaves its part to
    the rest, and one that is overloaded is taken off with what it holds. The load goes
    dark when those still there have less power together than it needs.

    Args:
        energy_wh: At the load, Wh, >= 0.
        power_w: Most that each can give, W, >= 0.
        weight: How the load splits, > 0.
        load_w: W, > 0.
        together_w: Most that all can give together, W.
    """
    n = len(energy_wh)
    mean_w, last_w = [0.0] * n, [0.0] * n
    # Whoever has least for its weight is empty first: packs fall like water levels.
    there = sorted(
        [(energy_wh[k] / weight[k], k) for k in range(n) if energy_wh[k] > 0.0 < power_w[k]]
    )
    hours = level_h = squares = per_weight = 0.0
    while there and together_w >= load_w:
        left = _from_here_on(there, power_w, weight)
        stayed = 0
        for (at_h, k), (total_weight, total_w, heaviest) in zip(there, left, strict=True):
            if total_w < load_w or load_w * heaviest > OVERLOAD * total_weight:
                break
            per_weight = load_w / total_weight
            hours += (at_h - level_h) / per_weight
            squares += (at_h - level_h) * per_weight
            level_h = at_h
            mean_w[k], last_w[k] = weight[k] * squares / at_h, weight[k] * per_weight
            stayed += 1
        there = there[stayed:]
        able = []
        if there and left[stayed][1] >= load_w:
            bears = OVERLOAD * left[stayed][0]
            able = [at for at in there if load_w * (weight[at[1]] / power_w[at[1]]) <= bears]
        if level_h > 0.0:
            for _, k in there:
                mean_w[k], last_w[k] = weight[k] * squares / level_h, weight[k] * per_weight
        there = able
    return Carried(hours, mean_w, last_w)


def _from_here_on(
    there: list[tuple[float, int]], power_w: Sequence[float], weight: Sequence[float]
) -> list[tuple[float, float, float]]:
    """(weight, power, largest weight per power) of each pack and all that outlast it."""
    left = []
    total_weight = total_w = heaviest = 0.0
    for _, k in reversed(there):
        total_weight += weight[k]
        total_w += power_w[k]
        heaviest = max(heaviest, weight[k] / power_w[k])
        left.append((total_weight, total_w, heaviest))
    left.reverse()
    return left
