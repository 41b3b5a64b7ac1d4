"""What is learned about every series group in natural dispatch, against the truth.

Simulated sites (``benchmarks.truth``), one pack of each chemistry, no test cycle. On some of
them a group of each pack starts to leak C/1000 on day 4. Group figures are over all groups
of all packs; a pack is the unit wherever its groups share an error.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from benchmarks import truth
from benchmarks.sections import Figure
from ems.health.learning import resistance
from ems.health.learning.selfdischarge import OUTLIER_PER_H
from ems.health.prepare import prepare
from ems.model import FloatArray
from sim.chemistry import CELL

TITLE = "capacity, resistance, self-discharge of groups in natural dispatch"
SEED = 11
SOUND = 2
"""Sites without a leak, four packs each, 14 days."""
LEAKY = 1
"""Sites on which a group of each pack leaks from day 4, 11 days."""
DAYS = 14.0
LEAK_DAY = 4.0
LEAKY_DAYS = 11.0
SETTLED_DAY = 3.0
"""From then on the weakest group is asked for."""
Z90 = 1.645
REAL_LEAK = 0.6
"""A flagged group that leaks at least this share of the limit is no false alarm."""


@dataclass(slots=True)
class _Found:
    """Everything compared, one entry per group, moment or pack."""

    capacity: list[FloatArray] = field(default_factory=list)
    capacity_z: list[FloatArray] = field(default_factory=list)
    r0: list[FloatArray] = field(default_factory=list)
    r0_z: list[FloatArray] = field(default_factory=list)
    ten_s: list[FloatArray] = field(default_factory=list)
    good: list[FloatArray] = field(default_factory=list)
    weakest_capacity: list[bool] = field(default_factory=list)
    weakest_now: list[bool] = field(default_factory=list)
    leak_days: list[float] = field(default_factory=list)
    false_alarms: int = 0
    watched: int = 0


def run() -> list[Figure]:
    """Errors, coverage, names and days until a leak is found."""
    found = _Found()
    for case in truth.cases(SOUND, SEED):
        last = None
        for moment in truth.run(case, DAYS, every_s=3600.0):
            _name(found, moment, case)
            last = moment
        assert last is not None
        _compare(found, last, case)
        _alarms(found, last, case, set())
    for case in truth.cases(LEAKY, SEED + 1, leaks=True):
        _leak(found, truth.run(case, LEAKY_DAYS, every_s=3600.0), case)
    return _figures(found)


def _compare(found: _Found, moment: truth.Moment, case: truth.Case) -> None:
    """Capacities and resistances at the end."""
    groups, site = moment.state.groups, case.site
    learned, learning = groups.learned, groups.resistance
    for k, spec in enumerate(site.packs):
        own = site.layout.cell_slices[k]
        true_ah = moment.plant.cells.capacity_ah[own]
        error = learned.capacity_ah[own] / true_ah - 1.0
        found.capacity.append(error)
        found.capacity_z.append(error * true_ah / learned.capacity_sigma_ah[own])
        found.good.append(learned.capacity_good[own].astype(np.float64))
        true_ohm = moment.resistance_ohm[own]
        r0 = resistance.r0_ohm(learning)[own] / (true_ohm * CELL[spec.chemistry].r0_share) - 1.0
        found.r0.append(r0)
        found.r0_z.append(r0 / learning.sigma_frac[k])
        found.ten_s.append(resistance.ten_s_ohm(learning)[own] / true_ohm - 1.0)
        found.weakest_capacity.append(bool(learned.capacity_ah[own].argmin() == true_ah.argmin()))


def _name(found: _Found, moment: truth.Moment, case: truth.Case) -> None:
    """Whether the group with the least charge left is the one named, per pack."""
    if moment.now_s < SETTLED_DAY * truth.DAY_S:
        return
    cells = moment.plant.cells
    left_ah = cells.soc_frac * cells.capacity_ah
    for k, own in enumerate(case.site.layout.cell_slices):
        found.weakest_now.append(bool(moment.estimate.weakest_cell[k] == left_ah[own].argmin()))


def _leak(found: _Found, moments: Iterator[truth.Moment], case: truth.Case) -> None:
    """Days from the start of each leak until its group is flagged."""
    site = case.site
    days = [float("inf")] * site.n_packs
    tired = [pack.tired_group or 0 for pack in site.sim.packs]
    last = None
    for moment in moments:
        last = moment
        day = moment.now_s / truth.DAY_S
        leaking = moment.state.groups.learned.leaking
        for k, own in enumerate(site.layout.cell_slices):
            if leaking[own][tired[k]] and days[k] == float("inf"):
                days[k] = day - LEAK_DAY
    assert last is not None
    found.leak_days += days
    _alarms(
        found,
        last,
        case,
        {own.start + t for own, t in zip(site.layout.cell_slices, tired, strict=True)},
    )


def _alarms(found: _Found, moment: truth.Moment, case: truth.Case, expected: set[int]) -> None:
    """Flagged groups that do not leak."""
    cells = moment.plant.cells
    prepared = prepare(case.site)
    rate = (cells.leak_a + cells.extra_leak_a) / cells.capacity_ah
    for own in prepared.layout.cell_slices:
        excess = rate[own] - np.median(rate[own])
        flagged = moment.state.groups.learned.leaking[own]
        sound = excess < REAL_LEAK * OUTLIER_PER_H
        found.false_alarms += int((flagged & sound).sum())
    found.watched += rate.size - len(expected)


def _figures(found: _Found) -> list[Figure]:
    capacity, r0, ten_s = (
        np.abs(np.concatenate(values)) for values in (found.capacity, found.r0, found.ten_s)
    )
    worst_pack = max(float(np.abs(values).mean()) for values in found.capacity)
    capacity_in = np.abs(np.concatenate(found.capacity_z)) <= Z90
    r0_in = np.abs(np.concatenate(found.r0_z)) <= Z90
    days = np.array(found.leak_days)
    return [
        Figure("capacity error, mean over groups", 1e2 * float(capacity.mean()), "%", at_most=3.0),
        Figure("capacity error, mean of the worst pack", 1e2 * worst_pack, "%"),
        Figure("capacity error, worst group", 1e2 * float(capacity.max()), "%"),
        Figure(
            "groups whose capacity passes the gates",
            1e2 * float(np.concatenate(found.good).mean()),
            "%",
        ),
        Figure("capacity within its 90 % bounds", 1e2 * float(capacity_in.mean()), "%", 95.0, 85.0),
        Figure("R0 error, mean over groups", 1e2 * float(r0.mean()), "%", at_most=10.0),
        Figure("R0 error, worst group", 1e2 * float(r0.max()), "%"),
        Figure("R0 within its 90 % bounds", 1e2 * float(r0_in.mean()), "%", 95.0, 85.0),
        Figure("10 s resistance error, mean over groups", 1e2 * float(ten_s.mean()), "%"),
        Figure(
            "group of least capacity named",
            1e2 * float(np.mean(found.weakest_capacity)),
            "%",
            at_least=95.0,
        ),
        Figure(
            "group with least charge named, hourly",
            1e2 * float(np.mean(found.weakest_now)),
            "%",
            at_least=95.0,
        ),
        Figure("leak of C/1000 found, slowest pack", float(days.max()), "d", at_most=7.0),
        Figure("leak of C/1000 found, mean", float(days.mean()), "d"),
        Figure(
            "false alarms in groups watched",
            1e2 * found.false_alarms / max(found.watched, 1),
            "%",
            at_most=1.0,
        ),
    ]
