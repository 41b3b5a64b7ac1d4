"""Limits per pack: golden numbers of the concept, each reason, unknown inputs, laws."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ems.model import Limits, Standing
from ems.safety import envelope, table
from ems.site import Chemistry, Site, SiteKind
from tests.builders import make_site
from tests.safety import bench as b

SITE = make_site(n_packs=1)
LOST = b.MISSING


def limits(
    site: Site = SITE,
    modify: b.Modify | None = None,
    *,
    at: dict[str, object] | None = None,
    grid_lost: bool = False,
    **estimate: float,
) -> Limits:
    """Envelope of one snapshot; estimate fields by name, the same for every pack."""
    bench = b.Bench(site)
    bench.snapshot_options = at or {}
    if "soc_frac" in estimate:
        estimate = {"soc_max_frac": estimate["soc_frac"], **estimate}
    arrays = {name: np.full(site.n_packs, value) for name, value in estimate.items()}
    standing = Standing(grid_lost, (True,) * site.n_packs)
    believed = replace(b.make_estimate(site), **arrays)
    return envelope.limits(believed, bench.snapshot(modify), standing, site)


AS_NEW = {"soc_sigma_frac": 0.0, "soh_sigma_frac": 0.0}
RICH_BMS = b.pack(charge_limit_a=1e6, discharge_limit_a=1e6)


@pytest.mark.parametrize(
    ("soh", "sigma", "ratio", "h"),
    [
        pytest.param(0.80, 0.0, 1.0, 1.0, id="as new"),
        pytest.param(0.90, 0.0, 1.0, 1.0, id="never above 1"),
        pytest.param(0.62, 0.0, 1.7, 0.40, id="worked example: SoH binds"),
        pytest.param(0.80, 0.0, 1.7, 1 - 0.7 / 1.5, id="resistance binds"),
        pytest.param(0.72, 0.05, 1.0, 0.40, id="two sigma below counts"),
        pytest.param(0.50, 0.0, 1.0, 0.0, id="end of life"),
        pytest.param(0.30, 0.0, 1.0, 0.0, id="never below 0"),
        pytest.param(0.80, 0.0, 2.5, 0.0, id="resistance at end of life"),
        pytest.param(0.80, 0.0, 0.0, 0.5, id="no reference resistance: at most one half"),
        pytest.param(0.56, 0.0, 0.0, 0.2, id="no reference resistance: SoH still binds"),
        pytest.param(float("nan"), 0.0, 0.0, 0.0, id="both unknown"),
        pytest.param(float("nan"), 0.0, 1.0, 0.0, id="SoH unknown"),
    ],
)
def test_health_index(soh: float, sigma: float, ratio: float, h: float) -> None:
    assert limits(soh_frac=soh, soh_sigma_frac=sigma, resistance_ratio=ratio).health[
        0
    ] == pytest.approx(h)


def test_worked_example() -> None:
    """Weakest group SoH 0.62, r 1.7: no charge below 8 degC, SoC 16-89 %, 0.217 C."""
    example = {"soh_frac": 0.62, "resistance_ratio": 1.7, "capacity_ah": 62.0, **AS_NEW}
    lim = limits(SITE, RICH_BMS, **example)
    assert lim.health[0] == pytest.approx(0.40)
    assert (lim.soc_low_frac[0], lim.soc_high_frac[0]) == pytest.approx((0.16, 0.89))
    assert lim.charge_a[0] == pytest.approx(0.217 * 100, abs=0.01)
    assert limits(SITE, RICH_BMS, at={"cell_temp_c": 8.0}, **example).charge_a[0] == pytest.approx(
        0.0
    )
    assert limits(SITE, RICH_BMS, at={"cell_temp_c": 8.1}, **example).charge_a[0] > 0.0


@pytest.mark.parametrize(
    ("chemistry", "h", "low", "high", "factor"),
    [
        (Chemistry.LFP, 1.0, 0.10, 0.95, 1.00),
        (Chemistry.LFP, 0.7, 0.13, 0.92, 0.85),
        (Chemistry.LFP, 0.4, 0.16, 0.89, 0.70),
        (Chemistry.LFP, 0.0, 0.20, 0.85, 0.50),
        (Chemistry.NMC, 1.0, 0.10, 0.85, 1.00),
        (Chemistry.NMC, 0.4, 0.16, 0.79, 0.70),
        (Chemistry.NMC, 0.0, 0.20, 0.75, 0.50),
    ],
)
def test_golden_soc_window_and_current_factor(
    chemistry: Chemistry, h: float, low: float, high: float, factor: float
) -> None:
    site = make_site(n_packs=1, chemistry=chemistry)
    eol = envelope.SOH_END_OF_LIFE[chemistry]
    soh = eol + h * (0.80 - eol)
    lim = limits(site, RICH_BMS, soh_frac=soh, resistance_ratio=1.0, capacity_ah=50.0, **AS_NEW)
    assert (lim.soc_low_frac[0], lim.soc_high_frac[0]) == pytest.approx((low, high))
    rate = table.CHARGE_C_RATE[chemistry]
    assert lim.charge_a[0] == pytest.approx(rate * 50.0 * factor)
    assert lim.charge_reason == ("current",)


@pytest.mark.parametrize(
    ("kind", "rate"), [(SiteKind.OWN_CONVERTERS, 0.5), (SiteKind.DIRECT_BUS, 1.0)]
)
def test_direct_bus_may_discharge_at_the_backup_rate_at_all_times(
    kind: SiteKind, rate: float
) -> None:
    site = make_site(kind, n_packs=1)
    lim = limits(site, RICH_BMS, capacity_ah=50.0, **AS_NEW)
    assert lim.discharge_a[0] == pytest.approx(rate * 50.0)
    assert lim.charge_a[0] == pytest.approx(0.5 * 50.0), "charging is no different"


@pytest.mark.parametrize(
    ("cell_temp_c", "share"),
    [
        (1.9, 0.0),
        (2.0, 0.0),
        (6.0, 0.5),
        (10.0, 1.0),
        (25.0, 1.0),
        (40.0, 1.0),
        (42.5, 0.5),
        (45.0, 0.0),
        (50.0, 0.0),
    ],
)
def test_temperature_derates_charge_linearly(cell_temp_c: float, share: float) -> None:
    lim = limits(SITE, RICH_BMS, at={"cell_temp_c": cell_temp_c}, capacity_ah=50.0, **AS_NEW)
    assert lim.charge_a[0] == pytest.approx(25.0 * share)
    if share < 1:
        assert lim.charge_reason == ("cold",) if cell_temp_c < 20 else ("hot",)


def test_coldest_sensor_decides_for_charge_and_hottest_for_heat() -> None:
    assert limits(SITE, b.both(RICH_BMS, b.temp_c(4.0))).charge_reason == ("cold",)
    assert limits(SITE, b.both(RICH_BMS, b.temp_c(44.0))).charge_reason == ("hot",)


def test_cold_pack_still_backs_up() -> None:
    lim = limits(SITE, RICH_BMS, at={"cell_temp_c": -5.0})
    assert lim.charge_a[0] == 0.0
    assert lim.discharge_a[0] > 0.0


@pytest.mark.parametrize(
    ("volts", "share"), [(3.49, 1.0), (3.50, 1.0), (3.55, 0.5), (3.60, 0.0), (3.70, 0.0)]
)
def test_measured_cell_voltage_derates_charge(volts: float, share: float) -> None:
    # A flat OCV estimate leaves the measured voltage alone in charge of this term;
    # a charge current of 300 A explains the rise as resistive.
    lim = limits(
        SITE, b.both(RICH_BMS, b.cell_v(volts)), capacity_ah=50.0, current_a=-300.0, **AS_NEW
    )
    assert lim.charge_a[0] == pytest.approx(25.0 * share)
    assert lim.discharge_a[0] > 0.0


def test_predicted_voltage_caps_the_current() -> None:
    """OCV 3.48 V, 5 mOhm: 4 A brings the fullest group to its 3.50 V."""
    lim = limits(SITE, RICH_BMS, ocv_cell_max_v=3.48, group_resistance_max_ohm=0.005, **AS_NEW)
    assert lim.charge_a[0] == pytest.approx(4.0)
    assert lim.charge_reason == ("cell_voltage_high",)
    lim = limits(SITE, RICH_BMS, ocv_cell_min_v=3.05, group_resistance_max_ohm=0.005, **AS_NEW)
    assert lim.discharge_a[0] == pytest.approx(10.0)
    assert lim.discharge_reason == ("cell_voltage_low",)


def test_measurement_overrides_an_optimistic_estimate() -> None:
    lim = limits(
        SITE, b.both(RICH_BMS, b.cell_v(3.02)), ocv_cell_min_v=3.3, group_resistance_max_ohm=0.005
    )
    assert lim.discharge_a[0] == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("soc", "charge_share", "discharge_share"),
    [
        pytest.param(0.50, 1.0, 1.0, id="middle"),
        pytest.param(0.92, 1.0, 1.0, id="taper begins"),
        pytest.param(0.935, 0.5, 1.0, id="half way to full"),
        pytest.param(0.95, 0.0, 1.0, id="full"),
        pytest.param(0.99, 0.0, 1.0, id="above"),
        pytest.param(0.13, 1.0, 1.0, id="taper begins below"),
        pytest.param(0.115, 1.0, 0.5, id="half way to empty"),
        pytest.param(0.10, 1.0, 0.0, id="empty"),
    ],
)
def test_power_tapers_at_the_ends_of_the_soc_window(
    soc: float, charge_share: float, discharge_share: float
) -> None:
    modify = b.both(RICH_BMS, b.pack(soc_frac=soc))
    lim = limits(SITE, modify, soc_frac=soc, capacity_ah=50.0, **AS_NEW)
    assert lim.charge_a[0] == pytest.approx(25.0 * charge_share)
    assert lim.discharge_a[0] == pytest.approx(25.0 * discharge_share)


def test_fullest_cell_ends_a_charge_and_weakest_a_discharge() -> None:
    apart = {"capacity_ah": 50.0, "soc_frac": 0.5, "soc_max_frac": 0.95, **AS_NEW}
    lim = limits(SITE, b.both(RICH_BMS, b.pack(soc_frac=0.5)), **apart)
    assert (lim.charge_a[0], lim.charge_reason[0]) == (0.0, "soc_high")
    assert lim.discharge_a[0] == pytest.approx(25.0)


def test_backup_goes_below_the_floor_until_the_cells_stop_it() -> None:
    low = {"soc_frac": 0.05, "capacity_ah": 50.0, **AS_NEW}
    bms = b.both(RICH_BMS, b.pack(soc_frac=0.05))
    assert limits(SITE, bms, **low).discharge_a[0] == 0.0
    assert limits(SITE, bms, grid_lost=True, **low).discharge_a[0] == pytest.approx(12.5)
    cell = b.both(bms, b.cell_v(2.80))
    assert limits(SITE, cell, grid_lost=True, **low).discharge_a[0] == 0.0


def test_a_dead_meter_reading_alone_relaxes_nothing() -> None:
    """Whether the grid is lost is for the gate to say, after its debounce."""
    low = {"soc_frac": 0.05, "capacity_ah": 50.0, **AS_NEW}
    dark = b.both(RICH_BMS, b.pack(soc_frac=0.05), b.grid(voltage_v=0.0))
    assert limits(SITE, dark, **low).discharge_a[0] == 0.0


NO_V, NO_T, NO_I = "voltage_unknown", "temperature_unknown", "current_unknown"


@pytest.mark.parametrize(
    ("modify", "charge", "charge_a", "discharge", "discharge_a"),
    [
        pytest.param(b.pack(charge_limit_a=7.0), "bms_limit", 7, "current", 25, id="CCL binds"),
        pytest.param(b.pack(charge_limit_a=LOST), "bms_limit", 0, "current", 25, id="no CCL"),
        pytest.param(b.pack(discharge_limit_a=LOST), "current", 25, "bms_limit", 0, id="no DCL"),
        pytest.param(b.lost_cell(), NO_V, 0, NO_V, 0, id="one cell"),
        pytest.param(b.pack(voltage_v=LOST), NO_V, 0, NO_V, 0, id="pack voltage"),
        pytest.param(b.pack(current_a=LOST), NO_I, 0, NO_I, 0, id="pack current"),
        pytest.param(b.lost_temps(1), "current", 25, "current", 25, id="one sensor: neighbours"),
        pytest.param(b.lost_temps(2), NO_T, 0, NO_T, 0, id="two sensors"),
        pytest.param(b.lost_temps(4), NO_T, 0, NO_T, 0, id="all sensors"),
    ],
)
def test_unknown_inputs_and_bms_limits(
    modify: b.Modify, charge: str, charge_a: float, discharge: str, discharge_a: float
) -> None:
    lim = limits(SITE, b.both(RICH_BMS, modify), capacity_ah=50.0, **AS_NEW)
    assert (lim.charge_reason[0], lim.discharge_reason[0]) == (charge, discharge)
    assert (lim.charge_a[0], lim.discharge_a[0]) == pytest.approx((charge_a, discharge_a))


def test_unknown_soc_allows_nothing() -> None:
    estimate = replace(b.make_estimate(SITE), soc_known=np.array([False]))
    standing = Standing(grid_lost=False, discharge_ok=(True,))
    lim = envelope.limits(estimate, b.Bench(SITE).snapshot(RICH_BMS), standing, SITE)
    assert (lim.charge_w[0], lim.discharge_w[0]) == (0.0, 0.0)
    assert lim.charge_reason == lim.discharge_reason == ("soc_unknown",)


def test_single_sensor_pack_without_it_allows_nothing() -> None:
    site = make_site(n_packs=1, series_cells=4)
    assert site.packs[0].reported_temps == 1
    assert limits(site, b.lost_temps(1)).charge_reason == ("temperature_unknown",)


def test_equal_heat_with_aged_resistance() -> None:
    lim = limits(
        SITE,
        RICH_BMS,
        capacity_ah=100.0,
        resistance_ratio=1.2,
        group_resistance_max_ohm=1e-5,
        **AS_NEW,
    )
    h = float(lim.health[0])
    assert lim.charge_a[0] == pytest.approx(min(50 / 1.2**0.5, 50 * (0.5 + 0.5 * h)))


def test_packs_are_judged_one_by_one() -> None:
    site = make_site(n_packs=3)
    lim = limits(site, b.temp_c(4.0, pack=1))
    assert lim.charge_reason[1] == "cold"
    assert lim.charge_w[0] == lim.charge_w[2] > lim.charge_w[1]


frac = st.floats(0.0, 1.0)


@settings(deadline=None)
@given(
    soh=st.tuples(frac, frac),
    ratio=st.tuples(st.floats(1.0, 3.0), st.floats(1.0, 3.0)),
    sigma=st.tuples(st.floats(0.0, 0.1), st.floats(0.0, 0.1)),
    soc=frac,
    volts=st.floats(2.4, 3.8),
    celsius=st.floats(-30.0, 60.0),
)
def test_worse_health_never_allows_more(
    soh: tuple[float, float],
    ratio: tuple[float, float],
    sigma: tuple[float, float],
    soc: float,
    volts: float,
    celsius: float,
) -> None:
    at = {"cell_v": volts, "cell_temp_c": celsius, "soc_frac": soc}
    common = {"soc_frac": soc, "ocv_cell_min_v": volts, "ocv_cell_max_v": volts}
    good, bad = (
        limits(
            SITE, RICH_BMS, at=at, soh_frac=s, capacity_ah=100 * s, resistance_ratio=r,
            soh_sigma_frac=e, group_resistance_max_ohm=0.001 * r, **common,
        )
        for s, r, e in ((max(soh), min(ratio), min(sigma)), (min(soh), max(ratio), max(sigma)))
    )  # fmt: skip
    assert bad.health[0] <= good.health[0]
    assert bad.charge_a[0] <= good.charge_a[0] + 1e-9
    assert bad.discharge_a[0] <= good.discharge_a[0] + 1e-9
    assert bad.soc_low_frac[0] >= good.soc_low_frac[0]
    assert bad.soc_high_frac[0] <= good.soc_high_frac[0]


@settings(deadline=None)
@given(volts=st.floats(2.4, 3.8), celsius=st.floats(-30, 60), soc=frac, step=st.floats(-1, 1))
def test_small_changes_make_small_changes(
    volts: float, celsius: float, soc: float, step: float
) -> None:
    """No chatter: 1 mV, 0.1 degC or 0.1 % of SoC never moves a limit by more than 10 %."""

    cell = {"group_resistance_max_ohm": 0.001, **AS_NEW}

    def charge_a(v: float, t: float, s: float) -> float:
        lim = limits(
            SITE, b.both(RICH_BMS, b.pack(soc_frac=s)), at={"cell_v": v, "cell_temp_c": t},
            soc_frac=s, ocv_cell_min_v=v, ocv_cell_max_v=v, **cell,
        )  # fmt: skip
        return float(lim.charge_a[0])

    before = charge_a(volts, celsius, soc)
    after = charge_a(volts + 0.001 * step, celsius + 0.1 * step, soc + 0.001 * step)
    assert abs(after - before) <= 5.0
