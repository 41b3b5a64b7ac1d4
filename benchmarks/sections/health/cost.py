"""What a cycle of the estimator costs at 16 packs of 100 groups, and how much it keeps.

The reference is a pure coulomb count of the same packs: read the snapshot, add the
charge. Both are timed in turn on the same snapshots, in CPU time of the thread, so that
other work on the machine does not count.
"""

import gc
import resource
import time
from collections import deque
from dataclasses import replace
from datetime import timedelta

import numpy as np

from benchmarks.sections import Figure
from ems import health
from ems.health import ocv
from ems.health.inputs import read_packs
from ems.model import FloatArray, SiteSnapshot
from ems.site import Chemistry, Site
from tests.builders import NOON_UTC, make_site, make_snapshot
from tests.health.drive import all_packs, cells_at, good

TITLE = "cost of a cycle: 16 packs, 1600 groups"
PACKS = 16
GROUPS = 100
WARM_UP = 6_000
"""Cycles of 5 s before, in which anchors fill."""
CYCLES = 16_000
"""Cycles of 1 s that are measured."""
SHAPE_S = 5.0
DISTINCT = 720
"""Snapshots made beforehand, an hour of use; their time stamps move on."""
MIB = 1024.0


def run() -> list[Figure]:
    """Mean and p99 of a cycle, ratio to the reference, and growth of the process."""
    site = make_site(n_packs=PACKS, series_cells=GROUPS, chemistry=Chemistry.NMC)
    hour = _hour(site)
    state = health.initial(site)
    spent_s: deque[float] = deque(maxlen=CYCLES)
    count_s, counted, now_s = 0.0, np.zeros(PACKS), 0.0
    timer_s, before_kib = _timer_s(), _peak_kib()
    for k in range(WARM_UP + CYCLES):
        if k == WARM_UP:
            gc.collect()
            before_h = state.groups.fitted_h
        snapshot = _at(hour[int(now_s / SHAPE_S) % DISTINCT], now_s)
        began_s = time.thread_time()
        state, _ = health.update(state, snapshot, site)
        middle_s = time.thread_time()
        counted = _count(counted, snapshot, 1.0)
        count_s += time.thread_time() - middle_s - timer_s
        spent_s.append(middle_s - began_s - timer_s)
        now_s += SHAPE_S if k < WARM_UP else 1.0
    grown_kib = _peak_kib() - before_kib
    spent = np.array(spent_s)
    count_s *= CYCLES / (WARM_UP + CYCLES)
    fits = float((state.groups.fitted_h > before_h).sum())
    return [
        Figure("mean of a cycle", 1e3 * float(spent.mean()), "ms", at_most=1.0),
        Figure("p99", 1e3 * float(np.percentile(spent, 99)), "ms", at_most=10.0),
        Figure("longest", 1e3 * float(spent.max()), "ms"),
        Figure("coulomb count alone, mean", 1e3 * count_s / spent.size, "ms"),
        Figure("estimator / coulomb count", float(spent.sum()) / count_s, "×"),
        Figure("growth of the process since the first cycle", grown_kib / MIB, "MiB", at_most=15.0),
        Figure("packs whose capacities were fitted meanwhile", fits, "", at_least=float(PACKS)),
    ]


def _hour(site: Site) -> list[SiteSnapshot]:
    """An hour of load that changes every minute, a rest, and charge; cells differ."""
    rng = np.random.Generator(np.random.PCG64(7))
    n = site.layout.n_cells
    ohm = 0.001 * (1.0 + 0.1 * rng.standard_normal(n))
    soc = 0.5 + 0.01 * rng.standard_normal(n)
    levels = np.repeat(rng.uniform(10.0, 40.0, DISTINCT // 12), 12).tolist()
    made = []
    for k, level in enumerate(levels):
        part = k / DISTINCT
        amps = level if part < 0.4 else 0.0 if part < 0.6 else -level
        drawn = 0.12 * min(part, 0.4) / 0.4 - 0.12 * max(part - 0.6, 0.0) / 0.4
        volts = np.asarray(ocv.ocv_v(Chemistry.NMC, soc - drawn)) - amps * ohm
        volts = np.round(volts + 0.0005 * rng.standard_normal(n), 3)
        made.append(cells_at(make_snapshot(site, 0.0, current_a=amps), volts))
    return made


def _at(snapshot: SiteSnapshot, now_s: float) -> SiteSnapshot:
    """The snapshot, seen at this time."""
    cells = snapshot.cells
    moved = replace(
        snapshot,
        now_s=now_s,
        now_utc=NOON_UTC + timedelta(seconds=now_s),
        cells=replace(cells, voltage_at_s=np.full(cells.voltage_v.size, now_s)),
    )
    return all_packs(moved, current_a=good(snapshot.packs[0].current_a.value or 0.0, now_s))


def _count(counted: FloatArray, snapshot: SiteSnapshot, dt_s: float) -> FloatArray:
    return counted - read_packs(snapshot).current_a * dt_s / 3600.0


def _timer_s() -> float:
    """What reading the clock costs by itself; on some machines half a millisecond."""
    readings = [time.thread_time() for _ in range(200)]
    return float(np.median(np.diff(readings)))


def _peak_kib() -> float:
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
