"""The cell bank: mixed health shows where it should."""

from dataclasses import replace

import numpy as np
import pytest

from ems.site import Chemistry, SimPack
from sim.cells import CellBank
from sim.chemistry import CELL, NEW_SOH_R_SLOPE
from sim.plant import Plant
from tests.builders import make_pack, make_site

ALIKE = SimPack(0.80, 0.0, None, 0.7, 1.5, 0.6)
TIRED = SimPack(0.80, 0.01, 5, 0.60, 2.0, 0.6)


def bank(truth, chemistry=Chemistry.LFP, ambient_c=25.0, seed=1):
    rng = np.random.Generator(np.random.PCG64(seed))
    return CellBank((make_pack(0, chemistry),), (truth,), ambient_c, rng)


def test_tired_group_has_its_own_capacity_and_resistance():
    cells = bank(TIRED)
    assert cells.capacity_ah[5] == pytest.approx(60.0)
    assert np.delete(cells.capacity_ah, 5).min() > 75.0
    assert np.argmax(cells.r0_ohm) == 5
    share = CELL[Chemistry.LFP].r0_share
    assert cells.r0_ohm[5] == pytest.approx(0.0010 * 2.0 * share, rel=0.02)  # 0.3 K of scatter


def test_start_is_top_balanced_so_the_tired_group_stands_lowest():
    cells = bank(TIRED)
    missing_ah = (1.0 - cells.soc_frac) * cells.capacity_ah
    assert missing_ah == pytest.approx(np.full(16, 0.4 * 60.0), abs=1.5)
    assert np.argmin(cells.soc_frac) == 5
    assert cells.soc_frac[5] == pytest.approx(0.6, abs=0.02)


def test_tired_group_reaches_its_floor_first():
    site = make_site(n_packs=1)
    site = replace(site, sim=replace(site.sim, packs=(TIRED,)))
    plant = Plant(site, 1, protection=False)
    plant.set_contactor(0, True)
    while plant.truth().cell_voltage_min_v > 2.8:
        plant.set_power(0, site.converters[0].rated_discharge_w)
        plant.advance(plant.now_s + 1.0)
    assert np.argmin(plant.bms[0].cell_voltage_v) == 5
    others_v = np.delete(plant.bms[0].cell_voltage_v, 5)
    assert others_v.min() > 3.0
    assert np.delete(plant.cells.soc_frac, 5).min() > 0.15


@pytest.mark.parametrize(
    ("temp_c", "low", "high"), [(-10.0, 2.5, 4.5), (25.0, 0.98, 1.02), (45.0, 0.4, 0.7)]
)
def test_resistance_follows_the_temperature(temp_c, low, high):
    reference, cells = bank(ALIKE), bank(ALIKE, ambient_c=temp_c)
    assert low < cells.r0_ohm.mean() / reference.r0_ohm.mean() < high


def test_pulse_answer_grows_from_r0_to_all_three_resistances():
    cells = bank(ALIKE)
    drop_ohm = {}
    for second in range(1, 601):
        cells.advance(np.array([50.0]), 25.0, 1.0)
        drop_ohm[second] = np.mean(cells.v1_v + cells.v2_v + 50.0 * cells.r0_ohm) / 50.0
    grown = 1.0 + NEW_SOH_R_SLOPE * (1.0 - ALIKE.soh_mean_frac)
    # What the intake measures is the 10 s resistance of a new group, here 1 mohm.
    assert drop_ohm[10] == pytest.approx(0.0010 * grown, rel=0.05)
    assert cells.r0_ohm.mean() < drop_ohm[1] < drop_ohm[10]
    assert drop_ohm[600] > 1.3 * drop_ohm[10]


def test_rc_voltage_of_a_long_step_equals_that_of_many_short_ones():
    coarse, fine = bank(ALIKE), bank(ALIKE)
    coarse.advance(np.array([40.0]), 25.0, 10.0)
    for _ in range(100):
        fine.advance(np.array([40.0]), 25.0, 0.1)
    assert coarse.v1_v == pytest.approx(fine.v1_v, rel=0.01)
    assert coarse.v2_v == pytest.approx(fine.v2_v, rel=0.01)


def test_cells_warm_under_load_and_return_to_ambient():
    cells = bank(ALIKE)
    for _ in range(3600):
        cells.advance(np.array([80.0]), 25.0, 1.0)
    warm_c = cells.temp_c.mean()
    assert 26.0 < warm_c < 40.0
    for _ in range(10 * 7200):
        cells.advance(np.array([0.0]), 25.0, 1.0)
    assert cells.temp_c == pytest.approx(np.full(16, 25.0), abs=0.1)


def test_self_discharge_is_percents_a_month_and_unequal():
    cells = bank(ALIKE)
    before = cells.soc_frac.copy()
    cells.advance(np.array([0.0]), 25.0, 30 * 86_400.0)
    lost = before - cells.soc_frac
    assert 0.005 < lost.mean() < 0.06
    assert lost.max() > 1.5 * lost.min()
