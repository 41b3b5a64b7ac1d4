"""Outages, converters that do not obey, and packs on a common bus."""

from dataclasses import replace

import numpy as np
import pytest

from ems.model import (
    Contactor,
    ContactorDemand,
    ConverterState,
    Link,
    Mode,
    RequestKind,
)
from ems.site import SiteKind
from tests.builders import make_site
from tests.safety import bench as b

ARM, DISARM = b.ask(RequestKind.ARM), b.ask(RequestKind.DISARM)
OUTAGE = b.grid(voltage_v=0.0)
OPEN, HOLD, CLOSE = ContactorDemand.OPEN, ContactorDemand.HOLD, ContactorDemand.CLOSE


def test_outage_is_backup_after_two_samples_and_run_again_when_the_grid_is_steady() -> None:
    bench = b.running()
    assert bench.step(OUTAGE).mode is Mode.RUN
    assert bench.step(OUTAGE).mode is Mode.BACKUP
    bench.steps(30, OUTAGE)
    assert bench.steps(9).mode is Mode.BACKUP
    assert bench.steps(3).mode is Mode.RUN


def test_dead_grid_has_no_frequency_to_judge() -> None:
    bench = b.running()
    decision = bench.steps(5, b.grid(voltage_v=0.0, frequency_hz=0.0))
    assert [c.cause for c in decision.causes] == ["C41"]


def test_converter_that_forms_the_grid_means_backup_at_once() -> None:
    bench = b.running()
    assert bench.step(b.converter(state=ConverterState.ISLAND)).mode is Mode.BACKUP


def test_outage_does_not_wait_for_the_slow_return_or_the_export_cap() -> None:
    bench = b.running()
    bench.load_w = 100.0
    bench.step(b.pack(link=Link.REFUSED))
    bench.steps(8)
    decision = bench.steps(4, OUTAGE, power_w=700.0)
    assert decision.mode is Mode.BACKUP
    assert decision.power_w[0] == pytest.approx(700.0)


@pytest.mark.parametrize(
    ("outage", "after_s", "level"),
    [(False, 59, 3), (False, 61, 4), (True, 61, 3), (True, 299, 3), (True, 301, 4)],
)
def test_silent_bms_trips_after_a_minute_or_five_in_backup(
    outage: bool, after_s: int, level: int
) -> None:
    bench = b.running()
    lost = OUTAGE if outage else (lambda s: s)
    bench.steps(3, lost)
    bench.steps(after_s, b.both(lost, b.stuck_pack(bench)))
    assert bench.level("C33") == level


def test_silent_bms_of_an_ill_pack_is_not_given_five_minutes() -> None:
    bench = b.running()
    bench.steps(6, b.both(OUTAGE, b.temp_c(46.0)))
    silence = b.both(OUTAGE, b.temp_c(46.0), b.stuck_pack(bench))
    bench.steps(61, silence)
    assert bench.level("C33") == 4


def test_silent_converter_only_warns_in_backup() -> None:
    bench = b.running()
    silence = b.both(b.stuck_converter(bench), b.pack(current_a=10.0))
    bench.steps(3, OUTAGE)
    decision = bench.steps(15, b.both(OUTAGE, silence))
    assert bench.level("C35") == 4
    assert decision.contactor[0] is CLOSE
    assert b.running().steps(15, silence).contactor[0] is not CLOSE


@pytest.mark.parametrize(("seconds", "level"), [(899, 0), (905, 4)])
def test_outage_may_burst_for_a_quarter_of_an_hour(seconds: int, level: int) -> None:
    """0.9 C is above 0.5 C x 1.3, and below 1 C."""
    bench = b.running()
    bench.step(OUTAGE)
    bench.steps(1 + seconds // 20, OUTAGE, dt_s=20.0)
    bench.steps(2, b.both(OUTAGE, b.pack(current_a=80.0)), dt_s=0.5)
    assert bench.level("C11") == level


# Obedience of the converter.


def test_converter_may_lag_behind_a_step() -> None:
    bench = b.running()
    bench.steps(2, power_w=1000.0)
    decision = bench.steps(4, b.converter(power_w=300.0), power_w=1000.0)
    assert decision.causes == ()


def test_charging_when_told_to_discharge_trips() -> None:
    bench = b.running()
    bench.steps(8, b.converter(power_w=500.0), power_w=500.0)
    bench.steps(2, b.converter(power_w=-500.0), power_w=500.0)
    assert bench.level("C37") == 4


def test_command_of_a_former_owner_is_not_held_against_the_converter() -> None:
    bench = b.Bench(make_site(n_packs=1))
    bench.steps(14, b.converter(power_w=2000.0))
    assert bench.level("C37") == 0
    bench.steps(3, b.converter(power_w=2000.0))
    assert bench.level("C37") == 4


# Common buses.


def test_shared_bus_is_capped_where_the_first_string_meets_its_limit() -> None:
    bench = b.running(SiteKind.SHARED_DC_BUS, n_packs=2)
    n = 2
    bench.estimate = replace(bench.estimate, resistance_ohm=np.array([0.04, 0.06]))
    decision = bench.steps(3, power_w=0.0)
    equal = float(decision.pack_high_w[0])
    # The 40 mOhm string carries 60 % of the total and meets its limit first.
    assert decision.high_w[0] == pytest.approx(equal / 0.6 * 0.95, rel=1e-6)
    assert decision.high_w[0] < n * equal


def test_shared_bus_cap_counts_the_current_between_strings() -> None:
    """OCV 0.2 V apart, 40 and 60 mOhm: 2 A flow from the first string into the second."""
    bench = b.running(SiteKind.SHARED_DC_BUS, n_packs=2)
    volts = bench.estimate.ocv_v + np.array([0.2, 0.0])
    bench.estimate = replace(
        bench.estimate,
        ocv_v=volts,
        voltage_v=np.full(2, 52.8),
        resistance_ohm=np.array([0.04, 0.06]),
    )
    decision = bench.step()
    mean_v = 52.92
    limit_a = decision.pack_high_w[0] / 52.8
    assert decision.high_w[0] == pytest.approx((limit_a - 2.0) / 0.6 * mean_v * 0.95, rel=1e-3)
    limit_a = -decision.pack_low_w[0] / 52.8
    first_a, second_a = (limit_a + 2.0) / 0.6, (limit_a - 2.0) / 0.4
    assert decision.low_w[0] == pytest.approx(-min(first_a, second_a) * mean_v, rel=1e-3)


@pytest.mark.parametrize(
    ("cold", "opens"),
    [
        pytest.param(1, True, id="the lower string may not be charged: it is"),
        pytest.param(0, False, id="the upper string may not be charged: it is not"),
    ],
)
def test_direction_of_circulating_current_counts(cold: int, opens: bool) -> None:
    """OCV 0.5 V apart: 15.6 A from the first string into the second."""
    bench = b.running(SiteKind.SHARED_DC_BUS, n_packs=2)
    volts = bench.estimate.ocv_v + np.array([0.5, 0.0])
    bench.estimate = replace(bench.estimate, ocv_v=volts, voltage_v=volts)
    decision = bench.steps(14, b.temp_c(1.0, pack=cold))
    assert (OPEN in decision.contactor) is opens


def test_string_that_circulates_at_zero_total_is_opened_and_rejoins_later() -> None:
    """OCV 1.5 V apart over 31 mOhm: 48 A flow although the bus is asked for nothing."""
    bench = b.running(SiteKind.SHARED_DC_BUS, n_packs=2)
    volts = bench.estimate.ocv_v.copy()
    apart = volts + np.array([1.5, 0.0])
    bench.estimate = replace(bench.estimate, ocv_v=apart, voltage_v=apart)
    cold = b.temp_c(1.0, pack=1)  # no charge for the lower string
    bench.steps(12, cold)
    decision = bench.steps(2, cold)
    assert OPEN in decision.contactor
    away = decision.contactor.index(OPEN)
    assert decision.contactor[1 - away] is CLOSE
    assert decision.mode is Mode.RUN
    opened = b.pack(away, contactor=Contactor.OPEN)
    bench.steps(70, opened)
    assert bench.decision is not None
    assert bench.decision.contactor[away] is OPEN, "still 1.5 V apart"
    bench.estimate = replace(bench.estimate, ocv_v=volts, voltage_v=volts)
    assert bench.steps(2, opened).contactor[away] is CLOSE


def test_direct_bus_never_opens_the_last_path_in_an_outage() -> None:
    bench = b.running(SiteKind.DIRECT_BUS, n_packs=2)
    bench.steps(3, OUTAGE)
    both_full = b.both(OUTAGE, b.cell_v(3.71, pack=0), b.cell_v(3.71, pack=1))
    decision = bench.steps(10, both_full)
    assert sorted(decision.contactor) == [CLOSE, OPEN]
    assert decision.pack_high_w.tolist() == [0.0, 0.0], "asked for nothing, whatever flows"
    assert {c.pack for c in decision.causes if c.level == 4} == {0, 1}
    refused = bench.step(both_full, DISARM)
    assert "outage" in refused.refusals[0][1]
    # With the grid back the second string opens too.
    grid_back = b.both(b.cell_v(3.71, pack=0), b.cell_v(3.71, pack=1))
    assert bench.steps(20, grid_back).contactor == (OPEN, OPEN)


def test_mains_failing_while_every_string_is_on_its_way_out_keeps_one_closed() -> None:
    bench = b.running(SiteKind.DIRECT_BUS, n_packs=2)
    alarm = b.both(b.pack(alarm_level=3.0), b.pack(1, alarm_level=3.0))
    alarm = b.both(alarm, b.pack(current_a=58.0), b.pack(1, current_a=58.0))
    bench.step(alarm)
    decision = bench.steps(20, b.both(alarm, OUTAGE))
    assert [d for d in decision.contactor if d is not OPEN], "opening the last one is the outage"


def test_fresh_start_leaves_a_floating_direct_bus_closed() -> None:
    bench = b.Bench(make_site(SiteKind.DIRECT_BUS, n_packs=2))
    assert bench.steps(14).contactor == (HOLD, HOLD)
    bench.step(None, ARM)
    assert bench.step().mode is Mode.RUN, "strings found closed count as closed"
