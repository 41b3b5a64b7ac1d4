"""How a total power is shared among converters whose packs are not alike.

Closed form, no solver: in proportion to what each still has to give (or to take),
cut at what each may carry, and what one cannot carry spills over to the others.
All packs then reach their floor or ceiling together.

Source: dispatch reference, section 4 (the spill matters more than any clustering).
"""

from collections.abc import Sequence
from typing import Final

EASY_FRAC: Final = 0.4
"""Converters run at this share of their rating before another one is woken."""
WAKE_FRAC: Final = 0.5
"""Share at which another one is woken, above ``EASY_FRAC`` so that none flutters."""
SWAP_FRAC: Final = 0.05
"""A resting converter replaces a working one when it leads by this share of the
largest weight."""

LEAST_SHARE: Final = 1e-9
"""A weight smaller than this share of the largest is none."""


def share(total_w: float, weights: Sequence[float], caps_w: Sequence[float]) -> list[float]:
    """Powers that sum to the total, or to the sum of the caps if that is less, W.

    Args:
        total_w: Power to share, W, >= 0.
        weights: What each has to give, >= 0; the unit does not matter.
        caps_w: Largest power of each, W, >= 0.

    Returns:
        One power per converter within ``[0, cap]``. A converter without weight
        gets power only when those with weight are at their caps.
    """
    powers = [0.0] * len(caps_w)
    left_w = min(total_w, sum(caps_w))
    top = max(weights)
    members = [i for i, cap in enumerate(caps_w) if cap > 0.0 and weights[i] > LEAST_SHARE * top]
    if members:
        left_w = _fill(left_w, members, [weight / top for weight in weights], caps_w, powers)
    if left_w > 0.0:
        rest = [i for i, cap in enumerate(caps_w) if cap > 0.0 and i not in members]
        _fill(left_w, rest, caps_w, caps_w, powers)
    return powers


def _fill(
    left_w: float,
    members: list[int],
    weights: Sequence[float],
    caps_w: Sequence[float],
    powers: list[float],
) -> float:
    """Water-fill the members; what does not fit is returned, W."""
    while members and left_w > 0.0:
        total = sum([weights[i] for i in members])
        per_weight = left_w / total
        full = [i for i in members if weights[i] * per_weight >= caps_w[i]]
        if not full:
            for i in members:
                powers[i] = weights[i] * per_weight
            return 0.0
        for i in full:
            powers[i] = caps_w[i]
            left_w -= caps_w[i]
        members = [i for i in members if i not in full]
    return max(left_w, 0.0)


def choose_active(
    total_w: float,
    weights: Sequence[float],
    caps_w: Sequence[float],
    rated_w: Sequence[float],
    active: tuple[int, ...],
) -> tuple[int, ...]:
    """Which converters should carry the total: few and well loaded, those with most to give.

    A converter at a few percent of its rating turns most of that into heat. The
    working ones stay at work until another leads clearly, so that none flutters.

    Args:
        rated_w: Rating of each, W.
        active: Those at work now, in any order.
    """
    able = [i for i, cap in enumerate(caps_w) if cap > 0.0]
    if not able or total_w <= 0.0:
        return ()
    rated = sum([rated_w[i] for i in able]) / len(able)
    now = {i for i in active if i in able}
    fewest = min(len(able), int(total_w / (WAKE_FRAC * rated)) + 1)
    most = min(len(able), int(total_w / (EASY_FRAC * rated)) + 1)
    count = min(max(len(now), fewest), most)
    lead = SWAP_FRAC * max([weights[i] for i in able])
    ranked = [
        i for _, i in sorted([(-(weights[i] + (lead if i in now else 0.0)), i) for i in able])
    ]
    chosen = ranked[:count]
    carried_w = sum([caps_w[i] for i in chosen])
    for i in ranked[count:]:
        if carried_w >= total_w:
            break
        chosen.append(i)
        carried_w += caps_w[i]
    return tuple(sorted(chosen))
