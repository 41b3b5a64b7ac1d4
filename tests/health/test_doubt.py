"""Readings that contradict each other never make an SoC that is shown as good."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.site import Chemistry
from tests.builders import NOON_UTC, good, make_site, make_snapshot, with_pack
from tests.health.drive import known_state, run

OHM = 0.0012
"""Of a group by intake, at 25 degC."""
CYCLE_S = 5
SITE = make_site(chemistry=Chemistry.NMC)


def pulsed(second):
    """Current of a pack at work: 30 A for five minutes, 5 A for five, A."""
    return 30.0 if second % 600 < 300 else 5.0


def living(seconds, reported_a=pulsed, cell_v=None, dc_a=None, soc_frac=0.6):
    """Snapshots of three packs drawn from ``soc_frac``; pack 1 is wrong where asked to be."""
    own = SITE.layout.cell_slices[1]
    soc = soc_frac
    for second in range(0, seconds, CYCLE_S):
        soc -= pulsed(second) * CYCLE_S / 3600.0 / 78.0
        volts = float(ocv.ocv_v(Chemistry.NMC, soc)) - 0.84 * OHM * pulsed(second)
        # The last digit of a living voltage is never still.
        volts += 0.001 * (second // CYCLE_S % 2)
        now_s = 100.0 + second
        snapshot = make_snapshot(SITE, now_s, cell_v=volts, current_a=pulsed(second), soc_frac=soc)
        snapshot = with_pack(snapshot, 1, current_a=good(reported_a(second), now_s))
        if cell_v is not None:
            shown = snapshot.cells.voltage_v.copy()
            shown[own] = cell_v(second, volts)
            snapshot = replace(snapshot, cells=replace(snapshot.cells, voltage_v=shown))
        if dc_a is not None:
            converters = list(snapshot.converters)
            converters[1] = replace(converters[1], dc_current_a=good(dc_a(second), now_s))
            snapshot = replace(snapshot, converters=tuple(converters))
        yield replace(snapshot, now_utc=NOON_UTC + timedelta(seconds=now_s))


def after(snapshots):
    return run(SITE, known_state(SITE, 0.6, 0.02), snapshots)


def test_packs_that_agree_with_themselves_are_known():
    state, estimate = after(living(3600))
    assert estimate.soc_known.all()
    assert not state.doubt.frozen.any()
    assert not state.doubt.denied.any()


def test_a_voltage_that_never_moves_under_changing_load_is_not_believed():
    state, estimate = after(living(1200, cell_v=lambda second, volts: 3.7))
    assert estimate.soc_known.tolist() == [True, False, True]
    assert state.doubt.frozen[SITE.layout.cell_slices[1]].all()
    assert not state.doubt.frozen[SITE.layout.cell_slices[0]].any()


@pytest.mark.parametrize(
    ("frozen_a", "minutes", "known"),
    [
        pytest.param(30.0, 3, True, id="three minutes, 2 points of charge: could be so"),
        pytest.param(30.0, 8, False, id="eight minutes, 5 points: had to move"),
        pytest.param(0.0, 60, True, id="an hour without current: is at rest"),
    ],
)
def test_a_pack_that_repeats_voltage_and_current(frozen_a, minutes, known):
    """Its BMS hangs, its clock and its counter go on."""
    frozen = living(
        60 * minutes,
        reported_a=lambda second: frozen_a,
        cell_v=lambda second, volts: 3.8,
        dc_a=lambda second: frozen_a,
    )
    _, estimate = after(frozen)
    assert estimate.soc_known.tolist() == [True, known, True]


def test_one_frozen_cell_costs_its_pack_certainty():
    first = SITE.layout.cell_slices[1].start

    def one(second, volts):
        shown = np.full(16, volts)
        shown[4] = 3.75
        return shown

    state, estimate = after(living(2 * 3600, cell_v=one))
    assert state.doubt.frozen.nonzero()[0].tolist() == [first + 4]
    assert estimate.soc_known.tolist() == [True, False, True]
    assert estimate.soc_sigma_frac[1] > estimate.soc_sigma_frac[0] + 0.10


def test_a_current_with_its_sign_turned_is_not_believed():
    """The load goes up, the voltage goes down, and the BMS calls it charging."""
    state, estimate = after(living(3600, reported_a=lambda second: -pulsed(second), dc_a=pulsed))
    assert state.doubt.denied.tolist() == [False, True, False]
    assert estimate.soc_known.tolist() == [True, False, True]
    assert estimate.current_a[1] == 0.0


def test_a_turned_sign_that_was_put_right_is_forgiven():
    wrong, _ = after(living(3600, reported_a=lambda second: -pulsed(second)))
    right = (
        replace(
            s,
            now_s=s.now_s + 3600.0,
            cells=replace(s.cells, voltage_at_s=s.cells.voltage_at_s + 3600.0),
        )
        for s in living(3600)
    )
    right = (
        replace(
            s,
            packs=tuple(
                replace(
                    p,
                    current_a=good(p.current_a.value, s.now_s),
                    soc_frac=good(p.soc_frac.value, s.now_s),
                )
                for p in s.packs
            ),
        )
        for s in right
    )
    state, _ = run(SITE, wrong, right)
    assert not state.doubt.denied.any()


@pytest.mark.parametrize(
    ("told_a", "known"),
    [
        pytest.param(0.0, False, id="rest is told while the converter moves 30 A"),
        pytest.param(26.0, True, id="4 A apart: within 5 % of C and 10 %"),
    ],
)
def test_a_current_the_converter_contradicts(told_a, known):
    snapshots = living(600, reported_a=lambda second: told_a, dc_a=lambda second: 30.0)
    _, estimate = after(snapshots)
    assert estimate.soc_known.tolist() == [True, known, True]


def test_a_gap_of_minutes_costs_certainty_and_is_told():
    before, first = after(living(600))
    gap_s = 1800.0
    later = make_snapshot(SITE, 100.0 + 600.0 + gap_s, cell_v=3.3, soc_frac=0.6)
    cells = replace(later.cells, voltage_quality=np.full(SITE.layout.n_cells, 3, np.uint8))
    _, estimate = health.update(before, replace(later, cells=cells), SITE)
    assert first.soc_known.all()
    assert not estimate.soc_known.any()


def tapering(second):
    """Current of a charge at constant voltage: from 30 A down by half every ten minutes."""
    return -30.0 * 0.5 ** (second / 600.0)


def charging(site, volts, current_a, minutes):
    """Every cell of every pack at this voltage to the last digit, at this current."""
    for second in range(0, 60 * minutes, CYCLE_S):
        now_s = 100.0 + second
        amps = current_a(second)
        snapshot = make_snapshot(site, now_s, cell_v=volts, current_a=amps, soc_frac=0.9)
        yield replace(snapshot, now_utc=NOON_UTC + timedelta(seconds=now_s))


@pytest.mark.parametrize(
    ("chemistry", "volts", "soc_frac"),
    [
        pytest.param(Chemistry.NMC, 4.10, 0.88, id="NMC at 4.10 V"),
        pytest.param(Chemistry.LFP, 3.45, 0.97, id="LFP at 3.45 V"),
        pytest.param(Chemistry.LMO, 4.10, 0.92, id="LMO at 4.10 V"),
        pytest.param(Chemistry.LTO, 2.60, 0.92, id="LTO at 2.60 V"),
    ],
)
def test_a_charge_at_constant_voltage_is_no_frozen_sensor(chemistry, volts, soc_frac):
    """The charger holds the voltage of all groups for an hour, only the current falls."""
    site = make_site(chemistry=chemistry)
    before = known_state(site, soc_frac, 0.02)
    for minutes in (5, 20, 60):
        snapshots = charging(site, volts, tapering, minutes)
        state, estimate = run(site, before, snapshots)
        assert not state.doubt.frozen.any()
        assert estimate.soc_known.all()
        assert (estimate.soc_sigma_frac < 0.05).all()


@pytest.mark.parametrize(
    ("volts", "current_a", "minutes"),
    [
        pytest.param(3.80, tapering, 40, id="falling current, but the middle of the curve"),
        pytest.param(4.10, lambda second: -30.0, 10, id="the top, but the current stays"),
        pytest.param(4.10, lambda second: -5.0 - second / 20.0, 10, id="the current grows"),
        pytest.param(4.10, lambda second: -tapering(second), 40, id="a discharge"),
        pytest.param(
            4.10,
            lambda second: tapering(second) if second < 1800 else 30.0,
            36,
            id="the discharge after it",
        ),
    ],
)
def test_a_frozen_sensor_is_no_charge_at_constant_voltage(volts, current_a, minutes):
    before = known_state(SITE, 0.85, 0.02)
    state, estimate = run(SITE, before, charging(SITE, volts, current_a, minutes))
    assert state.doubt.frozen.all()
    assert not estimate.soc_known.any()
