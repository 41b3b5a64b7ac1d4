"""Every series cell of the site in one set of arrays: OCV, R0, two RC pairs, heat.

Cells of all packs lie one after the other, so a step is a few dozen array operations
whatever the number of packs. Current is positive on discharge.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.health import ocv
from ems.site import PackSpec, SimPack
from sim.chemistry import (
    CELL,
    COOLING_TAU_S,
    NEW_SOH_R_SLOPE,
    SELF_DISCHARGE_SPREAD,
    SOC_IMBALANCE_SIGMA_FRAC,
    SOC_SHIFT_SIGMA_FRAC,
)

FloatArray = NDArray[np.float64]

REFERENCE_K: Final = 298.15
ZERO_C_K: Final = 273.15
S_PER_H: Final = 3600.0
H_PER_MONTH: Final = 730.0
RESISTANCE_PERIOD_S: Final = 10.0
"""R(T) follows the temperature this often: cells need minutes to warm by a degree."""


class CellBank:
    """State of all cells and how a step changes it.

    Public arrays have shape ``(n_cells,)`` and are the truth, not a measurement:
    ``soc_frac``, ``v1_v``, ``v2_v``, ``temp_c``, ``capacity_ah``, ``r0_ohm``, ``ocv_v``, and
    ``emf_v``, the voltage behind R0: OCV minus both RC voltages.
    """

    def __init__(
        self,
        packs: tuple[PackSpec, ...],
        truths: tuple[SimPack, ...],
        ambient_c: float,
        rng: np.random.Generator,
    ) -> None:
        counts = [p.series_cells for p in packs]
        self.start = np.concatenate(([0], np.cumsum(counts)[:-1])).astype(np.intp)
        self.pack_of_cell = np.repeat(np.arange(len(packs)), counts)
        self.tired = [int(self.start[k]) + (t.tired_group or 0) for k, t in enumerate(truths)]
        """Index of each pack's tired group (its first where none is named)."""
        n = len(self.pack_of_cell)
        models = [CELL[p.chemistry] for p in packs]

        def per_cell(values: list[float]) -> FloatArray:
            return np.repeat(np.array(values, dtype=np.float64), counts)

        self.chem = np.repeat([ocv.chem_index(p.chemistry) for p in packs], counts)
        self._ocv_row = ocv.row_of(self.chem)
        rated_ah = per_cell([p.rated_ah for p in packs])
        soh, ratio = self._health(truths, counts, rng)
        self.capacity_ah = rated_ah * soh
        self._r25 = per_cell([p.group_resistance_ohm for p in packs]) * ratio
        self._shares = [
            per_cell([getattr(m, name) for m in models])
            for name in ("r0_share", "r1_share", "r2_share")
        ]
        self._activation_k = per_cell([m.activation_k for m in models])
        self._tau1_s = per_cell([m.tau1_s for m in models])
        self._tau2_s = per_cell([m.tau2_s for m in models])
        self.leak_a = (
            rated_ah
            * per_cell([m.self_discharge_frac_per_month for m in models])
            / H_PER_MONTH
            * rng.lognormal(0.0, SELF_DISCHARGE_SPREAD, n)
        )
        self._heat_j_per_k = rated_ah * per_cell([m.heat_capacity_j_per_k_ah for m in models])
        self._cooling_w_per_k = self._heat_j_per_k / COOLING_TAU_S * rng.uniform(0.85, 1.15, n)

        self._shift_frac = rng.normal(0.0, SOC_SHIFT_SIGMA_FRAC, n)
        self.soc_frac = self._top_balanced(truths, counts)
        self.soc_frac += rng.normal(0.0, SOC_IMBALANCE_SIGMA_FRAC, n)
        self.v1_v = np.zeros(n)
        self.v2_v = np.zeros(n)
        self.temp_c = np.full(n, ambient_c) + rng.normal(0.0, 0.3, n)
        self.extra_leak_a = np.zeros(n)
        """Added by a fault (internal short), A."""
        self.extra_heat_w = np.zeros(n)
        """Added by a fault (fan failure, fire next door), W."""
        self.disturbed = False
        """Whether a fault has added anything; adding nothing to every cell costs time too."""
        self.current_a = np.zeros(n)
        """Of the last step, A."""
        self._dt_s = 0.0
        self._resistance_age_s = 0.0
        self.r0_ohm = self._r25
        self._refresh_resistance()
        self._refresh_ocv()

    def _health(
        self, truths: tuple[SimPack, ...], counts: list[int], rng: np.random.Generator
    ) -> tuple[FloatArray, FloatArray]:
        """SoH and R/R_new per cell: scatter around the pack's mean, plus its tired group."""
        soh = np.concatenate(
            [
                rng.normal(t.soh_mean_frac, t.soh_spread_frac, n)
                for t, n in zip(truths, counts, strict=True)
            ]
        )
        soh = np.clip(soh, 0.1, 1.05)
        ratio = (1.0 + NEW_SOH_R_SLOPE * (1.0 - soh)) * rng.lognormal(0.0, 0.02, soh.size)
        for index, truth in zip(self.tired, truths, strict=True):
            if truth.tired_group is not None:
                soh[index] = truth.tired_soh_frac
                ratio[index] = truth.tired_resistance_ratio
        return soh, ratio

    def _top_balanced(self, truths: tuple[SimPack, ...], counts: list[int]) -> FloatArray:
        """SoC per cell when every group of a pack is the same Ah away from full.

        ``soc_start_frac`` is the pack's SoC within its own usable capacity, that of the
        weakest group; the stronger groups therefore stand higher.
        """
        weakest_ah = np.minimum.reduceat(self.capacity_ah, self.start)
        drawn_ah = weakest_ah * (1.0 - np.array([t.soc_start_frac for t in truths]))
        return np.asarray(1.0 - np.repeat(drawn_ah, counts) / self.capacity_ah)

    def by_pack(self, values: FloatArray) -> FloatArray:
        """Sum over each pack's cells, shape ``(n_packs,)``."""
        return np.asarray(np.add.reduceat(values, self.start))

    def advance(self, pack_current_a: FloatArray, ambient_c: float, dt_s: float) -> float:
        """One step at constant pack currents; returns the energy turned into heat, J."""
        if dt_s != self._dt_s:
            self._set_step(dt_s)
        current_a = self.current_a = pack_current_a.take(self.pack_of_cell)
        heat_w = current_a * current_a
        heat_w *= self.r0_ohm
        pair_w = self.v1_v * self.v1_v
        pair_w *= self._g1_s
        heat_w += pair_w
        np.multiply(self.v2_v, self.v2_v, out=pair_w)
        pair_w *= self._g2_s
        heat_w += pair_w
        heat_j = float(heat_w.sum()) * dt_s

        drawn_a = current_a + self.leak_a
        if self.disturbed:
            drawn_a += self.extra_leak_a
        drawn_a *= self._frac_per_a
        self.soc_frac -= drawn_a
        rise_v = np.multiply(current_a, self._gain1_ohm, out=pair_w)
        self.v1_v *= self._keep1
        self.v1_v += rise_v
        np.multiply(current_a, self._gain2_ohm, out=rise_v)
        self.v2_v *= self._keep2
        self.v2_v += rise_v

        if self.disturbed:
            heat_w += self.extra_heat_w
        cooling_w = np.subtract(self.temp_c, ambient_c, out=rise_v)
        cooling_w *= self._cooling_w_per_k
        heat_w -= cooling_w
        heat_w *= self._k_per_w
        self.temp_c += heat_w

        self._resistance_age_s += dt_s
        if self._resistance_age_s >= RESISTANCE_PERIOD_S:
            self._refresh_resistance()
        self._refresh_ocv()
        return heat_j

    def leak_w(self) -> float:
        """Power lost inside the cells by self-discharge and shorts, W."""
        leak_a = self.leak_a + self.extra_leak_a if self.disturbed else self.leak_a
        return float(self.ocv_v @ leak_a)

    def stored_j(self) -> float:
        """Energy in the cells, J: capacity times the integral of OCV over SoC, plus RC pairs.

        The zero is arbitrary (the low end of the OCV table); differences count.
        """
        capacity_as = self.capacity_ah * S_PER_H
        charge_j = capacity_as * _ocv_integral(self.chem, self.soc_frac + self._shift_frac)
        pair1_j = 0.5 * self._tau1_s * self.v1_v**2 * self._g1_s
        pair2_j = 0.5 * self._tau2_s * self.v2_v**2 * self._g2_s
        return float(np.sum(charge_j + pair1_j + pair2_j))

    def _refresh_ocv(self) -> None:
        self.ocv_v = ocv.ocv_v_in_row(self._ocv_row, self.soc_frac + self._shift_frac)
        self.emf_v = self.ocv_v - self.v1_v
        self.emf_v -= self.v2_v

    def _refresh_resistance(self) -> None:
        self._resistance_age_s = 0.0
        ratio = np.exp(self._activation_k * (1.0 / (self.temp_c + ZERO_C_K) - 1.0 / REFERENCE_K))
        base_ohm = self._r25 * ratio
        self.r0_ohm = base_ohm * self._shares[0]
        self._r1_ohm = base_ohm * self._shares[1]
        self._r2_ohm = base_ohm * self._shares[2]
        self._g1_s = 1.0 / self._r1_ohm
        self._g2_s = 1.0 / self._r2_ohm
        self.r0_by_pack_ohm = self.by_pack(self.r0_ohm)
        if self._dt_s:
            self._set_step(self._dt_s)

    def _set_step(self, dt_s: float) -> None:
        """Factors of a step of this length; exact for constant current, so any length is stable."""
        self._dt_s = dt_s
        self._keep1 = np.exp(-dt_s / self._tau1_s)
        self._keep2 = np.exp(-dt_s / self._tau2_s)
        self._gain1_ohm = self._r1_ohm * (1.0 - self._keep1)
        self._gain2_ohm = self._r2_ohm * (1.0 - self._keep2)
        self._frac_per_a = dt_s / S_PER_H / self.capacity_ah
        self._k_per_w = dt_s / self._heat_j_per_k


def _ocv_integral(chem: NDArray[np.intp], soc_frac: FloatArray) -> FloatArray:
    """Integral of the OCV table from its low end to ``soc_frac``, V."""
    step_frac = 1.0 / ocv.STEPS_PER_FRAC
    volts = ocv.TABLE_V
    areas = np.cumsum((volts[:, 1:] + volts[:, :-1]) / 2, axis=1) * step_frac
    areas = np.concatenate((np.zeros((len(volts), 1)), areas), axis=1)
    bounded = np.clip(soc_frac, ocv.SOC_LOW_FRAC, ocv.SOC_HIGH_FRAC)
    position = (bounded - ocv.SOC_LOW_FRAC) * ocv.STEPS_PER_FRAC
    step = np.minimum(position.astype(np.intp), ocv.N_STEPS - 1)
    left_v = volts[chem, step]
    here_v = ocv.ocv_v_of(chem, bounded)
    inside = areas[chem, step] + (position - step) * step_frac * (left_v + here_v) / 2
    return np.asarray(inside + (soc_frac - bounded) * here_v)
