"""What the tracker remembers from one cycle to the next, and across a restart."""

from dataclasses import dataclass, field
from typing import Any, Final

from ems.dispatch import orders
from ems.dispatch.fleet import Constants, constants
from ems.dispatch.orders import Orders
from ems.dispatch.outage import Outage
from ems.dispatch.window import Window
from ems.site import Site

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class Price:
    """The price now and how it compares with the day around it; valid for a quarter."""

    quarter: int
    """Quarters of an hour since 1970 UTC."""
    month: tuple[int, int]
    """Local year and month: the billing month."""
    per_kwh: float
    cheap: bool
    dear: bool
    """Dear enough that discharging now and recharging at the lowest price pays."""


@dataclass(frozen=True, slots=True)
class DispatchState:
    """Memory of :func:`ems.dispatch.track.track`."""

    constants: Constants = field(compare=False, repr=False)
    utc_s: float = 0.0
    at_s: float = 0.0
    """Wall and monotonic time of the last cycle, s."""
    window: Window | None = None
    month: tuple[int, int] | None = None
    incurred_peak_w: float = 0.0
    """Largest completed window mean of ``month``, W."""
    target_w: float | None = None
    """Target of the last plan, for the time without one."""
    load_w: float | None = None
    """Smoothed net load, W; ``None`` without a meter."""
    raw_w: float | None = None
    """Net load as last measured, W."""
    battery_w: float = 0.0
    """Battery power as last measured, W."""
    held_w: float = 0.0
    """Discharge when the meter was last seen, W."""
    held_until_utc_s: float = 0.0
    """End of the demand window in which it was last seen."""
    refilling: bool = False
    """Recharging to the reserve."""
    active: tuple[int, ...] = ()
    """Converters at work."""
    orders: Orders = field(default_factory=Orders)
    outage: Outage = field(default_factory=Outage)
    price: Price | None = None


def initial(site: Site) -> DispatchState:
    """State of a tracker that has seen nothing: no peak paid, no order, no target."""
    return DispatchState(constants=constants(site))


def save(state: DispatchState) -> dict[str, Any]:
    """What must survive a restart: the peak paid for, the running window, the orders."""
    running = state.window
    return {
        "format": FORMAT,
        "utc_s": state.utc_s,
        "month": None if state.month is None else list(state.month),
        "incurred_peak_w": state.incurred_peak_w,
        "target_w": state.target_w,
        "orders": orders.save(state.orders),
        "shed": list(state.outage.shed),
        "window": None
        if running is None
        else {
            "start_utc_s": running.start_utc_s,
            "length_s": running.length_s,
            "at_utc_s": running.at_utc_s,
            "import_ws": running.import_ws,
            "missing_s": running.missing_s,
            "counter_wh": running.counter_wh,
        },
    }


def load(data: dict[str, Any], site: Site) -> DispatchState:
    """State after a restart.

    Loads shed before are taken back by the usual delay; the running window goes
    on, with the time in between settled by the import counter if there is one. A window
    of another length than the site's is left out.

    Raises:
        KeyError, TypeError, ValueError: the data are not what :func:`save` wrote.
    """
    if data["format"] != FORMAT:
        raise ValueError(f"dispatch state has format {data['format']!r}, expected {FORMAT}")
    shed = _shed(data["shed"], len(site.loads))
    peak_w = orders.number(data["incurred_peak_w"])
    if peak_w < 0.0:
        raise ValueError(f"saved peak {peak_w} is negative")
    return DispatchState(
        constants=constants(site),
        utc_s=orders.number(data["utc_s"]),
        window=_window(data["window"], site.grid.demand_window_s),
        month=_month(data["month"]),
        incurred_peak_w=peak_w,
        target_w=_maybe(data["target_w"]),
        orders=orders.load(data["orders"]),
        outage=Outage(shed=shed),
    )


def _shed(saved: Any, n_loads: int) -> tuple[int, ...]:
    if not isinstance(saved, list) or any(i not in range(n_loads) for i in saved):
        raise ValueError("dispatch state names a load this site does not have")
    if len(set(saved)) != len(saved):
        raise ValueError("dispatch state names a load twice")
    return tuple(int(i) for i in saved)


def _month(saved: Any) -> tuple[int, int] | None:
    if saved is None:
        return None
    year, month = (int(orders.number(part)) for part in saved)
    if not 1 <= month <= 12:
        raise ValueError(f"saved month {month} is none")
    return year, month


def _window(saved: Any, length_s: float) -> Window | None:
    if saved is None:
        return None
    running = Window(
        start_utc_s=orders.number(saved["start_utc_s"]),
        length_s=orders.number(saved["length_s"]),
        at_utc_s=orders.number(saved["at_utc_s"]),
        import_ws=orders.number(saved["import_ws"]),
        missing_s=orders.number(saved["missing_s"]),
        counter_wh=_maybe(saved["counter_wh"]),
    )
    if running.length_s != length_s:
        return None
    past_s = running.at_utc_s - running.start_utc_s
    if not 0.0 <= past_s <= length_s or not 0.0 <= running.missing_s <= length_s + 1.0:
        raise ValueError("saved demand window is not within its own length")
    return running


def _maybe(saved: Any) -> float | None:
    return None if saved is None else orders.number(saved)
