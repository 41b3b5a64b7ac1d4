"""What a plan is made from: fleet, forecast, peak target and shaving need.

Everything is in kW and kWh at the planning grid, which is the demand window.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from ems import units
from ems.clock import window_start_utc
from ems.dispatch import fleet, target
from ems.dispatch.bill import wear_per_kwh
from ems.dispatch.forecast import History
from ems.dispatch.optimiser import Fleet, Horizon
from ems.dispatch.tariff import Tariff
from ems.model import FloatArray, PlanRequest
from ems.site import Site

HORIZON_H: Final = 24.0
LIVE_FRAC: Final = 0.02
"""Share of the window that must have passed before its mean says what the load is."""
FIRST_STEP_FRAC: Final = 0.005
"""Shortest first step, as a share of a window: a solver needs some width."""
SATURDAY: Final = 5
BILLING_DAYS: Final = 30.0
SHORT_HISTORY_DAYS: Final = 7
FLEET_CHANGE_FRAC: Final = 0.1
"""A fleet whose usable energy changed by more than this needs its target learned anew."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything a level of the fallback chain may use; kW and kWh."""

    request: PlanRequest
    start_utc: datetime
    fleet: Fleet
    bucket: target.Bucket
    horizon: Horizon
    load_kw: FloatArray
    pv_kw: FloatArray
    target_kw: float
    known: bool
    """Whether the load forecast rests on any measurement."""


@dataclass(frozen=True, slots=True)
class _Learned:
    """The peak target and what it was learned for."""

    day: date
    until_utc: datetime | None
    """End of what was known of the site's past."""
    capacity_kwh: float
    target_kw: float


class InputBuilder:
    """Keeps the site's past windows and turns requests into :class:`Inputs`."""

    def __init__(self, site: Site, tariff: Tariff) -> None:
        self._site = site
        self._tariff = tariff
        self._tz = ZoneInfo(site.timezone)
        self.window_s = site.grid.demand_window_s
        self.step_h = self.window_s / units.S_PER_H
        self.n_steps = round(HORIZON_H / self.step_h)
        self._history = History(self.window_s, self._tz)
        self._learned: _Learned | None = None
        self._wear = wear_per_kwh(tariff.currency)

    def observe(self, history: tuple[tuple[datetime, float | None, float | None], ...]) -> None:
        """Take completed windows in: start UTC, mean load W, mean PV W."""
        self._history.observe(history)

    def build(self, request: PlanRequest) -> Inputs:
        """Inputs for one request."""
        site, n = self._site, self.n_steps
        start = window_start_utc(request.now_utc, self.window_s)
        elapsed = min(max(request.window_elapsed_frac, 0.0), 1.0 - FIRST_STEP_FRAC)
        view = self._fleet(request)
        _, pv_w = self._history.forecast(start, n, None, None)
        live_w = None
        if elapsed >= LIVE_FRAC:
            net_w = request.window_w + float(request.converter_power_w.sum())
            live_w = max(0.0, net_w + float(pv_w[0]))
        load_w, _ = self._history.forecast(start, n, live_w, None)
        load_kw, pv_kw = load_w / units.W_PER_KW, pv_w / units.W_PER_KW
        net_kw = load_kw - pv_kw
        bucket = self._bucket(view, units.kwh_from_wh(request.reserve_wh))
        known = live_w is not None or self._history.last_utc is not None
        limit_kw = units.kw_from_w(site.grid.import_limit_w)
        # A target learned from nothing would be zero, and held for the whole day.
        target_kw = self._target_kw(request, start, bucket, net_kw) if known else limit_kw
        first_kw = (target_kw - elapsed * units.kw_from_w(request.window_w)) / (1.0 - elapsed)
        targets = np.full(n, target_kw)
        targets[0] = min(max(first_kw, 0.0), limit_kw)
        weight = np.ones(n)
        weight[0] = 1.0 - elapsed
        prices = self._tariff.prices(start, n, self.window_s, self._tz)
        efficiency = bucket.efficiency_frac
        horizon = Horizon(
            net_load_kw=net_kw,
            price=prices,
            feed_in=self._tariff.feed_in_per_kwh,
            demand_rate=self._tariff.demand_rate_per_kw,
            target_kw=targets,
            excess_weight=weight,
            need_kwh=self._need_kwh(start, target_kw, bucket) * efficiency,
            reserve_kwh=units.kwh_from_wh(request.reserve_wh),
            reserve_h=max(site.backup.hours, self.step_h),
            first_step_h=self.step_h * (1.0 - elapsed),
            wear=self._wear,
            end_value=max(0.0, float(prices.min())) / efficiency,
            export_limit_kw=units.kw_from_w(site.grid.export_limit_w),
            last_kw=request.converter_power_w / units.W_PER_KW,
        )
        return Inputs(request, start, view, bucket, horizon, load_kw, pv_kw, target_kw, known)

    def _fleet(self, request: PlanRequest) -> Fleet:
        """Packs summed behind their converter; powers at the site bus."""
        site = self._site
        groups = [list(c.packs) for c in site.converters]
        eta = np.array(fleet.efficiencies(site))

        def per_converter(values: FloatArray) -> FloatArray:
            return np.array([float(values[g].sum()) for g in groups]) / units.W_PER_KW

        rated_in = np.array([c.rated_charge_w for c in site.converters]) / units.W_PER_KW
        rated_out = np.array([c.rated_discharge_w for c in site.converters]) / units.W_PER_KW
        return Fleet(
            energy_kwh=per_converter(request.energy_wh),
            headroom_kwh=np.maximum(per_converter(request.headroom_wh), 0.0),
            charge_kw=np.clip(per_converter(request.charge_w) / eta, 0.0, rated_in),
            discharge_kw=np.clip(per_converter(request.discharge_w) * eta, 0.0, rated_out),
            efficiency_frac=eta,
            rated_kw=np.maximum(rated_in, rated_out),
        )

    def _bucket(self, view: Fleet, reserve_kwh: float) -> target.Bucket:
        weights = view.energy_kwh + view.headroom_kwh
        total = float(weights.sum())
        eta = float(view.efficiency_frac @ weights) / total if total > 0.0 else 1.0
        return target.Bucket(
            capacity_kwh=max(0.0, total - reserve_kwh / eta),
            charge_kw=float(view.charge_kw.sum()),
            discharge_kw=float(view.discharge_kw.sum()),
            efficiency_frac=eta,
        )

    def _target_kw(
        self,
        request: PlanRequest,
        start: datetime,
        bucket: target.Bucket,
        net_kw: FloatArray,
    ) -> float:
        """Level to hold: what was paid already, or what would have been best lately."""
        if self._tariff.demand_rate_per_kw == 0.0:
            return units.kw_from_w(self._site.grid.import_limit_w)
        day = start.astimezone(self._tz).date()
        learned = self._learned
        until = self._history.last_utc
        # Learned once a day: a target that moves with every request is none. On a site's
        # first day every window tells more than all before it.
        if (
            learned is None
            or learned.day != day
            or (self._history.young and learned.until_utc != until)
            or abs(learned.capacity_kwh - bucket.capacity_kwh)
            > FLEET_CHANGE_FRAC * learned.capacity_kwh
        ):
            level_kw = self._learn_kw(start, bucket, net_kw)
            learned = self._learned = _Learned(day, until, bucket.capacity_kwh, level_kw)
        return max(units.kw_from_w(request.incurred_peak_w), learned.target_kw)

    def _learn_kw(self, start: datetime, bucket: target.Bucket, net_kw: FloatArray) -> float:
        run = self._history.series(start, target.LOOK_BACK_DAYS)
        past, from_utc = np.zeros(0), start
        if run is not None:
            from_utc = run[0]
            past = (run[1] - np.nan_to_num(run[2], nan=0.0)) / units.W_PER_KW
        if len(past) < SHORT_HISTORY_DAYS * self._history.slots:
            # Too little past to know the week: the coming day counts as well.
            past = np.concatenate([past, net_kw])
        days = len(past) / self._history.slots
        return target.paying_peak_kw(
            past,
            self._tariff.prices(from_utc, len(past), self.window_s, self._tz),
            bucket,
            self.step_h,
            demand_rate=self._tariff.demand_rate_per_kw * days / BILLING_DAYS,
            wear=self._wear,
        )

    def _need_kwh(self, start: datetime, target_kw: float, bucket: target.Bucket) -> FloatArray:
        """Energy above the reserve to hold at the end of each step, kWh at the terminals."""
        steps = np.zeros(self.n_steps)
        if self._tariff.demand_rate_per_kw == 0.0:
            return steps
        day, slot = self._history.where(start)
        past = self._history.net_days(day)
        pairs = zip(_like(past, day), _like(past, day + timedelta(days=1)), strict=False)
        days = [np.concatenate(pair) / units.W_PER_KW for pair in pairs]
        need = target.shaving_need_kwh(days, target_kw, bucket, self.step_h)
        seen = need[slot : slot + self.n_steps]
        steps[: len(seen)] = seen
        kept = min(target.KEPT_H * bucket.discharge_kw, 0.5 * bucket.capacity_kwh)
        return np.maximum(steps, kept)


def _like(past: list[tuple[date, FloatArray]], day: date) -> list[FloatArray]:
    """Past days of the same kind (Monday to Friday, or weekend) in the look-back, newest first."""
    weekend = day.weekday() >= SATURDAY
    oldest = day - timedelta(days=target.LOOK_BACK_DAYS + 1)
    return [row for d, row in past if d >= oldest and (d.weekday() >= SATURDAY) == weekend]
