"""Outages, converters that do not obey, and packs on a common bus."""

from dataclasses import replace

import numpy as np
import pytest

from ems.model import (
    MISSING,
    Contactor,
    ContactorDemand,
    ConverterState,
    Link,
    Mode,
    RequestKind,
    Standing,
)
from ems.safety import gate
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


@pytest.mark.parametrize(
    ("current_a", "level"),
    [
        pytest.param(80.0, 0, id="0.8 C: the load"),
        pytest.param(96.4, 0, id="short of 1.05 x 1 C x 90 Ah + 2 A"),
        pytest.param(119.1, 4, id="beyond 1.3 x 1 C x 90 Ah + 2 A: the fuse's business, and ours"),
    ],
)
def test_direct_bus_takes_the_load_over_before_anyone_knows_of_the_outage(
    current_a: float, level: int
) -> None:
    """The first snapshot shows the current; the grid counts as lost two samples later."""
    bench = b.running(SiteKind.DIRECT_BUS, n_packs=2)
    flowing = b.both(b.pack(0, current_a=current_a), b.pack(1, current_a=current_a))
    bench.step(flowing)
    assert not gate.standing(bench.state).grid_lost
    assert bench.level("C11") == level
    if level == 0:
        dark = b.both(flowing, OUTAGE)
        assert bench.steps(3, dark).mode is Mode.BACKUP
        # Nor does it trip when the quarter of an hour of an ordinary outage is over.
        bench.steps(50, dark, dt_s=20.0)
        assert bench.level("C11") == 0


@pytest.mark.parametrize(
    ("mains", "mode"),
    [
        pytest.param(
            b.grid(voltage_v=MISSING, frequency_hz=MISSING), Mode.BACKUP, id="meter silent"
        ),
        pytest.param(b.grid(), Mode.RUN, id="meter sees the mains: the shelf was told to rest"),
    ],
)
def test_shelf_in_standby_beside_a_silent_meter_is_an_outage(mains, mode) -> None:
    """A meter fed from the mains goes with them and cannot report the outage."""
    bench = b.running(SiteKind.DIRECT_BUS, n_packs=2)
    resting = b.converter(state=ConverterState.STANDBY)
    flowing = b.both(b.pack(0, current_a=20.0), b.pack(1, current_a=20.0))
    assert bench.steps(3, b.both(b.both(resting, flowing), mains)).mode is mode


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


# The verdict that the layers before the gate respect in the next cycle.


def test_standing_before_the_first_cycle_restricts_and_relaxes_nothing() -> None:
    site = make_site(n_packs=2)
    assert gate.standing(gate.initial(site)) == Standing(False, (True, True))


def test_standing_says_when_the_grid_is_lost_and_is_the_same_object_meanwhile() -> None:
    bench = b.running(n_packs=2)
    calm = gate.standing(bench.state)
    assert calm == Standing(False, (True, True))
    bench.step(OUTAGE)
    assert gate.standing(bench.state) is calm, "one sample of two"
    bench.step(OUTAGE)
    lost = gate.standing(bench.state)
    assert lost == Standing(True, (True, True))
    bench.step(OUTAGE)
    assert gate.standing(bench.state) is lost


@pytest.mark.parametrize(
    ("fault", "ok"),
    [
        pytest.param(b.pack(1, alarm_level=1.0), True, id="derated"),
        pytest.param(b.temp_c(46.0, pack=1), True, id="charge stopped"),
        pytest.param(b.pack(1, alarm_level=2.0), False, id="both directions stopped"),
        pytest.param(b.pack(1, alarm_level=3.0), False, id="tripped"),
    ],
)
def test_standing_names_packs_that_may_not_discharge(fault: b.Modify, ok: bool) -> None:
    bench = b.running(n_packs=3)
    bench.steps(6, fault)
    assert gate.standing(bench.state).discharge_ok == (True, ok, True)


def test_standing_judges_by_the_effects_of_an_outage_while_it_lasts() -> None:
    """A refused converter link stops a pack (C35b), but only warns in an outage."""
    bench = b.running()
    refused = b.converter(link=Link.REFUSED)
    bench.steps(2, refused)
    assert gate.standing(bench.state).discharge_ok == (False,)
    bench.steps(3, b.both(refused, OUTAGE))
    assert gate.standing(bench.state) == Standing(True, (True,))
