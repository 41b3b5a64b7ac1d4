"""Power intervals of converters from those of the packs behind them.

Behind its own converter a pack passes its interval on. On a common bus nobody
distributes the current: strings share by open-circuit voltage and resistance, so the
total is capped where the first string meets its limit (b8), and a string that would
break its limit at zero total has to be opened: 0 W is not a safe state by itself.
"""

from collections.abc import Sequence

from ems.model import SiteEstimate
from ems.site import ConverterSpec, Site, SiteKind

CIRCULATION_C_RATE = 0.05
"""Circulating current below this / rated capacity is never a reason to open, 1/h."""


def interval(
    index: int,
    pack_low_w: list[float],
    pack_high_w: list[float],
    estimate: SiteEstimate,
    joined: list[bool],
    site: Site,
) -> tuple[float, float]:
    """Allowed power of one converter at the site bus, W: ``low <= 0 <= high``.

    Args:
        index: Converter.
        pack_low_w: Allowed charge per pack at its terminals, W, <= 0.
        pack_high_w: Allowed discharge per pack, W, >= 0.
        estimate: OCV, resistance and voltage per pack.
        joined: Packs that are connected.
        site: The site.
    """
    converter = site.converters[index]
    packs = converter.packs
    if len(packs) > 1 or not joined[packs[0]]:
        packs = tuple([p for p in packs if joined[p]])
    if not packs:
        return 0.0, 0.0
    if len(packs) == 1:
        low_w, high_w = pack_low_w[packs[0]], pack_high_w[packs[0]]
    else:
        low_w, high_w = _bus_interval(packs, pack_low_w, pack_high_w, estimate)
    high_w *= converter.efficiency_frac if site.kind is not SiteKind.DIRECT_BUS else 1.0
    return max(low_w, -converter.rated_charge_w), min(high_w, converter.rated_discharge_w)


def circulating(
    pack_low_w: list[float],
    pack_high_w: list[float],
    estimate: SiteEstimate,
    joined: list[bool],
    site: Site,
) -> list[bool]:
    """Packs whose current at zero total would break their limit and C/20.

    Only the worst string of a bus is named: without it the others settle anew.
    """
    out = [False] * site.n_packs
    if site.kind is SiteKind.OWN_CONVERTERS:
        return out
    for converter in site.converters:
        worst, worst_a = None, 0.0
        for pack, at_zero_a in _zero_total_a(converter, joined, estimate).items():
            voltage_v = float(estimate.voltage_v[pack])
            limit_a = (pack_high_w if at_zero_a > 0 else pack_low_w)[pack] / voltage_v
            tolerated_a = max(abs(limit_a), CIRCULATION_C_RATE * site.packs[pack].rated_ah)
            if abs(at_zero_a) - tolerated_a > worst_a:
                worst, worst_a = pack, abs(at_zero_a) - tolerated_a
        if worst is not None:
            out[worst] = True
    return out


def _zero_total_a(
    converter: ConverterSpec, joined: list[bool], estimate: SiteEstimate
) -> dict[int, float]:
    packs = [p for p in converter.packs if joined[p]]
    if len(packs) < 2:
        return {}
    conductance, ocv_v, mean_v = _bus(packs, estimate)
    return {p: g * (v - mean_v) for p, g, v in zip(packs, conductance, ocv_v, strict=True)}


def _bus(packs: Sequence[int], estimate: SiteEstimate) -> tuple[list[float], list[float], float]:
    conductance = [1.0 / max(float(estimate.resistance_ohm[p]), 1e-6) for p in packs]
    ocv_v = [float(estimate.ocv_v[p]) for p in packs]
    total = sum(conductance)
    mean_v = sum(g * v for g, v in zip(conductance, ocv_v, strict=True)) / total
    return conductance, ocv_v, mean_v


def _bus_interval(
    packs: Sequence[int], pack_low_w: list[float], pack_high_w: list[float], estimate: SiteEstimate
) -> tuple[float, float]:
    """Total that keeps every string within its own limit (b8), W.

    ``I_k = I_total * G_k / sum(G) + G_k * (OCV_k - mean OCV)`` must stay within each
    string's interval.
    """
    conductance, ocv_v, mean_v = _bus(packs, estimate)
    total_g = sum(conductance)
    low_a, high_a = -float("inf"), float("inf")
    for p, g, v in zip(packs, conductance, ocv_v, strict=True):
        voltage_v = float(estimate.voltage_v[p])
        own_a = g * (v - mean_v)
        high_a = min(high_a, (pack_high_w[p] / voltage_v - own_a) * total_g / g)
        low_a = max(low_a, (pack_low_w[p] / voltage_v - own_a) * total_g / g)
    return min(0.0, low_a * mean_v), max(0.0, high_a * mean_v)
