"""Strings that make the most of a heap of unequal packs.

In a string the weakest group decides, so like belongs to like: with nothing but
capacity to mind and no parallel packs, cutting the list sorted by capacity is already
best (swapping two packs of two strings of a sorted cut can only lower a minimum). The
limits on SoH and resistance and the parallel groups break that argument. So candidate
strings are made, packs next to each other by capacity inside every window that the
limits allow, and HiGHS picks the disjoint ones with the most energy, as a mixed-integer
set packing. Where an upper bound that no grouping can pass is still far, strings of
random groupings join the candidates for a second round.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import highspy
import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from ems.health.grading.packs import Pack
from ems.health.grading.rules import REJECT
from ems.health.grading.strings import Floats, Ints, Kind, Limits, kinds, kwh, spread

VOLTAGE_CLASS: Final = 0.02
MOST_CANDIDATES: Final = 12_000
"""A kind; beyond, windows of the limits are thinned out evenly."""
RELATIVE_GAP: Final = 1e-4
FIRST_SHARE: Final = 0.45
SECOND_SHARE: Final = 0.35
"""Of the time limit, for the two rounds of the solver; the rest is for making strings."""
GOOD_GAP: Final = 0.01
"""Nearer than this to the upper bound no second round is worth its time."""
RANDOM_DRAWS: Final = 100
POLISH_ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class String:
    """One string: rows of the table by group, and what it holds."""

    groups: tuple[tuple[int, ...], ...]
    usable_kwh: float


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A proposal for all packs, and how good it is."""

    strings: tuple[String, ...]
    left_over: dict[int, str]
    """Rows in no string, with the reason."""
    usable_kwh: float
    bound_kwh: float
    """No grouping under these limits holds more."""
    random_kwh: float
    """Mean of seeded random groupings under the same limits."""
    random_strings: float
    finished: bool
    """False: the time limit stopped the search; the best so far is given."""

    @property
    def gap_frac(self) -> float:
        """Share of the bound that is not reached, 0..1."""
        return max(1.0 - self.usable_kwh / self.bound_kwh, 0.0) if self.bound_kwh > 0.0 else 0.0

    @property
    def gain_frac(self) -> float:
        """More energy than at random, as a share of the latter; 0 when that is nothing."""
        return self.usable_kwh / self.random_kwh - 1.0 if self.random_kwh > 0.0 else 0.0


def regroup(
    packs: Sequence[Pack], limits: Limits, time_limit_s: float = 60.0, seed: int = 0
) -> Grouping:
    """The strings to build from these packs.

    Args:
        packs: SoH and resistance ratio are needed of each that shall be used.
        time_limit_s: For the solver, over all kinds of packs.
        seed: Of the random groupings it is held against.
    """
    left_over = {row: word for row, pack in enumerate(packs) if (word := _unusable(pack))}
    usable = [row for row in range(len(packs)) if row not in left_over]
    strings: list[String] = []
    bound = at_random = random_strings = 0.0
    finished, generator = True, Generator(PCG64(seed))
    found = list(kinds(packs, usable, VOLTAGE_CLASS))
    for kind in found:
        share_s = time_limit_s * len(kind.index) / max(len(usable), 1)
        draws = [_random(kind, limits, generator) for _ in range(RANDOM_DRAWS)]
        chosen, done = _best(kind, limits, share_s, [string for draw in draws for string in draw])
        finished = finished and done
        for groups in chosen:
            rows = tuple(tuple(int(kind.index[at]) for at in group) for group in groups)
            strings.append(String(rows, kwh(kind, groups)))
        bound += bound_kwh(kind, limits)
        at_random += sum(kwh(kind, string) for draw in draws for string in draw) / RANDOM_DRAWS
        random_strings += sum(len(draw) for draw in draws) / RANDOM_DRAWS
        used = {row for groups in chosen for group in groups for row in kind.index[group].tolist()}
        few = f"fewer than {limits.size} packs of this chemistry and voltage"
        word = few if len(kind.index) < limits.size else "no string of like packs has room"
        left_over |= {row: word for row in kind.index.tolist() if row not in used}
    strings.sort(key=lambda string: -string.usable_kwh)
    return Grouping(
        strings=tuple(strings),
        left_over=dict(sorted(left_over.items())),
        usable_kwh=sum(string.usable_kwh for string in strings),
        bound_kwh=bound,
        random_kwh=at_random,
        random_strings=random_strings,
        finished=finished,
    )


def _unusable(pack: Pack) -> str:
    if pack.grade == REJECT:
        return "rejected"
    if pack.soh_frac is None or pack.soh_frac <= 0.0:
        return "SoH not measured"
    return "resistance not measured" if pack.resistance_ratio is None else ""


def bound_kwh(kind: Kind, limits: Limits) -> float:
    """Energy that no grouping of these packs can pass, kWh.

    Limits on likeness are dropped. Without parallel packs the sorted cut is best, and
    leaving out the smallest packs; with them, groups are taken to come out equal.
    """
    count = len(kind.index) // limits.size * limits.size
    largest = np.sort(kind.ah)[::-1][:count].reshape(-1, limits.size)
    weakest = largest[:, -1] if limits.parallel == 1 else largest.sum(axis=1) / limits.series
    return float(kind.nominal_v * limits.series * weakest.sum() / 1000.0)


def candidates(kind: Kind, limits: Limits) -> Iterator[Ints]:
    """Sets of packs that may make a string, each once.

    For every pack as the lowest SoH and every pack as the lowest resistance, those
    within the limits, cut from their list by capacity at every place.
    """
    seen: set[bytes] = set()
    by_ah = np.argsort(kind.ah, kind="stable")
    pairs = len(kind.index) ** 2
    places = max(MOST_CANDIDATES // max(pairs, 1), 1)
    for soh in np.unique(kind.soh)[::-1]:
        healthy = by_ah[_within(kind.soh[by_ah], soh, limits.max_soh_spread_frac)]
        for resistance in np.unique(kind.resistance[healthy]):
            alike = healthy[
                _within(kind.resistance[healthy], resistance, limits.max_resistance_spread)
            ]
            last = len(alike) - limits.size
            if last < 0:
                continue
            for start in np.unique(np.linspace(0, last, min(last + 1, max(places, 8))).round()):
                members = np.sort(alike[int(start) : int(start) + limits.size])
                if (key := members.tobytes()) not in seen:
                    seen.add(key)
                    yield members


def _within(values: Floats, lowest: float, most: float) -> NDArray[np.bool_]:
    return np.asarray((values >= lowest) & (values <= lowest + most + 1e-9))


def _best(
    kind: Kind, limits: Limits, time_limit_s: float, more: Sequence[list[Ints]]
) -> tuple[list[list[Ints]], bool]:
    """Disjoint strings with the most energy, and whether the solver got to its end."""
    sets = list(candidates(kind, limits))
    if len(sets) > MOST_CANDIDATES:
        sets = [sets[at] for at in np.linspace(0, len(sets) - 1, MOST_CANDIDATES).astype(int)]
    groupings = [spread(kind, members, limits) for members in sets]
    energy = [kwh(kind, groups) for groups in groupings]
    picked, done = _pack(sets, energy, len(kind.index), FIRST_SHARE * time_limit_s, ())
    reached = sum(energy[at] for at in picked)
    if more and reached < (1.0 - GOOD_GAP) * bound_kwh(kind, limits):
        drawn = [np.concatenate(groups) for groups in more]
        sets += drawn
        groupings += [spread(kind, members, limits) for members in drawn]
        energy += [kwh(kind, groups) for groups in groupings[len(energy) :]]
        picked, done = _pack(sets, energy, len(kind.index), SECOND_SHARE * time_limit_s, picked)
    return polish(kind, limits, [groupings[at] for at in picked]), done


def _pack(
    sets: Sequence[Ints],
    energy: Sequence[float],
    n_packs: int,
    time_limit_s: float,
    start: Sequence[int],
) -> tuple[list[int], bool]:
    """Set packing by HiGHS: which sets, each pack in one at most; never worse than ``start``."""
    if not sets:
        return [], True
    model = highspy.HighsLp()
    n = len(sets)
    model.num_col_, model.num_row_ = n, n_packs
    model.col_cost_ = -np.array(energy)
    model.col_lower_, model.col_upper_ = np.zeros(n), np.ones(n)
    model.row_lower_, model.row_upper_ = np.zeros(n_packs), np.ones(n_packs)
    sizes = [len(members) for members in sets]
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.concatenate(([0], np.cumsum(sizes)))
    model.a_matrix_.index_ = np.concatenate(sets)
    model.a_matrix_.value_ = np.ones(sum(sizes))
    model.integrality_ = [highspy.HighsVarType.kInteger] * n
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.setOptionValue("time_limit", float(time_limit_s))
    solver.setOptionValue("mip_rel_gap", RELATIVE_GAP)
    solver.setOptionValue("random_seed", 0)
    solver.setOptionValue("threads", 1)
    solver.passModel(model)
    solver.setSolution(_solution(start or _greedy(sets, energy), n))
    solver.run()
    done = solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
    values = np.array(solver.getSolution().col_value)
    picked = np.flatnonzero(values > 0.5).tolist() if len(values) == n else []
    return picked, done


def _greedy(sets: Sequence[Ints], energy: Sequence[float]) -> list[int]:
    """A start for the solver: richest first, so that even a short search has an answer."""
    taken: set[int] = set()
    chosen = []
    for at in np.argsort(-np.array(energy), kind="stable").tolist():
        members = set(sets[at].tolist())
        if not members & taken:
            taken |= members
            chosen.append(at)
    return chosen


def _solution(chosen: Sequence[int], n: int) -> highspy.HighsSolution:
    values = np.zeros(n)
    values[list(chosen)] = 1.0
    solution = highspy.HighsSolution()
    solution.col_value = values.tolist()
    return solution


def polish(kind: Kind, limits: Limits, strings: list[list[Ints]]) -> list[list[Ints]]:
    """Take spare packs in place of smaller ones while that adds energy."""
    members = [np.concatenate(groups) for groups in strings]
    energy = [kwh(kind, groups) for groups in strings]
    for _ in range(POLISH_ROUNDS):
        better = False
        spare = np.setdiff1d(np.arange(len(kind.index)), np.concatenate([[-1], *members]))
        for at, own in enumerate(members):
            for place in range(len(own)):
                for other in spare.tolist():
                    tried = own.copy()
                    tried[place] = other
                    if kind.ah[other] <= kind.ah[own[place]] or not kind.take(tried).alike(limits):
                        continue
                    groups = spread(kind, tried, limits)
                    if kwh(kind, groups) > energy[at] + 1e-9:
                        energy[at], strings[at], members[at] = kwh(kind, groups), groups, tried
                        better = True
                        break
                if better:
                    break
            if better:
                break
        if not better:
            break
    return strings


def _random(kind: Kind, limits: Limits, generator: Generator) -> list[list[Ints]]:
    """Strings when packs are taken as they come, within the limits."""
    free = generator.permutation(len(kind.index))
    strings = []
    while len(free) >= limits.size:
        chosen = free[:1]
        for pack in free[1:]:
            if kind.take(tried := np.append(chosen, pack)).alike(limits):
                chosen = tried
            if len(chosen) == limits.size:
                break
        if len(chosen) < limits.size:
            free = free[1:]
            continue
        strings.append(list(chosen.reshape(limits.series, limits.parallel)))
        free = free[~np.isin(free, chosen)]
    return strings
