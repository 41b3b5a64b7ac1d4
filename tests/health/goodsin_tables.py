"""Made-up laboratory tables for the goods-in tests."""

import numpy as np
import pandas as pd

from ems.health.goodsin.tasks.cyclelife import CURVE, VOLTS

EARLY_CYCLES = (2, 3, 8, 9, 10, 50, 60, 95, 100)


def storage_cycles(cells=1, cycles=60, given=False):
    """Cells whose efficiency, mid voltage and capacity fall together, a little each cycle."""
    rows = []
    for cell in range(cells):
        first_ah, mid_v = 12.0 + cell, 3.58 + 0.01 * cell
        for cycle in range(1, cycles + 1):
            lost = 0.03 * (cycle - 1) / cycles * (1.0 + 0.1 * cell)
            known = cycle == 1 or given
            rows.append(
                {
                    "cell_id": f"c{cell}",
                    "cycle": cycle,
                    "energy_efficiency_frac": round(0.93 - 0.3 * lost, 5),
                    "mid_voltage_v": round(mid_v - 0.5 * lost, 5),
                    "discharge_ah": round(first_ah * (1.0 - lost), 5) if known else np.nan,
                }
            )
    return pd.DataFrame(rows)


def early_curves(cells=1, cycles=EARLY_CYCLES, moved_ah=0.02):
    """Discharge curves that lose ``moved_ah`` around 3.1 V over a hundred cycles."""
    rows = []
    for cell in range(cells):
        for cycle in cycles:
            shape = 1.06 / (1.0 + np.exp((VOLTS - 3.22) / 0.03))
            dip = np.exp(-(((VOLTS - 3.12) / 0.08) ** 2)) * (1.0 + 0.2 * cell)
            curve = shape - moved_ah * cycle / 100.0 * dip
            rows.append(
                {"cell_id": f"c{cell}", "cycle": cycle, **dict(zip(CURVE, curve, strict=True))}
            )
    return pd.DataFrame(rows).round(5)


def charge_features(cells=6, cycles=40, seed=0):
    """Cells whose constant-current share falls with capacity; the rest is noise of its kind."""
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = []
    for cell in range(cells):
        for cycle in range(1, cycles + 1):
            capacity = 2.0 - 0.3 * cycle / cycles - 0.01 * cell
            rows.append(
                {
                    "cell_id": f"c{cell}",
                    "cycle": cycle,
                    "capacity_ah": capacity,
                    "v_mean_v": 4.05 + 0.02 * capacity,
                    "v_std_v": 0.05 + rng.normal(0, 1e-4),
                    "v_kurt": -1.2 + rng.normal(0, 0.01),
                    "v_skew": 0.04 + rng.normal(0, 0.01),
                    "cc_q_ah": 0.17 * capacity + rng.normal(0, 1e-3),
                    "cc_time_s": 150.0 * capacity + rng.normal(0, 1.0),
                    "v_slope_v_per_s": 1.4e-3 / capacity,
                    "v_entropy": 5.4 + rng.normal(0, 0.01),
                    "i_mean_a": 0.23 + rng.normal(0, 1e-3),
                    "i_std_a": 0.11 + rng.normal(0, 1e-3),
                    "i_kurt": -0.5 + rng.normal(0, 0.01),
                    "i_skew": 0.78 + rng.normal(0, 0.01),
                    "cv_q_ah": 0.12 - 0.03 * capacity,
                    "cv_time_s": 1900.0 - 500.0 * capacity + rng.normal(0, 5.0),
                    "i_slope_a_per_s": -1e-3 + rng.normal(0, 1e-5),
                    "i_entropy": 6.5 + rng.normal(0, 0.01),
                }
            )
    return pd.DataFrame(rows)
