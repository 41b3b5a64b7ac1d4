"""Deliverable energy and the hours it gives the critical load."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.health.backup.site import STOP_CAUSE, STOP_LEVEL, STOP_V
from ems.model import Contactor, ConverterState, Quality, Reading, SiteEstimate, Standing
from ems.safety.table import ROW_OF_ID
from ems.site import BackupSpec, Chemistry, SiteKind, ThresholdOverride
from tests.builders import good, make_site, make_snapshot, with_pack
from tests.health.drive import wide_limits

MISSING = Reading(None, 0.0, Quality.MISSING)


def known(site, soc_frac=0.6, **changes):
    """The estimate of packs at rest at this SoC at 25 degC, with chosen values in its place."""
    n = site.n_packs

    def each(value):
        return np.array([float(value(pack)) for pack in site.packs])

    cell_v = each(lambda pack: ocv.ocv_v(pack.chemistry, soc_frac))
    pack_v = cell_v * each(lambda pack: pack.series_cells)
    worst_ohm = each(lambda pack: pack.group_resistance_ohm * pack.resistance_ratio)
    exact = {
        "soc_frac": np.full(n, soc_frac),
        "soc_sigma_frac": np.full(n, 0.03),
        "soc_known": np.ones(n, bool),
        "weakest_cell": np.zeros(n, int),
        "fullest_cell": np.zeros(n, int),
        "capacity_ah": each(lambda pack: pack.rated_ah * pack.soh_frac),
        "soh_frac": each(lambda pack: pack.soh_frac),
        "soh_sigma_frac": each(lambda pack: pack.soh_sigma_frac),
        "resistance_ratio": each(lambda pack: pack.resistance_ratio),
        "resistance_ohm": worst_ohm * each(lambda pack: pack.series_cells),
        "ocv_v": pack_v,
        "ocv_cell_min_v": cell_v,
        "ocv_cell_max_v": cell_v,
        "group_resistance_max_ohm": worst_ohm,
        "voltage_v": pack_v,
        "current_a": np.zeros(n),
        "soc_max_frac": np.full(n, soc_frac),
    }
    return SiteEstimate(**(exact | changes))


def only(site, count, **changes):
    """The estimate in which the packs beyond the first ``count`` are unknown."""
    return known(site, soc_known=np.arange(site.n_packs) < count, **changes)


def held(site, grid_lost=False, stopped=()):
    """The gate's verdict of the cycle before."""
    return Standing(grid_lost, tuple(i not in stopped for i in range(site.n_packs)))


def backup(site, estimate=None, limits=None, snapshot=None, standing=None, notice_hours=0.0):
    return health.deliverable(
        estimate if estimate is not None else known(site),
        limits if limits is not None else wide_limits(site),
        snapshot if snapshot is not None else make_snapshot(site),
        standing if standing is not None else held(site),
        notice_hours,
        site,
    )


@pytest.mark.parametrize("chemistry", list(Chemistry))
def test_energy_is_the_integral_over_the_weakest_groups_charge(chemistry):
    site = make_site(chemistry=chemistry, critical_w=1.0)
    soc = np.linspace(0.10, 0.60, 2001)
    volts = ocv.ocv_v(chemistry, soc)
    expected_wh = 16 * 78.0 * float(np.sum((volts[1:] + volts[:-1]) / 2.0) * (soc[1] - soc[0]))
    assert backup(site).pack_energy_wh == pytest.approx(expected_wh, rel=0.001)


def test_headroom_is_what_the_fullest_group_still_takes():
    site = make_site(chemistry=Chemistry.NMC)
    estimate = known(site, ocv_cell_max_v=np.full(3, float(ocv.ocv_v(Chemistry.NMC, 0.9))))
    got = backup(site, estimate).pack_headroom_wh
    assert got == pytest.approx(16 * 78.0 * 0.05 * 4.1, rel=0.01)


def test_carrying_the_load_costs_resistance():
    """667 W each, 1.038 of it and 20 W at the terminals: 13.5 A through 1.61 times 19.2 mohm."""
    light, heavy = make_site(critical_w=1.0), make_site(critical_w=2_000.0)
    lost_wh = backup(light).pack_energy_wh - backup(heavy).pack_energy_wh
    drop_v = (667.0 * 1.0375 - 0.4) / 52.6 * 1.61 * 16 * 0.0012
    assert lost_wh == pytest.approx(drop_v * 78.0 * 0.5, rel=0.02)


def test_hours_are_energy_over_the_critical_load():
    """Each converter, half its 2.6 kW at 95 %: 20 W of standby and 3.75 % of what it gives."""
    site = make_site(critical_w=2_000.0)
    result = backup(site)
    kept = 666.7 / (666.7 * (1.0 / 0.95 - 2.0 * 20.0 / 2_640.0) + 20.0)
    assert result.energy_wh == pytest.approx(kept * result.pack_energy_wh.sum(), rel=1e-4)
    assert result.hours == pytest.approx(result.energy_wh / 2_000.0)
    assert result.hours_low == pytest.approx(result.energy_low_wh / 2_000.0)
    assert 0.0 < result.energy_low_wh < result.energy_wh


def test_standby_of_the_converters_outweighs_a_tiny_load():
    site = make_site(critical_w=6.0)
    assert backup(site).hours == pytest.approx(backup(site).pack_energy_wh.sum() / 66.2, rel=0.01)


def test_a_direct_bus_has_no_converter_to_lose_in():
    site = make_site(SiteKind.DIRECT_BUS)
    result = backup(site)
    assert result.energy_wh == pytest.approx(result.pack_energy_wh.sum())


def asking_for(confidence):
    """A site whose lower bound must hold with this probability."""
    site = make_site()
    return replace(site, backup=replace(site.backup, confidence=confidence))


def test_the_bound_takes_off_the_error_of_soc_once_and_in_full():
    """One pack, SoC wrong by 3 points at 1.645 sigma: 78 Ah times 53 V is 4.1 kWh for all of it."""
    site = make_site(n_packs=1, critical_w=500.0)
    exact = {"soh_sigma_frac": np.zeros(1)}
    sure, unsure = (
        backup(site, known(site, soc_sigma_frac=np.full(1, sigma), **exact))
        for sigma in (0.0, 0.03)
    )
    assert unsure.energy_wh == sure.energy_wh
    taken_wh = sure.energy_wh - sure.energy_low_wh
    expected_wh = float(np.hypot(1.645 * 0.03 * 78.0 * 52.9 * 0.94, taken_wh))
    assert unsure.energy_wh - unsure.energy_low_wh == pytest.approx(expected_wh, rel=0.03)


def test_errors_of_many_packs_partly_cancel():
    """Half the variance of SoC is their own: four packs err by less than four times one."""

    def share_taken(n_packs):
        site = make_site(n_packs=n_packs, critical_w=400.0 * n_packs)
        result = backup(site)
        return 1.0 - result.energy_low_wh / result.energy_wh

    assert 0.75 * share_taken(1) < share_taken(4) < 0.9 * share_taken(1)


@pytest.mark.parametrize(
    ("field", "values", "rising"),
    [
        ("soc_sigma_frac", (0.0, 0.01, 0.05, 0.15, 0.5), False),
        ("soh_sigma_frac", (0.0, 0.01, 0.05, 0.2, 0.6), False),
        ("capacity_ah", (10.0, 40.0, 78.0, 100.0), True),
        ("resistance_ohm", (0.0, 0.02, 0.1, 1.0, 10.0), False),
    ],
)
def test_the_lower_bound_is_monotone(field, values, rising):
    site = asking_for(0.999)
    lows = [
        backup(site, known(site, **{field: np.full(3, value)})).energy_low_wh for value in values
    ]
    assert lows == sorted(lows, reverse=not rising)
    assert lows[0] != lows[-1]
    assert min(lows) >= 0.0


def test_energy_falls_with_the_floor_and_headroom_with_the_ceiling():
    site = make_site()
    floors = [0.0, 0.1, 0.3, 0.59, 0.6, 0.9]
    energies = [
        backup(site, limits=wide_limits(site, soc_low_frac=np.full(3, floor))).energy_wh
        for floor in floors
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[-3] > 0.0
    assert energies[-2:] == pytest.approx([0.0, 0.0], abs=1.0)
    ceilings = [1.0, 0.95, 0.7, 0.6, 0.3]
    rooms = [
        backup(site, limits=wide_limits(site, soc_high_frac=np.full(3, c))).pack_headroom_wh[0]
        for c in ceilings
    ]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[-1] == 0.0


def test_more_confidence_promises_less():
    def low(confidence):
        site = replace(make_site(), backup=BackupSpec(1.0, 2_000.0, confidence, None))
        return backup(site).energy_low_wh

    assert low(0.5) == pytest.approx(backup(make_site()).energy_wh)
    assert low(0.5) > low(0.84) > low(0.95) > low(0.999)


def test_an_unknown_soc_is_no_energy_and_no_room():
    site = make_site()
    result = backup(site, known(site, soc_known=np.array([True, False, True])))
    assert result.pack_energy_wh[1] == 0.0
    assert result.pack_headroom_wh[1] == 0.0
    assert result.energy_wh == pytest.approx(backup(site).energy_wh * 2 / 3, rel=0.01)
    assert result.energy_low_wh == pytest.approx(backup(site).energy_low_wh * 2 / 3, rel=0.02)


@pytest.mark.parametrize(
    ("contactor", "current_a", "packs_counted", "packs_sure"),
    [
        pytest.param(good(float(Contactor.CLOSED)), 0.0, 3, 3, id="closed"),
        pytest.param(good(float(Contactor.OPEN)), 0.0, 2, 2, id="open"),
        pytest.param(good(float(Contactor.PRECHARGE)), 0.0, 2, 2, id="pre-charging"),
        pytest.param(good(float(Contactor.FAULT)), 0.0, 2, 2, id="fault"),
        pytest.param(MISSING, 0.0, 3, 2, id="unknown: not for the bound"),
        pytest.param(MISSING, 0.78, 3, 2, id="unknown, at 0.01 C: not yet evidence"),
        pytest.param(MISSING, 0.79, 3, 3, id="unknown but evidently carrying current"),
        pytest.param(MISSING, -0.79, 3, 3, id="unknown but evidently charging"),
    ],
)
def test_only_connected_packs_count(contactor, current_a, packs_counted, packs_sure):
    site = make_site()
    snapshot = with_pack(make_snapshot(site), 2, contactor=contactor)
    estimate = known(site, current_a=np.array([0.0, 0.0, current_a]))
    result = backup(site, estimate, snapshot=snapshot)
    counted, sure = (backup(site, only(site, n)) for n in (packs_counted, packs_sure))
    assert result.energy_wh == pytest.approx(counted.energy_wh)
    assert result.energy_low_wh == pytest.approx(sure.energy_low_wh, rel=0.01)
    assert result.pack_energy_wh == pytest.approx(backup(site).pack_energy_wh, rel=0.01)


def with_converter(snapshot, index, **changes):
    converters = list(snapshot.converters)
    converters[index] = replace(converters[index], **changes)
    return replace(snapshot, converters=tuple(converters))


def code(state):
    return good(float(state))


@pytest.mark.parametrize(
    ("state", "current_a", "packs_counted", "packs_sure"),
    [
        pytest.param(code(ConverterState.RUN), 0.0, 3, 3, id="runs"),
        pytest.param(code(ConverterState.STANDBY), 0.0, 3, 3, id="stands by"),
        pytest.param(code(ConverterState.ISLAND), 0.0, 3, 3, id="forms the grid"),
        pytest.param(code(ConverterState.FAULT), 0.0, 2, 2, id="at fault"),
        pytest.param(code(ConverterState.FAULT), 5.0, 2, 2, id="at fault, whatever flows"),
        pytest.param(code(ConverterState.OFF), 0.0, 2, 2, id="off"),
        pytest.param(
            replace(code(ConverterState.RUN), quality=Quality.UNCERTAIN), 0.0, 3, 3, id="uncertain"
        ),
        pytest.param(MISSING, 0.0, 3, 2, id="silent: not for the bound"),
        pytest.param(
            replace(code(ConverterState.FAULT), quality=Quality.STALE), 0.0, 3, 2, id="stale"
        ),
        pytest.param(MISSING, 0.78, 3, 2, id="silent, at 0.01 C: not yet evidence"),
        pytest.param(MISSING, 0.79, 3, 3, id="silent, but its pack evidently works"),
    ],
)
def test_only_packs_with_a_working_converter_count(state, current_a, packs_counted, packs_sure):
    site = make_site()
    snapshot = with_converter(make_snapshot(site), 2, state=state)
    estimate = known(site, current_a=np.array([0.0, 0.0, current_a]))
    result = backup(site, estimate, snapshot=snapshot)
    counted, sure = (backup(site, only(site, n)) for n in (packs_counted, packs_sure))
    assert result.energy_wh == pytest.approx(counted.energy_wh)
    assert result.energy_low_wh == pytest.approx(sure.energy_low_wh, rel=0.01)
    assert result.hours == pytest.approx(counted.hours)
    assert result.pack_energy_wh == pytest.approx(backup(site).pack_energy_wh, rel=0.01)


def test_behind_one_converter_all_packs_go_with_it():
    site = make_site(SiteKind.SHARED_DC_BUS)
    snapshot = with_converter(make_snapshot(site), 0, state=code(ConverterState.FAULT))
    assert backup(site).energy_low_wh > 0.0
    result = backup(site, snapshot=snapshot)
    assert (result.energy_wh, result.energy_low_wh) == (0.0, 0.0)


@pytest.mark.parametrize("state", [MISSING, code(ConverterState.OFF), code(ConverterState.FAULT)])
def test_on_a_direct_bus_the_shelf_does_not_matter(state):
    site = make_site(SiteKind.DIRECT_BUS)
    whole = backup(site)
    result = backup(site, snapshot=with_converter(make_snapshot(site), 0, state=state))
    assert whole.energy_low_wh > 0.0
    assert (result.energy_wh, result.energy_low_wh) == (whole.energy_wh, whole.energy_low_wh)


@pytest.mark.parametrize("kind", list(SiteKind))
@pytest.mark.parametrize("grid_lost", [False, True])
def test_a_pack_whose_discharge_the_gate_stops_does_not_count(kind, grid_lost):
    site = make_site(kind)
    two = backup(site, only(site, 2))
    result = backup(site, standing=held(site, grid_lost, stopped=(1,)))
    assert two.energy_low_wh > 0.0
    assert result.energy_wh == pytest.approx(two.energy_wh)
    assert result.energy_low_wh == pytest.approx(two.energy_low_wh)


def test_a_common_bus_shares_by_conductance():
    """Three packs alike but for resistance: the others drop out late, none carries it alone."""
    site = make_site(SiteKind.SHARED_DC_BUS, critical_w=3_000.0)
    alike = known(site)
    uneven = known(site, resistance_ohm=alike.resistance_ohm * np.array([0.25, 1.0, 1.0]))
    limits = wide_limits(site, discharge_w=np.full(3, 1_400.0))
    assert backup(site, alike, limits).hours > 1.0
    assert backup(site, uneven, limits).hours == 0.0, "the best conductor is overloaded"


@pytest.mark.parametrize("kind", list(SiteKind))
def test_cold_costs_energy_and_in_the_end_all_of_it(kind):
    """Resistance 1, 3, 9 and 40 times as at 25 degC."""
    site = make_site(kind, critical_w=3_000.0)
    warm = known(site)
    energies = [
        backup(
            site,
            replace(
                warm,
                resistance_ohm=ratio * warm.resistance_ohm,
                group_resistance_max_ohm=ratio * warm.group_resistance_max_ohm,
            ),
        ).energy_wh
        for ratio in (1.0, 3.0, 9.0, 40.0)
    ]
    assert energies == sorted(energies, reverse=True)
    assert energies[1] < 0.99 * energies[0]
    assert energies[3] == 0.0


def test_the_disconnect_of_a_direct_bus_ends_it_before_the_floor():
    """16 groups at an OCV of 3.2 V and more down to the floor of 10 %: 51.2 V is above it."""

    def energy_wh(lvd_v):
        site = make_site(SiteKind.DIRECT_BUS)
        shelf = replace(site.converters[0].rectifier, lvd_disconnect_v=lvd_v)
        converters = (replace(site.converters[0], rectifier=shelf),)
        return backup(replace(site, converters=converters)).energy_wh

    assert energy_wh(43.2) == energy_wh(40.0), "the floor is reached first"
    assert 0.0 < energy_wh(51.8) < 0.95 * energy_wh(43.2)
    assert energy_wh(54.0) == 0.0


def test_the_stop_under_load_is_that_of_the_interlock_table():
    for chemistry, (stop_v, slope_v) in STOP_V.items():
        row = ROW_OF_ID[STOP_CAUSE]
        assert row.limit[chemistry][STOP_LEVEL - 1] == stop_v
        assert row.tighten[chemistry][STOP_LEVEL - 1] == slope_v


def test_a_site_that_stops_its_cells_earlier_has_less():
    site = make_site(critical_w=2_000.0)
    override = ThresholdOverride(STOP_CAUSE, STOP_LEVEL, 3.24, "maker's letter")
    tight = replace(site, safety=replace(site.safety, overrides=(override,)))
    assert 0.0 < backup(tight).energy_wh < 0.95 * backup(site).energy_wh


@pytest.mark.parametrize(
    ("kind", "share"),
    [
        pytest.param(SiteKind.OWN_CONVERTERS, 3.0, id="three converters add up"),
        pytest.param(SiteKind.SHARED_DC_BUS, 1.0, id="one converter for all"),
    ],
)
def test_the_converter_must_carry_the_load_too(kind, share):
    def hours(critical_w):
        site = make_site(kind, critical_w=critical_w)
        converters = tuple(replace(c, rated_discharge_w=1_000.0) for c in site.converters)
        return backup(replace(site, converters=converters)).hours

    assert hours(share * 999.0) > 0.5
    assert hours(share * 1_001.0) == 0.0


@pytest.mark.parametrize("grid_v", [230.0, 0.0])
@pytest.mark.parametrize(
    ("grid_lost", "required_wh"),
    [
        pytest.param(False, 3_000.0, id="mains: 1 h promised and half an hour of notice"),
        pytest.param(True, 0.0, id="outage: the reserve is for this"),
    ],
)
def test_the_promise_is_released_when_the_gate_says_outage(grid_v, grid_lost, required_wh):
    site = make_site(critical_w=2_000.0, backup_hours=1.0)
    snapshot = make_snapshot(site, grid_v=grid_v)
    result = backup(site, snapshot=snapshot, standing=held(site, grid_lost), notice_hours=0.5)
    assert result.required_wh == pytest.approx(required_wh)


def test_without_a_critical_load_nothing_is_promised():
    site = make_site(critical_w=0.0)
    result = backup(site)
    assert (result.required_wh, result.hours, result.hours_low) == (0.0, 0.0, 0.0)
    assert result.energy_wh == pytest.approx(0.95 * result.pack_energy_wh.sum())
