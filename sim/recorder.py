"""What a simulation leaves behind: ``timeseries.csv`` and the trace hash."""

import csv
import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from ems.daemon import CycleStats
from ems.model import CycleRecord, FloatArray
from ems.site import Site
from sim.plant import Plant

SITE_POWERS = ("load_power_w", "pv_power_w", "grid_power_w", "battery_power_w")


class Recorder:
    """Sink that writes one row per ``record_s`` and hashes every cycle.

    Between rows powers are means and the ``_min_``/``_max_`` columns of the plant
    are extremes; everything else is the value at the end of the interval.

    Args:
        site: For names and order of columns.
        plant: For the true cell state.
        path: CSV file to write.
        record_s: Length of a row, s, at least one cycle.
    """

    def __init__(self, site: Site, plant: Plant, path: Path, record_s: float) -> None:
        self._site = site
        self._plant = plant
        self._per_row = max(1, round(record_s / site.cycle_s))
        self._file: IO[str] = path.open("w", newline="", encoding="utf-8")
        self._writer = csv.writer(self._file)
        self.columns = columns(site)
        self._writer.writerow(self.columns)
        self._hash = hashlib.sha256()
        self._powers = np.zeros(len(SITE_POWERS) + site.n_packs)
        self._extremes = _NO_EXTREMES
        self._n = 0

    @property
    def trace_sha256(self) -> str:
        """Hash over the numbers of every cycle so far."""
        return self._hash.hexdigest()

    def on_cycle(self, record: CycleRecord, stats: CycleStats) -> None:
        powers = powers_w(record)
        truth = self._plant.truth()
        self._powers += powers
        low_v, high_v, low_c, high_c = self._extremes
        self._extremes = (
            min(low_v, truth.cell_voltage_min_v),
            max(high_v, truth.cell_voltage_max_v),
            min(low_c, truth.cell_temp_min_c),
            max(high_c, truth.cell_temp_max_c),
        )
        self._hash.update(powers.tobytes())
        self._hash.update(record.estimate.soc_frac.tobytes())
        self._hash.update(struct.pack("<3d", record.snapshot.now_s, *self._extremes[:2]))
        self._n += 1
        if self._n == self._per_row:
            self._write(record)

    def close(self) -> None:
        self._file.close()

    def _write(self, record: CycleRecord) -> None:
        mean_w = self._powers / self._n
        self._writer.writerow(self._row(record, mean_w))
        self._powers[:] = 0.0
        self._extremes = _NO_EXTREMES
        self._n = 0

    def _row(self, record: CycleRecord, mean_w: FloatArray) -> list[str]:
        request, backup = record.request, record.backup
        capacity_ah = record.estimate.capacity_ah
        soc = float(np.dot(record.estimate.soc_frac, capacity_ah) / capacity_ah.sum())
        row = [
            record.snapshot.now_utc.strftime("%Y-%m-%dT%H:%M:%SZ"),
            *_numbers(mean_w[: len(SITE_POWERS)], 1),
            f"{soc:.5f}",
            f"{backup.energy_wh:.1f}",
            f"{backup.required_wh:.1f}",
            f"{request.demand_window_w:.1f}",
            f"{request.demand_target_w:.1f}",
            record.decision.mode.value,
            *_numbers(self._extremes[:2], 4),
            *_numbers(self._extremes[2:], 2),
        ]
        for pack in range(self._site.n_packs):
            row += (
                f"{mean_w[len(SITE_POWERS) + pack]:.1f}",
                f"{record.estimate.soc_frac[pack]:.5f}",
                f"{-record.decision.pack_low_w[pack]:.1f}",
                f"{record.decision.pack_high_w[pack]:.1f}",
                record.decision.pack_reason[pack],
            )
        return row


_NO_EXTREMES = (float("inf"), float("-inf"), float("inf"), float("-inf"))


def columns(site: Site) -> list[str]:
    """Header of ``timeseries.csv`` for a site."""
    names = ["timestamp_utc", *SITE_POWERS, "soc_frac", "backup_energy_wh", "reserve_required_wh"]
    names += ["demand_window_w", "demand_target_w", "mode"]
    names += ["cell_voltage_min_v", "cell_voltage_max_v", "cell_temp_min_c", "cell_temp_max_c"]
    for pack in site.packs:
        for column in ("power_w", "soc_frac", "charge_limit_w", "discharge_limit_w"):
            names.append(f"pack_{pack.id}_{column}")
        names.append(f"pack_{pack.id}_limit_reason")
    return names


def powers_w(record: CycleRecord) -> FloatArray:
    """Load, PV, grid, battery, then each pack's terminal power as measured, W.

    A quantity nobody measured in this cycle counts as 0 here; the mode and the
    limit reasons of the same row say that something was missing.
    """
    snapshot = record.snapshot
    grid_w = snapshot.grid.power_w.good or 0.0
    pv_w = snapshot.pv_power_w.good or 0.0
    battery_w = sum([c.power_w.good or 0.0 for c in snapshot.converters])
    packs_w = [(p.voltage_v.good or 0.0) * (p.current_a.good or 0.0) for p in snapshot.packs]
    return np.array([grid_w + battery_w + pv_w, pv_w, grid_w, battery_w, *packs_w])


def _numbers(values: Sequence[float] | FloatArray, decimals: int) -> list[str]:
    return [f"{value:.{decimals}f}" for value in values]
