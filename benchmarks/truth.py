"""Simulated sites whose truth is known, for benchmarks of the estimators.

    for moment in truth.run(truth.cases(n=4, seed=1)[0], days=14.0):
        error = moment.estimate.soc_frac - moment.plant.cells.soc_frac[...]

A case is a made-up site (one pack of each chemistry by default, one converter each), how
its packs are used, and what their BMS get wrong. Only ``ems.health.update`` runs:
no envelope, no gate, no planner. Charge and discharge end at true cell limits, so that a
bad estimate cannot change what the pack lives through.

Time. Power changes every three minutes or more seldom. Around each change the cycle is
1 s long, as in service, so that load steps look as they do there; in between it is
``cycle_s`` (10 s is the longest the estimator counts over, and fair while power is
constant; it works at 0.25..5 s in service). 14 days of four packs take 1.5 to 2 min.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ems import health
from ems.health import ocv
from ems.model import PackReading, Reading, SiteEstimate, SiteSnapshot
from ems.site import Chemistry, ConverterSpec, DeviceSpec, PackSpec, SimPack, SimSpec, Site
from sim.chemistry import BMS, CELL
from sim.io import SimIO
from sim.plant import Plant
from tests.builders import NOON_UTC, make_pack, make_site

FloatArray = NDArray[np.float64]

DAY_S: Final = 86_400.0
HOUR_S: Final = 3_600.0
TICK_S: Final = 180.0
"""Power may change this often."""
FINE_S: Final = 12.0
"""So long does a cycle last 1 s after a change."""
DRIFT_PER_H: Final = 0.01
CHEMISTRIES: Final = (Chemistry.LFP, Chemistry.NMC, Chemistry.LMO, Chemistry.LTO)
KELVIN: Final = 273.15


class Use(Enum):
    """What a pack is used for: when it charges and discharges."""

    PEAK = "peak shaving"
    BACKUP = "telecom backup"
    PV = "PV shift"


class Bms(Enum):
    """What the BMS's SoC does apart from the errors of the simulator."""

    HONEST = "honest"
    DRIFT = "drifts 1 point an hour"
    RESET = "resets to 100 % now and then"


@dataclass(frozen=True, slots=True)
class Event:
    """An event of ``sim.faults`` at a time, see ``Plant.events``."""

    at_s: float
    name: str
    target: str
    value: float = 0.0
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class PackUse:
    """How one pack is used, and what its BMS gets wrong."""

    use: Use
    bms: Bms
    low_frac: float
    """A discharge ends when the lowest cell is here (true SoC)."""
    high_frac: float
    """A charge ends when the fullest cell is here, but for one day in about eight."""
    c_rate: float
    """Of ordinary discharge; varies between 0.3 and 1.6 of it. Charge at half of it."""
    drift_per_h: float
    """Of the reported SoC, 1/h."""


@dataclass(frozen=True, slots=True)
class Case:
    """A site under simulation; the same case gives the same run bit for bit."""

    name: str
    site: Site
    seed: int
    uses: tuple[PackUse, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """One cycle. ``plant.cells`` is the truth (``soc_frac``, ``capacity_ah``, ``leak_a``...)."""

    now_s: float
    snapshot: SiteSnapshot
    estimate: SiteEstimate
    state: health.HealthState
    plant: Plant
    resistance_ohm: FloatArray
    """True 10 s resistance of every group at 25 degC, ohm."""


def cases(
    n: int,
    seed: int,
    groups: int = 12,
    chemistries: Sequence[Chemistry] = CHEMISTRIES,
    bms: Sequence[Bms] = (Bms.DRIFT, Bms.RESET),
    leaks: bool = False,
) -> list[Case]:
    """``n`` sites of one pack per given chemistry; every choice is drawn from ``seed``.

    Args:
        n: Sites.
        seed: Of everything random.
        groups: Series groups per pack, all reported.
        chemistries: One pack each, in this order; may repeat.
        bms: BMS misbehaviours to draw from.
        leaks: Whether the tired group of each pack starts to leak (C/1000) on day 4.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 4]))
    made = []
    for index in range(n):
        ambient_c = float(rng.choice([4.0, 8.0, 18.0, 26.0, 34.0]))
        drawn = [_pack(k, c, groups, rng) for k, c in enumerate(chemistries)]
        uses = tuple(_use(bms, rng) for _ in chemistries)
        site = _site([spec for spec, _ in drawn], [truth for _, truth in drawn], ambient_c)
        events = tuple(
            Event(4.0 * DAY_S, "cell_short", spec.id, spec.rated_ah / 1000.0)
            for spec, _ in drawn
            if leaks
        )
        resets = (
            Event(at_s, "bms_soc_reset", spec.id)
            for (spec, _), use in zip(drawn, uses, strict=True)
            if use.bms is Bms.RESET
            for at_s in np.cumsum(rng.exponential(0.6 * DAY_S, 60)).tolist()
        )
        made.append(
            Case(
                f"site {index + 1}, {ambient_c:g} degC",
                site,
                int(rng.integers(1 << 31)),
                uses,
                tuple(sorted((*events, *resets), key=lambda event: event.at_s)),
            )
        )
    return made


def run(
    case: Case,
    days: float,
    cycle_s: float = 10.0,
    every_s: float = 60.0,
    state: health.HealthState | None = None,
    shape: Callable[[SiteSnapshot], SiteSnapshot] | None = None,
) -> Iterator[Moment]:
    """Live through a case and yield what is believed and what is true.

    Args:
        case: What to simulate.
        days: How long.
        cycle_s: Cycle while power is constant, at most 10 s.
        every_s: A moment is yielded this often (every cycle: 0). The estimate and the
            state are of that moment, the plant is alive: copy what must be kept.
        state: To start from; nothing known when left out.
        shape: Changes each snapshot before the estimator sees it: faults of one's own.
    """
    site = case.site
    plant = Plant(site, case.seed, None, protection=False)
    io = SimIO(plant)
    for k in range(site.n_packs):
        plant.set_contactor(k, close=True)
    resistance_ohm = _resistance_ohm(plant)
    drivers = [
        _Driver(k, case.uses[k], site, np.random.Generator(np.random.PCG64([case.seed, k])))
        for k in range(site.n_packs)
    ]
    state = health.initial(site) if state is None else state
    pending = list(case.events)
    yielded_s, fine_until_s, now_s = -math.inf, 0.0, 0.0
    while now_s <= days * DAY_S:
        snapshot = io.snapshot(now_s, NOON_UTC + timedelta(seconds=now_s), True, 0.0, ())
        snapshot = _as_reported(snapshot, case.uses, now_s)
        if shape is not None:
            snapshot = shape(snapshot)
        state, estimate = health.update(state, snapshot, site)
        if now_s - yielded_s >= every_s:
            yielded_s = now_s
            yield Moment(now_s, snapshot, estimate, state, plant, resistance_ohm)
        while pending and pending[0].at_s <= now_s:
            event = pending.pop(0)
            plant.inject(event.name, event.target, event.duration_s, event.value)
        since_tick_s = now_s % TICK_S
        if since_tick_s == 1.0:  # one sample of the old power stands 1 s before the change
            changed = [driver.decide(now_s) for driver in drivers]
            fine_until_s = now_s + FINE_S if any(changed) else fine_until_s
        for k, driver in enumerate(drivers):
            plant.set_power(k, driver.bounded_w(plant))
        fine = since_tick_s == 0.0 or now_s < fine_until_s
        ahead_s = TICK_S - since_tick_s
        now_s += 1.0 if fine else min(cycle_s, ahead_s)


class _Driver:
    """Natural dispatch of one pack, from its true state."""

    def __init__(self, pack: int, use: PackUse, site: Site, rng: np.random.Generator) -> None:
        spec = site.packs[pack]
        self._pack, self._use, self._rng = pack, use, rng
        self._slice = slice(
            sum(p.series_cells for p in site.packs[:pack]),
            sum(p.series_cells for p in site.packs[: pack + 1]),
        )
        mid_v = float(ocv.ocv_v(spec.chemistry, 0.5))
        self._w_per_c = spec.rated_ah * mid_v * spec.series_cells
        self._limits = BMS[spec.chemistry]
        self._power_w = 0.0
        self._until_s = 0.0
        self._sign = 0.0
        self._day = -1
        self._high = use.high_frac
        self._shift_h = float(rng.uniform(-1.0, 1.0))
        self._outage_s = float(rng.exponential(0.7 * DAY_S))
        self._outage_end_s = 0.0

    def decide(self, now_s: float) -> bool:
        """New power for the minutes to come; whether it differs from the old one."""
        day = int(now_s // DAY_S)
        if day != self._day:
            self._day = day
            full = self._rng.random() < 1.0 / 8.0
            self._high = 0.995 if full else self._use.high_frac
        wanted = self._direction(now_s)
        if wanted == self._sign and now_s < self._until_s:
            return False
        self._sign = wanted
        self._until_s = now_s + float(self._rng.exponential(600.0))
        level = self._use.c_rate * float(self._rng.uniform(0.3, 1.6))
        if wanted < 0.0:
            level *= 0.5
        if wanted > 0.0 and self._use.use is not Use.BACKUP and self._rng.random() < 0.15:
            level = 0.0  # the peak pauses
        before, self._power_w = self._power_w, wanted * level * self._w_per_c
        return before != self._power_w

    def bounded_w(self, plant: Plant) -> float:
        """The power now: nothing beyond the window, below cold or at a cell's limit."""
        cells, own = plant.cells, self._slice
        if self._power_w > 0.0:
            if cells.soc_frac[own].min() < self._use.low_frac:
                self._power_w = 0.0
            low_v = (cells.emf_v - cells.current_a * cells.r0_ohm)[own].min()
            return self._power_w if float(low_v) > self._limits.under_voltage_v[0] else 0.0
        if self._power_w < 0.0:
            if cells.soc_frac[own].max() > self._high:
                self._power_w = 0.0
            if cells.temp_c[own].min() < self._limits.charge_under_temp_c[1]:
                return 0.0
            high_v = float((cells.emf_v - cells.current_a * cells.r0_ohm)[own].max())
            room_v = self._limits.over_voltage_v[0] - high_v
            return self._power_w * min(1.0, max(0.0, room_v / 0.05))
        return 0.0

    def _direction(self, now_s: float) -> float:
        hour = (now_s / HOUR_S + self._shift_h) % 24.0
        if self._use.use is Use.PEAK:
            if 9.5 <= hour < 11.5 or 17.0 <= hour < 21.0:
                return 1.0
            return -1.0 if hour < 7.0 or 12.5 <= hour < 14.5 else 0.0
        if self._use.use is Use.PV:
            return -1.0 if 9.0 <= hour < 16.0 else float(17.5 <= hour < 24.0)
        if now_s >= self._outage_s:
            if self._outage_end_s < self._outage_s:
                self._outage_end_s = self._outage_s + HOUR_S * float(self._rng.uniform(0.5, 4.0))
            if now_s < self._outage_end_s:
                return 1.0
            self._outage_s = now_s + float(self._rng.exponential(1.2 * DAY_S)) + 4.0 * HOUR_S
        return -1.0


def _pack(
    index: int, chemistry: Chemistry, groups: int, rng: np.random.Generator
) -> tuple[PackSpec, SimPack]:
    mean = float(rng.uniform(0.72, 0.92))
    spread = float(rng.uniform(0.01, 0.03))
    tired = float(rng.uniform(0.04, 0.14))
    ratio = (1.0 + 1.25 * (1.0 - mean + tired)) * float(rng.uniform(1.0, 1.4))
    truth = SimPack(
        soh_mean_frac=mean,
        soh_spread_frac=spread,
        tired_group=int(rng.integers(groups)),
        tired_soh_frac=mean - tired - spread,
        tired_resistance_ratio=ratio,
        soc_start_frac=float(rng.uniform(0.35, 0.85)),
    )
    sigma = float(rng.choice([0.01, 0.02, 0.03]))
    seen = round(truth.tired_soh_frac + float(rng.normal(0.0, sigma)), 3)
    spec = replace(
        make_pack(index, chemistry, groups, float(rng.choice([60.0, 100.0, 160.0, 280.0]))),
        soh_frac=seen,
        soh_sigma_frac=sigma,
        resistance_ratio=round(ratio * float(rng.lognormal(0.0, 0.08)), 2),
    )
    # A new group of a bigger cell has less resistance: about 3 % drop at 1 C.
    nominal_v = float(ocv.ocv_v(chemistry, 0.5))
    return replace(spec, group_resistance_ohm=0.03 * nominal_v / spec.rated_ah), truth


def _use(bms: Sequence[Bms], rng: np.random.Generator) -> PackUse:
    fault = bms[int(rng.integers(len(bms)))]
    sign = float(rng.choice([-1.0, 1.0]))
    use = list(Use)[int(rng.integers(len(Use)))]
    return PackUse(
        use=use,
        bms=fault,
        low_frac=float(rng.uniform(0.12, 0.30)),
        high_frac=float(rng.uniform(0.80, 0.95)),
        c_rate=float(rng.uniform(0.12, 0.35)),
        drift_per_h=sign * DRIFT_PER_H if fault is Bms.DRIFT else 0.0,
    )


def _site(specs: list[PackSpec], truths: list[SimPack], ambient_c: float) -> Site:
    site = make_site(n_packs=len(specs), cycle_s=10.0)
    converters = tuple(
        _converter(converter, spec) for converter, spec in zip(site.converters, specs, strict=True)
    )
    devices: dict[str, DeviceSpec] = dict(site.devices)
    return replace(
        site,
        packs=tuple(specs),
        converters=converters,
        devices=devices,
        sim=SimSpec(ambient_c, 4.0, site.sim.load_w, tuple(truths)),
    )


def _converter(converter: ConverterSpec, spec: PackSpec) -> ConverterSpec:
    rated_w = spec.rated_ah * float(ocv.ocv_v(spec.chemistry, 0.5)) * spec.series_cells
    return replace(
        converter,
        rated_charge_w=rated_w,
        rated_discharge_w=rated_w,
        ramp_w_per_s=10.0 * rated_w,
        standby_w=0.0,
        device_timeout_s=60.0,
    )


def _as_reported(snapshot: SiteSnapshot, uses: tuple[PackUse, ...], now_s: float) -> SiteSnapshot:
    """SoC with this BMS's drift, and a SoH of 100 %, as after a reset."""
    packs = tuple(_drifted(p, u, now_s) for p, u in zip(snapshot.packs, uses, strict=True))
    return replace(snapshot, packs=packs)


def _drifted(pack: PackReading, use: PackUse, now_s: float) -> PackReading:
    soc = pack.soc_frac
    if soc.value is not None and use.drift_per_h:
        moved = soc.value + use.drift_per_h * now_s / HOUR_S
        soc = Reading(round(min(1.0, max(0.0, moved)), 3), soc.at_s, soc.quality)
    soh = pack.soh_frac
    if soh.value is not None:
        soh = Reading(1.0, soh.at_s, soh.quality)
    return replace(pack, soc_frac=soc, soh_frac=soh)


def _resistance_ohm(plant: Plant) -> FloatArray:
    """10 s resistance at 25 degC of every group, from its R0 now."""
    cells, parts = plant.cells, []
    for k, spec in enumerate(plant.site.packs):
        own = cells.pack_of_cell == k
        model = CELL[spec.chemistry]
        warmth = model.activation_k * (1.0 / (cells.temp_c[own] + KELVIN) - 1.0 / 298.15)
        parts.append(cells.r0_ohm[own] / model.r0_share / np.exp(warmth))
    return np.concatenate(parts)
