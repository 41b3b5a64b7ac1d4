"""What the packs' own electronics see, believe and do.

Readings are noisy and quantised; the BMS counts its own SoC with an offset and a gain
error; it publishes current limits derived from the nameplate, three alarm levels, and
with ``protection`` on it opens its contactor. All cells of the site are sampled in one
block, pack after pack, as ``Site.layout`` orders them.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems.site import Site
from sim.cells import S_PER_H, CellBank
from sim.chemistry import BMS, BmsLimits
from sim.contactor import Switch
from sim.faults import Effects
from sim.outputs import TEMP_FAILED_C, BmsOutput

FloatArray = NDArray[np.float64]

CELL_NOISE_V: Final = 0.0005
CELL_LSB_PER_V: Final = 1000.0
TRIP_DELAY_S: Final = 2.0
FULL_C_RATE: Final = 0.05
"""Below this charge current at full voltage the BMS sets its SoC to 100 %."""
DERATE_HIGH_V: Final = 0.10
DERATE_LOW_V: Final = 0.15
DERATE_TEMP_C: Final = 10.0
OVERLOAD: Final = (1.1, 1.2, 1.4)
"""Current / nameplate rate of the three alarm levels."""
CHARGING_C_RATE: Final = 0.02
"""From this charge current on, cold is an alarm."""
NOISE_LENGTH: Final = 65_536
NOISE_STRIDE: Final = 7_919
"""Prime, so that the samples of a cell repeat only after the whole buffer."""


@dataclass(frozen=True, slots=True)
class _Nameplate:
    """What the limits of one pack come to; alarm and limits are asked for every cycle."""

    limits: BmsLimits
    rated_ah: float
    full_v: float
    full_a: float
    charging_a: float
    charge_rate_a: float
    discharge_rate_a: float
    heat_band_c: float
    charge_limit_a: float
    """CCL as published while nothing derates it."""
    discharge_limit_a: float


def _nameplate(limits: BmsLimits, rated_ah: float) -> _Nameplate:
    return _Nameplate(
        limits=limits,
        rated_ah=rated_ah,
        full_v=limits.over_voltage_v[0] - 0.05,
        full_a=FULL_C_RATE * rated_ah,
        charging_a=-CHARGING_C_RATE * rated_ah,
        charge_rate_a=limits.charge_c_rate * rated_ah,
        discharge_rate_a=limits.discharge_c_rate * rated_ah,
        heat_band_c=limits.over_temp_c[1] - limits.over_temp_c[0],
        charge_limit_a=round(limits.charge_c_rate * rated_ah, 1),
        discharge_limit_a=round(limits.discharge_c_rate * rated_ah, 1),
    )


@dataclass(slots=True)
class Belief:
    """What one BMS thinks of its pack and how wrong its current sensor is."""

    soc_frac: float
    soh_frac: float
    gain: float
    offset_a: float
    capacity_ah: float
    alarm_s: float = 0.0
    """How long alarm level 3 has lasted, s."""
    trips: int = 0


class BmsBank:
    """All BMS of the site.

    Args:
        site: For layout, chemistry and nameplates.
        cells: The truth they measure.
        switches: Contactors they drive, one per pack.
        rng: Noise and sensor errors.
        protection: Whether alarm level 3 opens the contactor.
    """

    def __init__(
        self,
        site: Site,
        cells: CellBank,
        switches: list[Switch],
        rng: np.random.Generator,
        protection: bool,
    ) -> None:
        self._site = site
        self._cells = cells
        self._switches = switches
        self._protection = protection
        self.outputs = [BmsOutput() for _ in site.packs]
        self._nameplates = [_nameplate(BMS[p.chemistry], p.rated_ah) for p in site.packs]
        self.beliefs = [
            Belief(
                soc_frac=min(1.0, max(0.0, truth.soc_start_frac + rng.normal(0.0, 0.03))),
                soh_frac=round(min(1.0, spec.soh_frac + rng.normal(0.0, 0.02)), 2),
                gain=1.0 + rng.normal(0.0, 0.005),
                offset_a=spec.rated_ah * rng.normal(0.0, 0.0005),
                capacity_ah=spec.rated_ah * spec.soh_frac,
            )
            for spec, truth in zip(site.packs, site.sim.packs, strict=True)
        ]
        self._noise_v = rng.normal(0.0, CELL_NOISE_V, NOISE_LENGTH) * CELL_LSB_PER_V
        self._noise_at = 0
        self._lay_out(site, rng)
        self.frame_v = np.zeros(site.layout.n_cells)
        """Reported cell voltages of all packs, V."""
        self.frame_c = np.zeros(site.layout.n_temps)
        """Reported cell temperatures of all packs, degC."""
        self._extremes: tuple[list[float], ...] = ()

    def _lay_out(self, site: Site, rng: np.random.Generator) -> None:
        """Index of the true cell behind each reported voltage and temperature."""
        reported: list[NDArray[np.intp]] = []
        sensors: list[NDArray[np.intp]] = []
        self._extreme_packs: list[int] = []
        for k, spec in enumerate(site.packs):
            first = int(self._cells.start[k])
            if spec.reported_cells != spec.series_cells and spec.reported_cells == 2:
                self._extreme_packs.append(k)
            for count, into in ((spec.reported_cells, reported), (spec.reported_temps, sensors)):
                into.append(first + np.linspace(0, spec.series_cells - 1, count).astype(np.intp))
        self._reported = np.concatenate(reported)
        self._all_reported = self._reported.size == self._cells.soc_frac.size
        self._sensors = np.concatenate(sensors)
        self._sensor_error_c = rng.normal(0.0, 0.2, self._sensors.size)

    def sample(self, now_s: float, dt_s: float, current_a: list[float], effects: Effects) -> None:
        """Measure, count, alarm and protect at the end of a step with these pack currents."""
        cells = self._cells
        drop_v = cells.current_a * cells.r0_ohm
        true_v = np.subtract(cells.emf_v, drop_v, out=drop_v)
        lows = np.minimum.reduceat(true_v, cells.start).tolist()
        highs = np.maximum.reduceat(true_v, cells.start).tolist()
        packs_v = cells.by_pack(true_v).tolist()
        if not effects.silent:
            self._frame(true_v, effects)
        coldest = np.minimum.reduceat(cells.temp_c, cells.start).tolist()
        hottest = np.maximum.reduceat(cells.temp_c, cells.start).tolist()
        self._extremes = (lows, highs, coldest, hottest)
        silent, lost, stuck = effects.silent, effects.packs_lost, effects.stuck
        for k, (current, belief) in enumerate(zip(current_a, self.beliefs, strict=True)):
            measured_a = current * belief.gain + belief.offset_a
            nameplate = self._nameplates[k]
            extremes = (lows[k], highs[k], coldest[k], hottest[k])
            _count(belief, nameplate, measured_a, highs[k], dt_s)
            level = _alarm_level(nameplate, measured_a, *extremes)
            self._protect(k, level, dt_s)
            output = self.outputs[k]
            output.online = k not in lost
            if silent or not output.online:
                continue
            output.sampled_at_s = now_s
            if stuck.get(k, True):
                output.heartbeat = (output.heartbeat + 1) % 65_536
                output.heartbeat_at_s = now_s
            if k not in stuck:
                limits_a = _current_limits_a(nameplate, *extremes)
                self._publish(k, packs_v[k], measured_a, level, limits_a)

    @property
    def extremes(self) -> tuple[list[float], ...]:
        """True (lowest V, highest V, coldest, hottest) per pack after the last sample."""
        return self._extremes

    def _frame(self, true_v: FloatArray, effects: Effects) -> None:
        """Noise, quantise, and lay the site-wide frame; stuck packs keep their old part."""
        self._noise_at = (self._noise_at + NOISE_STRIDE) % (NOISE_LENGTH - true_v.size)
        seen_v = true_v * CELL_LSB_PER_V
        seen_v += self._noise_v[self._noise_at : self._noise_at + true_v.size]
        np.rint(seen_v, out=seen_v)
        seen_v /= CELL_LSB_PER_V
        frame_v = seen_v if self._all_reported else seen_v[self._reported]
        slices = self._site.layout.cell_slices
        for k in self._extreme_packs:
            own = seen_v[self._cells.start[k] :][: self._site.packs[k].series_cells]
            frame_v[slices[k]] = own.min(), own.max()
        for k, offset_v in effects.cell_offset_v.items():
            frame_v[slices[k].start] += offset_v
        frame_c = self._cells.temp_c.take(self._sensors)
        frame_c += self._sensor_error_c
        frame_c *= 10.0
        np.rint(frame_c, out=frame_c)
        frame_c /= 10.0
        for k, sensor in effects.sensors_failed:
            part = self._site.layout.temp_slices[k]
            frame_c[min(part.start + sensor, part.stop - 1)] = TEMP_FAILED_C
        for k in effects.stuck:
            frame_v[slices[k]] = self.frame_v[slices[k]]
            part = self._site.layout.temp_slices[k]
            frame_c[part] = self.frame_c[part]
        frame_v.flags.writeable = frame_c.flags.writeable = False
        self.frame_v, self.frame_c = frame_v, frame_c

    def _protect(self, k: int, level: int, dt_s: float) -> None:
        belief = self.beliefs[k]
        belief.alarm_s = belief.alarm_s + dt_s if level == 3 else 0.0
        switch = self._switches[k]
        if self._protection and belief.alarm_s >= TRIP_DELAY_S and switch.wanted:
            switch.wanted = False
            belief.trips += 1

    def refusal(self, k: int) -> str:
        """Why the BMS would not close its contactor now; empty when it would."""
        if self._protection and self.beliefs[k].alarm_s > 0.0:
            return "BMS protection is active"
        return ""

    def _publish(
        self, k: int, pack_v: float, measured_a: float, level: int, limits_a: tuple[float, float]
    ) -> None:
        output, belief = self.outputs[k], self.beliefs[k]
        layout = self._site.layout
        output.cell_voltage_v = self.frame_v[layout.cell_slices[k]]
        output.cell_temp_c = self.frame_c[layout.temp_slices[k]]
        output.voltage_v = round(pack_v, 1)
        output.current_a = round(measured_a, 1)
        output.soc_frac = round(belief.soc_frac, 3)
        output.soh_frac = belief.soh_frac
        output.charge_limit_a, output.discharge_limit_a = limits_a
        output.alarm_level = level
        output.contactor = self._switches[k].state


def _count(
    belief: Belief, nameplate: _Nameplate, measured_a: float, high_v: float, dt_s: float
) -> None:
    """Coulomb counting, with the usual reset to 100 % at the end of a charge."""
    soc = belief.soc_frac - measured_a * dt_s / S_PER_H / belief.capacity_ah
    if high_v >= nameplate.full_v and 0.0 < -measured_a < nameplate.full_a:
        soc = 1.0
    belief.soc_frac = min(1.0, max(0.0, soc))


def _alarm_level(
    nameplate: _Nameplate,
    measured_a: float,
    low_v: float,
    high_v: float,
    coldest_c: float,
    hottest_c: float,
) -> int:
    """Highest alarm level any quantity calls for, 0..3."""
    limits = nameplate.limits
    rate_a = nameplate.discharge_rate_a if measured_a > 0.0 else nameplate.charge_rate_a
    load = abs(measured_a) / rate_a
    charging = measured_a < nameplate.charging_a
    if (
        high_v < limits.over_voltage_v[0]
        and low_v > limits.under_voltage_v[0]
        and hottest_c < limits.over_temp_c[0]
        and load < OVERLOAD[0]
        and not (charging and coldest_c <= limits.charge_under_temp_c[0])
    ):
        return 0  # nearly always
    level = max(
        _above(high_v, limits.over_voltage_v),
        _below(low_v, limits.under_voltage_v),
        _above(hottest_c, limits.over_temp_c),
        _above(load, OVERLOAD),
    )
    return max(level, _below(coldest_c, limits.charge_under_temp_c)) if charging else level


def _current_limits_a(
    nameplate: _Nameplate, low_v: float, high_v: float, coldest_c: float, hottest_c: float
) -> tuple[float, float]:
    """CCL and DCL: nameplate rates, derated by the extreme cells and temperatures."""
    limits = nameplate.limits
    heat_margin_c = limits.over_temp_c[1] - hottest_c
    charge_margin_v = limits.over_voltage_v[1] - high_v
    cold_margin_c = coldest_c - limits.charge_under_temp_c[1]
    discharge_margin_v = low_v - limits.under_voltage_v[1]
    charge_a, discharge_a = nameplate.charge_limit_a, nameplate.discharge_limit_a
    cool = heat_margin_c >= nameplate.heat_band_c
    if not (cool and charge_margin_v >= DERATE_HIGH_V and cold_margin_c >= DERATE_TEMP_C):
        factor = _ramp(charge_margin_v, DERATE_HIGH_V) * _ramp(cold_margin_c, DERATE_TEMP_C)
        hot = _ramp(heat_margin_c, nameplate.heat_band_c)
        charge_a = round(nameplate.charge_rate_a * min(hot, factor), 1)
    if not (cool and discharge_margin_v >= DERATE_LOW_V):
        hot = _ramp(heat_margin_c, nameplate.heat_band_c)
        factor = _ramp(discharge_margin_v, DERATE_LOW_V)
        discharge_a = round(nameplate.discharge_rate_a * min(hot, factor), 1)
    return charge_a, discharge_a


def _above(value: float, levels: tuple[float, float, float]) -> int:
    """How many of the rising thresholds ``value`` has reached."""
    return (value >= levels[0]) + (value >= levels[1]) + (value >= levels[2])


def _below(value: float, levels: tuple[float, float, float]) -> int:
    """How many of the falling thresholds ``value`` has reached."""
    return (value <= levels[0]) + (value <= levels[1]) + (value <= levels[2])


def _ramp(margin: float, width: float) -> float:
    """1 with at least ``width`` of margin, 0 with none."""
    return min(1.0, max(0.0, margin / width))
