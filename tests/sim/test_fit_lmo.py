"""The shipped LMO numbers are those the measured records give."""

import os
from pathlib import Path

import numpy as np
import pytest

from ems.health import ocv
from ems.site import Chemistry
from sim import fit_lmo
from sim.chemistry import CELL

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def fits():
    folder = os.environ.get("SECONDLIFE_EMS_DATA")
    if not folder:
        pytest.skip("SECONDLIFE_EMS_DATA is not set")
    return fit_lmo.run(Path(folder))


def test_shipped_table_is_the_fitted_one(fits):
    fit, _ = fits
    shipped_v = ocv.ocv_v(Chemistry.LMO, fit.soc_frac)
    assert shipped_v == pytest.approx(fit.ocv_v, abs=0.0002)


def test_table_reproduces_the_slow_cycle_within_2_mv(fits):
    assert fits[0].rmse_v < 0.002


def test_table_meets_the_one_hour_rests_of_the_other_record_within_8_mv(fits):
    # Another run of the cell, not used in the fit: an independent check.
    fit, _ = fits
    shipped_v = ocv.ocv_v(Chemistry.LMO, fit.rest_soc_frac)
    assert np.sqrt(np.mean((shipped_v - fit.rest_v) ** 2)) < 0.008
    assert fit.rest_soc_frac.size == 9


def test_fixture_resistance_is_seen_and_removed(fits):
    # The C/15 voltage jumps by 0.24 V at 2.17 A: wires, not the cell (1.6 mohm).
    assert 0.09 < fits[0].lead_ohm < 0.13


def test_resistances_of_the_model_are_the_fitted_ones(fits):
    _, rc = fits
    ten_s_ohm = rc.r0_ohm + sum(
        r * (1.0 - np.exp(-10.0 / tau))
        for r, tau in ((rc.r1_ohm, rc.tau1_s), (rc.r2_ohm, rc.tau2_s))
    )
    model = CELL[Chemistry.LMO]
    assert model.r0_share == pytest.approx(rc.r0_ohm / ten_s_ohm, abs=0.005)
    assert model.r1_share == pytest.approx(rc.r1_ohm / ten_s_ohm, abs=0.005)
    assert model.r2_share == pytest.approx(rc.r2_ohm / ten_s_ohm, abs=0.005)
    assert (model.tau1_s, model.tau2_s) == (rc.tau1_s, rc.tau2_s)
    assert rc.rmse_v < 0.001


def test_r0_agrees_with_the_note_on_the_data(fits):
    # The data's own description: about 1.6 mohm from the 30 A pulses.
    assert fits[1].r0_ohm == pytest.approx(0.0016, rel=0.1)
