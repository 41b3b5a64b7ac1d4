"""SoC of simulated packs whose BMS drift or reset, after two days of natural dispatch.

``SITES`` sites of eight packs (two each of LFP, NMC, LMO, LTO), seen for ``DAYS`` days; the
figures are of what is believed after 48 h. A pack's error hardly changes in a day (most of
it is the shift of its weakest group's curve), so for the cover of the bounds each pack is
little more than one draw; the cover over all groups of all packs is steadier.

The weakest group is the one that has the least charge left above 10 %; moments at which
two groups are within half a percent of the pack's capacity of each other decide nothing
and are left out.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks import truth
from benchmarks.sections import Figure
from ems.health.soc import cellfilter
from ems.model import FloatArray
from ems.site import Chemistry

TITLE = "SoC, drifting or resetting BMS, after 48 h"
SITES: Final = 5
DAYS: Final = 3.0
SEED: Final = 20
SETTLED_H: Final = 48.0
EVERY_S: Final = 300.0
Z90: Final = 1.645
FLOOR_FRAC: Final = 0.10
DISTINCT_FRAC: Final = 0.005
POINTS: Final = 100.0


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """One pack after ``SETTLED_H``; arrays over moments."""

    chemistry: Chemistry
    use: str
    soc_frac: FloatArray
    """True SoC of the group that ends a discharge first."""
    error_frac: FloatArray
    sigma_frac: FloatArray
    bms_error_frac: FloatArray
    groups_covered: FloatArray
    """Share of its groups whose true SoC is within their own 90 % bounds."""
    named: FloatArray
    """1 where that group is the one named, 0 where not, NaN where nothing is decided."""

    @property
    def rmse(self) -> float:
        """Of SoC, points."""
        return POINTS * float(np.sqrt(np.mean(self.error_frac**2)))

    @property
    def covered(self) -> float:
        """Share of moments within the 90 % bounds."""
        return float(np.mean(np.abs(self.error_frac) <= Z90 * self.sigma_frac))


def tracks(case: truth.Case, days: float = DAYS) -> list[Track]:
    """Live through one case."""
    slices = case.site.layout.cell_slices
    rows: list[list[tuple[float, ...]]] = [[] for _ in slices]
    for moment in truth.run(case, days, every_s=EVERY_S):
        if moment.now_s < SETTLED_H * truth.HOUR_S:
            continue
        cells, estimate = moment.plant.cells, moment.estimate
        believed = moment.state.cells
        within = np.abs(believed.soc_frac - cells.soc_frac) <= Z90 * cellfilter.sigma(believed)
        for k, own in enumerate(slices):
            soc = cells.soc_frac[own]
            left_ah = (soc - FLOOR_FRAC) * cells.capacity_ah[own]
            first = int(left_ah.argmin())
            margin_ah = np.partition(left_ah, 1)[1] - left_ah[first]
            distinct = margin_ah > DISTINCT_FRAC * cells.capacity_ah[own][first]
            reported = moment.snapshot.packs[k].soc_frac.value
            rows[k].append(
                (
                    float(soc[first]),
                    float(estimate.soc_frac[k] - soc[first]),
                    float(estimate.soc_sigma_frac[k]),
                    float((np.nan if reported is None else reported) - soc[first]),
                    float(within[own].mean()),
                    float(estimate.weakest_cell[k] == first) if distinct else np.nan,
                )
            )
    return [
        Track(spec.chemistry, use.use.value, *np.array(own).T)
        for spec, use, own in zip(case.site.packs, case.uses, rows, strict=True)
    ]


def run() -> list[Figure]:
    """Figures over all packs."""
    made = truth.cases(SITES, SEED, chemistries=2 * truth.CHEMISTRIES)
    found = [track for case in made for track in tracks(case)]
    rmse = [track.rmse for track in found]
    bms = [POINTS * float(np.sqrt(np.nanmean(track.bms_error_frac**2))) for track in found]
    named = np.concatenate([track.named for track in found])
    sigma = [POINTS * float(track.sigma_frac.mean()) for track in found]
    figures = [
        Figure("packs", float(len(found))),
        Figure("SoC RMSE, mean over packs", float(np.mean(rmse)), "points", at_most=2.0),
        Figure("SoC RMSE, worst pack", max(rmse), "points", at_most=4.0),
        Figure("the same by the BMS, mean", float(np.mean(bms)), "points"),
        Figure("sigma shown, mean", float(np.mean(sigma)), "points"),
        Figure(
            "90 % bounds cover",
            float(np.mean([track.covered for track in found])),
            at_least=0.85,
            at_most=0.95,
        ),
        Figure(
            "the same of every group",
            float(np.mean([track.groups_covered.mean() for track in found])),
            at_least=0.85,
            at_most=0.95,
        ),
        Figure("weakest group named correctly", float(np.nanmean(named)), at_least=0.95),
        Figure("moments with a distinct weakest group", float(np.mean(np.isfinite(named)))),
    ]
    for chemistry in truth.CHEMISTRIES:
        own = [track for track in found if track.chemistry is chemistry]
        figures += [
            Figure(
                f"{chemistry.name}: SoC RMSE, mean",
                float(np.mean([track.rmse for track in own])),
                "points",
            ),
            Figure(f"{chemistry.name}: cover", float(np.mean([track.covered for track in own]))),
        ]
    return figures
