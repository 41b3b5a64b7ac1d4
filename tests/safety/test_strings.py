"""Strings of a common DC bus: when one may close, and what the bus carries meanwhile."""

import numpy as np
import pytest

from ems.model import Contactor, ContactorDemand, GateDecision, Mode, RequestKind
from ems.safety import strings
from ems.site import SiteKind
from tests.builders import make_site
from tests.safety import bench as b

ARM = b.ask(RequestKind.ARM)
OUTAGE = b.grid(voltage_v=0.0)
OPEN, HOLD, CLOSE = ContactorDemand.OPEN, ContactorDemand.HOLD, ContactorDemand.CLOSE
COMMON_BUS = [SiteKind.SHARED_DC_BUS, SiteKind.DIRECT_BUS]


def opened(pack: int, contactor: Contactor = Contactor.OPEN) -> b.Modify:
    return b.pack(pack, contactor=contactor)


def steps_until(
    bench: b.Bench, demand: ContactorDemand, pack: int, modify: b.Modify, power_w: float = 0.0
) -> GateDecision:
    """Cycles until a contactor is asked for something; at most two minutes."""
    for _ in range(120):
        decision = bench.step(modify, power_w=power_w)
        if decision.contactor[pack] is demand:
            return decision
    pytest.fail(f"contactor of pack {pack} was never asked to {demand.name}")


# No power while a string closes or opens.


@pytest.mark.parametrize("kind", COMMON_BUS)
@pytest.mark.parametrize("power_w", [500.0, -500.0])
def test_common_bus_is_at_zero_while_a_string_closes(kind: SiteKind, power_w: float) -> None:
    bench = b.running(kind, n_packs=2)
    bench.steps(3, opened(1), power_w=power_w)
    assert bench.decision is not None
    assert bench.decision.power_w[0] == power_w, "the other string alone carries on"
    decision = steps_until(bench, CLOSE, 1, opened(1), power_w)
    assert (decision.low_w[0], decision.power_w[0], decision.high_w[0]) == (0.0, 0.0, 0.0)
    assert decision.pack_reason[0] == "string_moving"
    assert decision.contactor == (CLOSE, CLOSE)
    assert bench.step(opened(1, Contactor.PRECHARGE), power_w=power_w).power_w[0] == 0.0
    assert bench.steps(3, power_w=power_w).power_w[0] == power_w, "closed"


@pytest.mark.parametrize("kind", COMMON_BUS)
def test_common_bus_is_at_zero_while_a_string_opens_under_control(kind: SiteKind) -> None:
    bench = b.running(kind, n_packs=2)
    alarm = b.both(b.pack(1, alarm_level=3.0), b.pack(1, current_a=40.0))
    decision = bench.step(alarm, power_w=500.0)
    assert decision.contactor == (CLOSE, HOLD)
    assert decision.power_w[0] == 0.0
    decision = bench.steps(5, b.both(b.pack(1, alarm_level=3.0), opened(1)), power_w=500.0)
    assert decision.contactor == (CLOSE, OPEN)
    assert decision.power_w[0] == 500.0, "the string is out; the other one carries on"


@pytest.mark.parametrize("kind", COMMON_BUS)
def test_lost_grid_is_carried_while_a_string_closes(kind: SiteKind) -> None:
    bench = b.running(kind, n_packs=2)
    away = b.both(opened(1), OUTAGE)
    decision = steps_until(bench, CLOSE, 1, away, power_w=500.0)
    assert decision.mode is Mode.BACKUP
    assert decision.power_w[0] == 500.0
    assert decision.pack_high_w[0] > 0.0


def test_packs_behind_their_own_converters_do_not_wait_for_each_other() -> None:
    bench = b.running(n_packs=2)
    decision = steps_until(bench, CLOSE, 1, opened(1), power_w=500.0)
    assert decision.power_w[0] == 500.0


# A cause that comes while a string closes.


@pytest.mark.parametrize("kind", list(SiteKind))
def test_closing_string_turns_back_when_it_must_not_close_any_more(kind: SiteKind) -> None:
    bench = b.running(kind, n_packs=2)
    steps_until(bench, CLOSE, 1, opened(1))
    ill = b.both(opened(1, Contactor.PRECHARGE), b.pack(1, alarm_level=2.0))
    assert bench.step(ill).contactor == (CLOSE, HOLD)
    assert bench.step(ill).contactor == (CLOSE, OPEN)
    # Closed after all, on its own: asked to open, not taken for connected.
    late = b.both(b.pack(1, alarm_level=2.0))
    decision = bench.step(late)
    assert decision.contactor == (CLOSE, OPEN)
    assert decision.pack_reason[1] == "bms_alarm"
    # Well again, it waits for a minute and closes.
    bench.steps(10, opened(1))
    bench.step(opened(1), b.ask(RequestKind.ACK, "C34"))
    steps_until(bench, CLOSE, 1, opened(1))
    assert bench.steps(3).contactor == (CLOSE, CLOSE)


def test_string_on_its_way_to_carry_a_lost_grid_is_not_turned_back() -> None:
    bench = b.Bench(make_site(SiteKind.DIRECT_BUS, n_packs=1))
    away = b.both(opened(0), OUTAGE)
    bench.steps(13, away)
    bench.step(away, ARM)
    assert steps_until(bench, CLOSE, 0, away)
    decision = bench.steps(3, b.both(away, b.pack(alarm_level=2.0)))
    assert decision.contactor == (CLOSE,)


# Attempts.


def test_attempts_are_forgotten_after_ten_minutes_closed_and_not_before() -> None:
    bench = b.running(n_packs=2)
    bench.step(opened(1))
    steps_until(bench, CLOSE, 1, opened(1))
    bench.steps(2)
    assert bench.state.strings[1].tries == 1
    bench.steps(59, dt_s=10.0)
    assert bench.state.strings[1].tries == 1
    bench.steps(2, dt_s=10.0)
    assert bench.state.strings[1].tries == 0


def test_contactor_that_falls_open_and_closes_by_itself_is_given_up() -> None:
    """A BMS that connects and disconnects at will: three times, then it stays out."""
    bench = b.running(n_packs=2)
    for _ in range(strings.MAX_TRIES):
        bench.step(opened(1))
        decision = bench.steps(2)
    assert decision.contactor == (CLOSE, OPEN)
    assert decision.high_w[1] == 0.0
    assert bench.steps(30).contactor == (CLOSE, OPEN)


def test_given_up_string_that_carries_a_lost_grid_is_left_closed() -> None:
    bench = b.running(SiteKind.DIRECT_BUS, n_packs=1)
    for _ in range(strings.MAX_TRIES):
        bench.step(b.both(opened(0), OUTAGE))
        decision = bench.steps(2, OUTAGE)
    assert decision.contactor != (OPEN,)


# The first string of a direct bus that its rectifier holds: 16 cells at 3.30 V, 52.8 V.


@pytest.mark.parametrize(
    ("bus_v", "closes"),
    [
        pytest.param(52.8, True, id="equal"),
        pytest.param(53.8, True, id="float: a drained string may be recharged"),
        pytest.param(51.9, True, id="string 0.9 V above the bus"),
        pytest.param(51.7, False, id="string 1.1 V above the bus"),
        pytest.param(62.5, True, id="as far below as from float to the shelf's disconnect"),
        pytest.param(62.7, False, id="further below: not a pack of this bus"),
        pytest.param(43.9, True, id="a bus below the shelf's disconnect needs the string"),
        pytest.param(0.0, True, id="dead bus"),
        pytest.param(b.MISSING, False, id="nobody says"),
    ],
)
def test_first_string_compares_itself_with_the_measured_bus(bus_v: object, closes: bool) -> None:
    bench = b.Bench(make_site(SiteKind.DIRECT_BUS, n_packs=2))
    assert bench.site.converters[0].rectifier is not None
    modify = b.both(opened(0), opened(1), b.converter(dc_voltage_v=bus_v))
    bench.steps(12, modify)
    bench.step(modify, ARM)
    assert (CLOSE in bench.steps(3, modify).contactor) is closes


def test_first_string_does_not_ask_the_bus_in_an_outage() -> None:
    bench = b.Bench(make_site(SiteKind.DIRECT_BUS, n_packs=2))
    modify = b.both(opened(0), opened(1), b.converter(dc_voltage_v=b.MISSING), OUTAGE)
    bench.steps(12, modify)
    bench.step(modify, ARM)
    assert CLOSE in bench.steps(3, modify).contactor


def test_second_string_compares_itself_with_the_first() -> None:
    bench = b.Bench(make_site(SiteKind.DIRECT_BUS, n_packs=2))
    volts = bench.estimate.ocv_v + np.array([0.0, 1.1])
    bench.estimate = b.make_estimate(bench.site, ocv_v=volts)
    bench.steps(12, opened(1))
    bench.step(opened(1), ARM)
    assert bench.steps(5, opened(1)).contactor == (CLOSE, HOLD)
