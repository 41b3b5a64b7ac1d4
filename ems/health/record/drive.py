"""The site's online estimators run over a record, as if it were a pack of one cell."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np

from ems import health
from ems.health import prepare
from ems.health.learning import pairs, resistance
from ems.health.record.flow import LATE
from ems.health.record.read import Record
from ems.model import (
    MISSING,
    CellBlock,
    Contactor,
    ConverterReading,
    FloatArray,
    GridReading,
    Link,
    PackReading,
    Reading,
    SiteSnapshot,
)
from ems.site import (
    BackupSpec,
    Chemistry,
    ConverterSpec,
    GridSpec,
    PackSpec,
    SafetySpec,
    SimSpec,
    Site,
    SiteKind,
)

STRIDE_S: Final = 9.9
"""Rows further apart are filled in: the estimators do not count over longer cycles."""
BEGIN: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Records have no date; only differences of time matter."""
ROOM_C: Final = 25.0
"""Temperature assumed where a record has none."""
NEAR_FRAC: Final = 0.02
"""Currents of two rows closer than this (of rated) are one current, interpolated between."""


@dataclass(frozen=True, slots=True, eq=False)
class Online:
    """What the online estimators made of a record; path arrays per cycle."""

    t_s: FloatArray
    soc_frac: FloatArray
    soc_sigma_frac: FloatArray
    capacity_ah: float | None
    """Only where their gates are passed."""
    capacity_sigma_ah: float
    r0_ohm: float | None
    """One second after a step, at the temperature of the record; None where not learned."""
    r0_sigma_ohm: float
    anchors: int
    steps: int


def site_of(
    chemistry: Chemistry, rated_ah: float, soh_frac: float, soh_sigma_frac: float, ohm: float
) -> Site:
    """A site of one pack of one cell.

    Args:
        chemistry: Of the cell.
        rated_ah: Rated capacity.
        soh_frac: Capacity over rated to begin with.
        soh_sigma_frac: Its error (1 sigma).
        ohm: 10 s resistance at 25 degC to begin with.
    """
    pack = PackSpec(
        id="record",
        code="",
        original_codes=(),
        chemistry=chemistry,
        series_cells=1,
        reported_cells=1,
        reported_temps=1,
        rated_ah=rated_ah,
        soh_frac=soh_frac,
        soh_sigma_frac=soh_sigma_frac,
        resistance_ratio=1.0,
        group_resistance_ohm=ohm,
        intake_date=BEGIN.date(),
        air_zone="bench",
        device="record",
    )
    watts = 4.0 * rated_ah
    converter = ConverterSpec("cycler", "cycler", (0,), watts, watts, watts, 1.0, 0.0, 60.0)
    return Site(
        id="record",
        name_en="Record",
        name_zh="记录",
        timezone="UTC",
        kind=SiteKind.OWN_CONVERTERS,
        cycle_s=1.0,
        packs=(pack,),
        converters=(converter,),
        loads=(),
        grid=GridSpec("meter", 230.0, 50.0, 0.0, 0.0, 900.0, Path("none.yaml")),
        pv=None,
        backup=BackupSpec(0.0, 1.0, 0.95, None),
        devices={},
        safety=SafetySpec(),
        uplink=None,
        data_dir=Path(),
        metrics_port=0,
        sim=SimSpec(ROOM_C, 0.0, 0.0, ()),
        source_sha256="",
    )


def run(record: Record, site: Site, unbroken: float) -> Online:
    """Drive the estimators over the record.

    Args:
        record: Rows up to a minute apart are filled in.
        site: From :func:`site_of`.
        unbroken: Longest interval that is filled in, s; a longer one stays unknown.
    """
    state = health.initial(site)
    t_s, amps, volts, temps = _filled(record, site.packs[0].rated_ah, unbroken)
    path = np.empty((t_s.size, 2))
    for row, now_s in enumerate(t_s.tolist()):
        snapshot = _snapshot(now_s, float(amps[row]), volts[row], temps[row])
        state, estimate = health.update(state, snapshot, site)
        path[row] = estimate.soc_frac[0], estimate.soc_sigma_frac[0]
    groups, learning = state.groups, state.groups.resistance
    learned = groups.learned
    solved = resistance.solve(learning, 0, float(t_s[-1]) + 1.0, prepare.prepare(site))
    parts = solved.parts_ohm[:, 0]
    second = (1.0, 1.0 - np.exp(-1.0 / pairs.FAST_S), 1.0 - np.exp(-1.0 / pairs.SLOW_S))
    warm = pairs.arrhenius(np.array([float(np.mean(temps))]))[0]
    steps = int(solved.steps[0])
    known = steps >= resistance.LEAST_STEPS and solved.sigma_frac[0] <= resistance.SURE_SIGMA
    r0_ohm = float(warm * np.dot(second, parts[:3]))
    good = bool(learned.capacity_good[0])
    return Online(
        t_s=t_s,
        soc_frac=path[:, 0],
        soc_sigma_frac=path[:, 1],
        capacity_ah=float(learned.capacity_ah[0]) if good else None,
        capacity_sigma_ah=float(learned.capacity_sigma_ah[0]),
        r0_ohm=r0_ohm if known and r0_ohm > 0.0 else None,
        r0_sigma_ohm=float(solved.sigma_frac[0]) * r0_ohm,
        anchors=groups.anchors[0].added,
        steps=steps,
    )


def _filled(
    record: Record, rated_ah: float, unbroken_s: float
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """(time, current, voltage, temperature) with rows filled in where they lie apart.

    Two rows of one current are interpolated between. Where the current changed unseen, it
    is held to have changed halfway, or at the beginning where the logger changed its pace.
    """
    t_s, amps, volts = record.t_s, record.current_a, record.voltage_v
    temps = np.full(t_s.size, ROOM_C) if record.temp_c is None else record.temp_c
    dt_s = np.diff(t_s)
    rows: list[tuple[float, float, float, float]] = []
    for row in range(t_s.size):
        if row and STRIDE_S < dt_s[row - 1] <= unbroken_s:
            a, b = row - 1, row
            same = abs(amps[b] - amps[a]) <= NEAR_FRAC * rated_ah
            late = row > 1 and dt_s[a] > LATE * dt_s[a - 1]
            n = int(dt_s[a] // STRIDE_S)
            for k in range(1, n + 1):
                share = k / (n + 1)
                at_s = float(t_s[a] + share * dt_s[a])
                temp = float(temps[a] + share * (temps[b] - temps[a]))
                if same:
                    amp = float(amps[a] + share * (amps[b] - amps[a]))
                    rows.append((at_s, amp, float(volts[a] + share * (volts[b] - volts[a])), temp))
                elif late or share > 0.5:
                    rows.append((at_s, float(amps[b]), float(volts[b]), temp))
                else:
                    rows.append((at_s, float(amps[a]), float(volts[a]), temp))
        rows.append((float(t_s[row]), float(amps[row]), float(volts[row]), float(temps[row])))
    columns = np.array(rows).T
    return columns[0], columns[1], columns[2], columns[3]


_GOOD: Final = np.zeros(1, np.uint8)
_CYCLER: Final = ConverterReading(Link.SILENT, MISSING, MISSING, MISSING, MISSING, MISSING)
_GRID: Final = GridReading(Link.SILENT, MISSING, MISSING, MISSING, MISSING)


def _snapshot(now_s: float, amps: float, volts: float, temp: float) -> SiteSnapshot:
    at_s = np.array([now_s])
    cells = CellBlock(np.array([volts]), at_s, _GOOD, np.array([temp]), at_s, _GOOD)
    pack = PackReading(
        link=Link.UP,
        voltage_v=Reading(volts, now_s),
        current_a=Reading(amps, now_s),
        soc_frac=MISSING,
        soh_frac=MISSING,
        charge_limit_a=MISSING,
        discharge_limit_a=MISSING,
        alarm_level=MISSING,
        contactor=Reading(float(Contactor.CLOSED), now_s),
        heartbeat=MISSING,
    )
    return SiteSnapshot(
        now_s=now_s,
        now_utc=BEGIN + timedelta(seconds=now_s),
        clock_ok=True,
        cells=cells,
        packs=(pack,),
        converters=(_CYCLER,),
        grid=_GRID,
        load_power_w=(),
        load_on=(),
        pv_power_w=MISSING,
    )
