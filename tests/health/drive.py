"""Drives the estimator through made-up or simulated time."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta

import numpy as np

from ems import health
from ems.health import ocv
from ems.model import CellBlock, Limits, Quality, Reading, SiteEstimate, SiteSnapshot
from ems.site import PackSpec, Site
from sim.io import SimIO
from sim.plant import Plant
from tests.builders import NOON_UTC, good, make_snapshot

Shape = Callable[[SiteSnapshot, float], SiteSnapshot]


def reshape_packs(site: Site, **changes: object) -> Site:
    """The site with some fields of every pack replaced."""
    packs: tuple[PackSpec, ...] = tuple(
        replace(p, **changes)  # type: ignore[arg-type]
        for p in site.packs
    )
    return replace(site, packs=packs)


def cells_at(snapshot: SiteSnapshot, cell_v: object) -> SiteSnapshot:
    """The snapshot with other cell voltages, V (a number or one per cell)."""
    block = snapshot.cells
    volts = np.broadcast_to(np.asarray(cell_v, dtype=np.float64), block.voltage_v.shape).copy()
    return replace(snapshot, cells=replace(block, voltage_v=volts))


def cells_lost(snapshot: SiteSnapshot, *cells: int) -> SiteSnapshot:
    """The snapshot with these reported cells missing (all of them when none is named)."""
    block: CellBlock = snapshot.cells
    quality, volts = block.voltage_quality.copy(), block.voltage_v.copy()
    chosen = list(cells) if cells else slice(None)
    quality[chosen], volts[chosen] = Quality.MISSING, np.nan
    return replace(snapshot, cells=replace(block, voltage_quality=quality, voltage_v=volts))


def all_packs(snapshot: SiteSnapshot, **readings: Reading) -> SiteSnapshot:
    """The snapshot with these readings in every pack."""
    return replace(snapshot, packs=tuple(replace(p, **readings) for p in snapshot.packs))


def without_bms_soc(snapshot: SiteSnapshot) -> SiteSnapshot:
    """The snapshot of a BMS that tells no SoC."""
    return all_packs(snapshot, soc_frac=Reading(None, 0.0, Quality.MISSING))


def rest(
    site: Site, now_s: float, soc_frac: float, bms_soc_frac: float | None = None
) -> SiteSnapshot:
    """All packs at rest at this true SoC; the BMS says the same unless told otherwise."""
    chemistry = site.packs[0].chemistry
    snapshot = make_snapshot(
        site,
        now_s,
        cell_v=float(ocv.ocv_v(chemistry, soc_frac)),
        soc_frac=soc_frac if bms_soc_frac is None else bms_soc_frac,
    )
    return replace(snapshot, now_utc=NOON_UTC + timedelta(seconds=now_s))


def run(
    site: Site,
    state: health.HealthState,
    snapshots: Iterator[SiteSnapshot],
) -> tuple[health.HealthState, SiteEstimate]:
    """State and estimate after the last snapshot."""
    estimate: SiteEstimate | None = None
    for snapshot in snapshots:
        state, estimate = health.update(state, snapshot, site)
    assert estimate is not None
    return state, estimate


def known_state(site: Site, soc_frac: float, sigma_frac: float) -> health.HealthState:
    """A state that believes in this SoC."""
    state = health.initial(site)
    cells = replace(
        state.cells,
        soc_frac=np.full(site.layout.n_cells, soc_frac),
        sigma_frac=np.full(site.layout.n_cells, sigma_frac),
    )
    return replace(state, cells=cells)


def wide_limits(site: Site, **changes: object) -> Limits:
    """An envelope of 10..95 % SoC that never binds in power."""
    n = site.n_packs
    limits = Limits(
        charge_w=np.full(n, 1e6),
        discharge_w=np.full(n, 1e6),
        charge_a=np.full(n, 1e3),
        discharge_a=np.full(n, 1e3),
        soc_low_frac=np.full(n, 0.10),
        soc_high_frac=np.full(n, 0.95),
        health=np.full(n, 0.8),
        charge_reason=("",) * n,
        discharge_reason=("",) * n,
    )
    return replace(limits, **changes)  # type: ignore[arg-type]


def cycled(
    site: Site,
    hours: float,
    c_rate: float,
    low_frac: float,
    high_frac: float,
    seed: int = 1,
) -> Iterator[tuple[SiteSnapshot, Plant]]:
    """Snapshots of the simulated plant: every pack cycled between two true SoC, with rests.

    Each pack works for 20 min and rests for 10; it turns when its lowest (highest)
    cell reaches the end of the window. The BMS has the sensor errors of the simulator.
    """
    plant = Plant(site, seed, None, protection=False)
    io = SimIO(plant)
    for pack in range(site.n_packs):
        plant.set_contactor(pack, close=True)
    power_w = [
        p.rated_ah * c_rate * float(ocv.ocv_v(p.chemistry, 0.5)) * p.series_cells
        for p in site.packs
    ]
    sign = [1.0] * site.n_packs
    for cycle in range(round(hours * 3600.0 / site.cycle_s)):
        second = cycle * site.cycle_s
        now_utc = NOON_UTC + timedelta(seconds=second)
        yield io.snapshot(second, now_utc, True, 0.0, ()), plant
        start = plant.cells.start
        low = np.minimum.reduceat(plant.cells.soc_frac, start)
        high = np.maximum.reduceat(plant.cells.soc_frac, start)
        resting = second % 1800 >= 1200
        for k in range(site.n_packs):
            if low[k] < low_frac:
                sign[k] = -1.0
            elif high[k] > high_frac:
                sign[k] = 1.0
            plant.set_power(k, 0.0 if resting else sign[k] * power_w[k])


__all__ = [
    "all_packs",
    "cells_at",
    "cells_lost",
    "cycled",
    "good",
    "known_state",
    "reshape_packs",
    "rest",
    "run",
    "wide_limits",
    "without_bms_soc",
]
