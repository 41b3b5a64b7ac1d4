"""Voltage of a DC bus on which packs lie in parallel, and the current each of them takes.

A pack is an EMF behind a resistance; its current on discharge is ``G (E - V)``. A pack
alone behind its converter is a bus with one pack. ``se`` is the sum of G·E and ``g`` the
sum of G over the connected packs. All functions are exact solutions, no iteration.
"""

from collections.abc import Sequence
from math import sqrt


def sums(emf_v: Sequence[float], conductance_s: Sequence[float]) -> tuple[float, float]:
    """``(se, g)`` of the connected packs, A and S."""
    se = g = 0.0
    for e, conductance in zip(emf_v, conductance_s, strict=True):
        se += conductance * e
        g += conductance
    return se, g


def power_max_w(se: float, g: float) -> float:
    """Largest power the packs can push out (at half their EMF), W."""
    return se * se / (4.0 * g)


def voltage_at_power_v(se: float, g: float, power_w: float) -> float | None:
    """Bus voltage at which the packs together deliver ``power_w`` (discharge positive), V.

    The stable one of the two solutions of ``V (se - g V) = power_w``; ``None`` when the
    packs cannot deliver that much.
    """
    under_root = se * se - 4.0 * g * power_w
    if under_root < 0.0:
        return None
    return (se + sqrt(under_root)) / (2.0 * g)


def currents_a(
    emf_v: Sequence[float], conductance_s: Sequence[float], voltage_v: float
) -> list[float]:
    """Current of each pack at this bus voltage, A, discharge positive.

    Equal to rule b8: ``I_k = I_tot G_k / sum(G) + G_k (E_k - mean E)``, the mean
    weighted by G.
    """
    return [
        conductance * (e - voltage_v) for e, conductance in zip(emf_v, conductance_s, strict=True)
    ]


def rectifier_voltage_v(
    se: float,
    g: float,
    load_w: float,
    float_v: float,
    power_limit_w: float,
    charge_limit_a: float,
) -> float | None:
    """Voltage of a direct bus with a rectifier shelf, V.

    The shelf regulates ``float_v`` unless its output power or the charge current of the
    packs would be exceeded; then the bus sinks to the voltage where the limit just
    holds, and below the load's need the packs carry the rest. It never takes power,
    so packs above float voltage lift the bus until they alone carry the load.

    Args:
        se: Sum of G·E of the connected packs, A.
        g: Sum of G, S, > 0.
        load_w: DC load at constant power, W, >= 0.
        float_v: Regulated voltage, V.
        power_limit_w: Output limit, W, >= 0; 0 without grid.
        charge_limit_a: Largest total charge current of the packs, A, >= 0.

    Returns:
        The bus voltage, or ``None`` when shelf and packs together cannot carry the load.
    """
    alone_v = voltage_at_power_v(se, g, load_w)
    if power_limit_w <= 0.0:
        return alone_v
    limited_v = voltage_at_power_v(se, g, load_w - power_limit_w)
    if limited_v is None:
        return None
    wanted_v = min(float_v, limited_v, (se + charge_limit_a) / g)
    return wanted_v if alone_v is None else max(wanted_v, alone_v)
