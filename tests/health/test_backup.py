"""Deliverable energy and the hours it gives the critical load."""

from dataclasses import replace

import numpy as np
import pytest

from ems import health
from ems.health import ocv
from ems.health.backup import _carried_wh
from ems.model import Contactor, ConverterState, Quality, Reading, Standing
from ems.site import BackupSpec, Chemistry, SiteKind
from tests.builders import good, make_site, make_snapshot, with_pack
from tests.health.drive import rest, wide_limits

MISSING = Reading(None, 0.0, Quality.MISSING)


def known(site, soc_frac=0.6, **changes):
    """The estimate of packs at rest at this SoC, with chosen values put in its place."""
    _, estimate = health.update(health.initial(site), rest(site, 100.0, soc_frac), site)
    n = site.n_packs
    exact = {
        "soc_frac": np.full(n, soc_frac),
        "soc_sigma_frac": np.full(n, 0.03),
        "soc_known": np.ones(n, bool),
        "ocv_cell_min_v": np.full(n, float(ocv.ocv_v(site.packs[0].chemistry, soc_frac))),
        "ocv_cell_max_v": np.full(n, float(ocv.ocv_v(site.packs[0].chemistry, soc_frac))),
    }
    return replace(estimate, **(exact | changes))


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
    """2 kW over three packs of 53 V at 95 %: 13.2 A through 1.61 times 19.2 mohm."""
    light, heavy = make_site(critical_w=1.0), make_site(critical_w=2_000.0)
    lost_wh = backup(light).pack_energy_wh - backup(heavy).pack_energy_wh
    expected_v = 2_000.0 / 0.95 / 3 / 53.0 * 1.61 * 16 * 0.0012
    assert lost_wh == pytest.approx(expected_v * 78.0 * 0.5, rel=0.02)


def test_hours_are_energy_over_the_critical_load():
    site = make_site(critical_w=2_000.0)
    result = backup(site)
    assert result.energy_wh == pytest.approx(0.95 * result.pack_energy_wh.sum())
    assert result.hours == pytest.approx(result.energy_wh / 2_000.0)
    assert result.hours_low == pytest.approx(result.energy_low_wh / 2_000.0)
    assert 0.0 < result.energy_low_wh < result.energy_wh


def test_a_direct_bus_has_no_converter_to_lose_in():
    site = make_site(SiteKind.DIRECT_BUS)
    result = backup(site)
    assert result.energy_wh == pytest.approx(result.pack_energy_wh.sum())


def asking_for(confidence):
    """A site whose lower bound must hold with this probability."""
    site = make_site()
    return replace(site, backup=replace(site.backup, confidence=confidence))


@pytest.mark.parametrize(
    ("confidence", "counts"),
    [
        pytest.param(0.95, False, id="1.6 sigma: the floor's two sigma are enough"),
        pytest.param(0.999, True, id="3.1 sigma: more than the floor keeps"),
    ],
)
def test_soc_error_is_not_taken_off_twice(confidence, counts):
    site = asking_for(confidence)
    sure, unsure = (
        backup(site, known(site, soc_sigma_frac=np.full(3, sigma))).energy_low_wh
        for sigma in (0.0, 0.05)
    )
    assert (unsure < sure) is counts


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
    assert result.energy_wh == pytest.approx(backup(site).energy_wh * 2 / 3)
    assert result.energy_low_wh == pytest.approx(backup(site).energy_low_wh * 2 / 3)


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
    whole, result = backup(site), backup(site, estimate, snapshot=snapshot)
    assert result.energy_wh == pytest.approx(whole.energy_wh * packs_counted / 3)
    assert result.energy_low_wh == pytest.approx(whole.energy_low_wh * packs_sure / 3)
    assert result.pack_energy_wh == pytest.approx(whole.pack_energy_wh)


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
    whole, result = backup(site), backup(site, estimate, snapshot=snapshot)
    assert result.energy_wh == pytest.approx(whole.energy_wh * packs_counted / 3)
    assert result.energy_low_wh == pytest.approx(whole.energy_low_wh * packs_sure / 3)
    assert result.hours == pytest.approx(whole.hours * packs_counted / 3)
    assert result.pack_energy_wh == pytest.approx(whole.pack_energy_wh)


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
    whole = backup(site)
    result = backup(site, standing=held(site, grid_lost, stopped=(1,)))
    assert result.energy_wh == pytest.approx(whole.energy_wh * 2 / 3)
    assert result.energy_low_wh == pytest.approx(whole.energy_low_wh * 2 / 3)


@pytest.mark.parametrize(
    ("energy_wh", "power_w", "load_w", "carried_wh"),
    [
        pytest.param([4e3, 4e3], [2e3, 2e3], 2e3, 8e3, id="either carries it alone: all"),
        pytest.param([4e3, 4e3], [1e3, 1e3], 2e3, 8e3, id="just enough together: all"),
        pytest.param([4e3, 4e3], [999.0, 1e3], 2e3, 0.0, id="1 W short: not even a moment"),
        pytest.param([1e3, 9e3], [1e3, 1e3], 2e3, 2e3, id="after 1 h one alone is too weak"),
        pytest.param([1e3, 9e3], [1e3, 1e3], 1.5e3, 3e3, id="less load: two hours"),
        pytest.param([0.0, 9e3], [1e3, 2e3], 2e3, 9e3, id="an empty pack is no hindrance"),
        pytest.param([5e3, 9e3], [0.0, 2e3], 2e3, 9e3, id="a blocked pack gives nothing"),
        pytest.param([5e3, 9e3], [0.0, 2e3], 0.0, 9e3, id="no load: what can be moved at all"),
        pytest.param([0.0, 0.0], [1e3, 1e3], 2e3, 0.0, id="empty"),
    ],
)
def test_packs_must_have_the_power_to_the_end(energy_wh, power_w, load_w, carried_wh):
    got = _carried_wh(np.array(energy_wh), np.array(power_w), load_w)
    assert got == pytest.approx(carried_wh)


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
