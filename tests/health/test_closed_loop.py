"""The estimator against the simulated plant, whose truth it cannot see."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.site import Chemistry, SimPack
from tests.builders import make_site
from tests.health.drive import cycled, reshape_packs

TIRED = 3
"""The group that ends every discharge of the simulated pack."""


def tired_site(chemistry, reported_cells=16):
    """One pack: groups of 80 ± 2 % SoH, one of 70 % with more resistance, as intake found."""
    site = make_site(n_packs=1, chemistry=chemistry, cycle_s=2.0)
    site = reshape_packs(site, soh_frac=0.70, reported_cells=reported_cells)
    truth = SimPack(0.80, 0.02, TIRED, 0.70, 1.5, 0.6)
    return replace(site, sim=replace(site.sim, packs=(truth,)))


def watch(site, hours, low_frac, high_frac, seed=1):
    """(true SoC of the tired group, estimate, its sigma, weakest cell) per cycle, shape (n, 4)."""
    state, rows = health.initial(site), []
    for snapshot, plant in cycled(site, hours, 0.4, low_frac, high_frac, seed):
        state, estimate = health.update(state, snapshot, site)
        rows.append(
            (
                plant.cells.soc_frac[TIRED],
                estimate.soc_frac[0],
                estimate.soc_sigma_frac[0],
                estimate.weakest_cell[0],
            )
        )
    return np.array(rows)


@pytest.mark.parametrize("seed", [1, 2])
def test_soc_of_an_lfp_pack_after_hours_of_cycling(seed):
    """Starts on the plateau from a BMS that is some points off; then finds the steep end."""
    truth, soc, sigma, _ = watch(tired_site(Chemistry.LFP), 5.0, 0.12, 0.90, seed).T
    error = soc - truth
    settled = slice(truth.size // 2, None)
    assert np.sqrt(np.mean(error[settled] ** 2)) < 0.03
    assert np.mean(np.abs(error) < 2.0 * sigma) > 0.95
    assert sigma.min() > 0.003


@pytest.mark.parametrize("chemistry", [Chemistry.NMC, Chemistry.LMO, Chemistry.LTO])
def test_soc_where_the_voltage_tells(chemistry):
    truth, soc, sigma, _ = watch(tired_site(chemistry), 2.0, 0.2, 0.8).T
    error = (soc - truth)[300:]
    assert np.sqrt(np.mean(error**2)) < 0.03
    assert np.mean(np.abs(error) < 2.0 * sigma[300:]) > 0.95


def test_the_tired_cell_is_found_by_a_discharge():
    rows = watch(tired_site(Chemistry.LFP), 1.6, 0.05, 0.9)
    empty = rows[:, 0] < 0.10
    assert empty.any()
    assert np.mean(rows[empty, 3] == TIRED) > 0.98


def test_a_bms_that_reports_extremes_only_is_enough():
    site = tired_site(Chemistry.LMO, reported_cells=2)
    truth, soc, sigma, weakest = watch(site, 2.0, 0.2, 0.8).T
    error = (soc - truth)[300:]
    assert np.sqrt(np.mean(error**2)) < 0.04
    assert np.mean(np.abs(error) < 2.0 * sigma[300:]) > 0.95
    assert np.mean(weakest[truth < 0.4] == 0) > 0.9, "the lowest voltage is listed first"
