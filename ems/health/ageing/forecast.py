"""Remaining life to the second-life failure criterion, as a distribution."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.random import PCG64, Generator
from numpy.typing import NDArray

from ems.health.ageing.history import DEFAULT_SIGMA_FRAC, History, Pace, entry_soh, pace
from ems.health.ageing.laws import DAYS_PER_YEAR, LAWS, Law, Path, Usage
from ems.site import Chemistry

Floats = NDArray[np.float64]

QUANTILES: Final = (0.05, 0.50, 0.95)
USAGE_LN_SIGMA: Final = 0.15
"""How far real use will stray from the usage assumed: judgement."""
REACH_LN_SIGMA: Final = 0.25
"""Error of looking as far ahead as one has looked back, in ln(remaining life); grows with
the root of the ratio, up to ``MAX_REACH``. Judgement, checked in benchmarks."""
MAX_REACH: Final = 2.0
HORIZON_DAYS: Final = 40.0 * DAYS_PER_YEAR
"""Nothing is promised beyond; seals, electronics and BMS do not last longer either."""
DRAWS: Final = 4000


@dataclass(frozen=True, slots=True)
class Forecast:
    """Remaining life; the three figures of each are the 5, 50 and 95 % quantiles."""

    chemistry: Chemistry
    soh_frac: float
    """Present SoH, the last measurement."""
    end_soh_frac: float
    life_days: tuple[float, float, float]
    life_efc: tuple[float, float, float]
    """Equivalent full cycles left under the usage."""
    pace: float
    """The law's life over the pack's, after the history; above 1 the pack ages faster."""
    pace_ln_sigma: float
    n_measurements: int
    cycling_share: float
    """Share of the coming loss that use causes; the rest is time's."""
    source: str
    confidence: str


def forecast(
    chemistry: Chemistry,
    history: History,
    usage: Usage,
    end_soh_frac: float | None = None,
    seed: int = 0,
) -> Forecast:
    """Remaining life of a pack under a usage, corrected by its own history.

    Args:
        history: At least the present SoH; several dated ones narrow the spread.
        end_soh_frac: Failure criterion; by default that of the chemistry.
        seed: Of the draws that turn the weighted grid into quantiles.
    """
    law = LAWS[chemistry]
    end = law.end_soh_frac if end_soh_frac is None else end_soh_frac
    path = Path(law, usage)
    found = pace(path, history, end)
    generator = Generator(PCG64(seed))
    pick = generator.choice(len(found.weight), size=DRAWS, p=found.weight)
    stray = generator.standard_normal(DRAWS)
    left = found.left_days[pick]
    extra = _looking_ahead(float(np.median(left)), history, law, found)
    left = left * np.exp(stray * np.hypot(USAGE_LN_SIGMA, extra))
    days = np.minimum(np.quantile(left, QUANTILES), HORIZON_DAYS)
    cycles = days * usage.efc_per_day
    entry = entry_soh(path, history)
    now = float(path.days(np.array(entry - history.soh_frac[-1])))
    last = float(path.days(np.array(entry - end)))
    return Forecast(
        chemistry=chemistry,
        soh_frac=float(history.soh_frac[-1]),
        end_soh_frac=end,
        life_days=(float(days[0]), float(days[1]), float(days[2])),
        life_efc=(float(cycles[0]), float(cycles[1]), float(cycles[2])),
        pace=found.pace,
        pace_ln_sigma=found.ln_sigma,
        n_measurements=len(history.day),
        cycling_share=path.cycling_share(now, last),
        source=law.source,
        confidence=law.confidence,
    )


def _looking_ahead(left_days: float, history: History, law: Law, found: Pace) -> float:
    """Error of going on as before, in ln(remaining life).

    A history never leaves one less sure than none: together with what the pace still
    leaves open this stays within the spread of the law itself, which alone counts when
    there is no history.
    """
    span_days = float(history.day[-1] - history.day[0])
    if span_days <= 0.0:
        return 0.0
    reach = REACH_LN_SIGMA * min(math.sqrt(left_days / span_days), MAX_REACH)
    return min(reach, math.sqrt(max(law.ln_sigma**2 - found.ln_sigma**2, 0.0)))


def present(soh_frac: float, sigma_frac: float = DEFAULT_SIGMA_FRAC) -> History:
    """A history of one measurement: nothing is known but the present SoH."""
    return History(np.zeros(1), np.array([soh_frac]), np.array([sigma_frac]))


def life_days(law: Law, soh_frac: float, usage: Usage, z: float = 0.0) -> float:
    """Remaining life in days at ``z`` standard deviations, without a history.

    Closed form for tables of many packs: the law's own path and the spread of cell
    types as a lognormal. Never grows when SoH falls.
    """
    path = Path(law, usage)
    entry = min(soh_frac, 1.0) if law.restarts else 1.0
    left = path.days(np.array([entry - law.end_soh_frac, entry - soh_frac]))
    at_law = max(float(left[0] - left[1]), 0.0)
    return min(at_law * float(np.exp(z * np.hypot(law.ln_sigma, USAGE_LN_SIGMA))), HORIZON_DAYS)
