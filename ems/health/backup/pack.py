"""Energy that one pack gives at constant power until its weakest group has to stop.

Closed form instead of a stepwise simulation, so that it is cheap enough for every
cycle: the charge down to the SoC at which the discharge ends, times the voltage
under load. All packs and all cases of the error budget are computed together.
"""

from typing import Final, NamedTuple

import numpy as np

from ems.health import ocv
from ems.health.backup.site import Discharge
from ems.health.prepare import (
    FORWARD_STEP,
    INVERSE_HIGH_V,
    INVERSE_LOW_V,
    INVERSE_STEP_V,
    IndexArray,
    Prepared,
)
from ems.model import FloatArray, Limits, SiteEstimate
from ems.units import S_PER_H

COOLING_TAU_S: Final = 7200.0
"""Time constant of a cell to its cabinet. Engineering judgement."""
WARM_PER_K: Final = 0.8 * 2400.0 / 285.0**2
"""Relative fall of resistance per K at 12 degC, a fifth of it left out for draughts."""
MOST_WARM_K: Final = 20.0
LEAST_DEPTH: Final = 1e-6
LEAST_V: Final = 0.1
"""Below these a pack counts as empty: they keep divisions finite."""


class PackEnergy(NamedTuple):
    """Per pack at its terminals, Wh, >= 0."""

    energy_wh: FloatArray
    """At the power it carries, shape ``(n_packs,)``; so are the next three."""
    soc_wh: FloatArray
    """What it would be short of if its SoC were wrong by the stated confidence."""
    capacity_wh: FloatArray
    """The same for its capacity."""
    resistance_wh: FloatArray
    """The same for its resistance."""


class PackStart(NamedTuple):
    """From where each pack discharges, SoC fractions of shape ``(n_packs,)``."""

    lowest: FloatArray
    mean: FloatArray
    highest: FloatArray


def start(estimate: SiteEstimate, prepared: Prepared) -> PackStart:
    """SoC of the lowest, the mean and the highest group, from their estimated OCV."""
    ends_v = np.empty((3, prepared.series.size))
    ends_v[0], ends_v[2] = estimate.ocv_cell_min_v, estimate.ocv_cell_max_v
    np.divide(estimate.ocv_v, prepared.series, out=ends_v[1])
    soc = soc_of(prepared, ends_v)
    return PackStart(soc[0], np.minimum(np.maximum(soc[1], soc[0]), soc[2]), soc[2])


def pack_energy(
    at: PackStart,
    mean_w: FloatArray,
    last_w: FloatArray,
    estimate: SiteEstimate,
    limits: Limits,
    prepared: Prepared,
    site: Discharge,
) -> PackEnergy:
    """Energy of each pack at its power, and what its errors may take from it.

    The discharge of a pack ends at the highest of three SoC of its weakest group:
    the envelope's floor; where that group's voltage under load meets the stop; where
    the pack's voltage under load meets the disconnect of a direct bus. Until then

        E = C · ∫ OCV · (1 + √(1 − 4·P·R/V²)) / 2,    V the mean OCV of the pack,

    which is exact for a resistance behind a constant EMF at constant power.

    Args:
        at: SoC at the start.
        mean_w: Power at the terminals, weighted by energy, W, >= 0.
        last_w: Power at which it ends, W, >= 0.
        estimate: Capacity, resistance and their errors.
        limits: Floor and health of the envelope.
        prepared: Tables.
        site: Where discharge stops.
    """
    z = prepared.confidence_z
    n = prepared.series.size
    less = np.zeros((3, n))
    np.multiply(estimate.soc_sigma_frac, z, out=less[1])
    warm_k = _warmed_k(at, mean_w, estimate, limits, site)
    half = np.exp(-0.5 * WARM_PER_K * warm_k)
    mean_r = site.resistance_cases * half
    last_r = mean_r * half
    lowest, mean = at.lowest - less, at.mean - less

    end = _end(mean - lowest, last_w, last_r, estimate, limits, prepared, site)
    depth = np.maximum(lowest - end, 0.0)
    area_v = area_of(prepared, mean) - area_of(prepared, mean - depth)
    mean_v = np.maximum(prepared.series * area_v / np.maximum(depth, LEAST_DEPTH), LEAST_V)
    kept = _kept(mean_v, mean_w, estimate.resistance_ohm * mean_r)
    energy = prepared.series * estimate.capacity_ah * area_v * kept
    soh_error = z * estimate.soh_sigma_frac / estimate.soh_frac
    short_wh = np.maximum(energy[0] - energy, 0.0)
    return PackEnergy(
        energy_wh=energy[0],
        soc_wh=short_wh[1],
        capacity_wh=soh_error * energy[0],
        resistance_wh=short_wh[2],
    )


def _warmed_k(
    at: PackStart, mean_w: FloatArray, estimate: SiteEstimate, limits: Limits, site: Discharge
) -> FloatArray:
    """How much warmer than now the cells are at the end, by their own losses, K."""
    depth = np.maximum(at.lowest - limits.soc_low_frac, 0.0)
    volts = estimate.ocv_v
    lasts_s = S_PER_H * depth * estimate.capacity_ah * volts / np.maximum(mean_w, 1e-3)
    current_a = mean_w / np.maximum(volts, 1.0)
    loss_w = current_a * current_a * estimate.resistance_ohm * site.dc_share
    warms_s = COOLING_TAU_S * (1.0 - np.exp(-lasts_s / COOLING_TAU_S))
    return np.asarray(np.minimum(loss_w * warms_s / site.heat_j_per_k, MOST_WARM_K))


def _end(
    above: FloatArray,
    last_w: FloatArray,
    last_r: FloatArray,
    estimate: SiteEstimate,
    limits: Limits,
    prepared: Prepared,
    site: Discharge,
) -> FloatArray:
    """SoC of the weakest group at which each pack's discharge ends; rows of cases.

    Args:
        above: How far the mean group stands above the weakest.
        last_w: Power at the end, W.
        last_r: Resistance at the end over what the estimate says.
    """
    resistance_ohm = estimate.resistance_ohm * last_r
    floor_v = prepared.series * volts_of(prepared, limits.soc_low_frac)
    loaded_v = floor_v * _kept(floor_v, last_w, resistance_ohm)
    last_a = last_w / loaded_v
    stop_v = site.stop_v + site.stop_slope_v * (1.0 - limits.health)
    stop_v = stop_v + last_a * (estimate.group_resistance_max_ohm * last_r)
    end = np.maximum(_soc_near(prepared, stop_v), limits.soc_low_frac)
    if site.lvd_v > 0.0:
        group_v = (site.lvd_v + last_w / site.lvd_v * resistance_ohm) / prepared.series
        end = np.maximum(end, _soc_near(prepared, group_v) - above)
    return np.asarray(end)


def _kept(volts: FloatArray, power_w: FloatArray, resistance_ohm: FloatArray) -> FloatArray:
    """Voltage under load over OCV at constant power, 0.5..1; 0.5 also beyond the most."""
    room = 1.0 - 4.0 * power_w * resistance_ohm / (volts * volts)
    return np.asarray(0.5 + 0.5 * np.sqrt(np.maximum(room, 0.0)))


def soc_of(prepared: Prepared, ocv_cell_v: FloatArray) -> FloatArray:
    """SoC of groups from their OCV, last axis packs: back through the table."""
    inside = np.minimum(np.maximum(ocv_cell_v, INVERSE_LOW_V), INVERSE_HIGH_V - INVERSE_STEP_V)
    position = inside * (1.0 / INVERSE_STEP_V) + prepared.inverse_base_pack
    step = position.astype(np.intp)
    low = prepared.inverse.take(step)
    return np.asarray(low + (position - step) * (prepared.inverse.take(step + 1) - low))


def _soc_near(prepared: Prepared, ocv_cell_v: FloatArray) -> FloatArray:
    """As :func:`soc_of`, to the nearest entry of the table."""
    place = np.minimum(ocv_cell_v, INVERSE_HIGH_V) * (1.0 / INVERSE_STEP_V)
    place += prepared.inverse_base_pack + 0.5
    return prepared.inverse.take(place.astype(np.intp))


def area_of(prepared: Prepared, soc_frac: FloatArray) -> FloatArray:
    """Integral of OCV from the low end of the table to each SoC, V; last axis packs."""
    return prepared.energy_v.take(_nearest(prepared, soc_frac))


def volts_of(prepared: Prepared, soc_frac: FloatArray) -> FloatArray:
    """OCV of a group at each SoC, V; last axis packs."""
    return prepared.forward_v.take(_nearest(prepared, soc_frac))


def _nearest(prepared: Prepared, soc_frac: FloatArray) -> IndexArray:
    inside = np.minimum(np.maximum(soc_frac, ocv.SOC_LOW_FRAC), ocv.SOC_HIGH_FRAC)
    place = inside * (1.0 / FORWARD_STEP) + prepared.forward_base_pack
    return place.astype(np.intp)
