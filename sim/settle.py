"""What a simulated span was worth, and whether it kept its promises.

Money is settled on the plant's own powers and limits are judged by the true
cells: what the EMS believed plays no part in its own marks.
"""

from datetime import datetime
from typing import Any

import numpy as np

from ems.daemon import CycleStats
from ems.dispatch import summary
from ems.dispatch.bound import Store
from ems.dispatch.tariff import Tariff
from ems.health import ocv
from ems.model import CycleRecord, FloatArray, Mode
from ems.site import Site
from sim.plant import Plant

TRUE_ENERGY_PERIOD_S = 10.0
"""How often the true deliverable energy is compared with the promise."""
SETTLED = (Mode.RUN, Mode.STOPPED)
_NOTHING_WS = (0.0, 0.0, 0.0)


class Account:
    """Sink that adds up energy per demand window, throughput and shortfalls."""

    def __init__(self, site: Site, plant: Plant) -> None:
        self._site = site
        self._plant = plant
        self._window_s = site.grid.demand_window_s
        self._sums_ws = _NOTHING_WS
        """Load, PV and grid import of the running window, W s."""
        self._windows_w: list[FloatArray] = []
        self._in_window_s = 0.0
        self._last_s: float | None = None
        self._start_utc: datetime | None = None
        self._first: CycleRecord | None = None
        self._limits_w = np.zeros((2, site.n_packs))
        self._charge_ah = [0.0] * site.n_packs
        self._checked_s = float("-inf")
        self.reserve_shortfall_s = 0.0
        self.reserve_margin_wh = float("inf")
        """Smallest true energy above the promise seen so far, Wh."""
        self.limit_violations = 0
        self._violation_s = 0.0

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        now_s = record.snapshot.now_s
        truth = self._plant.truth()
        if self._last_s is None:
            self._start_utc = record.snapshot.now_utc
        else:
            dt_s = now_s - self._last_s
            load_ws, pv_ws, grid_ws = self._sums_ws
            self._sums_ws = (
                load_ws + dt_s * truth.load_power_w,
                pv_ws + dt_s * truth.pv_power_w,
                grid_ws + dt_s * truth.grid_power_w,
            )
            dt_h = dt_s / 3600.0
            self._charge_ah = [
                before_ah + abs(current_a) * dt_h
                for before_ah, current_a in zip(self._charge_ah, truth.pack_current_a, strict=True)
            ]
            self._in_window_s += dt_s
        self._last_s = now_s
        if self._in_window_s >= self._window_s - 1e-6:
            self._windows_w.append(np.array(self._sums_ws) / self._window_s)
            self._sums_ws = _NOTHING_WS
            self._in_window_s = 0.0
        if truth.window_violation_s > self._violation_s:
            self._violation_s = truth.window_violation_s
            self.limit_violations += 1
        if record.decision.mode in SETTLED:
            self._first = self._first or record
            np.maximum(self._limits_w[0], record.limits.charge_w, out=self._limits_w[0])
            np.maximum(self._limits_w[1], record.limits.discharge_w, out=self._limits_w[1])
        if now_s - self._checked_s >= TRUE_ENERGY_PERIOD_S:
            self._check_reserve(record, now_s)

    def summary(self, tariff: Tariff) -> dict[str, Any]:
        """Bills, capture, shortfalls and wear of the span so far."""
        site, truth = self._site, self._plant.truth()
        windows_w = np.array(self._windows_w).reshape(-1, 3)
        answer: dict[str, Any] = {}
        if len(windows_w) and self._first is not None and self._start_utc is not None:
            stored_wh = float(self._first.backup.pack_energy_wh.sum())
            span = summary.Span(
                start_utc=self._start_utc,
                step_s=self._window_s,
                load_w=windows_w[:, 0],
                pv_w=windows_w[:, 1],
                import_w=windows_w[:, 2],
                throughput_wh=truth.charged_wh + truth.discharged_wh,
                stored_start_wh=stored_wh,
                stored_end_wh=stored_wh + self._plant.balance().stored_wh,
                stores=self._stores(self._first),
                reserve_wh=site.backup.critical_w * site.backup.hours,
            )
            answer = summary.settle(site, tariff, span)
        rated_ah = np.array([pack.rated_ah for pack in site.packs])
        cycles = np.array(self._charge_ah) / (2.0 * rated_ah)
        margin_wh = self.reserve_margin_wh
        return answer | {
            "cycles_by_pack": {
                pack.id: round(float(n), 3) for pack, n in zip(site.packs, cycles, strict=True)
            },
            "backup_shortfall_s": truth.backup_shortfall_s,
            "backup_shortfall_wh": round(truth.backup_shortfall_wh, 1),
            "reserve_shortfall_s": self.reserve_shortfall_s,
            "reserve_margin_wh": round(margin_wh, 1) if np.isfinite(margin_wh) else None,
            "limit_violations": self.limit_violations,
            "limit_violation_s": truth.window_violation_s,
            "protection_trips": truth.protection_trips,
        }

    def _stores(self, first: CycleRecord) -> tuple[Store, ...]:
        """The fleet as perfect foresight gets it: the best limits that the run ever saw."""
        site = self._site
        stores = []
        for index in range(site.n_packs):
            converter = site.converters[site.layout.converter_of_pack[index]]
            share = 1.0 / len(converter.packs)
            energy_wh = float(first.backup.pack_energy_wh[index])
            stores.append(
                Store(
                    capacity_wh=energy_wh + float(first.backup.pack_headroom_wh[index]),
                    start_wh=energy_wh,
                    charge_w=min(self._limits_w[0, index], share * converter.rated_charge_w),
                    discharge_w=min(self._limits_w[1, index], share * converter.rated_discharge_w),
                    efficiency_frac=converter.efficiency_frac,
                )
            )
        return tuple(stores)

    def _check_reserve(self, record: CycleRecord, now_s: float) -> None:
        """Compare true energy with the promise whenever the promise is to be kept ready."""
        since_s = 0.0 if self._checked_s == float("-inf") else now_s - self._checked_s
        self._checked_s = now_s
        if record.decision.mode not in SETTLED:
            return
        margin_wh = self.true_energy_wh(record) - record.backup.required_wh
        self.reserve_margin_wh = min(self.reserve_margin_wh, margin_wh)
        if margin_wh < 0.0:
            self.reserve_shortfall_s += since_s

    def true_energy_wh(self, record: CycleRecord) -> float:
        """Energy the true cells could deliver at the site bus until the first group of each
        pack reaches the envelope's discharge floor, Wh."""
        site, cells = self._site, self._plant.cells
        floor = record.limits.soc_low_frac[cells.pack_of_cell]
        spare_ah = np.minimum.reduceat((cells.soc_frac - floor) * cells.capacity_ah, cells.start)
        middle = np.clip(0.5 * (cells.soc_frac + floor), 0.0, 1.0)
        volts = np.add.reduceat(ocv.ocv_v_of(cells.chem, middle), cells.start)
        total_wh = 0.0
        for index, pack_wh in enumerate(np.maximum(spare_ah, 0.0) * volts):
            converter = site.converters[site.layout.converter_of_pack[index]]
            efficiency = 1.0 if converter.rectifier else converter.efficiency_frac
            power_w = converter.rated_discharge_w / len(converter.packs)
            total_wh += min(float(pack_wh) * efficiency, power_w * site.backup.hours)
        return total_wh
