"""Resistance straight from load steps: change of voltage over change of current."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from ems.health.record.flow import Part, step_rows

LEAST_C: Final = 0.05
"""Smallest step that is looked at, of rated capacity per hour."""
LARGE: Final = 0.8
"""Steps of at least this share of the largest make the figure."""
AFTER_S: Final = 1.0
"""The first row at least so long after the last row before the step..."""
SHARP_S: Final = 3.0
"""...and at most so long, or the step shows more than R0."""
SETTLED: Final = 0.05
"""The current there must not differ more from the next row's, as a share of the step."""
RESOLUTION_V: Final = 0.001


@dataclass(frozen=True, slots=True)
class Step:
    """One load step."""

    line: int
    """Of the last row before it."""
    at_s: float
    from_a: float
    to_a: float
    after_s: float
    """From the last row before to the row it was read at."""
    resistance_ohm: float
    temp_c: float | None


def find(part: Part, lines: list[int], rated_ah: float) -> list[Step]:
    """The load steps of a stretch, ``lines`` being the file's lines of its rows."""
    t_s, amps, volts = part.t_s, part.current_a, part.voltage_v
    found = []
    for row in step_rows(part, LEAST_C * rated_ah).tolist():
        after = int(np.searchsorted(t_s, t_s[row] + AFTER_S - 1e-6))
        if after >= t_s.size:
            continue
        change_a = float(amps[after] - amps[row])
        next_a = amps[min(after + 1, t_s.size - 1)]
        if abs(change_a) < LEAST_C * rated_ah or abs(next_a - amps[after]) > SETTLED * abs(
            change_a
        ):
            continue
        found.append(
            Step(
                line=lines[row],
                at_s=float(t_s[row]),
                from_a=float(amps[row]),
                to_a=float(amps[after]),
                after_s=float(t_s[after] - t_s[row]),
                resistance_ohm=-float(volts[after] - volts[row]) / change_a,
                temp_c=None if part.temp_c is None else float(part.temp_c[row]),
            )
        )
    return found


def sharp(steps: list[Step]) -> list[Step]:
    """Those that make the figure: read within seconds, and large."""
    quick = [step for step in steps if step.after_s <= SHARP_S]
    most = max((abs(step.to_a - step.from_a) for step in quick), default=0.0)
    return [step for step in quick if abs(step.to_a - step.from_a) >= LARGE * most]


def middle(steps: list[Step]) -> tuple[float, float]:
    """(median resistance, sigma) of steps, ohm; the spread along SoC is part of sigma."""
    ohms = np.array([step.resistance_ohm for step in steps])
    most_a = max(abs(step.to_a - step.from_a) for step in steps)
    spread = float(1.4826 * np.median(np.abs(ohms - np.median(ohms))))
    read = RESOLUTION_V / most_a
    return float(np.median(ohms)), float(np.hypot(spread, read) / np.sqrt(min(ohms.size, 4)))
