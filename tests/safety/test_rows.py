"""Every row, level and chemistry of the table, provoked end to end through the gate."""

import json
from dataclasses import replace

import pytest

from ems.model import Contactor, RequestKind
from ems.safety import gate
from ems.safety.row import Effect, Signal, effect_of
from ems.safety.table import ROWS
from tests.safety import bench as b
from tests.safety.provoke import AGES, STEP, VALUE, Case, cases

INSTANT = cases(ages=False)
LATCHED = [c for c in INSTANT if c.latch != "A" and c.need <= 30]
AUTO = [c for c in INSTANT if c.latch == "A" and c.need <= 30]


def test_every_signal_of_the_table_can_be_provoked() -> None:
    assert {s for row in ROWS for s in row.signal} <= {*VALUE, *AGES}


@pytest.mark.parametrize("case", INSTANT, ids=str)
def test_level_is_raised_at_its_limit_and_not_short_of_it(case: Case) -> None:
    short, at = case.running(), case.running()
    short.steps(case.need + 5, case.at(short.site, -STEP))
    at.steps(case.need + 5, case.at(at.site, STEP))
    assert short.level(case.row.id) < case.level
    assert at.level(case.row.id) >= case.level


@pytest.mark.parametrize("case", INSTANT, ids=str)
def test_level_waits_for_its_debounce_and_no_longer(case: Case) -> None:
    bench = case.running()
    bad = case.at(bench.site, STEP)
    for _ in range(case.need - 1):
        bench.step(bad)
        assert bench.level(case.row.id) < case.level
    bench.step(bad)
    assert bench.level(case.row.id) >= case.level


@pytest.mark.parametrize(
    "case", [c for c in INSTANT if 2 < c.need <= 30 and c.signal is not Signal.PCS_WRONG], ids=str
)
def test_fault_present_half_of_the_time_acts_in_the_end(case: Case) -> None:
    bench = case.running()
    bad = case.at(bench.site, STEP)
    for _ in range(2 * case.need):
        bench.step(bad)
        bench.step()
        if bench.level(case.row.id) >= case.level:
            return
    pytest.fail("a 50 % intermittent fault never acted")


@pytest.mark.parametrize("case", AUTO, ids=str)
def test_self_resetting_level_comes_back_after_its_clear_time(case: Case) -> None:
    bench = case.running()
    bench.steps(case.need, case.at(bench.site, STEP))
    bench.step()
    bench.steps(7, dt_s=case.row.clear_s / 10)
    assert bench.level(case.row.id) >= case.level, "short of the clear time"
    bench.steps(6, dt_s=case.row.clear_s / 10)
    assert bench.level(case.row.id) != case.level


@pytest.mark.parametrize("case", LATCHED, ids=str)
def test_latch_stands_through_restart_until_the_right_request(case: Case) -> None:
    bench = case.running()
    bad = case.at(bench.site, STEP)
    bench.steps(case.need, bad)
    row = case.row.id

    refused = bench.step(bad, b.ask(RequestKind.RESET, row))
    assert refused.refusals, "a reset with the cause present must be refused"
    assert row in refused.refusals[0][1]

    bench.wait(case.row.clear_s)
    assert bench.level(row) >= case.level
    assert [c.latched for c in bench.decision.causes if c.cause == row] == [True]  # type: ignore[union-attr]

    stored = json.loads(json.dumps(gate.save(bench.state)))
    again = b.Bench(bench.site, gate.load(stored, bench.site))
    again.now_s = 5.0  # monotonic time starts anew
    again.steps(15)
    again.wait(case.row.clear_s)
    assert again.level(row) >= case.level

    kind = RequestKind.ACK if case.latch == "O" else RequestKind.RESET
    answer = again.step(None, b.ask(kind, row))
    top_class = case.row.latch[again.level(row) - 1] if again.level(row) else case.latch
    if "Z" in (case.latch, top_class):
        assert "two persons" in answer.refusals[0][1]
    else:
        assert answer.granted
        assert again.step().causes == () or again.level(row) != case.level


@pytest.mark.parametrize("case", INSTANT, ids=str)
def test_effect_of_the_level_is_taken_from_the_pack(case: Case) -> None:
    bench = case.running()
    bench.load_w = 1e9
    decision = bench.steps(case.need, case.at(bench.site, STEP))
    effect = effect_of(case.row.effect[case.level - 1])
    if effect & (Effect.STOP_CHARGE | Effect.TRIP):
        assert decision.pack_low_w[0] == 0.0
        assert decision.low_w[0] == 0.0
    if effect & (Effect.STOP_DISCHARGE | Effect.TRIP):
        assert decision.pack_high_w[0] == 0.0
        assert decision.high_w[0] == 0.0
    if effect & Effect.TRIP:
        opened = bench.steps(5, case.at(bench.site, STEP))
        assert opened.contactor[0].name == "OPEN"
        assert opened.mode in ("trip", "tripped")


# Ages: what is raised, and after how many seconds.


def _frozen(bench: b.Bench) -> b.Modify:
    return b.pack(current_a=10.0, heartbeat=b.MISSING)


def _silent_meter(bench: b.Bench) -> b.Modify:
    last = bench.snapshot().grid
    return b.grid(power_w=last.power_w)


AGE_OF = {
    "C32": _frozen,
    "C33": b.stuck_pack,
    "C35": lambda bench: b.both(b.stuck_converter(bench), b.pack(current_a=10.0)),
    "C38": _silent_meter,
}


AGEING = [c for c in cases(ages=True) if c.row.id not in ("C32b", "C32c")]


@pytest.mark.parametrize("case", AGEING, ids=str)
def test_age_acts_when_it_reaches_its_limit(case: Case) -> None:
    bench = case.running()
    silence = AGE_OF[case.row.id](bench)
    first = 1 if case.row.id == "C32" else 0  # the first repeat needs a frame to repeat
    bench.steps(int(case.limit) - 1 + first, silence)
    assert bench.level(case.row.id) < case.level
    bench.step(silence)
    assert bench.level(case.row.id) == case.level


@pytest.mark.parametrize(("level", "seconds"), [(1, 33), (2, 49), (3, 65)])
def test_values_stuck_behind_a_live_counter_act_by_charge(level: int, seconds: int) -> None:
    """100 A out of 90 Ah move 1 % in 32.4 s, 1.5 % in 48.6 s, 2 % in 64.8 s."""
    bench = b.running()
    bench.steps(seconds, b.pack(current_a=100.0))
    assert bench.level("C32b") == level - 1
    bench.step(b.pack(current_a=100.0))
    assert bench.level("C32b") == level


def test_frozen_cells_alone_are_no_fault() -> None:
    """An LFP pack repeats its millivolts for minutes; the counter shows it lives."""
    bench = b.running()
    moving = b.pack(current_a=5.5)
    for soc in (0.60, 0.61):
        bench.steps(200, b.both(moving, b.pack(soc_frac=soc)))
    assert [bench.level(cause) for cause in ("C32", "C32b", "C32c")] == [0, 0, 0]


def test_current_that_no_cell_answers_acts_by_the_change_it_hides() -> None:
    """Half of 1 mOhm: 6 A are 3 mV, 12 A are 6 mV, 20 A are 10 mV."""

    def after(seconds: int, current_a: float) -> int:
        bench = b.running()
        for i in range(seconds):  # SoC and current show that the pack lives
            bench.step(b.pack(current_a=current_a, soc_frac=0.6 + 1e-4 * (i % 2)))
        return bench.level("C32c")

    assert [after(4, 30.0), after(5, 30.0)] == [0, 2]
    assert [after(9, 30.0), after(10, 30.0), after(10, -30.0)] == [2, 3, 3]
    assert [after(10, a) for a in (5.9, 6.0, 11.9, 12.0, 19.9, 20.0)] == [0, 1, 1, 2, 2, 3]


def test_charge_that_no_cell_answers_acts_at_constant_current() -> None:
    """Lower bound of the LFP plateau, 0.3 mV per 1 % of SoC: 3 mV are 10 Ah of 100 Ah."""
    bench = b.running()
    bench.step(b.both(b.pack(current_a=50.0), b.cell_v(3.28)))
    levels = {}
    for i in range(1, 77):  # 10 s at 50 A are 0.139 Ah; two such samples make five seconds
        soc = 0.6 + 1e-4 * i
        bench.step(b.both(b.pack(current_a=50.0, soc_frac=soc), b.cell_v(3.28)), dt_s=10.0)
        levels[i] = bench.level("C32c")
    assert (levels[72], levels[76]) == (0, 1)


def test_one_cell_that_answers_is_enough() -> None:
    bench = b.running()
    for i in range(30):
        amps = 30.0 * (1 + i % 2)
        bench.step(b.both(b.pack(current_a=amps), b.cell_v(3.30 - 0.001 * (i % 2))))
    assert bench.level("C32c") == 0


def test_cells_sampled_before_the_current_are_not_frozen() -> None:
    """A slow poll class shows the step late; only fresh cell samples are judged."""
    bench = b.running()
    old = bench.snapshot().cells
    bench.steps(20, lambda s: replace(b.pack(current_a=50.0)(s), cells=old))
    assert bench.level("C32c") == 0
    bench.steps(2, b.both(b.pack(current_a=50.0), b.cell_v(3.25)))
    assert bench.level("C32c") == 0


def test_moving_cells_are_no_repetition() -> None:
    bench = b.running()
    for i in range(70):
        volts = 3.30 + 0.001 * (i % 2)
        bench.step(b.both(b.cell_v(volts), b.pack(current_a=100.0, heartbeat=b.MISSING)))
    assert (bench.level("C32"), bench.level("C32b")) == (0, 0)


@pytest.mark.parametrize(("current_a", "level"), [(0.0, 2), (60.0, 1), (80.0, 0), (-60.0, 2)])
def test_early_under_voltage_is_corrected_for_the_drop_under_load(
    current_a: float, level: int
) -> None:
    """2.95 V at 60 A over 1 mOhm is 3.01 V at rest; charging hides nothing."""
    bench = b.running()
    bench.steps(4, b.both(b.cell_v(2.95), b.pack(current_a=current_a)))
    assert bench.level("C02") == level


def test_frames_of_a_resting_pack_may_repeat_for_ever() -> None:
    bench = b.running()
    bench.steps(200, b.pack(current_a=4.0, heartbeat=b.MISSING))
    assert (bench.level("C32"), bench.level("C32b")) == (0, 0)


# Missing, stale, repeated.


def test_unknown_value_neither_raises_nor_clears() -> None:
    """C01 stop is self-resetting, but cells nobody sees are no proof that they are well."""
    every_cell = b.both(*(b.lost_cell(cell=i) for i in range(16)))
    blind, seen = b.running(), b.running()
    for bench, meanwhile in ((blind, every_cell), (seen, None)):
        bench.steps(2, b.cell_v(3.605))
        assert bench.level("C01") == 3
        bench.steps(90, meanwhile)
    assert blind.level("C01") == 3
    assert seen.level("C01") == 0


def test_same_sample_seen_again_is_not_counted() -> None:
    bench = b.running()
    last = bench.snapshot(b.cell_v(2.70)).cells

    bench.steps(20, lambda snapshot: replace(snapshot, cells=last))
    assert bench.level("C02") == 0
    bench.steps(3, b.cell_v(2.70))
    assert bench.level("C02") == 3


def test_far_beyond_the_trip_limit_one_sample_is_enough() -> None:
    bench = b.running()
    bench.step(b.cell_v(3.69))
    assert bench.level("C01") < 4
    other = b.running()
    other.step(b.cell_v(3.70))
    assert other.level("C01") == 4


def test_lost_sensors_by_count() -> None:
    bench = b.running()
    one = bench.fork()
    one.steps(400, b.lost_temps(1))
    assert one.level("C31") == 2, "one dead thermistor among several never trips"
    cell = bench.fork()
    decision = cell.steps(3, b.lost_cell())
    assert cell.level("C31") == 3
    assert decision.pack_high_w[0] == 0.0
    cell.steps(297, b.lost_cell())
    assert cell.level("C31") == 4


def test_unknown_cell_allows_no_power_at_once() -> None:
    bench = b.running()
    decision = bench.step(b.lost_cell(), power_w=100.0)
    assert (decision.pack_low_w[0], decision.pack_high_w[0]) == (0.0, 0.0)
    assert decision.pack_reason == ("voltage_unknown",)


def test_detail_names_pack_cell_value_and_limit() -> None:
    bench = b.running(n_packs=3)
    decision = bench.steps(2, b.cell_v(3.612, pack=1, cell=6))
    cause = decision.causes[0]
    assert cause.pack == 1
    assert "p2 cell 7" in cause.detail
    assert "3.612 V" in cause.detail
    assert "3.600 V" in cause.detail


def test_first_out_is_marked_once() -> None:
    bench = b.running(n_packs=2)
    bench.steps(2, b.cell_v(3.61, pack=1))
    decision = bench.steps(5, b.both(b.cell_v(3.61, pack=1), b.temp_c(46.0, pack=0)))
    first = [(c.cause, c.pack) for c in decision.causes if c.first_out]
    assert first == [("C01", 1)]


def test_trip_during_discharge_waits_for_the_current_to_fall() -> None:
    """Contactors break below 0.1 C, or after three seconds."""
    bench = b.running()
    flowing = b.both(b.cell_v(3.71), b.pack(current_a=30.0))
    bench.step(flowing)
    held = bench.steps(2, flowing)
    assert held.contactor[0].name == "HOLD"
    assert bench.steps(2, flowing).contactor[0].name == "OPEN"
    soft = b.running()
    soft.step(b.cell_v(3.71))
    assert (
        soft.step(b.both(b.cell_v(3.71), b.pack(contactor=Contactor.CLOSED))).contactor[0].name
        == "OPEN"
    )
