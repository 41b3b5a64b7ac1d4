"""SoC of every cell: counting, correction by voltage and BMS, honest sigma."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.model import Contactor, Quality, Reading
from ems.site import Chemistry
from tests.builders import good, make_site, make_snapshot, with_pack
from tests.health.drive import (
    all_packs,
    cells_lost,
    known_state,
    rest,
    run,
    without_bms_soc,
)

MISSING = Reading(None, 0.0, Quality.MISSING)
HOUR_S = 3600


@pytest.mark.parametrize(
    ("current_a", "hours", "moved_frac"),
    [
        pytest.param(39.0, 0.5, -0.25, id="half an hour at C/2 of 78 Ah: a quarter less"),
        pytest.param(-39.0, 0.5, 0.25, id="the same charging: a quarter more"),
        pytest.param(0.0, 0.5, 0.0, id="nothing flows, nothing moves"),
    ],
)
def test_counting_follows_the_charge(current_a, hours, moved_frac):
    site = make_site()
    blind = (
        without_bms_soc(cells_lost(make_snapshot(site, 100.0 + k, current_a=current_a)))
        for k in range(round(hours * HOUR_S) + 1)
    )
    state, _ = run(site, known_state(site, 0.5, 0.01), blind)
    assert state.cells.soc_frac == pytest.approx(0.5 + moved_frac, abs=1e-6)


@pytest.mark.parametrize(
    ("gap_s", "moved"),
    [
        pytest.param(10.0, True, id="at 10 s: still counted"),
        pytest.param(10.1, False, id="beyond: nobody knows what flowed"),
    ],
)
def test_a_long_gap_is_not_counted_but_costs_certainty(gap_s, moved):
    site = make_site()

    def blind(now_s):
        return without_bms_soc(cells_lost(make_snapshot(site, now_s, current_a=39.0)))

    start, _ = health.update(known_state(site, 0.5, 0.01), blind(100.0), site)
    after, _ = health.update(start, blind(100.0 + gap_s), site)
    assert (after.cells.soc_frac < start.cells.soc_frac).all() == moved
    grown = after.cells.sigma_frac - start.cells.sigma_frac
    if moved:
        assert (grown < 0.0005).all()
    else:
        assert grown == pytest.approx(0.5 * gap_s / HOUR_S)


def test_time_running_backwards_counts_nothing():
    site = make_site()
    start, _ = health.update(known_state(site, 0.5, 0.01), make_snapshot(site, 100.0), site)
    charging = without_bms_soc(cells_lost(make_snapshot(site, 90.0, current_a=-50.0)))
    after, _ = health.update(start, charging, site)
    assert after.cells.soc_frac == pytest.approx(start.cells.soc_frac)


@pytest.mark.parametrize("chemistry", [Chemistry.NMC, Chemistry.LMO])
@pytest.mark.parametrize("believed", [0.2, 0.85])
def test_a_wrong_soc_converges_where_the_curve_is_steep(chemistry, believed):
    site = make_site(chemistry=chemistry)
    snapshots = (without_bms_soc(rest(site, 100.0 + k, 0.5)) for k in range(1200))
    _, estimate = run(site, known_state(site, believed, 0.03), snapshots)
    assert estimate.soc_frac == pytest.approx(0.5, abs=0.07)
    assert (np.abs(estimate.soc_frac - 0.5) < 2.0 * estimate.soc_sigma_frac).all()


def test_the_first_rested_sample_is_believed_at_once():
    site = make_site(chemistry=Chemistry.NMC)
    _, estimate = health.update(health.initial(site), without_bms_soc(rest(site, 0.0, 0.4)), site)
    assert estimate.soc_frac == pytest.approx(0.4, abs=0.02)
    assert estimate.soc_known.all()


def test_without_cell_voltages_the_bms_starts_with_ten_points():
    site = make_site()
    _, estimate = health.update(health.initial(site), cells_lost(rest(site, 0.0, 0.62)), site)
    assert estimate.soc_frac == pytest.approx(0.62, abs=0.001)
    assert estimate.soc_sigma_frac == pytest.approx(0.10, abs=0.002)


def test_nothing_at_all_is_not_known():
    site = make_site()
    nothing = without_bms_soc(cells_lost(rest(site, 0.0, 0.5)))
    _, estimate = health.update(health.initial(site), nothing, site)
    assert not estimate.soc_known.any()
    assert estimate.soc_sigma_frac == pytest.approx(0.5)


def test_sigma_stays_honest_on_the_lfp_plateau():
    """Two hours of equal samples are no better than one: their error is the same error."""
    site = make_site(chemistry=Chemistry.LFP)
    snapshots = (without_bms_soc(rest(site, 100.0 + k, 0.5)) for k in range(0, 2 * HOUR_S, 5))
    _, estimate = run(site, health.initial(site), snapshots)
    assert (estimate.soc_sigma_frac > 0.06).all()
    off_by_8_mv = float(ocv.ocv_v(Chemistry.LFP, 0.5)) - 0.008
    shifted = (
        replace(s, cells=replace(s.cells, voltage_v=np.full(site.layout.n_cells, off_by_8_mv)))
        for s in (without_bms_soc(rest(site, 100.0 + k, 0.5)) for k in range(0, HOUR_S, 5))
    )
    _, estimate = run(site, health.initial(site), shifted)
    assert (np.abs(estimate.soc_frac - 0.5) < 2.0 * estimate.soc_sigma_frac).all()


def test_sigma_is_small_where_lfp_is_steep():
    site = make_site(chemistry=Chemistry.LFP)
    snapshots = (without_bms_soc(rest(site, 100.0 + k, 0.05)) for k in range(300))
    _, estimate = run(site, health.initial(site), snapshots)
    assert (estimate.soc_sigma_frac < 0.02).all()


def test_a_repeated_voltage_teaches_once():
    site = make_site(chemistry=Chemistry.NMC)

    def frozen(now_s):
        snapshot = without_bms_soc(rest(site, now_s, 0.5))
        return replace(
            snapshot,
            cells=replace(snapshot.cells, voltage_at_s=np.full(site.layout.n_cells, 100.0)),
        )

    seen, _ = health.update(known_state(site, 0.8, 0.05), frozen(100.0), site)
    seen = replace(seen, cells=replace(seen.cells, soc_frac=np.full(site.layout.n_cells, 0.8)))
    after, _ = run(site, seen, (frozen(101.0 + k) for k in range(120)))
    assert after.cells.soc_frac == pytest.approx(0.8)


@pytest.mark.parametrize("chemistry", [Chemistry.LFP, Chemistry.NMC])
@pytest.mark.parametrize("ramp_s", [0, 60], ids=["at once", "over a minute"])
def test_a_bms_that_resets_to_full_hardly_moves_the_estimate(chemistry, ramp_s):
    site = make_site(chemistry=chemistry)
    before, believed = run(
        site, health.initial(site), (rest(site, 100.0 + k, 0.6) for k in range(0, HOUR_S, 5))
    )

    def bms(k):
        return 1.0 if ramp_s == 0 else min(1.0, 0.6 + 0.4 * k / ramp_s)

    _, estimate = run(
        site, before, (rest(site, 3700.0 + k, 0.6, bms(k)) for k in range(0, 2 * HOUR_S, 5))
    )
    assert estimate.soc_frac == pytest.approx(believed.soc_frac, abs=0.03)


def test_a_bms_that_drifts_a_point_an_hour_is_found_out():
    site = make_site(chemistry=Chemistry.NMC)
    snapshots = (
        rest(site, 100.0 + k, 0.5, 0.5 + 0.01 * k / HOUR_S) for k in range(0, 10 * HOUR_S, 10)
    )
    state, estimate = run(site, health.initial(site), snapshots)
    assert estimate.soc_frac == pytest.approx(0.5, abs=0.02)
    assert state.packs.bms_bias_frac == pytest.approx(0.10, abs=0.03)


def test_a_bms_is_believed_again_after_the_current_was_lost():
    """Nobody counted for us, but the BMS did: its SoC bridges the gap, within its sigma."""
    site = make_site(chemistry=Chemistry.LFP)
    state, _ = run(site, health.initial(site), (rest(site, 100.0 + k, 0.6) for k in range(600)))
    unseen = (
        all_packs(rest(site, 700.0 + k, 0.6 - 0.1 * min(k, 1800) / 1800), current_a=MISSING)
        for k in range(HOUR_S)
    )
    _, estimate = run(site, state, unseen)
    assert (np.abs(estimate.soc_frac - 0.5) < 2.0 * estimate.soc_sigma_frac).all()
    assert (np.abs(estimate.soc_frac - 0.5) < 0.06).all()


@pytest.mark.parametrize(
    ("missing_s", "known"),
    [
        pytest.param(60, True, id="at the limit: still known"),
        pytest.param(61, False, id="beyond: unknown, whatever sigma says"),
    ],
)
def test_soc_is_unknown_a_minute_after_the_current_is_lost(missing_s, known):
    site = make_site(chemistry=Chemistry.NMC)
    state, first = health.update(health.initial(site), rest(site, 100.0, 0.5), site)
    lost = (with_pack(rest(site, 101.0 + k, 0.5), 1, current_a=MISSING) for k in range(missing_s))
    _, estimate = run(site, state, lost)
    assert first.soc_known.all()
    assert estimate.soc_known.tolist() == [True, known, True]
    assert estimate.current_a[1] == 0.0


def test_sigma_grows_fast_without_current():
    site = make_site(chemistry=Chemistry.NMC)
    state, first = health.update(health.initial(site), rest(site, 100.0, 0.5), site)
    lost = (
        without_bms_soc(with_pack(rest(site, 101.0 + k, 0.5), 1, current_a=MISSING))
        for k in range(HOUR_S // 6)
    )
    _, estimate = run(site, state, lost)
    grown = estimate.soc_sigma_frac - first.soc_sigma_frac
    assert grown[1] == pytest.approx(0.5 / 6.0, rel=0.15)
    assert grown[0] < 0.01


def test_an_open_contactor_is_a_current_of_zero():
    site = make_site(chemistry=Chemistry.NMC)
    opened = (
        with_pack(
            rest(site, 100.0 + k, 0.5),
            0,
            current_a=MISSING,
            contactor=good(float(Contactor.OPEN), 100.0 + k),
        )
        for k in range(300)
    )
    _, estimate = run(site, health.initial(site), opened)
    assert estimate.soc_known.all()


@pytest.mark.parametrize(
    ("hours", "known"),
    [
        pytest.param(0.5, True, id="half an hour: sigma grew, still usable"),
        pytest.param(2.0, False, id="two hours: that cell may be anywhere"),
    ],
)
def test_a_cell_nobody_sees_makes_its_pack_unknown(hours, known):
    site = make_site(chemistry=Chemistry.NMC)
    state, first = health.update(health.initial(site), rest(site, 100.0, 0.5), site)
    lost = (
        cells_lost(rest(site, 100.0 + k, 0.5), site.layout.cell_slices[1].start + 3)
        for k in range(5, round(hours * HOUR_S), 5)
    )
    _, estimate = run(site, state, lost)
    assert first.soc_known.all()
    assert estimate.soc_known.tolist() == [True, known, True]
    assert estimate.soc_sigma_frac[1] > estimate.soc_sigma_frac[0] + 0.04
    assert estimate.soc_frac == pytest.approx(0.5, abs=0.03)


def test_the_lowest_and_the_highest_cell_are_named():
    site = make_site(chemistry=Chemistry.NMC)
    volts = np.full(site.layout.n_cells, float(ocv.ocv_v(Chemistry.NMC, 0.5)))
    volts[[5, 16 + 9]] = ocv.ocv_v(Chemistry.NMC, 0.3)
    volts[[2, 16 + 0]] = ocv.ocv_v(Chemistry.NMC, 0.7)
    snapshots = (
        replace(s, cells=replace(s.cells, voltage_v=volts))
        for s in (rest(site, 100.0 + k, 0.5) for k in range(120))
    )
    _, estimate = run(site, health.initial(site), snapshots)
    assert estimate.weakest_cell.tolist()[:2] == [5, 9]
    assert estimate.fullest_cell.tolist()[:2] == [2, 0]
    assert estimate.soc_frac[:2] == pytest.approx(0.3, abs=0.03)
    ends = (estimate.ocv_cell_min_v[0], estimate.ocv_cell_max_v[0])
    assert ends == pytest.approx((volts[5], volts[2]), abs=0.02)


def test_arrays_of_the_estimate_are_read_only():
    site = make_site()
    _, estimate = health.update(health.initial(site), make_snapshot(site), site)
    with pytest.raises(ValueError, match="read-only"):
        estimate.soc_frac[0] = 1.0


@pytest.mark.parametrize(
    ("month", "sigma_frac"),
    [
        pytest.param(1, 0.010, id="on the day of the test"),
        pytest.param(7, 0.010 + 0.005 * 181 / 30.44, id="half a year later: 3 points more"),
    ],
)
def test_soh_grows_uncertain_with_the_age_of_the_test(month, sigma_frac):
    site = make_site()
    snapshot = make_snapshot(site)
    at_utc = snapshot.now_utc.replace(month=month, day=15)
    _, estimate = health.update(health.initial(site), replace(snapshot, now_utc=at_utc), site)
    assert estimate.soh_sigma_frac == pytest.approx(sigma_frac)


def test_a_wrong_clock_does_not_make_the_test_younger():
    site = make_site()
    state, first = health.update(health.initial(site), make_snapshot(site), site)
    lost_clock = replace(
        make_snapshot(site, 101.0),
        now_utc=make_snapshot(site).now_utc.replace(year=1970),
        clock_ok=False,
    )
    _, estimate = health.update(state, lost_clock, site)
    assert estimate.soh_sigma_frac == pytest.approx(first.soh_sigma_frac)


def test_what_a_wrong_capacity_costs_comes_back_on_the_way_back():
    """30 points out cost sigma; the same charge back in cancels the error, not adds to it."""
    site = make_site()
    repeated_s = np.zeros(site.layout.n_cells)

    def counted(first_s, current_a):
        """The BMS repeats one old frame of cell voltages: only the current tells."""
        for k in range(0, 2160, 5):
            snapshot = without_bms_soc(make_snapshot(site, first_s + k, current_a=current_a))
            yield replace(snapshot, cells=replace(snapshot.cells, voltage_at_s=repeated_s))

    start = known_state(site, 0.70, 0.02)
    start = replace(start, cells=replace(start.cells, seen_at_s=repeated_s))
    out, low = run(site, start, counted(100.0, 39.0))
    _, back = run(site, out, counted(2260.0, -39.0))
    capacity_error = np.hypot(np.hypot(0.01 / 0.78, 0.08), 0.01)
    assert low.soc_sigma_frac == pytest.approx(np.hypot(0.0205, capacity_error * 0.30), abs=0.002)
    assert back.soc_sigma_frac == pytest.approx(0.0205, abs=0.001)
    assert back.soc_frac == pytest.approx(0.70, abs=0.002)


def test_a_plateau_takes_no_certainty_away():
    site = make_site(chemistry=Chemistry.LFP)
    snapshots = (without_bms_soc(rest(site, 100.0 + k, 0.5)) for k in range(0, 1200, 5))
    _, estimate = run(site, known_state(site, 0.55, 0.03), snapshots)
    assert estimate.soc_frac == pytest.approx(0.55, abs=0.005)
    assert estimate.soc_sigma_frac == pytest.approx(0.03, abs=0.001)


@pytest.mark.parametrize(
    ("quality", "used"),
    [
        (Quality.GOOD, True),
        (Quality.UNCERTAIN, True),
        (Quality.STALE, False),
        (Quality.BAD, False),
        (Quality.MISSING, False),
    ],
)
def test_only_usable_voltages_teach(quality, used):
    site = make_site(chemistry=Chemistry.NMC)

    def shown(now_s):
        snapshot = without_bms_soc(rest(site, now_s, 0.3))
        marked = np.full(site.layout.n_cells, quality, np.uint8)
        return replace(snapshot, cells=replace(snapshot.cells, voltage_quality=marked))

    state, _ = run(site, known_state(site, 0.6, 0.10), (shown(100.0 + k) for k in range(300)))
    assert (state.cells.soc_frac < 0.35).all() == used
    assert (state.cells.soc_frac == 0.6).all() != used


@pytest.mark.parametrize("ramp_s", [0, 300], ids=["at once", "over five minutes"])
def test_a_reset_is_seen_through_even_when_only_the_bms_is_left(ramp_s):
    """No cell voltages, so the BMS would teach; what it moves without current is its bias."""
    site = make_site(chemistry=Chemistry.LFP)

    def alone(first_s, soc_of, duration_s):
        return (
            cells_lost(rest(site, first_s + k, 0.6, soc_of(k))) for k in range(0, duration_s, 10)
        )

    def bms(k):
        return 1.0 if ramp_s == 0 else min(1.0, 0.6 + 0.4 * k / ramp_s)

    before, _ = run(site, health.initial(site), alone(100.0, lambda k: 0.6, HOUR_S))
    state, estimate = run(site, before, alone(3700.0, bms, HOUR_S))
    assert estimate.soc_frac == pytest.approx(0.6, abs=0.05)
    assert state.packs.bms_bias_frac == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize(
    ("bms_soc_frac", "taught"),
    [
        pytest.param(0.75, True, id="65 points off, within 3 sigma of 12 + 10: believed a little"),
        pytest.param(0.77, False, id="67 points off, beyond: a contradiction teaches nothing"),
    ],
)
def test_a_contradiction_is_not_averaged(bms_soc_frac, taught):
    site = make_site(chemistry=Chemistry.LFP)
    shown = cells_lost(rest(site, 100.0, 0.1, bms_soc_frac))
    state, _ = health.update(known_state(site, 0.1, 0.12), shown, site)
    assert (state.cells.soc_frac > 0.1).all() == taught
    assert (state.packs.bms_sigma_frac > 0.10).all() != taught


def test_a_pack_that_answers_late_is_known_two_cycles_later():
    """Devices answer one after another in the first seconds; none waits for the next look."""
    site = make_site(chemistry=Chemistry.NMC)
    state = health.initial(site)
    for second in range(5):
        silent = without_bms_soc(cells_lost(rest(site, float(second), 0.6)))
        state, estimate = health.update(state, silent, site)
        assert not estimate.soc_known.any()
    for second in (5.0, 6.0):
        state, estimate = health.update(state, rest(site, second, 0.6), site)
    assert estimate.soc_known.all()
    assert estimate.soc_frac == pytest.approx(0.6, abs=0.03)
    assert (estimate.soc_sigma_frac > 0.01).all()
