"""Follow the plan with what is measured now: the control side of dispatch.

The plan says how much energy to move and which import level to hold; the load it
forecast is never the load that comes. So every cycle asks the running demand
window what it still allows, discharges what the load exceeds that by, and fits
the planned purchases and sales into what is left. The backup reserve comes first,
an outage before everything. Pure: no clock, no files.
"""

from dataclasses import replace
from typing import Final

import numpy as np

from ems import units
from ems.dispatch import fleet, memory, orders, outage, split
from ems.dispatch.state import DispatchState, initial, load, save
from ems.dispatch.tariff import Tariff
from ems.dispatch.window import Window
from ems.dispatch.wish import Now, Wish, wish_for
from ems.model import (
    BackupEstimate,
    FloatArray,
    Limits,
    Plan,
    SetpointRequest,
    SiteEstimate,
    SiteSnapshot,
    Standing,
)
from ems.site import Site

__all__ = [
    "DispatchState",
    "accept",
    "initial",
    "load",
    "notice_hours",
    "planning_headroom_wh",
    "save",
    "track",
]

PLAN_MAX_AGE_S: Final = 2 * units.S_PER_H
"""Older plans are not followed: the forecast they rest on is no better than the rule."""
TARGET_MARGIN_FRAC: Final = 0.001
"""Aim this much below the target, or every window at the limit would raise it a little."""
CHARGE_FRAC: Final = 0.95
"""Charging may fill a window that has just begun up to this share of the target: the load
may still rise. The share grows to the whole target by the middle of the window."""


def notice_hours(state: DispatchState, now_s: float) -> float:
    """Extra hours of reserve that an operator notice asks for now, h."""
    return orders.notice_hours(state.orders, state.utc_s + (now_s - state.at_s))


def planning_headroom_wh(
    state: DispatchState, estimate: SiteEstimate, limits: Limits, backup: BackupEstimate
) -> FloatArray:
    """Headroom per pack up to the standby ceiling, Wh: what a plan may count on."""
    return fleet.headroom_wh(estimate, limits, backup, state.constants.ceilings_frac)


def track(
    state: DispatchState,
    snapshot: SiteSnapshot,
    standing: Standing,
    estimate: SiteEstimate,
    limits: Limits,
    backup: BackupEstimate,
    plan: Plan | None,
    tariff: Tariff,
    site: Site,
) -> tuple[DispatchState, SetpointRequest]:
    """Next state and what dispatch would like the converters and loads to do."""
    utc_s = snapshot.now_utc.timestamp()
    usable, age_s = _usable(plan, utc_s)
    state = memory.remember(state, snapshot, standing, usable, utc_s, tariff, site)
    now = _look(state, snapshot, standing, estimate, limits, backup, utc_s, site)
    state, wish = wish_for(state, snapshot, backup, usable, now, site)
    state, powers = _distribute(state, wish, now)
    running = state.window
    request = SetpointRequest(
        converter_power_w=np.array(powers),
        load_on=outage.wishes(state.outage, site.loads),
        source=wish.source,
        reason=wish.reason,
        demand_window_w=0.0 if running is None else running.mean_w(now.target_w),
        demand_target_w=now.target_w,
        plan_level=5 if usable is None else usable.level,
        plan_age_s=age_s,
        incurred_peak_w=state.incurred_peak_w,
    )
    return state, request


def accept(state: DispatchState, snapshot: SiteSnapshot, granted: tuple[str, ...]) -> DispatchState:
    """State after the gate granted some of this cycle's operator requests.

    Dispatch runs before the gate, so a set-point or a notice takes effect one cycle
    later; one that the gate refused never does.
    """
    asked = tuple(request for request in snapshot.requests if request.id in granted)
    utc_s = snapshot.now_utc.timestamp()
    return replace(state, orders=orders.update(state.orders, asked, utc_s))


def _usable(plan: Plan | None, utc_s: float) -> tuple[Plan | None, float]:
    """The plan if it covers this moment and is young enough, and its age in s."""
    if plan is None:
        return None, float("inf")
    age_s = max(0.0, utc_s - plan.made_at_utc.timestamp())
    step = (utc_s - plan.start_utc.timestamp()) / plan.step_s
    if age_s > PLAN_MAX_AGE_S or not 0.0 <= step < len(plan.grid_power_w):
        return None, age_s
    return plan, age_s


def _look(
    state: DispatchState,
    snapshot: SiteSnapshot,
    standing: Standing,
    estimate: SiteEstimate,
    limits: Limits,
    backup: BackupEstimate,
    utc_s: float,
    site: Site,
) -> Now:
    raw_w, net_w = state.raw_w, state.load_w
    target_w = memory.cap_w(state.target_w, state.incurred_peak_w, site)
    aim_w = target_w * (1.0 - TARGET_MARGIN_FRAC)
    assert state.window is not None, "remember() sets it"
    assert state.price is not None, "remember() sets it"
    return Now(
        utc_s=utc_s,
        net_w=net_w,
        low_w=0.0 if raw_w is None or net_w is None else min(raw_w, net_w),
        high_w=0.0 if raw_w is None or net_w is None else max(raw_w, net_w),
        battery_w=state.battery_w,
        budget_w=min(state.window.budget_w(aim_w), site.grid.import_limit_w),
        charge_budget_w=min(
            _charge_budget_w(state.window, target_w, aim_w), site.grid.import_limit_w
        ),
        target_w=target_w,
        target_known=state.target_w is not None or state.incurred_peak_w > 0.0,
        spare_wh=backup.energy_low_wh - backup.required_wh,
        fleet=fleet.view(snapshot, standing, estimate, limits, backup, site, state.constants),
        price=state.price,
    )


def _charge_budget_w(running: Window, target_w: float, aim_w: float) -> float:
    """Import that charging may fill up to now, W; never above the target itself.

    None while the window so far lies above the target: what is left of it must make good
    for that first, and whatever load comes back would find no room.
    """
    if running.mean_w(target_w) > target_w:
        return 0.0
    past_frac = (running.at_utc_s - running.start_utc_s) / running.length_s
    share = min(1.0, CHARGE_FRAC + (1.0 - CHARGE_FRAC) * 2.0 * past_frac)
    return min(running.budget_w(share * aim_w), aim_w)


def _distribute(state: DispatchState, wish: Wish, now: Now) -> tuple[DispatchState, list[float]]:
    """The wish split among the converters."""
    const, view = state.constants, now.fleet
    total_w = wish.power_w
    if wish.serves_outage:
        # Forming converters follow the load; any that can must help.
        return replace(state, active=()), split.share(total_w, view.energy_wh, view.discharge_w)
    discharging = total_w > 0.0
    weights = view.energy_wh if discharging else view.headroom_wh
    caps_w = view.discharge_w if discharging else view.charge_w
    rated_w = const.rated_out if discharging else const.rated_in
    active = split.choose_active(abs(total_w), weights, caps_w, rated_w, state.active)
    if active != state.active:
        state = replace(state, active=active)
    caps_w = [cap if i in active else 0.0 for i, cap in enumerate(caps_w)]
    powers = split.share(abs(total_w), weights, caps_w)
    return state, powers if discharging else [-p if p else 0.0 for p in powers]
