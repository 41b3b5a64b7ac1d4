"""From an allowed interval to the power in force: export cap, ramps, soft return."""

from ems.model import SiteSnapshot
from ems.safety.cells import good
from ems.site import Site
from ems.units import S_PER_MIN

SOFT_RETURN_FRAC_PER_S = 0.10 / S_PER_MIN
"""After a stop or a reset, power returns by at most 10 % of rated per minute."""


def net_load_w(snapshot: SiteSnapshot, before_w: tuple[float, ...]) -> tuple[float, ...]:
    """The last three estimates of load minus PV, newest last, W.

    Grid import plus battery power; kept unchanged while the meter is silent. A
    converter that does not say its power counts as 0: it is on its way there.
    """
    battery_w = sum(c.power_w.good or 0.0 for c in snapshot.converters)
    total_w = good(snapshot.grid.power_w) + battery_w
    if total_w != total_w:
        return before_w
    return (*before_w[-2:], total_w)


def discharge_cap_w(net_load: tuple[float, ...], site: Site) -> float:
    """Sum of discharge that exports no more than the site may, W, >= 0.

    The median of three estimates, because meter and converters are not sampled at
    the same instant and a single step would show as load.
    """
    if not net_load:
        return 0.0
    median_w = sorted(net_load)[len(net_load) // 2]
    return max(0.0, median_w + site.grid.export_limit_w)


def within_cap(power_w: list[float], cap_w: float) -> list[float]:
    """Converter powers with discharge scaled down so that the sum stays below a cap."""
    excess_w = sum(power_w) - cap_w
    discharge_w = sum(p for p in power_w if p > 0)
    if excess_w <= 0 or discharge_w <= 0:
        return power_w
    kept = max(0.0, 1.0 - excess_w / discharge_w)
    return [p * kept if p > 0 else p for p in power_w]


def ramped_w(wanted_w: float, before_w: float, step_w: float) -> float:
    """Towards 0 at once, away from 0 by at most one step; a change of sign starts at 0."""
    base_w = before_w if before_w * wanted_w > 0 else 0.0
    limit_w = abs(base_w) + step_w
    return max(-limit_w, min(limit_w, wanted_w))


def soft_cap_w(before_w: float, rated_w: float, stopped: bool, dt_s: float) -> float:
    """How far a direction may go: 0 while stopped, then slowly back to rated, W."""
    if stopped:
        return 0.0
    return min(rated_w, before_w + SOFT_RETURN_FRAC_PER_S * rated_w * dt_s)
