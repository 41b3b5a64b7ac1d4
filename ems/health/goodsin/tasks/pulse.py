"""State of health of a retired cell from one or more short current pulses."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ems.health.goodsin import models
from ems.health.goodsin.gated import Gate, RatedGates
from ems.health.goodsin.models import Floats, Model, Recipe
from ems.health.goodsin.task import Column, Features, Ints, Task

VOLTAGES = tuple(f"u{number}_v" for number in range(1, 22))
RISES = np.array([1, 1, -1, -1, -1, -1, 1, 1] * 2 + [1, 1, -1, -1], dtype=np.float64)
"""Direction of each step between neighbours: charge pulse, rest, discharge pulse, rest."""
LEVELS_PCT = np.arange(5.0, 51.0, 5.0)
"""States of charge of a whole test; relative to nominal Ah."""
LEVEL_TOLERANCE_PCT = 0.5
SOC_PCT = (3.0, 52.0)
"""Beyond the trained 5 to 50 % the weights would be made up."""
PULSE_S = (4.5, 5.5)
"""Pulse widths taken for the 5 s all lots were tested with."""
OHMIC = ((1, 9), (5, 13))
"""First steps of the 0.5C and the 1C pulses, charge and discharge; Ohm's law ties them together."""
OHMIC_RATIO = (1.4, 2.9)
"""Where 2 is expected; 1.6 to 2.7 was seen."""
ALIKE_FRAC = 0.5
"""Correlation taken for errors of rows of one test; seen 0.2 to 0.6 by lot."""

KNOWN_WHOLE, KNOWN_ROW, UNKNOWN_WHOLE, UNKNOWN_ROW = range(4)
WAYS = ("whole test", "row", "whole test without SoC", "row without SoC")
LOT, LOT_AGAIN, NOMINAL, WAY, SOC, OCV_MEAN, OCV_SPREAD, FIRST = range(8)
NAMES = (
    "lot",
    "lot_again",
    "nominal_ah",
    "way",
    "soc_nominal_pct",
    "test_ocv_mean_v",
    "test_ocv_spread_v",
    "ocv_v",
    *(f"step_{number:02d}_v" for number in range(1, 21)),
)
SEEN = tuple(range(FIRST, FIRST + 21))
FULL_STEP = FIRST + OHMIC[0][1]
"""First step of the 1C pulse: where the level is not given, the resistance tells of it too."""


def lot_codes(kind: str) -> tuple[float, float]:
    """Two numbers for "lot|chemistry|nominal Ah"; another lot has others and lies far away."""
    return float(crc32(kind.encode()) % 9973), float(crc32(kind[::-1].encode()) % 9967)


def gates(way: int) -> RatedGates:
    """Models that share the answer for rows that arrive in this way."""
    if way == KNOWN_WHOLE:
        return RatedGates(
            (
                Gate(SOC, SEEN, 10, "volts", whole=True),
                Gate(SOC, SEEN, 10, "volts", whole=True, even=True),
                Gate(SOC, SEEN, 5, "logs", whole=True, even=True),
            ),
            whole=True,
        )
    if way == UNKNOWN_WHOLE:
        return RatedGates(
            (
                Gate(FIRST, SEEN, 5, "volts", smooth=True, whole=True),
                Gate(FIRST, SEEN, 5, "steps", smooth=True, whole=True, even=True),
                Gate(FIRST, SEEN, 5, "volts", smooth=True),
            ),
            whole=True,
        )
    if way == KNOWN_ROW:
        views = ("volts", "logs")
        return RatedGates(
            tuple(Gate(SOC, SEEN, 5, view, smooth=True) for view in views), whole=False
        )
    return RatedGates(
        (
            Gate(FIRST, SEEN, 5, "volts", smooth=True),
            Gate(FIRST, SEEN, 8, "volts", smooth=True, even=True),
            Gate(FULL_STEP, SEEN, 5, "volts", smooth=True),
        ),
        whole=False,
    )


@dataclass(frozen=True)
class PerWay:
    """One model per lot and way of arriving."""

    def fit(self, x: Floats, y: Floats, groups: NDArray[np.str_]) -> Model:
        """Every part on its own rows."""
        parts = []
        codes = np.unique(x[:, LOT] * len(WAYS) + x[:, WAY])
        for code in codes:
            mine = x[:, LOT] * len(WAYS) + x[:, WAY] == code
            way = int(code) % len(WAYS)
            parts.append(gates(way).fit(x[mine], y[mine], groups[mine]))
        lots = np.unique(x[:, LOT])
        return models.Switch(LOT, lots, tuple(_ways(codes, parts, float(lot)) for lot in lots))


def _ways(codes: Floats, parts: list[Model], lot: float) -> Model:
    mine = [(code % len(WAYS), part) for code, part in zip(codes, parts, strict=True)
            if code // len(WAYS) == lot]  # fmt: skip
    return models.Switch(WAY, np.array([way for way, _ in mine]), tuple(part for _, part in mine))


class Pulse(Task):
    """Pulses at one or several states of charge; the rows of a test support each other.

    A whole test (ten levels from 5 to 50 %) is assessed as one; fewer rows are each assessed
    alone and then averaged over the test. The state of charge may be missing: then the rest
    voltage takes its place.
    """

    name: ClassVar[str] = "pulse"
    target: ClassVar[str] = "soh_frac"
    keys: ClassVar[tuple[str, ...]] = ("lot", "cell_id", "sample_no", "soc_nominal_pct")
    columns: ClassVar[Mapping[str, Column]] = {
        "lot": Column(text=True),
        "cell_id": Column(text=True),
        "sample_no": Column(low=0.0),
        "chemistry": Column(text=True),
        "nominal_ah": Column("Ah", 0.1, 1000.0),
        "soc_nominal_pct": Column("percent", 0.0, 100.0, optional=True, may_be_empty=True),
        "pulse_width_s": Column("s", 0.1, 60.0),
        **{name: Column("V", 1.0, 5.0) for name in VOLTAGES},
    }
    answer: ClassVar[Column] = Column("frac", 0.2, 1.2)
    folds: ClassVar[int] = 5

    def inspect(self, table: pd.DataFrame) -> Iterator[tuple[int, str, str, str]]:
        """A fraction instead of percent, which is within the range of percent."""
        soc = _soc(table)
        given = np.flatnonzero(np.isfinite(soc))
        if len(given) and 0.0 < np.nanmax(soc) <= 1.0:
            first = int(given[0])
            yield (
                first,
                "soc_nominal_pct",
                f"{soc[first]:g} and none above 1",
                "0 to 100 in percent",
            )

    def features(self, table: pd.DataFrame) -> Features:
        """Rest voltage and steps of each row, in the way it arrives."""
        return self._read(table, rehearse=False)

    def lessons(self, table: pd.DataFrame) -> Features:
        """The same in every way rows may arrive."""
        return self._read(table, rehearse=True)

    def _read(self, table: pd.DataFrame, *, rehearse: bool) -> Features:
        volts = table[list(VOLTAGES)].to_numpy(dtype=np.float64)
        steps = np.diff(volts, axis=1)
        refused = dict(_refused(table, steps))
        usable = np.array([row for row in range(len(table)) if row not in refused], dtype=np.int64)
        cells, samples = table["cell_id"].astype(str), table["sample_no"].astype(str)
        lots = table["lot"].astype(str).to_numpy()
        test = pd.factorize(lots + "|" + cells.to_numpy() + "|" + samples.to_numpy())[0]
        soc = _soc(table)
        rows, ways, tests = _arrivals(usable, test, soc, rehearse=rehearse)
        x = np.zeros((len(rows), len(NAMES)))
        kinds = table[["lot", "chemistry", "nominal_ah"]].astype(str).agg("|".join, axis=1)
        x[:, [LOT, LOT_AGAIN]] = np.array([lot_codes(kind) for kind in kinds])[rows]
        x[:, NOMINAL] = table["nominal_ah"].to_numpy(dtype=np.float64)[rows]
        x[:, WAY] = ways
        x[:, SOC] = np.where(ways <= KNOWN_ROW, soc[rows], 0.0)
        x[:, FIRST], x[:, FIRST + 1 :] = volts[rows, 0], steps[rows]
        spread = pd.Series(volts[rows, 0]).groupby(tests)
        whole = ways == UNKNOWN_WHOLE
        x[whole, OCV_MEAN] = spread.transform("mean").to_numpy()[whole]
        x[whole, OCV_SPREAD] = spread.transform("std").to_numpy()[whole]
        strata = np.array(
            [f"{lots[row]}, {WAYS[way]}" for row, way in zip(rows, ways, strict=True)]
        )
        groups = cells.to_numpy()[rows].astype(np.str_)
        base = np.column_stack([tests, ways]).astype(np.float64)
        return Features(rows, x, NAMES, groups, refused, base, None, strata)

    def recipe(self) -> Recipe:
        """One model per lot and way of arriving."""
        return PerWay()

    def finish(self, features: Features, mean: Floats, spread: Floats) -> tuple[Floats, Floats]:
        """One answer per test: the mean of its rows, the surer ones with more say."""
        if features.base is None or not len(mean):
            return mean, spread
        test = np.unique(features.base[:, 0], return_inverse=True)[1]
        whole = np.isin(features.base[:, 1], (KNOWN_WHOLE, UNKNOWN_WHOLE))
        say = np.where(whole, 1.0, 1.0 / np.maximum(spread, 1e-6) ** 2)
        total, count = np.bincount(test, say), np.bincount(test)
        joint = np.bincount(test, say * mean) / total
        single = count / total
        error = np.sqrt(single * (ALIKE_FRAC + (1.0 - ALIKE_FRAC) / count))
        return joint[test], np.where(whole, spread, error[test])

    def training(self, folder: Path) -> pd.DataFrame:
        """Retired cells of four lots, answers at ten states of charge each."""
        return pd.read_csv(folder / self.files()[0])

    def files(self) -> tuple[str, ...]:
        """The one file."""
        return ("ageing/secondlife_pulse.csv.gz",)


def _soc(table: pd.DataFrame) -> Floats:
    if "soc_nominal_pct" not in table:
        return np.full(len(table), np.nan)
    return table["soc_nominal_pct"].to_numpy(dtype=np.float64)


def _refused(table: pd.DataFrame, steps: Floats) -> Iterator[tuple[int, str]]:
    width = table["pulse_width_s"].to_numpy(dtype=np.float64)
    numbers = table[[*VOLTAGES, "nominal_ah", "pulse_width_s", "sample_no"]]
    missing = np.asarray(numbers.isna()).any(axis=1)
    for row in np.flatnonzero(missing):
        yield int(row), "a value is missing"
    soc = _soc(table)
    for row in np.flatnonzero(~missing):
        wrong = np.flatnonzero(steps[row] * RISES <= 0.0)
        ratios = [steps[row, full - 1] / steps[row, half - 1] for half, full in OHMIC]
        if not PULSE_S[0] <= width[row] <= PULSE_S[1]:
            yield int(row), f"pulse of {width[row]:g} s; the models are for 5 s"
        elif np.isfinite(soc[row]) and not SOC_PCT[0] <= soc[row] <= SOC_PCT[1]:
            yield int(row), f"at {soc[row]:g} % of nominal Ah; the models are for 5 to 50 %"
        elif len(wrong):
            names = VOLTAGES[wrong[0]], VOLTAGES[wrong[0] + 1]
            yield int(row), f"step from {names[0]} to {names[1]} goes the wrong way"
        elif not OHMIC_RATIO[0] <= min(ratios) <= max(ratios) <= OHMIC_RATIO[1]:
            said = " and ".join(f"{ratio:.2f}" for ratio in ratios)
            yield int(row), f"1C pulses are {said} times the 0.5C ones; about 2 would be right"


def _arrivals(usable: Ints, test: Ints, soc: Floats, *, rehearse: bool) -> tuple[Ints, Ints, Ints]:
    """Rows, how each arrives and which test it is part of; all ways when rehearsed."""
    known = np.isfinite(soc)
    rows, ways, tests = [], [], []
    given = 0

    def arrive(own: Ints, way: Ints | int, together: bool) -> None:
        nonlocal given
        rows.append(own)
        ways.append(np.broadcast_to(np.asarray(way, dtype=np.int64), own.shape))
        tests.append(given + (0 if together else 1) * np.arange(len(own)))
        given += len(own)

    for name in np.unique(test[usable]):
        own = usable[test[usable] == name]
        alone = np.where(known[own], KNOWN_ROW, UNKNOWN_ROW)
        whole = len(own) == len(LEVELS_PCT)
        grid = whole and bool((np.abs(np.sort(soc[own]) - LEVELS_PCT) <= LEVEL_TOLERANCE_PCT).all())
        if rehearse:
            arrive(own, alone, together=False)
            arrive(own, UNKNOWN_ROW, together=False)
            if grid:
                arrive(own, KNOWN_WHOLE, together=True)
            if whole:
                arrive(own, UNKNOWN_WHOLE, together=True)
        elif grid:
            arrive(own, KNOWN_WHOLE, together=True)
        elif whole and not known[own].any():
            arrive(own, UNKNOWN_WHOLE, together=True)
        else:
            arrive(own, alone, together=True)
    if not rows:
        none = np.zeros(0, np.int64)
        return none, none, none
    order = np.argsort(np.concatenate(rows), kind="stable")
    found = [np.concatenate(part)[order] for part in (rows, ways, tests)]
    return found[0], found[1], found[2]


TASK = Pulse()
