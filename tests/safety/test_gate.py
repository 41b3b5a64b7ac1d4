"""The gate over time: start, arm, losses, trips, resets, restart."""

import json

import pytest

from ems.model import (
    Contactor,
    ContactorDemand,
    ConverterState,
    Link,
    Mode,
    OperatorRequest,
    RequestKind,
)
from ems.safety import gate, strings
from tests.builders import make_site
from tests.safety import bench as b

ARM, DISARM = b.ask(RequestKind.ARM), b.ask(RequestKind.DISARM)

OPEN, HOLD, CLOSE = ContactorDemand.OPEN, ContactorDemand.HOLD, ContactorDemand.CLOSE


# Start and arming.


def test_start_proves_every_input_for_ten_seconds_and_then_waits_for_an_operator() -> None:
    bench = b.Bench(make_site(n_packs=2))
    modes = [bench.step().mode for _ in range(12)]
    assert modes[:10] == [Mode.SELFTEST] * 10
    assert modes[10:] == [Mode.STANDBY] * 2
    decision = bench.step(power_w=1000.0)
    assert decision.power_w.tolist() == [0.0, 0.0]
    assert decision.contactor == (OPEN, OPEN)
    assert decision.pack_reason == ("not_armed", "not_armed")


def test_self_test_touches_no_contactor() -> None:
    """A restart under load must not open what is closed."""
    bench = b.Bench(make_site(n_packs=1))
    assert {bench.step().contactor[0] for _ in range(10)} == {HOLD}


def test_pack_that_stays_away_is_not_waited_for_longer_than_thirty_seconds() -> None:
    bench = b.Bench(make_site(n_packs=2))
    away = b.both(
        b.pack(1, link=Link.SILENT, heartbeat=b.MISSING, soc_frac=b.MISSING),
        b.pack(1, current_a=b.MISSING, voltage_v=b.MISSING),
        b.lost_cell(pack=1),
    )
    assert bench.steps(30, away).mode is Mode.SELFTEST
    assert bench.steps(2, away).mode is Mode.STANDBY
    decision = bench.step(away, ARM)
    decision = bench.steps(3, away, power_w=500.0)
    assert decision.mode is Mode.RUN
    assert decision.power_w[0] > 0
    assert decision.high_w[1] == 0.0
    assert bench.level("C33", 1) == 2, "unlatched: it was never there"


def test_links_still_being_made_at_a_start_raise_nothing_for_ten_seconds() -> None:
    """Nothing is closed and no power is allowed meanwhile; after that they are missing."""
    bench = b.Bench(make_site(n_packs=1))
    dark = b.both(
        b.pack(**{name: b.MISSING for name in bench.snapshot().packs[0].__slots__[1:]}),
        b.pack(link=Link.REFUSED),
        b.converter(link=Link.REFUSED, power_w=b.MISSING, state=b.MISSING),
    )
    decision = bench.steps(10, dark, power_w=500.0)
    assert decision.causes == ()
    assert decision.mode is Mode.SELFTEST
    assert (decision.low_w[0], decision.high_w[0]) == (0.0, 0.0)
    decision = bench.step(dark)
    assert {c.cause for c in decision.causes if c.level == 3} == {"C33b", "C35b"}


def test_link_lost_in_the_first_ten_seconds_after_it_answered_counts_at_once() -> None:
    bench = b.Bench(make_site(n_packs=1))
    bench.steps(3)
    lost = b.both(b.pack(link=Link.REFUSED), b.converter(link=Link.REFUSED))
    assert {c.cause for c in bench.step(lost).causes} == {"C33b", "C35b"}


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        pytest.param((ARM, ARM), "already armed", id="twice"),
        pytest.param((DISARM,), "not armed", id="disarm first"),
        pytest.param((b.ask(RequestKind.SETPOINT, value=100.0),), "needs mode run", id="set-point"),
        pytest.param((b.ask(RequestKind.NOTICE, value=-1.0),), "must be >= 0", id="less reserve"),
        pytest.param((b.ask(RequestKind.ACK, "C01"),), "nothing active", id="nothing to ack"),
        pytest.param((b.ask(RequestKind.RESET),), "no latch", id="nothing to reset"),
    ],
)
def test_refusals_in_standby_say_why(requests: tuple[OperatorRequest, ...], words: str) -> None:
    bench = b.Bench(make_site(n_packs=1))
    bench.steps(12)
    decision = bench.step(None, *requests)
    assert words in decision.refusals[-1][1]


def test_arm_is_refused_during_the_self_test() -> None:
    bench = b.Bench(make_site(n_packs=1))
    decision = bench.step(None, ARM)
    assert "self-test" in decision.refusals[0][1]
    assert bench.steps(15).mode is Mode.STANDBY


def test_strings_close_one_at_a_time() -> None:
    bench = b.Bench(make_site(n_packs=3))
    bench.snapshot_options = {"contactor": Contactor.OPEN}
    bench.steps(12)
    assert bench.step(None, ARM).contactor == (CLOSE, HOLD, HOLD)
    first = b.pack(0, contactor=Contactor.CLOSED)
    assert bench.step(first).contactor == (CLOSE, CLOSE, HOLD)
    second = b.both(first, b.pack(1, contactor=Contactor.CLOSED))
    decision = bench.step(second)
    assert decision.contactor == (CLOSE, CLOSE, CLOSE)
    assert decision.mode is Mode.PRECHARGE
    assert decision.high_w.tolist() == [0.0, 0.0, 0.0]
    assert bench.step(b.both(second, b.pack(2, contactor=Contactor.CLOSED))).mode is Mode.RUN


def test_string_that_does_not_close_is_given_up_after_three_tries() -> None:
    bench = b.Bench(make_site(n_packs=1))
    bench.snapshot_options = {"contactor": Contactor.OPEN}
    bench.steps(12)
    bench.step(None, ARM)
    demands = [bench.step().contactor[0] for _ in range(70)]
    attempts = sum(
        a is not CLOSE and d is CLOSE for a, d in zip([OPEN, *demands], demands, strict=False)
    )
    assert attempts == strings.MAX_TRIES
    assert bench.decision is not None
    assert bench.decision.mode is Mode.STANDBY
    assert demands[-1] is OPEN


def test_unknown_contactor_is_not_closed() -> None:
    bench = b.running()
    assert bench.step(b.pack(contactor=b.MISSING), power_w=100.0).high_w[0] == 0.0


def test_disarm_stops_at_once_and_opens() -> None:
    bench = b.running()
    bench.steps(3, power_w=1000.0)
    decision = bench.step(None, DISARM, power_w=1000.0)
    assert decision.power_w[0] == 0.0
    assert decision.mode is Mode.STANDBY
    assert bench.step().contactor[0] is OPEN


# One pack lost, the others carry on.


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(b.pack(1, link=Link.REFUSED), id="BMS refuses"),
        pytest.param(b.converter(1, link=Link.REFUSED), id="PCS refuses"),
        pytest.param(b.converter(1, state=ConverterState.FAULT), id="PCS at fault"),
        pytest.param(b.pack(1, alarm_level=3.0), id="BMS protection acted"),
        pytest.param(b.pack(1, contactor=Contactor.OPEN), id="contactor fell open"),
        pytest.param(b.lost_cell(pack=1), id="a cell unknown"),
    ],
)
def test_lost_pack_stops_at_once_and_the_others_carry_on(loss: b.Modify) -> None:
    bench = b.running(n_packs=3)
    bench.steps(3, power_w=500.0)
    decision = bench.step(loss, power_w=500.0)
    assert decision.power_w.tolist() == [500.0, 0.0, 500.0]
    assert decision.mode is Mode.RUN
    assert decision.pack_reason[1] != ""


def test_tripped_pack_stays_out_until_its_latch_is_reset() -> None:
    bench = b.running(n_packs=3)
    hot = b.temp_c(61.0, pack=1)
    bench.steps(5, hot, power_w=500.0)
    decision = bench.steps(3, power_w=500.0)
    assert decision.contactor == (CLOSE, OPEN, CLOSE)
    assert decision.mode is Mode.RUN
    open_1 = b.pack(1, contactor=Contactor.OPEN)
    bench.wait(600.0, open_1)
    decision = bench.step(open_1, power_w=500.0)
    assert decision.contactor[1] is OPEN, "clear, but latched"
    decision = bench.step(open_1, b.ask(RequestKind.RESET, "p2"))
    assert decision.granted
    assert bench.steps(2, open_1).contactor[1] is CLOSE
    assert bench.steps(3).mode is Mode.RUN


def test_site_trips_when_every_pack_does_and_needs_reset_then_arm() -> None:
    bench = b.running()
    bench.step(b.cell_v(3.71))
    assert bench.step(b.cell_v(3.71)).mode is Mode.TRIPPED
    opened = b.pack(contactor=Contactor.OPEN)
    refused = bench.step(opened, ARM)
    assert "C01" in refused.refusals[0][1]
    bench.wait(60.0, opened)
    assert bench.step(opened, b.ask(RequestKind.RESET, "C01")).granted
    assert bench.step(opened).mode is Mode.SELFTEST, "every input is proved anew"
    assert bench.steps(12, opened).mode is Mode.STANDBY
    bench.step(opened, ARM)
    assert bench.steps(3).mode is Mode.RUN


def test_three_resets_a_day_and_no_more() -> None:
    bench = b.running(n_packs=2)
    reset = b.ask(RequestKind.RESET, "C01")
    for _ in range(3):
        bench.step(b.cell_v(3.71))
        bench.wait(60.0)
        assert bench.step(None, reset).granted
    bench.step(b.cell_v(3.71))
    bench.wait(60.0)
    assert "3 times in 24 h" in bench.step(None, reset).refusals[0][1]
    # Neither a restart nor the clock helps; a day does.
    stored = json.loads(json.dumps(gate.save(bench.state)))
    again = b.Bench(bench.site, gate.load(stored, bench.site))
    again.now_s = 1e6  # another machine may have been up for days
    again.steps(3)
    again.wait(60.0)
    assert again.step(None, reset).refusals
    again.wait(86_400.0)
    assert again.step(None, reset).granted


@pytest.mark.parametrize("field", ["actor", "reason"])
def test_reset_needs_a_name_and_a_reason(field: str) -> None:
    bench = b.running(n_packs=2)
    bench.step(b.cell_v(3.71))
    bench.wait(60.0)
    decision = bench.step(None, b.ask(RequestKind.RESET, "C01", **{field: " "}))
    assert "named operator" in decision.refusals[0][1]


def test_reset_of_several_latches_is_all_or_none() -> None:
    bench = b.running(n_packs=2)
    bench.step(b.cell_v(3.71, pack=0))
    bench.step(b.cell_v(3.71, pack=1))
    bench.wait(60.0, b.cell_v(3.71, pack=1))
    decision = bench.step(b.cell_v(3.71, pack=1), b.ask(RequestKind.RESET, "C01"))
    assert "p2" in decision.refusals[0][1]
    assert bench.level("C01", 0) == 4
    one = bench.step(b.cell_v(3.71, pack=1), b.ask(RequestKind.RESET, "C01@p1"))
    assert one.granted
    assert (bench.level("C01", 0), bench.level("C01", 1)) == (0, 4)


# Restart.


def test_restart_arms_again_by_itself() -> None:
    bench = b.running(n_packs=2)
    again = b.Bench(bench.site, gate.load(gate.save(bench.state), bench.site))
    assert again.steps(13).mode is Mode.RUN


def test_latch_keeps_its_age_over_a_restart() -> None:
    bench = b.running(n_packs=2)
    bench.step(b.cell_v(3.71))
    bench.steps(50)
    again = b.Bench(bench.site, gate.load(gate.save(bench.state), bench.site))
    again.now_s = 5.0
    (cause,) = again.step().causes
    assert again.now_s - cause.since_s == pytest.approx(50.0)
    assert cause.first_out


def test_restart_with_a_latch_on_every_pack_does_not() -> None:
    bench = b.running()
    bench.step(b.cell_v(3.71))
    again = b.Bench(bench.site, gate.load(gate.save(bench.state), bench.site))
    decision = again.steps(20)
    assert decision.mode is Mode.TRIPPED
    assert decision.contactor == (OPEN,)


def test_restart_with_a_row_this_version_does_not_have_refuses_to_start() -> None:
    stored = gate.save(b.running().state)
    latch = {
        "cause": "C99",
        "target": "p1",
        "level": 4,
        "age_s": 1.0,
        "detail": "",
        "first_out": True,
        "acknowledged": False,
    }
    with pytest.raises(ValueError, match="C99"):
        gate.load(stored | {"latches": [latch]}, make_site(n_packs=1))
