"""Semi-empirical ageing: how much capacity rest and use cost, per chemistry.

Each law adds what time takes, ``k_cal * days ** a``, and what use takes,
``k_cyc * cycles ** b``, with rates from published cell tests. Only the numbers come
from those papers; none of them tested packs as old and as mixed as ours, so every
law carries a wide uncertainty that the pack's own history narrows
(``ems.health.ageing.history``).

Beyond the loss that the tests reached, a law goes on straight at the slope it has
there. A square root would promise ever slower ageing where nobody has looked and
where second-life packs are known to fall faster, not slower.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health.ocv import ocv_v
from ems.site import Chemistry

Floats = NDArray[np.float64]

KELVIN_AT_0C: Final = 273.15
GAS_J_PER_MOL_K: Final = 8.3144598
DAYS_PER_YEAR: Final = 365.25
S_PER_DAY: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Usage:
    """How a pack is used; what a forecast assumes for the years to come."""

    efc_per_day: float = 1.0
    """Equivalent full cycles a day: charge plus discharge over twice the rated Ah, >= 0."""
    mean_soc_frac: float = 0.5
    """0..1."""
    dod_frac: float = 0.6
    """Depth of the usual cycle, 0..1."""
    temp_c: float = 25.0
    """Mean cell temperature."""
    c_rate: float = 0.25
    """Mean of charge and discharge current over rated Ah, 1/h, >= 0."""

    def __post_init__(self) -> None:
        bounds = (
            ("efc_per_day", self.efc_per_day, 0.0, 50.0),
            ("mean_soc_frac", self.mean_soc_frac, 0.0, 1.0),
            ("dod_frac", self.dod_frac, 0.0, 1.0),
            ("temp_c", self.temp_c, -40.0, 80.0),
            ("c_rate", self.c_rate, 0.0, 10.0),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high:
                raise ValueError(f"{name} {value:g} is not within {low:g} to {high:g}")


@dataclass(frozen=True, slots=True)
class Law:
    """Loss of capacity as a share of the rated one, of one chemistry."""

    chemistry: Chemistry
    calendar: Callable[[Floats, Floats], Floats]
    """Rate of resting from (SoC, degC), per day to the power ``calendar_power``."""
    calendar_power: float
    cycling: Callable[[Floats, Floats, Floats, Floats], Floats]
    """Rate of use from (SoC, depth, C-rate, degC), per cycle to the power ``cycling_power``."""
    cycling_power: float
    seen_loss_frac: float
    """Loss the tests reached; straight on beyond."""
    end_soh_frac: float
    """Second-life failure criterion."""
    ln_sigma: float
    """Spread of ln(true speed / law's speed) between cell types of this chemistry."""
    restarts: bool
    """Counted from the first measurement in second life instead of from new."""
    source: str
    confidence: str


def _kelvin(temp_c: Floats) -> Floats:
    return temp_c + KELVIN_AT_0C


def _lfp_calendar(soc: Floats, temp_c: Floats) -> Floats:
    heat = np.exp(-17126.0 / GAS_J_PER_MOL_K * (1.0 / _kelvin(temp_c) - 1.0 / 298.15))
    at_soc = 2.8575 * (soc - 0.5) ** 3 + 0.60225
    return np.asarray(1.2571e-5 * np.sqrt(S_PER_DAY) * heat * at_soc)


def _lfp_cycling(_soc: Floats, dod: Floats, c_rate: Floats, temp_c: Floats) -> Floats:
    return np.asarray(
        (4.38e-8 + 1.55e-8 * dod + 1.68e-7 * c_rate) * np.exp(2190.0 / _kelvin(temp_c))
    )


def _nmc_calendar(soc: Floats, temp_c: Floats) -> Floats:
    volts = 7.543 * ocv_v(Chemistry.NMC, soc) - 23.75
    return np.asarray(np.maximum(volts, 0.0) * 1e6 * np.exp(-6976.0 / _kelvin(temp_c)))


def _nmc_cycling(soc: Floats, dod: Floats, _c_rate: Floats, _temp_c: Floats) -> Floats:
    at_v = 7.348e-3 * (ocv_v(Chemistry.NMC, soc) - 3.667) ** 2
    # The paper counts Ah through a 2.15 Ah cell; a cycle moves them in and out again.
    return np.asarray((at_v + 7.6e-4 + 4.081e-3 * dod) * np.sqrt(2.0 * 2.15))


def _lmo_calendar(soc: Floats, temp_c: Floats) -> Floats:
    return np.asarray(0.7 * 3.25e8 * np.exp((162.0 * soc - 7580.0) / _kelvin(temp_c)))


def _lmo_cycling(_soc: Floats, dod: Floats, _c_rate: Floats, _temp_c: Floats) -> Floats:
    return np.asarray(0.7 * 7.58e-5 + 0.0 * dod)


def _lto_calendar(_soc: Floats, temp_c: Floats) -> Floats:
    return np.asarray(0.005 / DAYS_PER_YEAR * 2.0 ** ((temp_c - 25.0) / 15.0))


def _lto_cycling(_soc: Floats, dod: Floats, c_rate: Floats, temp_c: Floats) -> Floats:
    against_45c = _kelvin(temp_c) / (KELVIN_AT_0C + 45.0)
    return np.asarray((1.29 + 7.83e-5 * c_rate + 4.02 * dod**3) * np.exp(-8.33 / against_45c))


LAWS: Final[Mapping[Chemistry, Law]] = MappingProxyType(
    {
        Chemistry.LFP: Law(
            Chemistry.LFP, _lfp_calendar, 0.5, _lfp_cycling, 0.828, 0.20, 0.50, 0.6, False,
            "calendar: Naumann et al. 2018, 10.1016/j.est.2018.01.019 (Sony 3 Ah), numbers as in"
            " SimSES; cycling: large prismatic LFP cell of Gasper et al. 2023,"
            " 10.1016/j.est.2023.109042, numbers as in NREL BLAST-Lite. Of the published pairs"
            " the faster calendar and the faster cycling law are taken",
            "medium",
        ),
        Chemistry.NMC: Law(
            Chemistry.NMC, _nmc_calendar, 0.75, _nmc_cycling, 0.5, 0.20, 0.65, 0.6, False,
            "Schmalstieg et al. 2014, 10.1016/j.jpowsour.2014.02.012 (Sanyo 2.15 Ah NMC111),"
            " numbers as in NREL BLAST-Lite; cycling is blind to temperature and rate",
            "medium",
        ),
        Chemistry.LMO: Law(
            Chemistry.LMO, _lmo_calendar, 0.464, _lmo_cycling, 1.08, 0.20, 0.65, 0.5, True,
            "Braco et al. 2020/2022, 10.1016/j.est.2020.101695 (retired Nissan Leaf modules at"
            " about 70 % SoH), numbers as in NREL BLAST-Lite; one cycling condition only",
            "medium",
        ),
        Chemistry.LTO: Law(
            Chemistry.LTO, _lto_calendar, 1.0, _lto_cycling, 0.526, 0.20, 0.50, 0.9, False,
            "cycling: Bank et al. 2020, 10.1016/j.jpowsour.2020.228566 (NMC-LTO 10 Ah), numbers"
            " as in NREL BLAST-Lite; calendar: judgement, 0.5 % a year at 25 degC, doubling"
            " every 15 K",
            "low",
        ),
    }
)  # fmt: skip
"""End of second life: safety reference b1. Spreads: judgement, from the distance between
published laws of the same chemistry (LFP cycling differs four-fold between cell types)."""

_GRID_DAYS: Final = np.concatenate(([0.0], np.geomspace(1e-3, 4e5, 3000)))


class Path:
    """Loss of one law under one usage over days, and back."""

    def __init__(self, law: Law, usage: Usage) -> None:
        self.law = law
        self.usage = usage
        soc, temp = np.array(usage.mean_soc_frac), np.array(usage.temp_c)
        self._calendar = float(law.calendar(soc, temp))
        self._cycling = float(
            law.cycling(soc, np.array(usage.dod_frac), np.array(usage.c_rate), temp)
        )
        loss = self._law_loss(_GRID_DAYS)
        self._bend_days = float(np.interp(law.seen_loss_frac, loss, _GRID_DAYS))
        step = 1e-3 * max(self._bend_days, 1e-3)
        near = self._law_loss(np.array([self._bend_days - step, self._bend_days]))
        self._bend_loss = float(near[1])
        self._slope = float(near[1] - near[0]) / step
        self._loss = self._beyond(_GRID_DAYS, loss)

    def _law_loss(self, days: Floats) -> Floats:
        law, cycles = self.law, self.usage.efc_per_day * days
        resting = self._calendar * days**law.calendar_power
        return np.asarray(resting + self._cycling * cycles**law.cycling_power)

    def _beyond(self, days: Floats, loss: Floats) -> Floats:
        straight = self._bend_loss + self._slope * (days - self._bend_days)
        return np.where(days > self._bend_days, straight, loss)

    def loss_frac(self, days: Floats) -> Floats:
        """Loss after so many days of this usage, as a share of rated capacity."""
        days = np.maximum(days, 0.0)
        return self._beyond(days, self._law_loss(days))

    def days(self, loss_frac: Floats) -> Floats:
        """Days of this usage that cost this loss; the inverse of ``loss_frac``.

        Losses below 0 count as 0: a pack above its rated capacity is as new.
        """
        loss = np.maximum(np.asarray(loss_frac, dtype=np.float64), 0.0)
        straight = self._bend_days + (loss - self._bend_loss) / self._slope
        return np.where(loss > self._bend_loss, straight, np.interp(loss, self._loss, _GRID_DAYS))

    def cycling_share(self, start_days: float, end_days: float) -> float:
        """Share of the loss between two days that use caused, 0..1; the rest is time's."""
        end = min(max(end_days, start_days + 1e-6), max(self._bend_days, start_days + 1e-6))
        power, per_day = self.law.cycling_power, self.usage.efc_per_day
        used = self._cycling * ((per_day * end) ** power - (per_day * start_days) ** power)
        whole = self._law_loss(np.array([start_days, end]))
        return float(np.clip(used / (whole[1] - whole[0]), 0.0, 1.0))
