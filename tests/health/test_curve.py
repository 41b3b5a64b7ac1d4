"""How far a pack lies from the OCV table is learned from how its voltages follow the count."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.health.prepare import prepare
from ems.health.soc import curve
from ems.site import Chemistry
from tests.builders import make_site, make_snapshot
from tests.health.drive import known_state, run, without_bms_soc

SITE = make_site(n_packs=1, chemistry=Chemistry.NMC)
AMPS = 26.0
"""A third of the capacity per hour."""


def swept(bend_v, swings=4):
    """The pack swings between 80 and 30 %; its curve lies off by ``bend_v`` times a wave."""
    soc, sign = 0.8, 1.0
    for k in range(round(swings * 1.5 * 360)):
        soc -= sign * AMPS * 10.0 / 3600.0 / 78.0
        sign = 1.0 if soc > 0.8 else -1.0 if soc < 0.3 else sign
        bent_v = bend_v * np.sin(2.0 * np.pi * soc / 0.3)
        # At rest as far as the voltage goes: resistance is not what is asked here.
        drop_v = sign * AMPS * 0.0012 * 1.61
        volts = float(ocv.ocv_v(Chemistry.NMC, soc)) + bent_v - drop_v
        shown = make_snapshot(SITE, 100.0 + 10.0 * k, cell_v=volts, current_a=sign * AMPS)
        yield without_bms_soc(shown)


@pytest.mark.parametrize(
    ("bend_v", "low_v", "high_v"),
    [
        pytest.param(0.0, 0.0, 0.006, id="follows the table: sure within days"),
        pytest.param(0.030, 0.012, 0.040, id="30 mV off in waves: stays unsure"),
    ],
)
def test_the_error_of_the_curve_is_learned(bend_v, low_v, high_v):
    state, _ = run(SITE, known_state(SITE, 0.8, 0.02), swept(bend_v))
    learned_v = curve.sigma_v(state.packs, prepare(SITE))
    assert low_v < learned_v[0] < high_v


def test_before_anything_moved_it_is_that_of_the_chemistry():
    state = health.initial(SITE)
    assert curve.sigma_v(state.packs, prepare(SITE)) == pytest.approx(0.020)


def test_no_pack_is_ever_surer_than_the_floor():
    site = make_site(n_packs=1, chemistry=Chemistry.LFP)
    packs = replace(health.initial(site).packs, curve_weight=np.full(1, 60.0))
    assert curve.sigma_v(packs, prepare(site)) == pytest.approx(0.003)
