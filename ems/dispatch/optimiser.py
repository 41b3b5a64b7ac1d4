"""One convex problem: what each battery should do over the next day.

The problem is built once. Everything that changes is a parameter, so a new solve
fills in vectors and calls the solver. kW, kWh and hours inside this file, because
solvers need half the iterations there than with W and Wh.

Source: dispatch reference, section 6 (formulation) and section 7 (fallback chain).
"""

import warnings
from dataclasses import dataclass
from typing import Any, Final

import cvxpy as cp
import numpy as np

from ems.model import FloatArray

HOLD_FRAC: Final = 0.8
"""Price of a kWh imported above the target, as a share of the demand rate per kW:
the target is given up only when energy is physically short, because what is
exceeded once cannot be bought back this month."""
RESERVE_PRICE: Final = 1_000.0
"""Per kWh and step of reserve given up; above anything a demand charge can pay."""
NEED_PRICE: Final = 0.5
"""Per kWh and step short of the energy that past days needed for shaving."""
BOUND_PRICE: Final = 50.0
"""Per kWh and step outside the energy bounds, so a measured state never conflicts."""
MOVE_PRICE: Final = 1e-4
"""Per kW squared that the first set-point differs from the one in force."""
LOSS_AT_RATED_FRAC: Final = 0.04
"""Extra one-way loss of a battery at rated power from its resistance."""
INTERIOR_KW: Final = 1e-3
"""Least width of a range: an interior-point solver takes an empty interior for a
contradiction. What this adds is cut off the schedule again."""
MAX_ITERATIONS: Final = 60
BALANCE_TOLERANCE_KW: Final = 1e-3
SOLVERS: Final[tuple[tuple[int, str, dict[str, Any]], ...]] = (
    (1, "PIQP", {"max_iter": MAX_ITERATIONS}),
    (2, "CLARABEL", {"max_iter": MAX_ITERATIONS}),
    (3, "HIGHS", {"highs_options": {"simplex_iteration_limit": 20_000, "threads": 1}}),
)
"""Level, name and options. Iterations are capped instead of seconds, so that the
same question has the same answer on a slow machine. HiGHS gets the linear part."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """Batteries as the optimiser sees them, one per converter, shape ``(n,)``."""

    energy_kwh: FloatArray
    """Energy above the floor now, at the battery terminals."""
    headroom_kwh: FloatArray
    charge_kw: FloatArray
    """Largest charge at the site bus, kW, >= 0."""
    discharge_kw: FloatArray
    efficiency_frac: FloatArray
    """One way, 0..1."""
    rated_kw: FloatArray
    """What the loss share is relative to, kW, > 0."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """What the coming steps look like, shape ``(n_steps,)`` each."""

    net_load_kw: FloatArray
    """Load minus PV."""
    price: FloatArray
    """Import price per kWh."""
    feed_in: float
    demand_rate: float
    """Per kW of the month's peak."""
    target_kw: FloatArray
    """Import level to hold in each step."""
    excess_weight: FloatArray
    """Share of the demand window a step above its target can still move, 0..1."""
    need_kwh: FloatArray
    """Energy above the reserve to have at the end of each step."""
    reserve_kwh: float
    """Backup energy to keep, at the site bus."""
    reserve_h: float
    """Hours over which the reserve must be deliverable."""
    first_step_h: float
    wear: float
    """Per kWh of throughput."""
    end_value: float
    """Worth of a kWh left at the end of the horizon."""
    export_limit_kw: float
    last_kw: FloatArray
    """Set-points in force, kW, discharge positive."""


@dataclass(frozen=True, slots=True)
class Solution:
    """A schedule, kW, discharge positive."""

    level: int
    solver: str
    power_kw: FloatArray
    """Shape ``(n_steps, n)``."""
    energy_kwh: FloatArray
    """Energy above the floor at the end of each step, summed over the batteries."""
    reserve_slack_kwh: float
    """Largest shortfall of the reserve in any step, kWh; 0 normally."""


class Optimiser:
    """The problem for ``n`` batteries over ``n_steps`` steps of ``step_h`` hours."""

    def __init__(self, n: int, n_steps: int, step_h: float, power_binds: bool = False) -> None:
        self.n = n
        self.n_steps = n_steps
        self.step_h = step_h
        t, after = n_steps, n_steps - 1
        fleet, steps, cells = (n,), (t,), (n, t)
        p = {
            "load": cp.Parameter(steps),
            # Prices come multiplied by the step length: cvxpy's parametrised form
            # allows one parameter per product.
            "buy": cp.Parameter(steps),
            "sell": cp.Parameter(steps, nonneg=True),
            "excess": cp.Parameter(steps, nonneg=True),
            "demand": cp.Parameter(nonneg=True),
            "target": cp.Parameter(steps, nonneg=True),
            "weight": cp.Parameter(steps, nonneg=True),
            "need": cp.Parameter(steps),
            "reserve": cp.Parameter(nonneg=True),
            "wear": cp.Parameter(cells, nonneg=True),
            "loss": cp.Parameter(cells, nonneg=True),
            "first_in": cp.Parameter(fleet, nonneg=True),
            "first_out": cp.Parameter(fleet, nonneg=True),
            "in": cp.Parameter((n, 1), nonneg=True),
            "out": cp.Parameter((n, 1), nonneg=True),
            "eta": cp.Parameter(fleet, nonneg=True),
            "start": cp.Parameter(fleet),
            "full": cp.Parameter(cells),
            "charge": cp.Parameter(cells, nonneg=True),
            "discharge": cp.Parameter(cells, nonneg=True),
            "end": cp.Parameter(fleet),
            "export": cp.Parameter(nonneg=True),
            "last": cp.Parameter(fleet),
            "carry": cp.Parameter(cells, nonneg=True),
            "eta_column": cp.Parameter((n, 1), nonneg=True),
        }
        self._p = p
        c = cp.Variable(cells, nonneg=True)
        d = cp.Variable(cells, nonneg=True)
        e = cp.Variable(cells)
        kept = cp.Variable(steps, nonneg=True)
        above = cp.Variable(steps, nonneg=True)
        sold = cp.Variable(steps, nonneg=True)
        peak = cp.Variable(nonneg=True)
        short = cp.Variable(steps, nonneg=True)
        lacking = cp.Variable(steps, nonneg=True)
        under = cp.Variable(cells, nonneg=True)
        over = cp.Variable(cells, nonneg=True)
        self._c, self._d, self._e, self._short = c, d, e, short
        self._kept, self._above, self._sold = kept, above, sold
        deliverable = p["eta"] @ e
        linear = (
            p["buy"] @ (kept + above)
            - p["sell"] @ sold
            + p["excess"] @ above
            + p["demand"] * peak
            + cp.sum(cp.multiply(p["wear"], c + d))
            + RESERVE_PRICE * cp.sum(short)
            + NEED_PRICE * cp.sum(lacking)
            + BOUND_PRICE * cp.sum(under + over)
            - p["end"] @ e[:, after]
        )
        quadratic = cp.sum(cp.multiply(p["loss"], cp.square(c) + cp.square(d))) + (
            MOVE_PRICE * cp.sum_squares(d[:, 0] - c[:, 0] - p["last"])
        )
        constraints = [
            kept + above - sold == p["load"] + cp.sum(c - d, axis=0),
            kept <= p["target"],
            sold <= p["export"],
            peak >= cp.multiply(p["weight"], above),
            e[:, 0]
            == p["start"]
            + cp.multiply(p["first_in"], c[:, 0])
            - cp.multiply(p["first_out"], d[:, 0]),
            e[:, 1:]
            == e[:, :after] + cp.multiply(p["in"], c[:, 1:]) - cp.multiply(p["out"], d[:, 1:]),
            c <= p["charge"],
            d <= p["discharge"],
            e + under >= 0,
            e - over <= p["full"],
            deliverable + lacking >= p["need"],
        ]
        if power_binds:
            # A pack can carry the outage with no more than its power for the promised hours.
            share = cp.Variable(cells, nonneg=True)
            constraints += [
                share <= p["carry"],
                share <= cp.multiply(p["eta_column"], e),
                cp.sum(share, axis=0) + short >= p["reserve"],
            ]
        else:
            constraints.append(deliverable + short >= p["reserve"])
        self._qp = cp.Problem(cp.Minimize(linear + quadratic), constraints)
        self._lp = cp.Problem(cp.Minimize(linear), constraints)

    def solve(self, fleet: Fleet, horizon: Horizon) -> tuple[Solution | None, tuple[str, ...]]:
        """The best schedule and what failed on the way; ``None`` when every solver failed.

        Each solver's answer is checked against the balance and the power bounds
        before it is believed.
        """
        self._fill(fleet, horizon)
        notes: list[str] = []
        for level, name, options in SOLVERS:
            problem = self._lp if name == "HIGHS" else self._qp
            answer = self._try(problem, level, name, options, notes)
            if answer is not None:
                return answer, tuple(notes)
        return None, tuple(notes)

    def _try(
        self,
        problem: Any,
        level: int,
        name: str,
        options: dict[str, Any],
        notes: list[str],
    ) -> Solution | None:
        try:
            with warnings.catch_warnings():
                # An inaccurate answer is not believed anyway: its status is noted below.
                warnings.simplefilter("ignore", UserWarning)
                problem.solve(solver=name, **options)
        except (cp.error.SolverError, ValueError, ArithmeticError) as error:
            notes.append(f"{name} failed: {error}")
            return None
        if problem.status != cp.OPTIMAL:
            notes.append(f"{name} stopped: {problem.status}")
            return None
        fault = self._fault()
        if fault:
            notes.append(f"{name} answered wrongly: {fault}")
            return None
        slack_kwh = float(np.max(self._short.value, initial=0.0))
        return Solution(
            level=level,
            solver=name.lower(),
            power_kw=np.ascontiguousarray((self._d.value - self._c.value).T),
            energy_kwh=self._e.value.sum(axis=0),
            reserve_slack_kwh=slack_kwh if slack_kwh > 1e-3 else 0.0,
        )

    def _fault(self) -> str:
        """What is wrong with the values in the variables; empty when nothing is."""
        p = self._p
        c, d = self._c.value, self._d.value
        if c is None or not (np.isfinite(c).all() and np.isfinite(d).all()):
            return "no finite schedule"
        balance = (
            self._kept.value
            + self._above.value
            - self._sold.value
            - p["load"].value
            - (c - d).sum(axis=0)
        )
        scale = 1.0 + float(np.abs(p["load"].value).max())
        if np.abs(balance).max() > BALANCE_TOLERANCE_KW * scale:
            return f"balance off by {np.abs(balance).max():.3g} kW"
        over = max(float((c - p["charge"].value).max()), float((d - p["discharge"].value).max()))
        if over > BALANCE_TOLERANCE_KW * scale:
            return f"power limit exceeded by {over:.3g} kW"
        return ""

    def _fill(self, fleet: Fleet, h: Horizon) -> None:
        n, t = self.n, self.n_steps
        step_h = np.full(t, self.step_h)
        step_h[0] = h.first_step_h
        eta = fleet.efficiency_frac
        # Loss grows with the square of power: half of it at half power per kWh.
        loss = (
            LOSS_AT_RATED_FRAC / np.maximum(fleet.rated_kw, 1e-6) * max(0.0, float(h.price.mean()))
        )
        values: dict[str, Any] = {
            "load": h.net_load_kw,
            "buy": h.price * step_h,
            "sell": np.full(t, max(0.0, h.feed_in)) * step_h,
            "excess": np.full(t, HOLD_FRAC * h.demand_rate) * step_h,
            "demand": h.demand_rate,
            "target": np.maximum(h.target_kw, INTERIOR_KW),
            "weight": h.excess_weight,
            "need": h.need_kwh + h.reserve_kwh,
            "reserve": h.reserve_kwh,
            "wear": np.tile(h.wear * step_h, (n, 1)),
            "loss": np.maximum(loss[:, None] * step_h, 1e-6),
            "first_in": eta * h.first_step_h,
            "first_out": h.first_step_h / eta,
            "in": (eta * self.step_h)[:, None],
            "out": (self.step_h / eta)[:, None],
            "eta": eta,
            "start": fleet.energy_kwh,
            "full": np.tile((fleet.energy_kwh + fleet.headroom_kwh)[:, None], (1, t)),
            "charge": np.tile(np.maximum(fleet.charge_kw, INTERIOR_KW)[:, None], (1, t)),
            "discharge": np.tile(np.maximum(fleet.discharge_kw, INTERIOR_KW)[:, None], (1, t)),
            "end": np.full(n, h.end_value),
            "export": max(h.export_limit_kw, INTERIOR_KW),
            "last": h.last_kw,
            "carry": np.tile((fleet.discharge_kw * h.reserve_h)[:, None], (1, t)),
            "eta_column": eta[:, None],
        }
        for name, value in values.items():
            # cvxpy checks what it is given at length, and most of it is as it was.
            if not np.array_equal(self._p[name].value, value):
                self._p[name].value = value
