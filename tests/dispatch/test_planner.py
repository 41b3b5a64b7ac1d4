"""Plans from requests: what they respect, and what stands in when a level fails."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ems.dispatch import optimiser
from ems.dispatch.planner import Planner
from ems.dispatch.tariff import Tariff
from ems.model import Plan
from tests.dispatch import worlds
from tests.dispatch.worlds import BEIJING, FLAT_UTC, SINGLE_PART, VALLEY_UTC

QUIET_W = np.full(96, 3_000.0)
NOON_PEAK_W = np.where((np.arange(96) >= 44) & (np.arange(96) < 48), 8_000.0, 2_000.0)
MIDNIGHT_UTC = FLAT_UTC - timedelta(hours=14)


def planned(
    tariff: Tariff = BEIJING,
    at: object = MIDNIGHT_UTC,
    profile: object = NOON_PEAK_W,
    days: int = 14,
    **changes: object,
) -> Plan:
    """A plan after ``days`` of the same day."""
    site = worlds.site()
    planner = Planner(site, tariff)
    planner.observe(worlds.days_of_history(at, days, profile))  # type: ignore[arg-type]
    return planner.plan(worlds.request(site, at, **changes))  # type: ignore[arg-type]


def energies_wh(plan: Plan) -> "np.typing.NDArray[np.float64]":
    """Energy of all packs at the end of each step, from 3 x 2 kWh, 95 % one way."""
    power = plan.converter_power_w
    drawn = np.where(power > 0.0, power / 0.95, power * 0.95).sum(axis=1) * 0.25
    return np.asarray(6_000.0 - np.cumsum(drawn))


def test_a_plan_is_clock_aligned_and_complete() -> None:
    plan = planned(at=FLAT_UTC + timedelta(minutes=7), window_elapsed_frac=7 / 15)
    assert plan.start_utc == FLAT_UTC
    assert plan.level == 1
    assert plan.solver == "piqp"
    assert plan.converter_power_w.shape == (96, 3)
    balance = plan.load_power_w - plan.pv_power_w - plan.converter_power_w.sum(axis=1)
    assert plan.grid_power_w == pytest.approx(balance)
    assert plan.reserve_slack_wh == 0.0
    assert plan.notes == ()


def test_it_buys_in_the_valley_and_sells_in_the_peak() -> None:
    plan = planned(profile=QUIET_W)
    power = plan.converter_power_w.sum(axis=1)
    assert power[:28].sum() < -100.0, "before 7 h"
    assert power[40:52].sum() > 100.0, "10 to 13 h"
    assert power[68:88].sum() > 100.0, "17 to 22 h"


def test_it_shaves_the_peak_that_history_shows() -> None:
    plan = planned()
    # The hour at 8 kW takes at most the energy above the reserve out of the packs.
    assert plan.peak_target_w < 6_500.0
    assert plan.grid_power_w.max() <= plan.peak_target_w + 50.0


def test_the_reserve_is_kept_throughout() -> None:
    plan = planned(reserve_wh=4_000.0)
    assert plan.reserve_slack_wh == 0.0
    assert (0.95 * energies_wh(plan)).min() >= 4_000.0 - 20.0


def test_limits_of_packs_and_converters_are_kept() -> None:
    plan = planned(
        discharge_w=np.array([0.0, 500.0, 2_640.0]), charge_w=np.array([100.0, 0.0, 9e9])
    )
    power = plan.converter_power_w
    assert power[:, 0].max() == 0.0
    assert power[:, 1].max() <= 500.0
    assert power[:, 1].min() == 0.0
    assert power[:, 0].min() >= -100.0 / 0.95
    assert power[:, 2].min() >= -worlds.site().converters[2].rated_charge_w


def test_a_reserve_out_of_reach_is_named_not_silent() -> None:
    plan = planned(reserve_wh=9_000.0)
    assert plan.level <= 3
    assert plan.reserve_slack_wh > 1_000.0
    assert any("backup reserve short" in note for note in plan.notes)
    assert plan.converter_power_w[0].sum() < -1_000.0, "recharging to it comes first"


def test_a_reserve_counts_no_more_than_the_power_to_deliver_it() -> None:
    # One hour of backup: a pack that gives 500 W carries 500 Wh of it, whatever it holds.
    weak = np.array([100.0, 100.0, 2_640.0])
    plan = planned(reserve_wh=2_000.0, discharge_w=weak, energy_wh=np.array([2e3, 2e3, 1e3]))
    third = 1_000.0 - np.cumsum(
        np.where(
            plan.converter_power_w[:, 2] > 0.0,
            plan.converter_power_w[:, 2] / 0.95,
            plan.converter_power_w[:, 2] * 0.95,
        )
        * 0.25
    )
    assert (0.95 * third[8:] >= 2_000.0 - 2 * 95.0 - 20.0).all(), "it must hold the rest"


def test_a_paid_peak_raises_the_target() -> None:
    assert planned(incurred_peak_w=7_500.0).peak_target_w == 7_500.0


def test_the_running_window_is_forecast_as_measured() -> None:
    plan = planned(
        at=FLAT_UTC + timedelta(minutes=5),
        window_elapsed_frac=1 / 3,
        window_w=4_000.0,
        converter_power_w=np.array([500.0, 500.0, 500.0]),
    )
    assert plan.load_power_w[0] == pytest.approx(5_500.0)
    early = planned(at=FLAT_UTC, window_elapsed_frac=0.001, window_w=9_000.0)
    assert early.load_power_w[0] < 5_000.0, "a second says nothing about the window"


def test_no_battery_at_all_is_a_plan_of_nothing() -> None:
    zeros = np.zeros(3)
    plan = planned(
        energy_wh=zeros, headroom_wh=zeros, charge_w=zeros, discharge_w=zeros, reserve_wh=0
    )
    assert plan.level <= 5
    assert np.abs(plan.converter_power_w).max() == 0.0


def test_flat_prices_cause_no_trade() -> None:
    flat = replace(SINGLE_PART, table_per_kwh=np.full((12, 8, 96), 0.7))
    plan = planned(tariff=flat, profile=QUIET_W)
    assert plan.level <= 3
    assert np.abs(plan.converter_power_w).sum() * 0.25 < 200.0


def test_negative_prices_give_a_plan_that_charges() -> None:
    table = np.full((12, 8, 96), 0.5)
    table[:, :, 8:16] = -0.5
    plan = planned(tariff=replace(SINGLE_PART, table_per_kwh=table), profile=QUIET_W)
    assert plan.level <= 5
    assert plan.converter_power_w[8:16].sum() < -500.0


def test_gaps_in_history_are_missing_not_zero() -> None:
    site = worlds.site()
    planner = Planner(site, BEIJING)
    history = worlds.days_of_history(MIDNIGHT_UTC, 28, QUIET_W)
    planner.observe(
        tuple((at, None if i % 3 else load, None) for i, (at, load, _) in enumerate(history))
    )
    plan = planner.plan(worlds.request(site, MIDNIGHT_UTC))
    assert plan.load_power_w.min() == pytest.approx(3_000.0)


def test_cold_start_plans_from_the_first_window_on() -> None:
    site = worlds.site()
    request = worlds.request(
        site,
        VALLEY_UTC + timedelta(minutes=5),
        window_elapsed_frac=1 / 3,
        window_w=3_000.0,
    )
    plan = Planner(site, BEIJING).plan(request)
    assert plan.level == 1
    assert plan.load_power_w[0] == pytest.approx(3_000.0)
    assert np.isfinite(plan.converter_power_w).all()


def test_nothing_ever_measured_is_the_safe_plan() -> None:
    site = worlds.site()
    plan = Planner(site, BEIJING).plan(worlds.request(site, VALLEY_UTC, reserve_wh=7_000.0))
    assert plan.level == 6
    assert (plan.converter_power_w <= 0.0).all(), "no discharge"
    # 7 kWh at the bus need 7.37 kWh in the packs; 6 are there. A tenth of 9.6 kWh an hour.
    charged_wh = -plan.converter_power_w.sum() * 0.25 * 0.95
    assert charged_wh == pytest.approx(7_000.0 / 0.95 - 6_000.0, rel=0.01)
    assert -plan.converter_power_w.sum(axis=1).min() <= 0.1 * 9_600.0 + 1.0
    assert any("safe" in note for note in plan.notes)


class TestFallbacks:
    """Each level in turn, by taking the ones above it away."""

    def plan_without(
        self,
        monkeypatch: pytest.MonkeyPatch,
        broken: set[str],
        minutes: int = 5,
        drift: float = 1.0,
    ) -> Plan:
        site = worlds.site()
        planner = Planner(site, BEIJING)
        planner.observe(worlds.days_of_history(MIDNIGHT_UTC, 28, NOON_PEAK_W))
        if "first plan" not in broken:
            planner.plan(worlds.request(site, MIDNIGHT_UTC))
        whole = optimiser.SOLVERS
        monkeypatch.setattr(optimiser, "SOLVERS", tuple(s for s in whole if s[1] not in broken))
        at = MIDNIGHT_UTC + timedelta(minutes=minutes)
        energy = np.full(3, 2_000.0 * drift)
        return planner.plan(worlds.request(site, at, id="plan-2", energy_wh=energy))

    def test_clarabel_stands_in_for_piqp(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan_without(monkeypatch, {"PIQP"})
        assert (plan.level, plan.solver) == (2, "clarabel")

    def test_highs_stands_in_for_both_and_finds_nearly_the_same(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = self.plan_without(monkeypatch, {"PIQP", "CLARABEL"})
        assert (plan.level, plan.solver) == (3, "highs")
        best = planned()
        assert plan.peak_target_w == best.peak_target_w
        assert plan.grid_power_w.max() == pytest.approx(best.grid_power_w.max(), rel=0.02)

    def test_the_last_plan_is_shifted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan_without(monkeypatch, {"PIQP", "CLARABEL", "HIGHS"})
        assert (plan.level, plan.solver) == (4, "shifted")
        assert any("plan-1 shifted" in note for note in plan.notes)

    def test_not_when_the_packs_are_elsewhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan_without(monkeypatch, {"PIQP", "CLARABEL", "HIGHS"}, drift=1.3)
        assert plan.level == 5
        assert any("expected" in note for note in plan.notes)

    def test_nor_when_it_is_old(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plan = self.plan_without(monkeypatch, {"PIQP", "CLARABEL", "HIGHS"}, minutes=150)
        assert plan.level == 5
        assert any("too old" in note for note in plan.notes)

    def test_rules_plan_holds_the_target_and_the_reserve(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = self.plan_without(monkeypatch, {"PIQP", "CLARABEL", "HIGHS", "first plan"})
        assert plan.level == 5
        assert plan.grid_power_w.max() <= plan.peak_target_w + 50.0
        assert (0.95 * energies_wh(plan)).min() >= 2_000.0 - 20.0

    def test_a_solver_that_raises_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            optimiser, "SOLVERS", ((1, "NO_SUCH_SOLVER", {}), *optimiser.SOLVERS[1:])
        )
        plan = planned()
        assert plan.level == 2
        assert any("NO_SUCH_SOLVER failed" in note for note in plan.notes)


def test_the_same_request_gets_the_same_plan() -> None:
    first, second = planned(), planned()
    assert (first.converter_power_w == second.converter_power_w).all()
    assert first.peak_target_w == second.peak_target_w
