"""The plant as a ``SiteIO`` in memory, for virtual time: no sockets, same behaviour.

``snapshot`` first brings the plant to now. A device that refuses connections is
``REFUSED`` with missing values at once; one that does not answer keeps its last values,
which grow stale. Commands act in the plant at once; their outcomes are in the next
snapshot.
"""

from datetime import datetime
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ems.model import (
    MISSING,
    CellBlock,
    Command,
    CommandResult,
    Contactor,
    ConverterReading,
    ConverterState,
    GridReading,
    Link,
    OperatorRequest,
    PackReading,
    Quality,
    Reading,
    SetContactor,
    SetLoad,
    SetPower,
    SetRectifier,
    SiteSnapshot,
)
from sim.frozen import rows
from sim.outputs import TEMP_FAILED_C
from sim.plant import Plant

STALE_CYCLES: Final = 3
"""A reading older than this many cycles, and 3 s, is stale, as in the field drivers."""
STALE_S: Final = 3.0

Frozen = TypeVar("Frozen", NDArray[np.float64], NDArray[np.uint8])

# Looking up a member of an enum costs more than the use that is made of it.
GOOD: Final = Quality.GOOD
UP: Final = Link.UP
_CODE: Final = {code: float(code) for code in (*Contactor, *ConverterState)}

_LOST_PACK: Final = PackReading(Link.REFUSED, *([MISSING] * 9))
_LOST_CONVERTER: Final = ConverterReading(Link.REFUSED, *([MISSING] * 5))
_LOST_GRID: Final = GridReading(Link.REFUSED, *([MISSING] * 4))


class SimIO:
    """``SiteIO`` over a plant in the same process.

    Args:
        plant: Its time 0 is monotonic ``start_s``.
        start_s: Monotonic time at plant time 0, s.
    """

    def __init__(self, plant: Plant, start_s: float = 0.0) -> None:
        self._plant = plant
        self._start_s = start_s
        self._results: list[CommandResult] = []
        site = plant.site
        self._stale_s = max(STALE_S, STALE_CYCLES * site.cycle_s)
        self._load_metered = [load.device is not None for load in site.loads]
        self._load_on_site_meter = [load.device == site.grid.device for load in site.loads]
        self._pv_on_site_meter = site.pv is not None and site.pv.device == site.grid.device
        self._good_cells = _quality(site.layout.n_cells)
        self._good_temps = _quality(site.layout.n_temps)
        self._no_cells_s = np.zeros(site.layout.n_cells)
        self._no_temps_s = np.zeros(site.layout.n_temps)

    async def start(self) -> None:
        """Nothing to connect."""

    async def stop(self) -> None:
        """Safe state: 0 W from every PCS, no limits on a rectifier shelf."""
        for index, spec in enumerate(self._plant.site.converters):
            if spec.rectifier is None:
                self._plant.set_power(index, 0.0)
            else:
                self._plant.set_rectifier(
                    index, float("inf"), spec.rectifier.charge_current_limit_a
                )

    def snapshot(
        self,
        now_s: float,
        now_utc: datetime,
        clock_ok: bool,
        lateness_s: float,
        requests: tuple[OperatorRequest, ...],
    ) -> SiteSnapshot:
        """Advance the plant to ``now_s`` and read every device once."""
        plant = self._plant
        plant.advance(now_s - self._start_s)
        results, self._results = tuple(self._results), []
        meter = plant.meter
        at_s = meter.sampled_at_s + self._start_s
        quality = Quality.STALE if now_s - at_s > self._stale_s else GOOD
        fresh = quality is GOOD
        lost = [not meter.online and own for own in self._load_on_site_meter]
        return SiteSnapshot(
            now_s,
            now_utc,
            clock_ok,
            self._cells(now_s),
            self._packs(now_s),
            self._converters(now_s),
            self._grid(at_s, quality),
            tuple(
                Reading(power_w, at_s, quality) if metered and not gone else MISSING
                for power_w, metered, gone in zip(
                    meter.load_power_w, self._load_metered, lost, strict=True
                )
            ),
            tuple(on if fresh else None for on in meter.load_on),
            self._pv(at_s, quality),
            lateness_s,
            requests,
            results,
        )

    def send(self, commands: tuple[Command, ...]) -> None:
        """Apply commands in the plant now."""
        now_s = self._plant.now_s + self._start_s
        for command in commands:
            reason = self._apply(command)
            self._results.append(CommandResult(command, not reason, reason, now_s))

    def _apply(self, command: Command) -> str:
        plant = self._plant
        match command:
            case SetPower(converter, power_w):
                return plant.set_power(converter, power_w)
            case SetContactor(pack, close):
                return plant.set_contactor(pack, close)
            case SetRectifier(converter, power_limit_w, charge_limit_a):
                return plant.set_rectifier(converter, power_limit_w, charge_limit_a)
            case SetLoad(load, on):
                return plant.set_load(load, on)

    def _packs(self, now_s: float) -> tuple[PackReading, ...]:
        bms = self._plant.bms
        n = len(bms)
        at_s, quality, link = self._freshness([out.sampled_at_s for out in bms], now_s)
        values: list[float] = [out.voltage_v for out in bms]
        values += [out.current_a for out in bms]
        values += [out.soc_frac for out in bms]
        values += [out.soh_frac for out in bms]
        values += [out.charge_limit_a for out in bms]
        values += [out.discharge_limit_a for out in bms]
        values += [float(out.alarm_level) for out in bms]
        values += [_CODE[out.contactor] for out in bms]
        values += [float(out.heartbeat) for out in bms]
        beats_at_s = [out.heartbeat_at_s + self._start_s for out in bms]
        readings = rows(Reading, 9 * n, values, at_s * 8 + beats_at_s, quality * 9)
        columns = (readings[i * n : (i + 1) * n] for i in range(9))
        packs = rows(PackReading, n, link, *columns)
        for k, out in enumerate(bms):
            if not out.online:
                packs[k] = _LOST_PACK
        return tuple(packs)

    def _converters(self, now_s: float) -> tuple[ConverterReading, ...]:
        outputs = self._plant.converters
        n = len(outputs)
        at_s, quality, link = self._freshness([out.sampled_at_s for out in outputs], now_s)
        values = [out.power_w for out in outputs]
        values += [out.setpoint_w for out in outputs]
        values += [_CODE[out.state] for out in outputs]
        values += [out.dc_voltage_v for out in outputs]
        values += [out.dc_current_a for out in outputs]
        readings = rows(Reading, 5 * n, values, at_s * 5, quality * 5)
        columns = (readings[i * n : (i + 1) * n] for i in range(5))
        converters = rows(ConverterReading, n, link, *columns)
        for c, out in enumerate(outputs):
            if not out.online:
                converters[c] = _LOST_CONVERTER
        return tuple(converters)

    def _freshness(
        self, sampled_at_s: list[float], now_s: float
    ) -> tuple[list[float], list[Quality], list[Link]]:
        """Time stamp, quality and link of devices by when they last answered."""
        at_s = [sampled_s + self._start_s for sampled_s in sampled_at_s]
        stale = [now_s - sampled_s > self._stale_s for sampled_s in at_s]
        if True not in stale:
            return at_s, [GOOD] * len(at_s), [UP] * len(at_s)
        return (
            at_s,
            [Quality.STALE if old else GOOD for old in stale],
            [Link.SILENT if old else UP for old in stale],
        )

    def _grid(self, at_s: float, quality: Quality) -> GridReading:
        meter = self._plant.meter
        if not meter.online:
            return _LOST_GRID
        return GridReading(
            UP if quality is GOOD else Link.SILENT,
            Reading(meter.power_w, at_s, quality),
            Reading(meter.voltage_v, at_s, quality),
            Reading(meter.frequency_hz, at_s, quality),
            Reading(meter.import_wh, at_s, quality),
        )

    def _pv(self, at_s: float, quality: Quality) -> Reading:
        meter = self._plant.meter
        if self._plant.site.pv is None or (self._pv_on_site_meter and not meter.online):
            return MISSING
        return Reading(meter.pv_power_w, at_s, quality)

    def _cells(self, now_s: float) -> CellBlock:
        """All reported cells; the usual case, everything fresh, costs two small arrays."""
        plant = self._plant
        effects = plant.faults.effects
        ages_ok = not effects.silent and not effects.packs_lost
        if ages_ok and not effects.sensors_failed:
            at_s = plant.bms[0].sampled_at_s + self._start_s
            return CellBlock(
                plant.frame_v,
                _frozen(self._no_cells_s + at_s),
                self._good_cells,
                plant.frame_c,
                _frozen(self._no_temps_s + at_s),
                self._good_temps,
            )
        seen_at_s = np.array([out.sampled_at_s for out in plant.bms]) + self._start_s
        quality = np.where(now_s - seen_at_s > self._stale_s, Quality.STALE, Quality.GOOD)
        online = np.array([out.online for out in plant.bms])
        quality = np.where(online, quality, Quality.MISSING).astype(np.uint8)
        layout = plant.site.layout
        temp_quality = quality[layout.pack_of_temp]
        temp_quality[(plant.frame_c <= TEMP_FAILED_C) & (temp_quality == 0)] = Quality.BAD
        return CellBlock(
            plant.frame_v,
            _frozen(seen_at_s[layout.pack_of_cell]),
            _frozen(quality[layout.pack_of_cell]),
            plant.frame_c,
            _frozen(seen_at_s[layout.pack_of_temp]),
            _frozen(temp_quality),
        )


def _quality(count: int) -> NDArray[np.uint8]:
    return _frozen(np.zeros(count, np.uint8))


def _frozen(array: Frozen) -> Frozen:
    array.flags.writeable = False
    return array
