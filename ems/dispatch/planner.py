"""From a request to a plan: optimise, or fall back, and say which.

Runs in its own process (or in lockstep under simulation) and never touches a
device. Every answer is a plan: when solvers fail, the last plan shifted in time,
then rules, then a safe plan take their place, each with its reason in the notes.

Source: dispatch reference, section 7.
"""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from ems import units
from ems.dispatch import rules
from ems.dispatch.inputs import InputBuilder, Inputs
from ems.dispatch.optimiser import Fleet, Horizon, Optimiser
from ems.dispatch.tariff import Tariff
from ems.model import FloatArray, Plan, PlanRequest
from ems.site import Site

SHIFT_MAX_H: Final = 2.0
SHIFT_STATE_FRAC: Final = 0.05
SAFE_C_RATE: Final = 0.1
CHEAP_FRAC: Final = 0.1
"""A price within this share of the day's span above its lowest counts as cheap."""


class Planner:
    """Remembers the site's past windows and answers requests with plans."""

    def __init__(self, site: Site, tariff: Tariff) -> None:
        self._site = site
        self._inputs = InputBuilder(site, tariff)
        self._optimisers: dict[bool, Optimiser] = {}
        self._last: tuple[Plan, FloatArray] | None = None

    def observe(self, history: tuple[tuple[datetime, float | None, float | None], ...]) -> None:
        """Take completed windows in: start UTC, mean load W, mean PV W."""
        self._inputs.observe(history)

    def warm_up(self) -> None:
        """Build and compile the problem before the first request needs it."""
        ones, steps = np.ones(len(self._site.converters)), np.ones(self._inputs.n_steps)
        fleet = Fleet(ones, ones, ones, ones, 0.95 * ones, ones)
        horizon = Horizon(
            net_load_kw=steps,
            price=steps,
            feed_in=0.0,
            demand_rate=1.0,
            target_kw=2.0 * steps,
            excess_weight=steps,
            need_kwh=0.1 * steps,
            reserve_kwh=0.1,
            reserve_h=1.0,
            first_step_h=self._inputs.step_h,
            wear=0.1,
            end_value=0.5,
            export_limit_kw=1.0,
            last_kw=0.0 * ones,
        )
        self._optimiser(False).solve(fleet, horizon)

    def plan(self, request: PlanRequest) -> Plan:
        """The best plan that can be had for this request.

        ``solve_s`` is left at 0: how long it took is the business of whoever owns
        a clock.
        """
        self.observe(request.history)
        inputs = self._inputs.build(request)
        notes: list[str] = []
        plan = self._optimised(inputs, notes) or self._shifted(inputs, notes)
        if plan is None and inputs.known:
            notes.append("rules hold the target: no solver answered and no recent plan fits")
            plan = self._ruled(inputs)
        if plan is None:
            notes.append("safe plan: no discharge, charge slowly to the reserve")
            plan = self._safe(inputs)
        return replace(plan, notes=(*plan.notes, *notes))

    def _optimiser(self, power_binds: bool) -> Optimiser:
        """The problem, with or without the reserve's power rows (they double its size)."""
        if power_binds not in self._optimisers:
            self._optimisers[power_binds] = Optimiser(
                len(self._site.converters), self._inputs.n_steps, self._inputs.step_h, power_binds
            )
        return self._optimisers[power_binds]

    def _optimised(self, inputs: Inputs, notes: list[str]) -> Plan | None:
        """Levels 1 to 3."""
        if not inputs.known:
            notes.append("nothing to optimise: no load was ever measured")
            return None
        fleet, horizon = inputs.fleet, inputs.horizon
        full_kwh = (fleet.energy_kwh + fleet.headroom_kwh) * fleet.efficiency_frac
        power_binds = horizon.reserve_kwh > 0.0 and bool(
            np.any(fleet.discharge_kw * horizon.reserve_h < full_kwh)
        )
        solution, failures = self._optimiser(power_binds).solve(fleet, horizon)
        notes.extend(failures)
        if solution is None:
            return None
        if solution.reserve_slack_kwh > 0.0:
            notes.append(
                f"backup reserve short by up to {solution.reserve_slack_kwh:.2f} kWh "
                f"of {horizon.reserve_kwh:.2f} kWh: recharging to it first"
            )
        plan = self._make(
            inputs,
            solution.level,
            solution.solver,
            solution.power_kw,
            reserve_slack_kwh=solution.reserve_slack_kwh,
        )
        self._last = (plan, solution.energy_kwh)
        return plan

    def _shifted(self, inputs: Inputs, notes: list[str]) -> Plan | None:
        """Level 4: the last good plan, if young and still true."""
        if self._last is None:
            return None
        plan, energy_kwh = self._last
        age = inputs.start_utc - plan.start_utc
        steps = round(age.total_seconds() / plan.step_s)
        if not timedelta(0) <= age <= timedelta(hours=SHIFT_MAX_H):
            notes.append("last plan too old to shift")
            return None
        expected_kwh = float(energy_kwh[max(0, steps - 1)])
        now_kwh = float(inputs.fleet.energy_kwh.sum())
        full_kwh = now_kwh + float(inputs.fleet.headroom_kwh.sum())
        if abs(now_kwh - expected_kwh) > SHIFT_STATE_FRAC * full_kwh:
            notes.append(f"last plan expected {expected_kwh:.1f} kWh, found {now_kwh:.1f} kWh")
            return None
        power = plan.converter_power_w / units.W_PER_KW
        power_kw = np.vstack([power[steps:], np.zeros((steps, power.shape[1]))])
        low, high = -inputs.fleet.charge_kw, inputs.fleet.discharge_kw
        notes.append(f"last plan {plan.id} shifted by {steps} steps")
        return self._make(inputs, 4, "shifted", np.clip(power_kw, low, high))

    def _ruled(self, inputs: Inputs) -> Plan:
        """Level 5: the tracker's own rule, played forward over the forecast."""
        h, fleet, bucket = inputs.horizon, inputs.fleet, inputs.bucket
        eta = bucket.efficiency_frac
        energy = float(fleet.energy_kwh.sum())
        full = energy + float(fleet.headroom_kwh.sum())
        cheap = h.price <= h.price.min() + CHEAP_FRAC * (h.price.max() - h.price.min())
        total = np.zeros(len(h.price))
        for step, net_kw in enumerate(h.net_load_kw.tolist()):
            step_h = h.first_step_h if step == 0 else self._inputs.step_h
            spare = energy - h.reserve_kwh / eta
            power = rules.rule_power_w(
                net_load_w=net_kw,
                budget_w=float(h.target_kw[step]),
                spare_wh=spare,
                keep_wh=float(h.need_kwh[step]),
                headroom_wh=full - energy,
                charge_w=min(bucket.charge_kw, (full - energy) / (eta * step_h)),
                discharge_w=min(bucket.discharge_kw, max(0.0, spare) * eta / step_h),
                cheap=bool(cheap[step]),
            )
            energy -= step_h * (power / eta if power > 0.0 else power * eta)
            total[step] = power
        limit = np.where(total > 0.0, bucket.discharge_kw, bucket.charge_kw)
        share = np.divide(total, limit, out=np.zeros_like(total), where=limit > 0.0)[:, None]
        power_kw = np.where(share > 0.0, share * fleet.discharge_kw, share * fleet.charge_kw)
        return self._make(inputs, 5, "rules", power_kw)

    def _safe(self, inputs: Inputs) -> Plan:
        """Level 6: no discharge; up to the reserve at a tenth of the capacity per hour."""
        fleet, step_h = inputs.fleet, self._inputs.step_h
        eta = fleet.efficiency_frac
        capacity = fleet.energy_kwh + fleet.headroom_kwh
        deliverable = float(eta @ fleet.energy_kwh)
        missing = max(0.0, inputs.horizon.reserve_kwh - deliverable)
        wanted = np.divide(
            missing * fleet.headroom_kwh,
            eta * float(fleet.headroom_kwh.sum()),
            out=np.zeros_like(eta),
            where=fleet.headroom_kwh > 0.0,
        )
        power_kw = np.zeros((self._inputs.n_steps, len(eta)))
        for step in range(self._inputs.n_steps):
            most = np.minimum(SAFE_C_RATE * capacity, fleet.charge_kw)
            rate = np.minimum(most, wanted / (eta * step_h))
            power_kw[step] = -rate
            wanted = wanted - eta * rate * step_h
        return self._make(inputs, 6, "safe", power_kw)

    def _make(
        self,
        inputs: Inputs,
        level: int,
        solver: str,
        power_kw: FloatArray,
        reserve_slack_kwh: float = 0.0,
    ) -> Plan:
        low, high = -inputs.fleet.charge_kw, inputs.fleet.discharge_kw
        power_w = np.clip(power_kw, low, high) * units.W_PER_KW
        load_w, pv_w = inputs.load_kw * units.W_PER_KW, inputs.pv_kw * units.W_PER_KW
        return Plan(
            id=inputs.request.id,
            made_at_utc=inputs.request.now_utc,
            start_utc=inputs.start_utc,
            step_s=self._inputs.window_s,
            level=level,
            solver=solver,
            peak_target_w=units.w_from_kw(inputs.target_kw),
            converter_power_w=power_w,
            grid_power_w=load_w - pv_w - power_w.sum(axis=1),
            load_power_w=load_w,
            pv_power_w=pv_w,
            reserve_slack_wh=units.wh_from_kwh(reserve_slack_kwh),
            solve_s=0.0,
        )
