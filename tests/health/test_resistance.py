"""Resistance from intake and temperature, refined by load steps."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.health.learning import resistance
from ems.health.prepare import prepare
from ems.model import Quality, SiteSnapshot
from ems.site import Chemistry, Site
from tests.builders import good, make_site, make_snapshot, with_pack
from tests.health.drive import all_packs, cells_at, cells_lost, reshape_packs, run

GROUP_OHM = 0.0010 * 1.2
"""Worst group of the builders' packs at 25 degC."""


def test_a_pack_is_its_groups_in_series_at_25_c():
    site = make_site(series_cells=16)
    _, estimate = health.update(health.initial(site), make_snapshot(site), site)
    assert estimate.resistance_ohm == pytest.approx(16 * GROUP_OHM)
    assert estimate.group_resistance_max_ohm == pytest.approx(GROUP_OHM)
    assert estimate.resistance_ratio == pytest.approx(1.2)


def test_an_unknown_ratio_is_pessimistic_for_use_and_zero_in_the_record():
    site = reshape_packs(make_site(), resistance_ratio=None)
    _, estimate = health.update(health.initial(site), make_snapshot(site), site)
    assert estimate.group_resistance_max_ohm == pytest.approx(0.0010 * 1.5)
    assert (estimate.resistance_ratio == 0.0).all()


@pytest.mark.parametrize(
    ("temp_c", "factor"),
    [
        pytest.param(25.0, 1.0, id="reference"),
        pytest.param(0.0, 2.09, id="freezing: about twice"),
        pytest.param(45.0, 0.60, id="warm"),
    ],
)
def test_resistance_follows_the_temperature(temp_c, factor):
    site = make_site()
    snapshot = make_snapshot(site, cell_temp_c=temp_c)
    _, estimate = health.update(health.initial(site), snapshot, site)
    assert estimate.group_resistance_max_ohm == pytest.approx(GROUP_OHM * factor, rel=0.01)


def test_the_coldest_usable_sensor_decides():
    site = make_site()
    snapshot = make_snapshot(site)
    temps = snapshot.cells.temp_c.copy()
    quality = snapshot.cells.temp_quality.copy()
    temps[1], temps[2] = 0.0, -40.0
    quality[2] = Quality.BAD
    cells = replace(snapshot.cells, temp_c=temps, temp_quality=quality)
    _, estimate = health.update(health.initial(site), replace(snapshot, cells=cells), site)
    assert estimate.group_resistance_max_ohm[0] == pytest.approx(GROUP_OHM * 2.09, rel=0.01)
    assert estimate.group_resistance_max_ohm[1] == pytest.approx(GROUP_OHM)


def test_without_any_sensor_the_pack_counts_as_cold():
    site = make_site()
    snapshot = make_snapshot(site)
    gone = np.full(site.layout.n_temps, Quality.MISSING, np.uint8)
    cells = replace(snapshot.cells, temp_quality=gone)
    _, estimate = health.update(health.initial(site), replace(snapshot, cells=cells), site)
    assert (estimate.group_resistance_max_ohm > 1.5 * GROUP_OHM).all()


def stepped(
    site: Site, seconds: int, ohm: np.ndarray, lag_s: float = 0.0, sign: float = 1.0
) -> Iterator[SiteSnapshot]:
    """A load that changes every half minute, and cells with R0 and two RC pairs.

    Args:
        site: Whose cells.
        seconds: How long.
        ohm: 10 s resistance per reported cell.
        lag_s: By how much the current is older than the voltage.
        sign: -1 for a current sensor mounted the wrong way round.
    """
    rng = np.random.Generator(np.random.PCG64(3))
    current_a = fast_a = slow_a = 0.0
    for k in range(seconds):
        if k % 30 == 0:
            current_a = float(rng.choice([0.0, 20.0, 50.0, -30.0]))
        fast_a += (1.0 - math.exp(-1.0 / 3.0)) * (current_a - fast_a)
        slow_a += (1.0 - math.exp(-1.0 / 60.0)) * (current_a - slow_a)
        drop_a = 0.72 * current_a + 0.16 * fast_a + 0.80 * slow_a
        shown_v = float(ocv.ocv_v(Chemistry.LFP, 0.5)) - drop_a * ohm
        shown_v = np.round(shown_v + 0.0005 * rng.standard_normal(ohm.size), 3)
        snapshot = cells_at(make_snapshot(site, 100.0 + k, current_a=current_a), shown_v)
        yield all_packs(snapshot, current_a=good(sign * current_a, 100.0 + k - lag_s))


def test_load_steps_find_the_tired_group():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    ohm[7] *= 1.5
    state, estimate = run(site, health.initial(site), stepped(site, 3600, ohm))
    factor = state.cells.resistance_factor
    assert factor[7] == pytest.approx(1.5, rel=0.05)
    assert np.delete(factor, 7) == pytest.approx(1.0, abs=0.05)
    assert estimate.group_resistance_max_ohm[0] == pytest.approx(1.5 * GROUP_OHM, rel=0.05)


def test_the_ratio_rises_with_what_is_learned():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    ohm[7] *= 1.5
    _, estimate = run(site, health.initial(site), stepped(site, 3600, ohm))
    assert estimate.resistance_ratio[0] == pytest.approx(1.8, rel=0.05)
    assert estimate.resistance_ratio[1:] == pytest.approx(1.2, rel=0.05)


def test_immediate_and_slow_parts_are_told_apart():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    state, _ = run(site, health.initial(site), stepped(site, 7200, ohm))
    learning = state.groups.resistance
    assert resistance.r0_ohm(learning) == pytest.approx(0.72 * GROUP_OHM, rel=0.08)
    grown = 0.16 + 0.80 * (1.0 - math.exp(-1.0))
    assert resistance.rc_ohm(learning) == pytest.approx(grown * GROUP_OHM, rel=0.15)
    assert (learning.sigma_frac < 0.10).all()


@pytest.mark.parametrize(
    ("every_s", "most", "least_sigma"),
    [
        pytest.param(1, 0.08, 0.05, id="every second"),
        pytest.param(5, 0.13, 0.07, id="every five seconds: R0 is less sure"),
    ],
)
def test_r0_is_told_with_an_error_that_holds_however_often_it_is_sampled(
    every_s, most, least_sigma
):
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    sampled = (s for k, s in enumerate(stepped(site, 7200, ohm)) if k % every_s == every_s - 1)
    state, _ = run(site, health.initial(site), sampled)
    learning = state.groups.resistance
    error = resistance.r0_ohm(learning) / (0.72 * GROUP_OHM) - 1.0
    assert np.abs(error).max() < most
    sigma = learning.sigma_frac.take(site.layout.pack_of_cell)
    assert np.mean(np.abs(error) < 1.645 * sigma) >= 0.85
    assert (sigma >= least_sigma).all()
    assert (sigma < 0.12).all()


def test_nonsense_is_bounded_to_three_times_intake():
    site = make_site()
    ohm = np.full(site.layout.n_cells, 20.0 * GROUP_OHM)
    nonsense, _ = run(site, health.initial(site), stepped(site, 305, ohm))
    assert (nonsense.cells.resistance_factor <= 3.0).all()


def test_a_reversed_current_is_never_good():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    state, estimate = run(site, health.initial(site), stepped(site, 3600, ohm, sign=-1.0))
    assert not resistance.good(state.groups.resistance, prepare(site)).any()
    assert estimate.resistance_ratio == pytest.approx(1.2)


def test_frozen_voltages_are_never_good():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    frozen = (cells_at(s, 3.30) for s in stepped(site, 3600, ohm))
    state, estimate = run(site, health.initial(site), frozen)
    assert not resistance.good(state.groups.resistance, prepare(site)).any()
    assert estimate.resistance_ratio == pytest.approx(1.2)


def test_a_missing_cell_learns_nothing_and_its_neighbours_do():
    site = make_site()
    ohm = np.full(site.layout.n_cells, 1.3 * GROUP_OHM)
    gaps = (cells_lost(s, 5) for s in stepped(site, 3600, ohm))
    state, _ = run(site, health.initial(site), gaps)
    factor = state.cells.resistance_factor
    assert factor[5] == pytest.approx(1.0, abs=0.02)
    assert np.delete(factor, 5) == pytest.approx(1.3, rel=0.05)


@pytest.mark.parametrize(
    ("current_a", "counts"),
    [
        pytest.param(10.0, 0.0, id="at 0.1 C: no step"),
        pytest.param(10.1, 1.0, id="just above"),
    ],
)
def test_steps_are_counted_above_a_tenth_c(current_a, counts):
    site = make_site()
    state, _ = health.update(health.initial(site), make_snapshot(site, 100.0, cell_v=3.30), site)
    after, _ = health.update(
        state, make_snapshot(site, 101.0, cell_v=3.25, current_a=current_a), site
    )
    assert (after.groups.resistance.steps == counts).all()


def test_voltage_and_current_read_apart_teach_nothing():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    state, _ = run(site, health.initial(site), stepped(site, 400, ohm, lag_s=0.4))
    assert (state.cells.resistance_factor == 1.0).all()


def test_the_worst_group_never_gets_better_than_intake_by_itself():
    site = make_site()
    ohm = np.full(site.layout.n_cells, 0.5 * GROUP_OHM)
    state, estimate = run(site, health.initial(site), stepped(site, 3600, ohm))
    assert (state.cells.resistance_factor < 0.6).all()
    assert estimate.group_resistance_max_ohm == pytest.approx(GROUP_OHM)
    assert (estimate.resistance_ratio >= 1.2).all()


def test_a_missing_pack_voltage_falls_back_to_the_ocv():
    site = make_site()
    snapshot = with_pack(make_snapshot(site), 0, voltage_v=replace(good(0.0), value=None))
    _, estimate = health.update(health.initial(site), snapshot, site)
    assert estimate.voltage_v[0] == pytest.approx(estimate.ocv_v[0])
    assert estimate.voltage_v[1] == pytest.approx(16 * 3.30)
