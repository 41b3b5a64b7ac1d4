"""The power in force: envelope, ramps, slow return, export cap, loads."""

from dataclasses import replace

import numpy as np
import pytest

from ems.model import (
    Link,
    RequestKind,
)
from ems.safety import gate
from ems.site import GridSpec
from tests.safety import bench as b

ARM, DISARM = b.ask(RequestKind.ARM), b.ask(RequestKind.DISARM)


def test_request_is_cut_to_the_envelope_with_the_reason() -> None:
    bench = b.running()
    decision = bench.steps(3, power_w=1e6)
    assert decision.power_w[0] == pytest.approx(decision.high_w[0])
    assert decision.high_w[0] == pytest.approx(decision.pack_high_w[0] * 0.95)
    assert decision.pack_reason == ("current",)
    assert bench.steps(3, power_w=-1e6).power_w[0] == pytest.approx(decision.low_w[0])
    assert bench.step(power_w=10.0).pack_reason == ("",)


def test_power_rises_by_the_converters_ramp_and_falls_at_once() -> None:
    bench = b.running()
    spec = replace(bench.site.converters[0], ramp_w_per_s=200.0)
    bench.site = replace(bench.site, converters=(spec,))
    rising = [float(bench.step(power_w=500.0).power_w[0]) for _ in range(4)]
    assert rising == [200.0, 400.0, 500.0, 500.0]
    assert bench.step(power_w=100.0).power_w[0] == 100.0
    assert bench.step(power_w=-500.0).power_w[0] == -200.0


def test_power_returns_slowly_after_a_stop() -> None:
    bench = b.running()
    bench.steps(3, power_w=1000.0)
    bench.step(b.pack(link=Link.REFUSED), power_w=1000.0)
    assert bench.decision is not None
    assert bench.decision.power_w[0] == 0.0
    bench.steps(6, power_w=1000.0)
    rated_w = bench.site.converters[0].rated_discharge_w
    after = bench.steps(60, power_w=1e6).power_w[0]
    assert after == pytest.approx(0.1 * rated_w, rel=0.05), "10 % of rated in a minute"
    assert bench.step(power_w=1000.0).pack_reason[0] == "slow_return"
    assert bench.step(power_w=100.0).pack_reason[0] == "", "what is asked is given"
    assert bench.steps(600, power_w=1e6).power_w[0] == pytest.approx(bench.decision.high_w[0])


def test_not_a_number_asks_for_nothing() -> None:
    assert b.running().step(power_w=float("nan")).power_w[0] == 0.0


@pytest.mark.parametrize(
    ("export_limit_w", "total_w"),
    [pytest.param(0.0, 900.0, id="none"), pytest.param(500.0, 1400.0, id="some")],
)
def test_discharge_never_exceeds_load_plus_permitted_export(
    export_limit_w: float, total_w: float
) -> None:
    bench = b.running(n_packs=3)
    spec = replace(bench.site.grid, export_limit_w=export_limit_w)
    assert isinstance(spec, GridSpec)
    bench.site = replace(bench.site, grid=spec)
    bench.load_w = 900.0
    decision = bench.steps(6, power_w=[1000.0, 500.0, -100.0])
    assert decision.power_w.sum() == pytest.approx(total_w)
    assert decision.power_w[2] == -100.0, "charging is not cut"
    assert decision.power_w[0] == pytest.approx(2 * decision.power_w[1])


def test_one_odd_meter_sample_does_not_move_the_export_cap() -> None:
    bench = b.running()
    bench.load_w = 900.0
    assert bench.steps(6, power_w=800.0).power_w[0] == 800.0
    assert bench.step(b.grid(power_w=-700.0), power_w=800.0).power_w[0] == 800.0
    assert bench.steps(3, b.grid(power_w=-700.0), power_w=800.0).power_w[0] < 800.0


def test_only_sheddable_loads_are_switched() -> None:
    bench = b.running()
    snapshot = bench.snapshot()
    limits = b.envelope.limits(bench.estimate, snapshot, gate.standing(bench.state), bench.site)
    request = b.SetpointRequest(
        np.zeros(1), (False, False, True), b.Source.BACKUP, "shed", 0.0, 0.0, 1, 0.0
    )
    _, decision = gate.decide(bench.state, snapshot, bench.estimate, limits, request, bench.site)
    assert decision.load_on == (True, False, True), "the critical feeder stays on"


def test_disarm_and_arm_again_need_no_slow_return() -> None:
    bench = b.running()
    bench.step(None, DISARM)
    bench.steps(3)
    bench.step(None, ARM)
    assert bench.steps(4, power_w=700.0).power_w[0] == pytest.approx(700.0)


def test_power_returns_slowly_after_a_trip_and_its_second_self_test() -> None:
    """Only the first self-test, before anything was in service, leaves full power."""
    bench = b.running()
    bench.steps(2, b.cell_v(3.71))
    assert bench.decision is not None
    assert bench.decision.mode == "tripped"
    bench.wait(60.0)
    bench.step(None, b.ask(RequestKind.RESET, "C01"))
    assert bench.steps(14).mode == "standby"
    bench.step(None, ARM)
    decision = bench.steps(5, power_w=1000.0)
    rated_w = bench.site.converters[0].rated_discharge_w
    assert decision.mode == "run"
    assert decision.power_w[0] == pytest.approx(20 / 600 * rated_w, rel=0.06)
    assert decision.pack_reason == ("slow_return",)
