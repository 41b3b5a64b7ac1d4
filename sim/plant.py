"""The simulated site: cells, BMS, converters, loads, grid and meters on one time axis.

Deterministic: the same site, seed, traces and sequence of calls give the same trace,
bit for bit; ``trace_hash`` proves it.
"""

import hashlib
import struct
from dataclasses import dataclass
from math import cos, pi
from typing import Final

import numpy as np

from ems.site import Site, SiteKind
from sim import faults
from sim.acsite import AcSite
from sim.bms import BmsBank
from sim.cells import CellBank
from sim.chemistry import WINDOW, WIRING_SHARE, Window
from sim.contactor import CLOSED, Switch
from sim.dcsite import DcSite
from sim.faults import FaultBoard
from sim.flow import Flow
from sim.ledger import J_PER_WH, Balance, Ledger
from sim.loads import LoadBank
from sim.outputs import BmsOutput, ConverterOutput, FloatArray, MeterOutput
from sim.traces import Traces

WARMEST_AT_S: Final = 15 * 3600.0
DAY_S: Final = 86_400.0
GRID_NOISE_PU: Final = 0.002
GRID_NOISE_HZ: Final = 0.01
SHORT_C_RATE: Final = 0.02
"""Leak of an internal short when the event names no current: rated Ah / 50."""


@dataclass(slots=True)
class Truth:
    """What no device reports; extremes are over all packs unless they say otherwise."""

    cell_voltage_min_v: float
    cell_voltage_max_v: float
    cell_temp_min_c: float
    cell_temp_max_c: float
    pack_cell_min_v: tuple[float, ...]
    pack_cell_max_v: tuple[float, ...]
    pack_current_a: tuple[float, ...]
    grid_power_w: float
    load_power_w: float
    pv_power_w: float
    battery_power_w: float
    backup_shortfall_s: float
    """Time so far in which the critical load was dark, s."""
    backup_shortfall_wh: float
    window_violation_s: float
    """Pack-seconds so far with a cell outside its absolute window."""
    protection_trips: int
    charged_wh: float
    discharged_wh: float


class Plant:
    """A site under simulation.

    Args:
        site: Its truths are ``site.sim``.
        seed: Of everything random: cell scatter, sensor errors, noise.
        traces: Load and PV; ``None`` takes the constant ``site.sim.load_w`` and no PV.
        protection: Whether the BMS open their contactors at alarm level 3.
        start_of_day_s: Local time of day at plant time 0, for the ambient temperature.
    """

    def __init__(
        self,
        site: Site,
        seed: int,
        traces: Traces | None = None,
        protection: bool = True,
        start_of_day_s: float = 0.0,
    ) -> None:
        self.site = site
        self.now_s = 0.0
        self._traces = traces
        self._start_of_day_s = start_of_day_s
        cell_rng, bms_rng, grid_rng = (
            np.random.Generator(np.random.PCG64(s)) for s in np.random.SeedSequence(seed).spawn(3)
        )
        self.faults = FaultBoard([p.id for p in site.packs], [c.id for c in site.converters])
        self.cells = CellBank(site.packs, site.sim.packs, self._ambient_c(0.0), cell_rng)
        direct = site.kind is SiteKind.DIRECT_BUS
        self._switches = [Switch(closed=direct) for _ in site.packs]
        self._bms = BmsBank(site, self.cells, self._switches, bms_rng, protection)
        self._loads = LoadBank(site.loads)
        self.network: AcSite | DcSite = (
            DcSite(site, self._loads, 0.0) if direct else AcSite(site, self._loads, 0.0)
        )
        self._wiring_ohm = np.array(
            [WIRING_SHARE * p.series_cells * p.group_resistance_ohm for p in site.packs]
        )
        self._r0_seen_ohm = np.zeros(0)
        self._pack_ohm: list[float] = []
        self._wiring_each_ohm: list[float] = self._wiring_ohm.tolist()
        self._windows: list[Window] = [WINDOW[p.chemistry] for p in site.packs]
        self._charging_a = [-0.02 * p.rated_ah for p in site.packs]
        self._grid_noise = grid_rng.normal(0.0, 1.0, 4096).tolist()
        self._steps = 0
        self.meter = MeterOutput(len(site.loads))
        self.ledger = Ledger()
        self._stored_start_j = self.cells.stored_j()
        self._hash = hashlib.blake2b(digest_size=16)
        self._flow = Flow(
            [0.0] * site.n_packs, 0.0, 0.0, 0.0, 0.0, 0.0, True, self._loads.demand(0.0), 0.0
        )
        self._truth: Truth | None = None
        self._sense(0.0)

    @property
    def bms(self) -> list[BmsOutput]:
        """What each pack's BMS would report now."""
        return self._bms.outputs

    @property
    def converters(self) -> list[ConverterOutput]:
        """What each converter would report now."""
        return self.network.outputs

    @property
    def frame_v(self) -> FloatArray:
        """Reported cell voltages of all packs as ``site.layout`` orders them, V."""
        return self._bms.frame_v

    @property
    def frame_c(self) -> FloatArray:
        """Reported cell temperatures of all packs, degC; ``TEMP_FAILED_C`` where broken."""
        return self._bms.frame_c

    @property
    def silent(self) -> bool:
        """True while no device answers (event ``telemetry_gap``)."""
        return self.faults.effects.silent

    @staticmethod
    def events() -> dict[str, str]:
        """Names of the events ``inject`` takes, with one-line descriptions."""
        return dict(faults.EVENTS)

    def inject(
        self, event: str, target: str = "*", duration_s: float = 0.0, value: float = 0.0
    ) -> None:
        """Start an event now; a duration of 0 lasts until the end.

        Raises:
            ValueError: unknown event or target, unusable duration or value.
        """
        indices = self.faults.inject(event, target, self.now_s, duration_s, value)
        if event == "bms_soc_reset":
            for k in indices:
                self._bms.beliefs[k].soc_frac = 1.0
        self._apply_cell_faults()

    def set_power(self, converter: int, power_w: float) -> str:
        """Set-point of a PCS, W AC, discharge positive; returns why refused, empty when taken."""
        refusal = self._converter_refusal(converter)
        if refusal:
            return refusal
        if isinstance(self.network, DcSite):
            return "a rectifier shelf takes limits, not a power"
        return self.network.pcs[converter].command(power_w, self.now_s)

    def set_rectifier(self, converter: int, power_limit_w: float, charge_limit_a: float) -> str:
        """Limits of a rectifier shelf, W DC and A; returns why refused, empty when taken."""
        refusal = self._converter_refusal(converter)
        if refusal:
            return refusal
        if isinstance(self.network, AcSite):
            return "a PCS takes a power, not rectifier limits"
        return self.network.rectifier.command(power_limit_w, charge_limit_a, self.now_s)

    def set_contactor(self, pack: int, close: bool) -> str:
        """Contactor of a pack, through its BMS; returns why refused, empty when taken."""
        effects = self.faults.effects
        if effects.silent or pack in effects.packs_lost:
            return "BMS does not answer"
        if close:
            refusal = self._bms.refusal(pack)
            if refusal:
                return refusal
        self._switches[pack].wanted = close
        return ""

    def set_load(self, load: int, on: bool) -> str:
        """Connect or shed a load; returns why refused, empty when done."""
        if self.faults.effects.silent:
            return "no answer"
        return self._loads.switch(load, on)

    def advance(self, to_s: float) -> None:
        """Bring the plant to ``to_s``, in steps of one cycle at most."""
        cycle_s = self.site.cycle_s
        while to_s - self.now_s > 1e-9:
            self._step(min(cycle_s, to_s - self.now_s))

    def truth(self) -> Truth:
        """The true state now; cheap enough for every cycle."""
        if self._truth is None:
            self._truth = self._look()
        return self._truth

    def balance(self) -> Balance:
        """The energy books since the start; not for every cycle."""
        book = self.ledger
        lost_j = book.conversion_loss + book.cell_heat + book.wiring_loss + book.self_discharge
        stored_j = self.cells.stored_j() - self._stored_start_j
        return Balance(
            grid_wh=(book.grid_import - book.grid_export) / J_PER_WH,
            pv_wh=book.pv / J_PER_WH,
            load_wh=book.served / J_PER_WH,
            loss_wh=lost_j / J_PER_WH,
            stored_wh=stored_j / J_PER_WH,
            throughput_wh=(book.charged + book.discharged) / J_PER_WH,
        )

    def trace_hash(self) -> str:
        """Hash over currents, grid power and cell extremes of every step so far."""
        return self._hash.hexdigest()

    def _look(self) -> Truth:
        lows, highs, coldest, hottest = self._bms.extremes
        flow, ledger = self._flow, self.ledger
        return Truth(
            cell_voltage_min_v=min(lows),
            cell_voltage_max_v=max(highs),
            cell_temp_min_c=min(coldest),
            cell_temp_max_c=max(hottest),
            pack_cell_min_v=tuple(lows),
            pack_cell_max_v=tuple(highs),
            pack_current_a=tuple(flow.current_a),
            grid_power_w=flow.grid_w,
            load_power_w=flow.load_w,
            pv_power_w=flow.pv_w,
            battery_power_w=flow.load_w - flow.pv_w - flow.grid_w,
            backup_shortfall_s=ledger.backup_shortfall_s,
            backup_shortfall_wh=ledger.backup_shortfall / J_PER_WH,
            window_violation_s=sum(ledger.window_violation_s.values()),
            protection_trips=sum(belief.trips for belief in self._bms.beliefs),
            charged_wh=ledger.charged / J_PER_WH,
            discharged_wh=ledger.discharged / J_PER_WH,
        )

    def _step(self, dt_s: float) -> None:
        now_s = self.now_s
        if now_s >= self.faults.next_end_s:
            self.faults.expire(now_s)
            self._apply_cell_faults()
        effects = self.faults.effects
        welded = effects.welded
        for k, switch in enumerate(self._switches):
            switch.advance(dt_s, k in welded)
        closed = [switch.state is CLOSED for switch in self._switches]
        emf_v = self.cells.by_pack(self.cells.emf_v).tolist()
        resistance_ohm = self._resistance_ohm()
        load_w, pv_w = self.site.sim.load_w, 0.0
        if self._traces is not None:
            load_w, pv_w = self._traces.load_w(now_s), self._traces.pv_w(now_s)
        load_w = max(0.0, load_w + effects.load_step_w)
        flow = self.network.step(now_s, dt_s, emf_v, resistance_ohm, closed, load_w, pv_w, effects)
        self._flow = flow
        self._book(flow, emf_v, resistance_ohm, dt_s)
        ambient_c = self._ambient_c(now_s) + effects.ambient_step_c
        currents = np.array(flow.current_a)
        self.ledger.self_discharge += self.cells.leak_w() * dt_s
        self.ledger.cell_heat += self.cells.advance(currents, ambient_c, dt_s)
        self.now_s = now_s + dt_s
        self._truth = None
        self._sense(dt_s)
        self._hash.update(currents.tobytes())
        lows, highs, *_ = self._bms.extremes
        self._hash.update(struct.pack("<3d", flow.grid_w, min(lows), max(highs)))

    def _resistance_ohm(self) -> list[float]:
        """Of each pack with its wiring, Ohm; new only when the cells have new ones."""
        if self.cells.r0_by_pack_ohm is not self._r0_seen_ohm:
            self._r0_seen_ohm = self.cells.r0_by_pack_ohm
            self._pack_ohm = (self._r0_seen_ohm + self._wiring_ohm).tolist()
        return self._pack_ohm

    def _book(
        self, flow: Flow, emf_v: list[float], resistance_ohm: list[float], dt_s: float
    ) -> None:
        terminal_w = []
        wiring_w = 0.0
        for k, amps in enumerate(flow.current_a):
            terminal_w.append(amps * (emf_v[k] - amps * resistance_ohm[k]))
            wiring_w += amps * amps * self._wiring_each_ohm[k]
        self.ledger.wiring_loss += wiring_w * dt_s
        self.ledger.book(flow, terminal_w, dt_s)

    def _sense(self, dt_s: float) -> None:
        """Let BMS and meters measure, and the referee look, at the end of a step."""
        effects, flow = self.faults.effects, self._flow
        self._bms.sample(self.now_s, dt_s, flow.current_a, effects)
        self._referee(flow.current_a, dt_s)
        self._steps += 1
        meter, spec = self.meter, self.site.grid
        meter.online = not effects.meter_lost
        if effects.silent:
            return
        noise = self._grid_noise[self._steps % len(self._grid_noise)]
        up = 0.0 if effects.grid_out else 1.0
        meter.voltage_v = round(up * spec.nominal_v * (1.0 + GRID_NOISE_PU * noise), 1)
        meter.frequency_hz = round(up * (spec.nominal_hz + GRID_NOISE_HZ * noise), 2)
        meter.power_w = round(flow.grid_w, 0)
        meter.import_wh = round(self.ledger.grid_import / J_PER_WH, 0)
        meter.site_load_w = round(flow.load_w, 0)
        by_load_w = flow.demand.by_load_w
        meter.load_power_w = by_load_w if flow.served else (0.0,) * len(by_load_w)
        meter.load_on = tuple(self._loads.on)
        meter.pv_power_w = round(flow.pv_w, 0)
        meter.sampled_at_s = self.now_s

    def _referee(self, current_a: list[float], dt_s: float) -> None:
        """Count the time in which a cell is outside its absolute window."""
        lows, highs, coldest, hottest = self._bms.extremes
        for k, window in enumerate(self._windows):
            charging = current_a[k] < self._charging_a[k]
            if (
                lows[k] < window.voltage_low_v
                or highs[k] > window.voltage_high_v
                or hottest[k] > window.temp_high_c
                or coldest[k] < (window.charge_temp_low_c if charging else window.temp_low_c)
            ):
                violations = self.ledger.window_violation_s
                violations[k] = violations.get(k, 0.0) + dt_s

    def _apply_cell_faults(self) -> None:
        """Write shorts and extra heat of the active faults into the cells."""
        effects, cells = self.faults.effects, self.cells
        cells.disturbed = bool(effects.leak_a or effects.heat_w)
        cells.extra_leak_a[:] = 0.0
        for k, leak_a in effects.leak_a.items():
            rated_a = SHORT_C_RATE * self.site.packs[k].rated_ah
            cells.extra_leak_a[cells.tired[k]] = leak_a or rated_a
        cells.extra_heat_w[:] = 0.0
        for k, heat_w in effects.heat_w.items():
            cells.extra_heat_w[cells.pack_of_cell == k] = heat_w

    def _converter_refusal(self, converter: int) -> str:
        effects = self.faults.effects
        if effects.silent or converter in effects.converters_lost:
            return "converter does not answer"
        return ""

    def _ambient_c(self, now_s: float) -> float:
        """Ambient temperature: daily swing with its maximum at 15 h local time, degC."""
        spec = self.site.sim
        phase = (now_s + self._start_of_day_s - WARMEST_AT_S) / DAY_S
        return spec.ambient_c + spec.ambient_swing_c * cos(2.0 * pi * phase)
