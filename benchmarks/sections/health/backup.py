"""Backup hours as stated, against full discharges of the simulated plant.

Every state is a site of its own: kind of plant, chemistry, number, size, age and spread
of packs, temperature, SoC and load are drawn at random. The truth is the plant with its
grid out, carrying the critical load step by step until it is dark; a pack is taken off
when its lowest group truly reaches the floor that the envelope holds, when a cell under
load reaches the voltage at which discharge is stopped (C02, level 3), or when its
current is 1.15 times what the envelope allows (C11, level 3; not on a direct bus).

The estimate gets the true values with errors drawn from the sigma it is told, in
the last states those of the estimator itself after hours of operation.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np

from benchmarks.backupstates import State, draw, make
from benchmarks.sections import Figure
from ems import health
from ems.health import ocv
from ems.model import Contactor, Limits, SiteEstimate, SiteSnapshot, Standing
from ems.safety import envelope
from ems.safety.program import thresholds
from ems.safety.table import ROW_OF_ID
from ems.site import Site, SiteKind
from sim.chemistry import CELL
from sim.io import SimIO
from sim.plant import Plant

TITLE: Final = "Backup hours against simulated discharges"
DRAWN: Final = 200
ESTIMATED: Final = 20
SEED: Final = 20_260_512
BEFORE_H: Final = 4.0
"""Operation that the estimator sees before it is asked."""
BALANCE_S: Final = 3600.0
LONGEST_H: Final = 48.0
NOON: Final = datetime(2026, 6, 1, 4, 0, tzinfo=UTC)
OVERLOAD: Final = 1.15
"""Ratio of cause C11 at which discharge is stopped."""
RESISTANCE_SIGMA: Final = 0.08
"""Error of the resistances drawn, relative: what load steps are asked to reach."""
STOP: Final = ROW_OF_ID["C02"]


@dataclass(frozen=True, slots=True)
class Result:
    """One state: what was said and what came."""

    state: State
    said_h: float
    low_h: float
    naive_h: float
    true_h: float

    @property
    def error(self) -> float:
        return self.said_h / self.true_h - 1.0


def run() -> list[Figure]:
    rng = np.random.Generator(np.random.PCG64(SEED))
    drawn = _results(rng, DRAWN, with_estimator=False)
    estimated = _results(rng, ESTIMATED, with_estimator=True)
    cold = [r for r in drawn if r.state.ambient_c < 5.0]
    errors = np.array([r.error for r in drawn])
    naive = np.array([r.naive_h / r.true_h - 1.0 for r in drawn])
    figures = [
        Figure("states: discharges simulated to their end", len(drawn)),
        Figure("hours: median error", 100 * _median(drawn), "%", at_most=4.0),
        Figure("hours: 9 of 10 states err less than", 100 * _quantile(errors, 0.9), "%"),
        Figure("hours: largest error", 100 * float(np.abs(errors).max()), "%"),
        Figure("hours: mean error, too long is positive", 100 * float(errors.mean()), "%"),
        Figure("lower bound too long", 100 * _optimistic(drawn), "% of states", at_most=2.5),
        Figure(
            "lower bound: median of what it takes off the truth",
            100 * float(np.median([1.0 - r.low_h / r.true_h for r in drawn])),
            "%",
        ),
        Figure("average SoC × nameplate: median error", 100 * _quantile(naive, 0.5), "%"),
        Figure("average SoC × nameplate: too long", 100 * float((naive > 0).mean()), "% of states"),
        Figure("below 5 °C: median error", 100 * _median(cold), "%"),
    ]
    for kind in SiteKind:
        own = [r for r in drawn if r.state.kind is kind]
        figures.append(Figure(f"{kind}: median error", 100 * _median(own), "%"))
    return [
        *figures,
        Figure("estimator's own SoC: median error", 100 * _median(estimated), "%"),
        Figure("estimator's own SoC: bound too long", 100 * _optimistic(estimated), "% of states"),
    ]


def _median(results: list[Result]) -> float:
    return float(np.median([abs(r.error) for r in results]))


def _quantile(errors: np.ndarray, share: float) -> float:
    return float(np.quantile(np.abs(errors), share))


def _optimistic(results: list[Result]) -> float:
    return float(np.mean([r.low_h > r.true_h for r in results]))


def _results(rng: np.random.Generator, count: int, with_estimator: bool) -> list[Result]:
    """So many states whose packs can carry the load to begin with."""
    results: list[Result] = []
    while len(results) < count:
        result = one(draw(rng), rng, with_estimator)
        if result is not None:
            results.append(result)
    return results


def one(state: State, rng: np.random.Generator, with_estimator: bool) -> Result | None:
    """Estimate and truth of one state; ``None`` where the envelope allows hardly a discharge."""
    site = make(state)
    plant = Plant(site, state.seed, None, protection=True)
    io = SimIO(plant)
    for pack in range(site.n_packs):
        plant.set_contactor(pack, close=True)
    if with_estimator:
        snapshot, estimate = _operate(plant, io, site)
    else:
        snapshot = _rest(plant, io, site)
        estimate = _believed(plant, site, state, rng)
    standing = Standing(False, (True,) * site.n_packs)
    limits = envelope.limits(estimate, snapshot, standing, site)
    closed = np.array([bms.contactor is Contactor.CLOSED for bms in plant.bms])
    able_w = float(limits.discharge_w[closed].sum())
    if not (true_lowest(plant) > limits.soc_low_frac + 0.05).all() or able_w <= 0.0:
        return None
    if site.kind is not SiteKind.DIRECT_BUS:
        able_w = min(able_w * 0.95, sum(c.rated_discharge_w for c in site.converters))
    if state.load_frac * able_w * LONGEST_H < _naive_wh(plant, site):
        return None
    site = _loaded(site, plant, state.load_frac * able_w)
    said = health.deliverable(estimate, limits, snapshot, standing, 0.0, site)
    naive_h = _naive_wh(plant, site) / site.backup.critical_w
    true_h = _discharge_h(plant, site, limits)
    if true_h <= 0.05:
        return None
    return Result(state, said.hours, said.hours_low, naive_h, true_h)


def _rest(plant: Plant, io: SimIO, site: Site) -> SiteSnapshot:
    """A look at the packs idle; those on one bus have had time to find their balance."""
    rest_s = 3.0 * site.cycle_s
    if site.kind is not SiteKind.OWN_CONVERTERS:
        rest_s = BALANCE_S
    if site.kind is SiteKind.DIRECT_BUS:
        plant.set_rectifier(0, site.sim.load_w, 0.0)
    return _look(io, rest_s)


def _loaded(site: Site, plant: Plant, load_w: float) -> Site:
    """The site with this critical load and nothing else on it, in the plant too."""
    loaded = replace(
        site,
        backup=replace(site.backup, critical_w=load_w),
        sim=replace(site.sim, load_w=load_w),
    )
    plant.site = loaded
    return loaded


def _look(io: SimIO, now_s: float) -> SiteSnapshot:
    return io.snapshot(now_s, NOON + timedelta(seconds=now_s), True, 0.0, ())


def true_lowest(plant: Plant) -> np.ndarray:
    """SoC of the lowest group of each pack."""
    return np.minimum.reduceat(plant.cells.soc_frac, plant.cells.start)


def _believed(plant: Plant, site: Site, state: State, rng: np.random.Generator) -> SiteEstimate:
    """The truth with an error in each figure, drawn from the sigma it is told."""
    cells, n = plant.cells, site.n_packs
    counts = np.array([p.series_cells for p in site.packs])
    low = true_lowest(plant)
    mean = cells.by_pack(cells.soc_frac) / counts
    high = np.maximum.reduceat(cells.soc_frac, cells.start)
    off = rng.normal(0.0, state.soc_sigma, n)
    rated = np.array([p.rated_ah for p in site.packs])
    weakest_ah = np.minimum.reduceat(cells.capacity_ah, cells.start)
    soh_sigma = np.full(n, state.soh_sigma)
    soh = weakest_ah / rated + rng.normal(0.0, state.soh_sigma, n)
    share = np.array([CELL[p.chemistry].r0_share for p in site.packs])
    wrong = np.exp(rng.normal(0.0, RESISTANCE_SIGMA, n))
    chemistries = [p.chemistry for p in site.packs]

    def volts(soc_frac: np.ndarray) -> np.ndarray:
        return np.array(
            [float(ocv.ocv_v(c, s)) for c, s in zip(chemistries, soc_frac + off, strict=True)]
        )

    ends = np.clip(np.array((low, high)) + off, 0.0, 1.0)
    pack_v = cells.by_pack(cells.emf_v)
    ratio = np.array([p.resistance_ratio for p in site.packs])
    return SiteEstimate(
        soc_frac=ends[0],
        soc_sigma_frac=np.full(n, state.soc_sigma),
        soc_known=np.ones(n, np.bool_),
        weakest_cell=np.zeros(n, np.int64),
        fullest_cell=np.zeros(n, np.int64),
        capacity_ah=rated * soh,
        soh_frac=soh,
        soh_sigma_frac=soh_sigma,
        resistance_ratio=ratio,
        resistance_ohm=cells.by_pack(cells.r0_ohm) / share * wrong,
        ocv_v=counts * volts(mean),
        ocv_cell_min_v=volts(low),
        ocv_cell_max_v=volts(high),
        group_resistance_max_ohm=np.maximum.reduceat(cells.r0_ohm, cells.start) / share * wrong,
        voltage_v=pack_v,
        current_a=np.zeros(n),
        soc_max_frac=ends[1],
    )


def _operate(plant: Plant, io: SimIO, site: Site) -> tuple[SiteSnapshot, SiteEstimate]:
    """Hours of partial cycles with the estimator looking on; ends at rest or under way."""
    belief = health.initial(site)
    steps = round(BEFORE_H * 3600.0 / site.cycle_s)
    down = True
    for step in range(1, steps + 1):
        snapshot = _look(io, step * site.cycle_s)
        belief, estimate = health.update(belief, snapshot, site)
        low = float(true_lowest(plant).min())
        down = low > (0.45 if down else 0.8)
        works = step % 120 < 80
        _order(plant, site, (1.0 if down else -0.6) * works)
    return snapshot, estimate


def _order(plant: Plant, site: Site, share: float) -> None:
    """Discharge (or charge, below 0) at this share of a quarter of C."""
    if site.kind is SiteKind.DIRECT_BUS:
        give_w = plant.site.sim.load_w * (0.3 if share > 0.0 else 1.0)
        plant.set_rectifier(0, give_w if share > 0.0 else 1e9, 0.0 if share == 0.0 else 1e3)
        return
    for index, spec in enumerate(site.converters):
        plant.set_power(index, 0.5 * share * spec.rated_discharge_w)


def _naive_wh(plant: Plant, site: Site) -> float:
    """Average SoC of each pack times its nameplate, no floor and no loss."""
    mean = plant.cells.by_pack(plant.cells.soc_frac)
    return sum(
        float(total) * pack.rated_ah * float(ocv.ocv_v(pack.chemistry, 0.5))
        for total, pack in zip(mean, site.packs, strict=True)
    )


def _discharge_h(plant: Plant, site: Site, limits: Limits) -> float:
    """Hours from the loss of the grid until the critical load is dark."""
    plant.inject("grid_outage")
    began_s = plant.now_s
    stop_v = [
        thresholds(STOP, pack.chemistry, site)[2]
        + (STOP.tighten[pack.chemistry][2] or 0.0) * (1.0 - h)
        for pack, h in zip(site.packs, limits.health.tolist(), strict=True)
    ]
    most_a = [np.inf] * site.n_packs
    if site.kind is not SiteKind.DIRECT_BUS:
        most_a = (OVERLOAD * limits.discharge_a).tolist()
    floor = limits.soc_low_frac.tolist()
    on = [True] * site.n_packs
    while plant.now_s - began_s < LONGEST_H * 3600.0:
        before_s = plant.now_s
        plant.advance(before_s + site.cycle_s)
        truth = plant.truth()
        if truth.backup_shortfall_s > 0.0 or not any(on):
            return (before_s - began_s) / 3600.0
        lowest = true_lowest(plant).tolist()
        for k, closed in enumerate(on):
            if closed and (
                lowest[k] <= floor[k]
                or truth.pack_cell_min_v[k] <= stop_v[k]
                or truth.pack_current_a[k] > most_a[k]
            ):
                plant.set_contactor(k, close=False)
                on[k] = False
    raise AssertionError("a load that never goes dark is no critical load")
