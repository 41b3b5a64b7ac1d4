"""What a string of grouped packs holds, and how to spread packs over its groups.

``parallel`` packs side by side make a group, whose Ah add; ``series`` groups make a
string, which is empty when its weakest group is: usable energy is voltage x number of
groups x Ah of the smallest group.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ems.health.grading.packs import Pack
from ems.site import Chemistry

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Limits:
    """How unlike the packs of one string may be."""

    series: int
    parallel: int
    max_soh_spread_frac: float
    """Largest less smallest SoH."""
    max_resistance_spread: float
    """Largest less smallest resistance ratio."""

    @property
    def size(self) -> int:
        return self.series * self.parallel


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Packs that may stand in one string at all: one chemistry, one voltage class."""

    chemistry: Chemistry
    nominal_v: float
    """Mean of the class."""
    index: Ints
    """Into the table, shape ``(n,)``, like the others."""
    ah: Floats
    soh: Floats
    resistance: Floats

    def take(self, which: Ints) -> "Kind":
        return Kind(self.chemistry, self.nominal_v, self.index[which], self.ah[which],
                    self.soh[which], self.resistance[which])  # fmt: skip

    def alike(self, limits: Limits) -> bool:
        """Whether these packs may make one string."""
        return bool(
            np.ptp(self.soh) <= limits.max_soh_spread_frac + 1e-9
            and np.ptp(self.resistance) <= limits.max_resistance_spread + 1e-9
        )


def kinds(packs: Sequence[Pack], usable: Sequence[int], voltage_class: float) -> Iterator[Kind]:
    """The packs that may be used, by chemistry and voltage class.

    Args:
        usable: Rows of packs with SoH and resistance.
        voltage_class: Largest difference of nominal voltage in a class, as a share.
    """
    for chemistry in Chemistry:
        rows = sorted(
            (row for row in usable if packs[row].chemistry is chemistry),
            key=lambda row: packs[row].nominal_v,
        )
        while rows:
            first = packs[rows[0]].nominal_v
            inside = [row for row in rows if packs[row].nominal_v <= first * (1.0 + voltage_class)]
            rows = rows[len(inside) :]
            soh = np.array([packs[row].soh_frac or 0.0 for row in inside])
            yield Kind(
                chemistry,
                float(np.mean([packs[row].nominal_v for row in inside])),
                np.array(inside, dtype=np.int64),
                soh * np.array([packs[row].rated_ah for row in inside]),
                soh,
                np.array([packs[row].resistance_ratio or 0.0 for row in inside]),
            )


def kwh(kind: Kind, groups: Sequence[Ints]) -> float:
    """Usable energy of a string, kWh."""
    weakest = min(float(kind.ah[group].sum()) for group in groups)
    return kind.nominal_v * len(groups) * weakest / 1000.0


def spread(kind: Kind, members: Ints, limits: Limits) -> list[Ints]:
    """Members over groups so that the smallest group is as large as swaps can make it.

    Largest first into the group with the least so far that still has room, then swaps
    between the smallest group and another while they help. Without parallel packs
    nothing is to be chosen.
    """
    order = members[np.argsort(-kind.ah[members], kind="stable")]
    groups: list[list[int]] = [[] for _ in range(limits.series)]
    sums = [0.0] * limits.series
    for pack in order.tolist():
        room = [at for at in range(limits.series) if len(groups[at]) < limits.parallel]
        at = min(room, key=lambda at: (sums[at], at))
        groups[at].append(pack)
        sums[at] += float(kind.ah[pack])
    while _swap(kind.ah, groups, sums):
        pass
    return [np.array(group, dtype=np.int64) for group in groups]


def _swap(ah: Floats, groups: list[list[int]], sums: list[float]) -> bool:
    """One swap that lifts the smallest group most without sinking another below it."""
    low = min(range(len(groups)), key=lambda at: sums[at])
    best, found = sums[low] + 1e-9, None
    for other in range(len(groups)):
        for mine in range(len(groups[low])) if other != low else ():
            for theirs in range(len(groups[other])):
                gain = float(ah[groups[other][theirs]] - ah[groups[low][mine]])
                reached = min(sums[low] + gain, sums[other] - gain)
                if reached > best:
                    best, found = reached, (other, mine, theirs, gain)
    if found is None:
        return False
    other, mine, theirs, gain = found
    groups[low][mine], groups[other][theirs] = groups[other][theirs], groups[low][mine]
    sums[low] += gain
    sums[other] -= gain
    return True
