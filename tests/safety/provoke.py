"""How to make each signal of the table take a value: one entry per signal."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ems.model import ConverterState, Link
from ems.safety.ratings import Ratings
from ems.safety.row import Row, Side, Signal, samples_of
from ems.safety.table import ROWS
from ems.site import Chemistry, Site
from tests.safety import bench as b

STEP = 1e-6
"""Just beyond or short of a limit, in the unit of the row."""


def _charging(current_a: float) -> b.Modify:
    return b.pack(current_a=current_a)


def _charge_ratio(site: Site, ratio: float) -> b.Modify:
    rating = Ratings.of(site)
    usable_ah = site.packs[0].rated_ah * 0.9
    return _charging(-(ratio * rating.charge_c[0] * usable_ah + rating.charge_tolerance_a[0]))


def _discharge_ratio(site: Site, ratio: float) -> b.Modify:
    rating = Ratings.of(site)
    usable_ah = site.packs[0].rated_ah * 0.9
    return _charging(ratio * rating.discharge_c[0] * usable_ah + rating.discharge_tolerance_a[0])


def _deviation(site: Site, share: float) -> b.Modify:
    spec = site.converters[0]
    return b.converter(power_w=share * spec.rated_charge_w + spec.standby_w)


def _wrong(site: Site, share: float) -> b.Modify:
    spec, volts = site.converters[0], b.make_snapshot(site).converters[0].dc_voltage_v.value
    limit_w = max(0.02 * spec.rated_charge_w, 2.0 * (volts or 0.0))
    return b.converter(power_w=share * limit_w + spec.standby_w)


def _late(site: Site, periods: float) -> b.Modify:
    return lambda snapshot: replace(snapshot, lateness_s=(periods - 1.0) * site.cycle_s)


VALUE: dict[Signal, Callable[[Site, float], b.Modify]] = {
    Signal.CELL_V_MAX: lambda site, v: b.cell_v(v),
    Signal.CELL_V_MIN: lambda site, v: b.cell_v(v),
    Signal.CELL_V_MIN_REST: lambda site, v: b.cell_v(v),
    Signal.TEMP_MAX: lambda site, v: b.temp_c(v),
    Signal.TEMP_MAX_IDLE: lambda site, v: b.temp_c(v),
    Signal.TEMP_MIN: lambda site, v: b.temp_c(v),
    Signal.TEMP_MIN_CHARGING: lambda site, v: b.both(b.temp_c(v), _charging(-5.0)),
    Signal.TEMP_MIN_DISCHARGING: lambda site, v: b.both(b.temp_c(v), _charging(5.0)),
    Signal.CHARGE_RATIO: _charge_ratio,
    Signal.DISCHARGE_RATIO: _discharge_ratio,
    Signal.SOC_GAP: lambda site, v: b.pack(soc_frac=0.6 + v),
    Signal.SOC_GAP_UNSURE: lambda site, v: b.pack(soc_frac=0.6 + v),
    Signal.UNKNOWN_COUNT: lambda site, v: b.lost_temps(int(v)),
    Signal.BMS_REFUSED: lambda site, v: b.pack(link=Link.REFUSED if v >= 1 else Link.UP),
    Signal.BMS_ALARM: lambda site, v: b.pack(alarm_level=float(int(v))),
    Signal.PCS_REFUSED: lambda site, v: b.converter(link=Link.REFUSED if v >= 1 else Link.UP),
    Signal.PCS_FAULT: lambda site, v: b.converter(
        state=ConverterState.FAULT if v >= 1 else ConverterState.RUN
    ),
    Signal.PCS_DEVIATION: _deviation,
    Signal.PCS_WRONG: _wrong,
    Signal.GRID_V_PU: lambda site, v: b.grid(voltage_v=v * site.grid.nominal_v),
    Signal.GRID_HZ: lambda site, v: b.grid(frequency_hz=v),
    Signal.CYCLE_PERIODS: _late,
}
"""Signals that a snapshot takes at once. The others are ages: they take time."""

AGES = (
    Signal.FROZEN_S,
    Signal.STUCK_FRAC,
    Signal.CELLS_UNSEEN_V,
    Signal.BMS_AGE_S,
    Signal.BMS_AGE_TRIP_S,
    Signal.PCS_AGE_S,
    Signal.PCS_AGE_FLOWING_S,
    Signal.METER_AGE_S,
)


@dataclass(frozen=True)
class Case:
    """One level of one row for one chemistry."""

    row: Row
    level: int
    """1..4."""
    chemistry: Chemistry

    @property
    def limit(self) -> float:
        value = self.row.limit[self.chemistry][self.level - 1]
        assert value is not None
        return value

    @property
    def signal(self) -> Signal:
        return self.row.signal[self.level - 1]

    @property
    def sign(self) -> float:
        return 1.0 if self.row.side is Side.HIGH else -1.0

    @property
    def need(self) -> int:
        return samples_of(self.row.debounce[self.level - 1], 1.0)

    @property
    def latch(self) -> str:
        return self.row.latch[self.level - 1]

    def running(self) -> b.Bench:
        """A site of this chemistry in RUN, unsure of its SoC where the row asks for it."""
        bench = b.running(chemistry=self.chemistry)
        if Signal.SOC_GAP_UNSURE in self.row.signal:
            sigma = np.full(bench.site.n_packs, 0.06)
            bench.estimate = b.make_estimate(bench.site, soc_sigma_frac=sigma)
        return bench

    def at(self, site: Site, beyond: float) -> b.Modify:
        """The signal at the limit plus a step towards bad (negative: short of it)."""
        return VALUE[self.signal](site, self.limit + self.sign * beyond)

    def __str__(self) -> str:
        return f"{self.row.id}-L{self.level}-{self.chemistry}"


def cases(*, ages: bool) -> list[Case]:
    """Every level of every row, for each chemistry where it matters.

    A row that says the same for all chemistries is tried on LFP alone.
    """
    found = []
    for row in ROWS:
        alike = all(row.limit[c] == row.limit[Chemistry.LFP] for c in Chemistry)
        for chemistry in [Chemistry.LFP] if alike else list(Chemistry):
            for level in (1, 2, 3, 4):
                exists = row.limit[chemistry][level - 1] is not None
                if exists and (row.signal[level - 1] in AGES) == ages:
                    found.append(Case(row, level, chemistry))
    return found
