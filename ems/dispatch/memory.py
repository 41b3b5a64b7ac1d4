"""Bring what the tracker remembers up to now: window, month, price, orders, outage."""

from datetime import UTC, datetime
from typing import Final

from ems.dispatch import orders, outage, window
from ems.dispatch.bill import wear_per_kwh
from ems.dispatch.state import DispatchState, Price
from ems.dispatch.tariff import Tariff
from ems.model import Plan, SiteSnapshot, Standing
from ems.site import Site

SMOOTHING_S: Final = 3.0
"""Load is smoothed over this time: meter and converter are never read at the same instant."""
CHEAP_FRAC: Final = 0.1
"""A price within this share of the day's span above its lowest counts as cheap."""
QUARTER_S: Final = 900.0
DAY_QUARTERS: Final = 96


def remember(
    state: DispatchState,
    snapshot: SiteSnapshot,
    standing: Standing,
    plan: Plan | None,
    utc_s: float,
    tariff: Tariff,
    site: Site,
) -> DispatchState:
    """State with price, orders, outage, demand window and billing month brought up to now."""
    price = state.price
    if price is None or price.quarter != int(utc_s // QUARTER_S):
        price = _price(snapshot.now_utc, utc_s, tariff, state)
    target_w = state.target_w if plan is None else plan.peak_target_w
    held_at_w = cap_w(target_w, state.incurred_peak_w, site)
    grid = snapshot.grid
    before = state.window
    if before is None or utc_s < before.start_utc_s:
        before = window.begin(utc_s, site.grid.demand_window_s)
    import_w = grid.power_w.good
    if import_w is None and standing.grid_lost:
        import_w = 0.0  # nothing comes from a grid that is gone, with or without a meter
    unseen_w = held_at_w
    if target_w is None and state.incurred_peak_w == 0.0 and import_w is not None:
        # No cap is known yet, and the site's limit would pass for a peak already paid.
        unseen_w = max(import_w, 0.0)
    running, mean_w = window.advance(before, utc_s, import_w, grid.import_wh.good, unseen_w)
    month, incurred_w = state.month, state.incurred_peak_w
    if mean_w is not None:
        incurred_w = max(incurred_w, mean_w)
    # A wall clock nobody vouches for tells no month, and no clock may go back to one: a
    # controller without a battery for its clock starts in the past.
    if snapshot.clock_ok and (month is None or price.month > month):
        incurred_w = incurred_w if month is None else 0.0
        month = price.month
    outage_now = outage.update(state.outage, standing.grid_lost, snapshot.now_s)
    outage_now = outage.reconnect_loads(outage_now, snapshot.now_s)
    raw_w, battery_w = raw_net_w(snapshot)
    metered = raw_w is not None
    return DispatchState(
        constants=state.constants,
        utc_s=utc_s,
        at_s=snapshot.now_s,
        window=running,
        month=month,
        incurred_peak_w=incurred_w,
        target_w=target_w,
        load_w=_smoothed_w(state, raw_w, snapshot.now_s),
        raw_w=raw_w,
        battery_w=battery_w,
        held_w=max(battery_w, 0.0) if metered else state.held_w,
        held_until_utc_s=running.start_utc_s + running.length_s
        if metered
        else state.held_until_utc_s,
        refilling=state.refilling,
        active=state.active,
        orders=orders.update(state.orders, (), utc_s),
        outage=outage_now,
        price=price,
    )


def cap_w(target_w: float | None, incurred_w: float, site: Site) -> float:
    """Import level to hold: what was paid already, or the plan's; else the site's limit."""
    if target_w is None:
        # Nothing learned and nothing paid: only the connection itself limits.
        return incurred_w if incurred_w > 0.0 else site.grid.import_limit_w
    return min(max(target_w, incurred_w), site.grid.import_limit_w)


def _price(now_utc: datetime, utc_s: float, tariff: Tariff, state: DispatchState) -> Price:
    tz = state.constants.timezone
    quarter = int(utc_s // QUARTER_S)
    start = datetime.fromtimestamp(quarter * QUARTER_S, UTC)
    ahead = tariff.prices(start, DAY_QUARTERS, QUARTER_S, tz)
    low, high, per_kwh = float(ahead.min()), float(ahead.max()), float(ahead[0])
    local = now_utc.astimezone(tz)
    eta = float(state.constants.eta_frac.min())
    earns = per_kwh * eta - low / eta - 2.0 * wear_per_kwh(tariff.currency)
    span = CHEAP_FRAC * (high - low)
    return Price(
        quarter=quarter,
        month=(local.year, local.month),
        per_kwh=per_kwh,
        cheap=per_kwh <= low + span,
        dear=earns > 0.0 and per_kwh >= high - span and tariff.demand_rate_per_kw == 0.0,
    )


def raw_net_w(snapshot: SiteSnapshot) -> tuple[float | None, float]:
    """Net load by the balance at the site bus, and the battery's part of it, W."""
    battery_w = 0.0
    for reading in snapshot.converters:
        battery_w += reading.power_w.good or 0.0
    grid_w = snapshot.grid.power_w.good
    return (None if grid_w is None else grid_w + battery_w), battery_w


def _smoothed_w(state: DispatchState, raw_w: float | None, now_s: float) -> float | None:
    if raw_w is None or state.load_w is None:
        return raw_w
    dt_s = max(now_s - state.at_s, 0.0)
    return state.load_w + (raw_w - state.load_w) * (dt_s / (dt_s + SMOOTHING_S))
