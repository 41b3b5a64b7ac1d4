"""Resistance from intake and temperature, refined by load steps."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.model import Quality, SiteSnapshot
from ems.site import Chemistry, Site
from tests.builders import good, make_site, make_snapshot, with_pack
from tests.health.drive import all_packs, cells_at, reshape_packs, run

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


def stepped(site: Site, k: int, ohm: np.ndarray, lag_s: float = 0.0) -> SiteSnapshot:
    """Second ``k`` of a load that is on (50 A) in every second half minute."""
    current_a = 50.0 if k % 60 >= 30 else 0.0
    shown_v = float(ocv.ocv_v(Chemistry.LFP, 0.5)) - current_a * ohm
    snapshot = cells_at(make_snapshot(site, 100.0 + k, current_a=current_a), shown_v)
    return all_packs(snapshot, current_a=good(current_a, 100.0 + k - lag_s))


def test_load_steps_find_the_tired_group():
    site = make_site()
    ohm = np.full(site.layout.n_cells, 0.79 * GROUP_OHM)
    ohm[7] *= 1.5
    state, estimate = run(site, health.initial(site), (stepped(site, k, ohm) for k in range(1200)))
    factor = state.cells.resistance_factor
    assert factor[7] == pytest.approx(1.5, abs=0.1)
    assert np.delete(factor, 7) == pytest.approx(1.0, abs=0.02)
    assert estimate.group_resistance_max_ohm[0] == pytest.approx(1.5 * GROUP_OHM, rel=0.08)
    assert estimate.resistance_ratio[0] == pytest.approx(1.2), "the record keeps intake"


def test_one_step_moves_the_factor_by_a_sixth_at_most():
    site = make_site()
    ohm = np.full(site.layout.n_cells, 20.0 * GROUP_OHM)
    state, _ = run(site, health.initial(site), (stepped(site, k, ohm) for k in range(31)))
    assert state.cells.resistance_factor == pytest.approx(1.0 + (3.0 - 1.0) / 6.0)


@pytest.mark.parametrize(
    ("current_a", "learns"),
    [
        pytest.param(10.0, False, id="at 0.1 C: too small to tell"),
        pytest.param(10.1, True, id="just above"),
    ],
)
def test_only_a_clear_step_teaches(current_a, learns):
    site = make_site()
    state, _ = health.update(health.initial(site), make_snapshot(site, 100.0, cell_v=3.30), site)
    after, _ = health.update(
        state, make_snapshot(site, 101.0, cell_v=3.25, current_a=current_a), site
    )
    assert (after.cells.resistance_steps > 0.0).all() == learns


def test_voltage_and_current_read_apart_teach_nothing():
    site = make_site()
    ohm = np.full(site.layout.n_cells, GROUP_OHM)
    apart = (stepped(site, k, ohm, lag_s=0.4) for k in range(300))
    state, _ = run(site, health.initial(site), apart)
    assert (state.cells.resistance_factor == 1.0).all()


def test_the_worst_group_never_gets_better_than_intake_by_itself():
    site = make_site()
    ohm = np.full(site.layout.n_cells, 0.5 * GROUP_OHM)
    state, estimate = run(site, health.initial(site), (stepped(site, k, ohm) for k in range(600)))
    assert (state.cells.resistance_factor < 0.9).all()
    assert estimate.group_resistance_max_ohm == pytest.approx(GROUP_OHM)


def test_a_missing_pack_voltage_falls_back_to_the_ocv():
    site = make_site()
    snapshot = with_pack(make_snapshot(site), 0, voltage_v=replace(good(0.0), value=None))
    _, estimate = health.update(health.initial(site), snapshot, site)
    assert estimate.voltage_v[0] == pytest.approx(estimate.ocv_v[0])
    assert estimate.voltage_v[1] == pytest.approx(16 * 3.30)
