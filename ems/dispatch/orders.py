"""Set-points and notices an operator asked for, until they expire."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from ems.model import OperatorRequest, RequestKind

LONGEST_S: Final = 7 * 86_400.0
"""No order outlives a week: forgotten orders are the ones that hurt."""

LARGEST: Final = 1e15
"""No power, energy or time that was saved is larger."""


@dataclass(frozen=True, slots=True)
class Order:
    """One order in force."""

    value: float
    """Total battery power in W (discharge positive), or extra hours of reserve."""
    until_utc_s: float
    actor: str


@dataclass(frozen=True, slots=True)
class Orders:
    """What operators want just now."""

    setpoint: Order | None = None
    notice: Order | None = None


def update(orders: Orders, requests: Iterable[OperatorRequest], utc_s: float) -> Orders:
    """Orders after expiry and after what was newly asked.

    A request without a duration ends the order of its kind.
    """
    if orders.setpoint is not None and utc_s >= orders.setpoint.until_utc_s:
        orders = replace(orders, setpoint=None)
    if orders.notice is not None and utc_s >= orders.notice.until_utc_s:
        orders = replace(orders, notice=None)
    for request in requests:
        if request.kind is RequestKind.SETPOINT:
            orders = replace(orders, setpoint=_order(request, utc_s))
        elif request.kind is RequestKind.NOTICE:
            order = _order(request, utc_s)
            if order is not None and order.value <= 0.0:
                order = None
            orders = replace(orders, notice=order)
    return orders


def _order(request: OperatorRequest, utc_s: float) -> Order | None:
    if not math.isfinite(request.value) or not request.duration_s > 0.0:
        return None
    return Order(request.value, utc_s + min(request.duration_s, LONGEST_S), request.actor)


def notice_hours(orders: Orders, utc_s: float) -> float:
    """Extra hours of reserve in force at ``utc_s``, h."""
    if orders.notice is None or utc_s >= orders.notice.until_utc_s:
        return 0.0
    return orders.notice.value


def save(orders: Orders) -> dict[str, Any]:
    """JSON-able form."""
    return {name: _save(getattr(orders, name)) for name in ("setpoint", "notice")}


def _save(order: Order | None) -> dict[str, Any] | None:
    if order is None:
        return None
    return {"value": order.value, "until_utc_s": order.until_utc_s, "actor": order.actor}


def load(data: dict[str, Any]) -> Orders:
    """Orders from what :func:`save` wrote.

    Raises:
        KeyError, TypeError, ValueError: the data are not of that form.
    """
    return Orders(_load(data["setpoint"]), _load(data["notice"]))


def _load(data: dict[str, Any] | None) -> Order | None:
    if data is None:
        return None
    return Order(number(data["value"]), number(data["until_utc_s"]), str(data["actor"]))


def number(saved: Any) -> float:
    """A finite number from saved data.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(saved, (int, float)) or not -LARGEST < saved < LARGEST:
        raise ValueError(f"{saved!r} is not a finite number")
    return float(saved)
