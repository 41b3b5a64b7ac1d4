"""What the batteries should do together right now, and why.

In this order: an outage, a missing meter, an operator's set-point, the backup
reserve, the plan, the rules. Whatever is wished is then cut to what reserve,
demand target, import and export limits allow.
"""

from dataclasses import replace
from typing import Final, NamedTuple

from ems import units
from ems.dispatch import orders, outage, rules
from ems.dispatch.fleet import Fleet
from ems.dispatch.state import DispatchState, Price
from ems.model import BackupEstimate, Plan, SiteSnapshot, Source
from ems.site import Site

RESERVE_TAPER_S: Final = 60.0
"""Near the reserve, discharge falls so that what is left would last this long."""
REFILL_FRAC: Final = 0.01
"""Recharging to the reserve begins at it and ends this share of it above."""
UNKNOWN_C_RATE: Final = 0.1
"""Charge rate, per hour, while no target is known: slow, so that it makes no peak to regret."""
KEEP_FRAC: Final = 0.5
"""Without a plan, this share of the fleet's energy above the reserve is kept for peaks."""


class Wish(NamedTuple):
    """Total battery power wanted, W, discharge positive, and why."""

    power_w: float
    source: Source
    reason: str
    serves_outage: bool = False


class Now(NamedTuple):
    """Numbers of this cycle that several decisions share."""

    utc_s: float
    net_w: float | None
    """Load minus PV, smoothed, W; ``None`` without a meter."""
    low_w: float
    high_w: float
    """Smallest and largest of the smoothed and the latest net load, W."""
    battery_w: float
    budget_w: float
    """Import the running window still allows at the target, W."""
    charge_budget_w: float
    """The same for charging."""
    target_w: float
    target_known: bool
    """Whether a plan or a paid peak stands behind the target, not just the connection."""
    spare_wh: float
    """Deliverable energy above the reserve at the stated confidence, Wh; negative below."""
    fleet: Fleet
    price: Price


def wish_for(
    state: DispatchState,
    snapshot: SiteSnapshot,
    backup: BackupEstimate,
    plan: Plan | None,
    now: Now,
    site: Site,
) -> tuple[DispatchState, Wish]:
    if state.outage.lost_at_s is not None:
        return _carry(state, snapshot, backup, now, site)
    refilling = _refilling(state.refilling, now, backup.required_wh)
    if refilling is not state.refilling:
        state = replace(state, refilling=refilling)
    if now.net_w is None:
        return state, _blind(state, now)
    setpoint = state.orders.setpoint
    if setpoint is not None:
        wish = _ordered(setpoint, now)
    elif refilling:
        wish = _refill(now, backup.required_wh)
    elif plan is None:
        wish = _by_rule(now)
    else:
        wish = _by_plan(plan, now)
    return state, _bounded(wish, now, site)


def _carry(
    state: DispatchState, snapshot: SiteSnapshot, backup: BackupEstimate, now: Now, site: Site
) -> tuple[DispatchState, Wish]:
    """Grid lost: the packs carry the load; let go what would break the promise."""
    if now.net_w is not None:
        load_w = max(now.net_w, 0.0)
    else:
        load_w = outage.load_w(snapshot, state.outage.shed, site)
    promised_h = site.backup.hours + orders.notice_hours(state.orders, now.utc_s)
    after = outage.shed_loads(
        state.outage,
        snapshot.now_s,
        load_w,
        backup.energy_low_wh,
        now.fleet.capacity_wh,
        promised_h,
        site.loads,
    )
    if after is not state.outage:
        state = replace(state, outage=after)
    hours = backup.energy_low_wh / max(load_w, outage.LEAST_LOAD_W)
    names = ", ".join(site.loads[i].name for i in after.shed)
    shed = f"; let go: {names}" if names else ""
    reason = (
        f"grid lost: packs carry {load_w / 1e3:.1f} kW, good for {min(hours, 999.0):.1f} h{shed}"
    )
    return state, Wish(load_w, Source.BACKUP, reason, serves_outage=True)


def _refilling(refilling: bool, now: Now, required_wh: float) -> bool:
    if refilling:
        return now.spare_wh < REFILL_FRAC * required_wh
    return now.spare_wh < 0.0


def _refill(now: Now, required_wh: float) -> Wish:
    assert now.net_w is not None
    missing_wh = REFILL_FRAC * required_wh - now.spare_wh
    if now.net_w > now.charge_budget_w:
        reason = (
            f"reserve is {missing_wh / 1e3:.1f} kWh short, but charging now would make a new "
            "demand peak"
        )
        return Wish(0.0, Source.HOLD, reason)
    power_w = -min(now.charge_budget_w - now.net_w, now.fleet.total_charge_w)
    reason = f"recharging {missing_wh / 1e3:.1f} kWh to the backup reserve, whatever the price"
    return Wish(power_w, Source.BACKUP, reason)


def _ordered(setpoint: orders.Order, now: Now) -> Wish:
    left_min = (setpoint.until_utc_s - now.utc_s) / units.S_PER_MIN
    reason = f"{setpoint.actor} asked for {setpoint.value / 1e3:+.1f} kW, {left_min:.0f} min left"
    return Wish(setpoint.value, Source.OPERATOR, reason)


def _blind(state: DispatchState, now: Now) -> Wish:
    """No meter: keep discharging to the end of the window, then nothing.

    An operator may ask for less than that, not for more: nobody sees what it would
    import or export.
    """
    held_w = state.held_w if now.utc_s < state.held_until_utc_s else 0.0
    setpoint = state.orders.setpoint
    if setpoint is not None:
        wish = _ordered(setpoint, now)
        power_w = min(max(setpoint.value, 0.0), held_w)
        if power_w == setpoint.value:
            return _taper(wish, now)
        reason = f"grid meter missing, not followed blindly: {wish.reason}"
        return _taper(wish._replace(power_w=power_w, reason=reason), now)
    if held_w > 0.0:
        reason = "grid meter missing: keeping the last discharge to the end of the demand window"
        return _taper(Wish(held_w, Source.HOLD, reason), now)
    reason = "grid meter missing: neither charging nor discharging blindly"
    return Wish(0.0, Source.HOLD, reason)


def _by_rule(now: Now) -> Wish:
    assert now.net_w is not None
    usable_wh = max(now.spare_wh, 0.0) + sum(now.fleet.headroom_wh)
    power_w = rules.rule_power_w(
        net_load_w=now.net_w,
        budget_w=now.budget_w,
        spare_wh=now.spare_wh,
        keep_wh=KEEP_FRAC * usable_wh,
        headroom_wh=sum(now.fleet.headroom_wh),
        charge_w=now.fleet.total_charge_w,
        discharge_w=now.fleet.total_discharge_w,
        cheap=now.price.cheap,
        dear=now.price.dear,
    )
    return Wish(power_w, Source.RULES, "no plan: " + _words(power_w, now))


def _by_plan(plan: Plan, now: Now) -> Wish:
    """The plan's energy, the load of this moment, the target of the window."""
    assert now.net_w is not None
    step = int((now.utc_s - plan.start_utc.timestamp()) // plan.step_s)
    planned_w = float(plan.converter_power_w[step].sum())
    over_w = now.net_w - now.budget_w
    if over_w > 0.0:
        return Wish(over_w, Source.PLAN, _words(over_w, now))
    if planned_w > 0.0:
        # What was planned against a peak that did not come stays in the packs.
        shave_w = float(plan.load_power_w[step] - plan.pv_power_w[step]) - plan.peak_target_w
        sale_w = planned_w - max(shave_w, 0.0)
        if sale_w > 0.0:
            return Wish(sale_w, Source.PLAN, _words(sale_w, now))
        return Wish(0.0, Source.PLAN, "the planned peak has not come: energy stays in the packs")
    if planned_w < 0.0:
        return Wish(planned_w, Source.PLAN, _words(planned_w, now))
    return Wish(0.0, Source.PLAN, "plan: nothing to gain now")


def _words(power_w: float, now: Now) -> str:
    if power_w > 0.0 and now.net_w is not None and now.net_w > now.budget_w:
        return f"holding the demand window at {now.target_w / 1e3:.1f} kW"
    if power_w > 0.0:
        return f"selling stored energy at {now.price.per_kwh:.3f} per kWh"
    if power_w < 0.0:
        return f"charging at {now.price.per_kwh:.3f} per kWh below the demand target"
    return "nothing to gain now"


def _bounded(wish: Wish, now: Now, site: Site) -> Wish:
    """The wish within reserve, export, import and demand limits."""
    power_w = wish.power_w
    if power_w > 0.0:
        room_w = max(now.low_w, 0.0) + site.grid.export_limit_w
        if now.net_w is not None and power_w > room_w:
            wish = wish._replace(power_w=room_w)
        return _taper(wish, now)
    if power_w < 0.0 and now.net_w is not None:
        room_w = max(0.0, site.grid.import_limit_w - now.high_w)
        if wish.source is not Source.OPERATOR:
            room_w = max(0.0, min(room_w, now.charge_budget_w - now.high_w))
            if not now.target_known:
                room_w = min(room_w, UNKNOWN_C_RATE * now.fleet.capacity_wh)
        if -power_w > room_w:
            reason = wish.reason
            if room_w <= 0.0:
                reason = "not charging: it would make a new demand peak"
            return wish._replace(power_w=-room_w, reason=reason)
    return wish


def _taper(wish: Wish, now: Now) -> Wish:
    """Less and less discharge towards the reserve, none below it."""
    most_w = max(now.spare_wh, 0.0) * (units.S_PER_H / RESERVE_TAPER_S)
    if wish.power_w <= most_w:
        return wish
    if most_w <= 0.0:
        return wish._replace(power_w=0.0, reason="backup reserve reached: " + wish.reason)
    return wish._replace(power_w=most_w)
