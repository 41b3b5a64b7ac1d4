"""What to do without a plan: hold the peak, recharge when it is cheap.

Used by the tracker when no usable plan exists and by the planner as the level
of its fallback chain that needs no solver. Plain numbers only.
"""

from typing import Final

RECHARGE_FRAC: Final = 0.9
"""Recharging fills the import up to this share of the target only: the running
window may still rise, and a peak made by charging cannot be taken back."""


def rule_power_w(
    net_load_w: float,
    budget_w: float,
    spare_wh: float,
    keep_wh: float,
    headroom_wh: float,
    charge_w: float,
    discharge_w: float,
    cheap: bool,
    dear: bool = False,
) -> float:
    """Battery power at the site bus, W, discharge positive.

    Discharges exactly what the load exceeds the budget by; recharges below the
    budget in cheap hours, and at any hour while less than ``keep_wh`` is left.

    Args:
        net_load_w: Load minus PV now, W.
        budget_w: Import the running window still allows, W.
        spare_wh: Energy above the backup reserve, Wh; negative below it.
        keep_wh: Energy above the reserve that shaving may need, Wh.
        headroom_wh: What the fleet can still take, Wh.
        charge_w: Largest charge power, W, >= 0.
        discharge_w: Largest discharge power, W, >= 0.
        cheap: Whether energy is now as cheap as it gets.
        dear: Whether selling stored energy now pays; what ``keep_wh`` asks for stays.
    """
    over_w = net_load_w - budget_w
    if over_w > 0.0:
        return min(over_w, discharge_w) if spare_wh > 0.0 else 0.0
    if dear and spare_wh > keep_wh:
        return min(max(net_load_w, 0.0), discharge_w)
    if headroom_wh <= 0.0 or not (cheap or spare_wh < keep_wh):
        return 0.0
    room_w = RECHARGE_FRAC * budget_w - net_load_w
    return -min(max(room_w, 0.0), charge_w)
