"""What survives a restart, and what a restart costs in certainty."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ems import health
from ems.health.state import _CELL_FIELDS
from ems.site import Chemistry
from tests.builders import NOON_UTC, make_site, make_snapshot
from tests.health.drive import cells_lost, reshape_packs, rest, run, without_bms_soc


@pytest.fixture
def site():
    return make_site(chemistry=Chemistry.NMC)


@pytest.fixture
def worked(site):
    """State after an hour in which the packs worked."""
    state, _ = run(
        site,
        health.initial(site),
        (make_snapshot(site, 100.0 + k, current_a=20.0) for k in range(0, 600, 5)),
    )
    return state


def stored(state):
    """What comes back from disk."""
    return json.loads(json.dumps(health.save(state), allow_nan=False))


def test_what_was_learned_comes_back_exactly(site, worked):
    back = health.load(stored(worked), site)
    for name in _CELL_FIELDS:
        assert getattr(back.cells, name).tolist() == getattr(worked.cells, name).tolist()
    assert back.packs.bms_bias_frac.tolist() == worked.packs.bms_bias_frac.tolist()
    assert back.packs.bms_sigma_frac.tolist() == worked.packs.bms_sigma_frac.tolist()
    assert (back.day, back.now_utc) == (worked.day, worked.now_utc)


def test_a_file_of_an_older_version_brings_what_it_holds(site, worked):
    """It knew SoC, its sigma and the BMS; what came since starts as on the first day."""
    data = stored(worked)
    for pack in data["packs"].values():
        del pack["groups"], pack["pack"]["curve_v2"], pack["pack"]["curve_weight"]
        kept = ("soc_frac", "sigma_frac", "resistance_factor", "resistance_steps")
        pack["cells"] = {name: pack["cells"][name] for name in kept}
        pack["cells"]["carry_frac"] = [0.1] * 16
    back, fresh = health.load(data, site), health.initial(site)
    assert back.cells.soc_frac.tolist() == worked.cells.soc_frac.tolist()
    assert back.cells.sigma_frac.tolist() == worked.cells.sigma_frac.tolist()
    assert back.cells.pace_var.tolist() == fresh.cells.pace_var.tolist()
    assert back.packs.curve_weight.tolist() == fresh.packs.curve_weight.tolist()


def test_a_new_capacity_test_changes_the_unit_of_the_pace_not_the_charge(site, worked):
    """78 Ah and a pace of 1.04 are 75 Ah; by a new record of 72 Ah that is a pace of 0.96."""
    pace = replace(worked.cells, pace_frac=np.full(site.layout.n_cells, 0.04))
    back = health.load(stored(replace(worked, cells=pace)), reshape_packs(site, soh_frac=0.72))
    assert 1.0 + back.cells.pace_frac == pytest.approx(0.96)
    assert back.cells.pace_var == pytest.approx(worked.cells.pace_var * (0.72 / 0.78) ** 2)


def test_a_state_that_saw_nothing_can_be_saved(site):
    assert health.load(stored(health.initial(site)), site).now_utc is None


@pytest.mark.parametrize(
    ("away_s", "lost_frac"),
    [
        pytest.param(20.0, 0.5 * 20 / 3600, id="quick restart: nearly nothing"),
        pytest.param(360.0, 0.05, id="six minutes: 5 points"),
    ],
)
def test_time_away_costs_certainty(site, worked, away_s, lost_frac):
    back = health.load(stored(worked), site)
    seen = replace(
        without_bms_soc(cells_lost(rest(site, 0.0, 0.5))),
        now_utc=worked.now_utc + timedelta(seconds=away_s),
    )
    after, _ = health.update(back, seen, site)
    assert after.cells.sigma_frac - worked.cells.sigma_frac == pytest.approx(lost_frac)
    assert after.cells.soc_frac == pytest.approx(worked.cells.soc_frac)


def test_with_a_wrong_clock_an_hour_away_is_assumed(site, worked):
    back = health.load(stored(worked), site)
    seen = replace(without_bms_soc(cells_lost(rest(site, 0.0, 0.5))), clock_ok=False)
    _, estimate = health.update(back, seen, site)
    assert not estimate.soc_known.any()


def test_after_a_restart_the_first_voltages_count_at_once(site, worked):
    back = health.load(stored(worked), site)
    seen = replace(without_bms_soc(rest(site, 0.0, 0.3)), now_utc=NOON_UTC + timedelta(days=1))
    _, estimate = health.update(back, seen, site)
    assert estimate.soc_known.all()
    assert estimate.soc_frac == pytest.approx(0.3, abs=0.03)


def test_an_exchanged_pack_starts_unknown_and_its_neighbours_do_not(site, worked):
    packs = list(site.packs)
    packs[1] = replace(packs[1], id="replacement")
    back = health.load(stored(worked), replace(site, packs=tuple(packs)))
    own = site.layout.cell_slices
    assert (back.cells.sigma_frac[own[1]] == 10.0).all()
    assert back.cells.sigma_frac[own[0]].tolist() == worked.cells.sigma_frac[own[0]].tolist()
    assert back.cells.sigma_frac[own[2]].tolist() == worked.cells.sigma_frac[own[2]].tolist()


def test_a_pack_that_now_reports_other_cells_starts_unknown(site, worked):
    back = health.load(stored(worked), reshape_packs(site, reported_cells=2))
    assert (back.cells.sigma_frac == 10.0).all()


def put(data, path, value):
    """The saved state with another value at this place."""
    *way, last = path
    for step in way:
        data = data[step]
    data[last] = value


CELLS = ("packs", "p1", "cells")
PACK = ("packs", "p1", "pack")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param((*CELLS, "soc_frac", 3), float("nan"), id="NaN"),
        pytest.param((*CELLS, "soc_frac", 3), 1.11, id="beyond the OCV table"),
        pytest.param((*CELLS, "soc_frac", 3), -0.11, id="below the OCV table"),
        pytest.param((*CELLS, "soc_frac", 3), "0.5", id="text"),
        pytest.param((*CELLS, "soc_frac", 3), None, id="null"),
        pytest.param((*CELLS, "soc_frac", 3), 10**400, id="no float"),
        pytest.param((*CELLS, "sigma_frac"), 0.1, id="one number for all cells"),
        pytest.param((*CELLS, "sigma_frac"), [0.1], id="a list of one"),
        pytest.param((*CELLS, "sigma_frac"), [0.1] * 15, id="a cell too few"),
        pytest.param((*CELLS, "sigma_frac"), [[0.1] * 16], id="nested"),
        pytest.param((*CELLS, "sigma_frac", 0), -0.1, id="a negative sigma"),
        pytest.param((*CELLS, "resistance_factor", 0), float("inf"), id="infinite"),
        pytest.param((*PACK, "bms_bias_frac"), [0.0], id="a list for one number"),
        pytest.param((*PACK, "bms_sigma_frac"), -0.1, id="a negative sigma of the BMS"),
        pytest.param(("packs",), [], id="packs are a list"),
        pytest.param(("packs", "p1"), [], id="a pack is a list"),
        pytest.param(("packs", "p1", "cells"), 5, id="cells are a number"),
        pytest.param(("day",), float("inf"), id="a day that is none"),
        pytest.param(("day",), 10**9, id="a day beyond the calendar"),
        pytest.param(("now_utc",), "2026-03-02T04:00:00", id="a time without a zone"),
        pytest.param(("now_utc",), "yesterday", id="no time"),
        pytest.param(("now_utc",), 7, id="a number for a time"),
    ],
)
def test_data_that_save_never_writes_are_refused(site, worked, path, value):
    data = stored(worked)
    health.load(data, site)
    put(data, path, value)
    with pytest.raises((ValueError, TypeError)):
        health.load(data, site)


@pytest.mark.parametrize("key", ["packs", "day", "now_utc"])
def test_incomplete_data_are_refused(site, worked, key):
    data = stored(worked)
    del data[key]
    with pytest.raises(KeyError):
        health.load(data, site)


def test_the_same_input_gives_the_same_state_bit_for_bit(site):
    def once():
        snapshots = (make_snapshot(site, 100.0 + k, current_a=7.0 * (k % 9)) for k in range(200))
        return run(site, health.initial(site), snapshots)

    (one, first), (two, second) = once(), once()
    assert health.save(one) == health.save(two)
    assert all(
        np.array_equal(getattr(first, name), getattr(second, name)) for name in first.__slots__
    )
