"""What a span cost without the batteries, with them, and with perfect foresight."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from ems import units
from ems.dispatch.bill import Bill, bill, monthly_peaks_w, wear_per_kwh
from ems.dispatch.bound import Store, perfect_foresight, pooled, stored_value_per_kwh
from ems.dispatch.tariff import Tariff
from ems.model import FloatArray
from ems.site import Site

LEAST_SAVING = 1e-6
"""Below this a share of what was possible means nothing."""


@dataclass(frozen=True, slots=True)
class Span:
    """What was measured over a span; arrays on the demand-window grid, shape ``(n,)``."""

    start_utc: datetime
    step_s: float
    load_w: FloatArray
    pv_w: FloatArray
    import_w: FloatArray
    """Import with the batteries at work, W, export negative."""
    throughput_wh: float
    """Charged plus discharged at the site bus, Wh, all packs together."""
    stored_start_wh: float
    """Energy above the floor, Wh at the terminals, all packs together."""
    stored_end_wh: float
    stores: tuple[Store, ...]
    """What perfect foresight would have had to work with."""
    reserve_wh: float


def settle(site: Site, tariff: Tariff, span: Span) -> dict[str, Any]:
    """Bills without, with and at best, and the share of the possible saving captured.

    Energy left in the packs at the end is worth what it costs to buy it in the
    cheapest hour, so that neither emptying nor filling them looks like a gain.

    Returns:
        ``bill_without``, ``bill_with``, ``bill_bound`` (each ``energy``, ``demand``,
        ``wear``, ``stored``, ``total`` in the tariff's currency), ``capture_frac``
        (``None`` when nothing could be saved), ``peak_without_w``, ``peak_with_w``,
        ``peak_bound_w``, ``saving``, ``currency``.
    """
    tz = ZoneInfo(site.timezone)
    net_w = span.load_w - span.pv_w
    store = pooled(span.stores)
    prices = tariff.prices(span.start_utc, len(net_w), span.step_s, tz)
    worth = stored_value_per_kwh(float(prices.min()), store.efficiency_frac)
    # Without batteries surplus PV beyond the export limit is simply not fed in.
    idle_w = np.maximum(net_w, -site.grid.export_limit_w)
    without = bill(tariff, tz, span.start_utc, span.step_s, idle_w)
    wear = wear_per_kwh(tariff.currency) * units.kwh_from_wh(span.throughput_wh)
    with_ = bill(tariff, tz, span.start_utc, span.step_s, span.import_w, wear)
    best = perfect_foresight(
        tariff,
        tz,
        span.start_utc,
        span.step_s,
        idle_w,
        store,
        span.reserve_wh,
        site.grid.export_limit_w,
    )
    stored = worth * units.kwh_from_wh(span.stored_end_wh - span.stored_start_wh)
    bills = {
        "bill_without": _lines(without, 0.0),
        "bill_with": _lines(with_, stored),
        "bill_bound": _lines(best.bill, worth * units.kwh_from_wh(best.stored_gain_wh)),
    }
    possible = bills["bill_without"]["total"] - bills["bill_bound"]["total"]
    saving = bills["bill_without"]["total"] - bills["bill_with"]["total"]

    def peak_w(import_w: FloatArray) -> float:
        peaks = monthly_peaks_w(tariff, tz, span.start_utc, span.step_s, import_w)
        return max(peaks.values(), default=0.0)

    return {
        **bills,
        "currency": tariff.currency,
        "saving": saving,
        "saving_possible": possible,
        "capture_frac": saving / possible if possible > LEAST_SAVING else None,
        "peak_without_w": peak_w(idle_w),
        "peak_with_w": peak_w(span.import_w),
        "peak_bound_w": peak_w(best.import_w),
    }


def _lines(bill_: Bill, stored: float) -> dict[str, float]:
    """A bill line by line; what is left in the packs is taken off the total."""
    return {
        "energy": bill_.energy,
        "demand": bill_.demand,
        "wear": bill_.wear,
        "stored": -stored,
        "total": bill_.total - stored,
    }
