"""A record of a made-up cell, written as a laboratory would."""

from pathlib import Path

import numpy as np
import pandas as pd

from ems.health.record.curves import Cell, curve

RATED_AH = 33.1
TRUE_AH = 27.0
R0_OHM, R1_OHM, TAU_S = 1.6e-3, 1.5e-3, 50.0


def pulses(
    blocks: int = 4, start_frac: float = 0.95, noise_v: float = 5e-4, seed: int = 1
) -> pd.DataFrame:
    """Rest, then blocks of a pulse, a discharge by 10 % and a rest; discharge positive.

    Rows are 1 s apart around pulses, else 5 s.
    """
    amps = [0.0] * 300
    fast = [False] * 300
    for _ in range(blocks):
        fast += [True] * 100 + [False] * 2750
        amps += [30.0] * 30 + [0.0] * 40 + [9.0] * 980 + [0.0] * 1800
    current = np.array(amps)
    slow = np.zeros_like(current)
    for row in range(1, slow.size):
        slow[row] = slow[row - 1] + (current[row] - slow[row - 1]) * (1 - np.exp(-1 / TAU_S))
    soc = start_frac - np.cumsum(current) / 3600.0 / TRUE_AH
    noise = np.random.Generator(np.random.PCG64(seed)).normal(0.0, noise_v, current.size)
    volts = curve(Cell.LMO).ocv(soc) - R0_OHM * current - R1_OHM * slow + noise
    t_s = np.arange(current.size, dtype=float)
    table = pd.DataFrame(
        {"t_s": t_s, "current_a": current, "voltage_v": volts.round(4), "temperature_c": 25.0}
    )
    kept = np.array(fast) | (t_s % 5 == 0) | np.append(np.diff(current) != 0, True)
    return table[kept].reset_index(drop=True)


def write(table: pd.DataFrame, folder: Path, name: str = "record.csv") -> Path:
    """The table as a file."""
    path = folder / name
    table.to_csv(path, index=False)
    return path
