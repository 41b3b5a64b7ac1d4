"""Hours in closed form against the simulated plant, whose truth they are told."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.health.backup.site import STOP_V
from ems.model import Standing
from ems.site import Chemistry, LoadSpec, SiteKind
from sim.chemistry import CELL
from sim.plant import Plant
from tests.builders import make_site, make_snapshot
from tests.health.drive import wide_limits
from tests.health.test_backup import known


def outage(kind, chemistry, ambient_c):
    """A site of two packs, and its plant with nothing but the critical load on it."""
    site = make_site(kind, n_packs=2, chemistry=chemistry, critical_w=1_500.0, cycle_s=10.0)
    site = replace(
        site,
        loads=(LoadSpec("critical", "Critical feeder", True, False, 0, 1_500.0, None, 1.0),),
        pv=None,
        sim=replace(site.sim, load_w=1_500.0, ambient_c=ambient_c),
    )
    plant = Plant(site, seed=3, protection=False)
    for pack in range(site.n_packs):
        plant.set_contactor(pack, close=True)
    plant.advance(20.0)
    plant.inject("grid_outage")
    return site, plant


def lowest(plant):
    return np.minimum.reduceat(plant.cells.soc_frac, plant.cells.start)


def told(site, plant, chemistry):
    """The truth as an estimate; a SoC known exactly."""
    cells = plant.cells
    share = CELL[chemistry].r0_share
    pack_ohm = cells.r0_by_pack_ohm / share
    worst_ohm = np.maximum.reduceat(cells.r0_ohm, cells.start) / share
    mean = cells.by_pack(cells.soc_frac) / site.packs[0].series_cells
    return known(
        site,
        soc_frac=float(lowest(plant).mean()),
        ocv_v=site.packs[0].series_cells * ocv.ocv_v(chemistry, mean),
        ocv_cell_max_v=ocv.ocv_v(chemistry, np.maximum.reduceat(cells.soc_frac, cells.start)),
        capacity_ah=np.minimum.reduceat(cells.capacity_ah, cells.start),
        resistance_ohm=pack_ohm,
        group_resistance_max_ohm=worst_ohm,
    )


@pytest.mark.parametrize("kind", list(SiteKind))
@pytest.mark.parametrize(
    ("chemistry", "ambient_c"),
    [(Chemistry.LFP, 25.0), (Chemistry.LFP, -10.0), (Chemistry.NMC, 25.0), (Chemistry.NMC, -10.0)],
)
def test_hours_match_a_full_discharge(kind, chemistry, ambient_c):
    site, plant = outage(kind, chemistry, ambient_c)
    estimate, limits = told(site, plant, chemistry), wide_limits(site)
    standing = Standing(False, (True, True))
    said = health.deliverable(estimate, limits, make_snapshot(site), standing, 0.0, site)
    stop_v = STOP_V[chemistry][0] + STOP_V[chemistry][1] * (1.0 - limits.health)
    began_s = plant.now_s
    while plant.truth().backup_shortfall_s == 0.0:
        plant.advance(plant.now_s + 10.0)
        ended = lowest(plant) <= limits.soc_low_frac
        ended |= np.array(plant.truth().pack_cell_min_v) <= stop_v
        for pack in np.flatnonzero(ended):
            plant.set_contactor(int(pack), close=False)
    lasted_h = (plant.now_s - began_s) / 3600.0
    least = 0.97 if ambient_c > 0.0 else 0.94
    assert least < said.hours / lasted_h < 1.01, "in the cold rather too short"
