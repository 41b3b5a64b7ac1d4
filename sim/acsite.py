"""Sites whose packs lie behind PCS: one each, or several in parallel on a shared DC bus.

With the grid, each PCS follows its set-point. Without it, a transfer switch cuts off
everything that is not a listed load, and the PCS that have a pack share what is left in
proportion to their ability; when they cannot carry it all the island goes dark until
load is shed or packs recover. PV in an island is curtailed to the load and never charges.
"""

from dataclasses import dataclass
from typing import Final

from ems.model import ConverterState
from ems.site import Site
from sim import bus
from sim.chemistry import WINDOW
from sim.converter import Pcs
from sim.faults import Effects
from sim.flow import Flow
from sim.loads import LoadBank
from sim.outputs import ConverterOutput

STABILITY_MARGIN: Final = 0.95
"""PCS stay this far below the largest power their packs could push out."""


# Looking up a member of an enum costs more than the comparison it is needed for.
RUN: Final = ConverterState.RUN
ISLAND: Final = ConverterState.ISLAND


@dataclass(slots=True)
class Bank:
    """Packs connected to one converter, at least one."""

    members: list[tuple[int, float, float]]
    """(pack, EMF in V, conductance in S)"""
    se: float
    """Sum of G·E, A."""
    g: float
    """Sum of G, S."""

    @property
    def rest_v(self) -> float:
        """Voltage without load, V."""
        return self.se / self.g


class AcSite:
    """Converters of a site of kind own converters or shared DC bus."""

    def __init__(self, site: Site, loads: LoadBank, start_s: float) -> None:
        self._site = site
        self._loads = loads
        self.pcs = [Pcs(spec, start_s) for spec in site.converters]
        self.outputs = [ConverterOutput() for _ in site.converters]
        # A PCS has a DC window; it knows the sum of the cells, never the weakest one.
        packs = [site.packs[spec.packs[0]] for spec in site.converters]
        self._dc_low_v = [WINDOW[p.chemistry].voltage_low_v * p.series_cells for p in packs]
        self._dc_high_v = [WINDOW[p.chemistry].voltage_high_v * p.series_cells for p in packs]

    def step(
        self,
        now_s: float,
        dt_s: float,
        emf_v: list[float],
        resistance_ohm: list[float],
        closed: list[bool],
        load_w: float,
        pv_w: float,
        effects: Effects,
    ) -> Flow:
        """Powers and currents of the step of ``dt_s`` seconds that starts at ``now_s``."""
        banks = self._banks(emf_v, resistance_ohm, closed, effects.converters_failed)
        demand = self._loads.demand(load_w)
        if effects.grid_out:
            wanted_w, pv_w, served = self._island(banks, demand.listed_w, pv_w, effects)
            load_w = demand.listed_w if served else 0.0
        else:
            wanted_w = self._follow(banks, now_s, dt_s, effects)
            served, load_w = True, demand.listed_w + demand.base_w
        current_a = [0.0] * len(emf_v)
        battery_w = loss_w = 0.0
        for c, (pcs, power_w) in enumerate(zip(self.pcs, wanted_w, strict=True)):
            dc_v, dc_a, ac_w, lost_w = self._convert(c, power_w, banks[c], current_a)
            battery_w += ac_w
            loss_w += lost_w
            self._publish(c, pcs, ac_w, dc_v, dc_a, now_s + dt_s, effects)
        grid_w = 0.0 if effects.grid_out else load_w - battery_w - pv_w
        return Flow(current_a, grid_w, pv_w, load_w, loss_w, 0.0, served, demand, load_w)

    def _banks(
        self,
        emf_v: list[float],
        resistance_ohm: list[float],
        closed: list[bool],
        failed: frozenset[int],
    ) -> list[Bank | None]:
        """Connected packs per converter; ``None`` without any, and for a converter in fault.

        Packs in parallel exchange current through the DC bus all the same, but a
        tripped PCS takes its bus apart.
        """
        banks: list[Bank | None] = []
        for c, spec in enumerate(self._site.converters):
            members = []
            se = g = 0.0
            if c not in failed:
                for k in spec.packs:
                    if closed[k]:
                        conductance = 1.0 / resistance_ohm[k]
                        members.append((k, emf_v[k], conductance))
                        se += conductance * emf_v[k]
                        g += conductance
            banks.append(Bank(members, se, g) if members else None)
        return banks

    def _follow(
        self,
        banks: list[Bank | None],
        now_s: float,
        dt_s: float,
        effects: Effects,
    ) -> list[float]:
        """AC power of each PCS with the grid present, W."""
        wanted = []
        for c, (pcs, bank) in enumerate(zip(self.pcs, banks, strict=True)):
            if bank is None:
                pcs.stop(c in effects.converters_failed)
                wanted.append(0.0)
                continue
            pcs.state = RUN
            sign = -1.0 if c in effects.reversed_sign else 1.0
            power_w = pcs.follow(now_s, dt_s, sign, c in effects.deaf)
            if power_w > 0.0:
                power_w = min(power_w, self._ability_w(c, bank))
            elif power_w < 0.0 and bank.rest_v >= self._dc_high_v[c]:
                power_w = 0.0
            pcs.power_w = power_w
            wanted.append(power_w)
        return wanted

    def _island(
        self, banks: list[Bank | None], listed_w: float, pv_w: float, effects: Effects
    ) -> tuple[list[float], float, bool]:
        """(AC power of each PCS, PV in use, whether the island stands), W."""
        able_w = [self._ability_w(c, bank) if bank else 0.0 for c, bank in enumerate(banks)]
        total_w = sum(able_w)
        pv_used_w = min(pv_w, listed_w) if total_w > 0.0 else 0.0
        needed_w = listed_w - pv_used_w
        served = total_w >= needed_w and total_w > 0.0
        share = needed_w / total_w if served else 0.0
        for c, (pcs, bank) in enumerate(zip(self.pcs, banks, strict=True)):
            pcs.stop(c in effects.converters_failed)
            if served and bank:
                pcs.state = ISLAND
        powers_w = [power_w * share for power_w in able_w]
        for pcs, power_w in zip(self.pcs, powers_w, strict=True):
            pcs.power_w = power_w
        return powers_w, pv_used_w if served else 0.0, served

    def _ability_w(self, c: int, bank: Bank) -> float:
        """Largest AC discharge power the PCS and its packs can give now, W."""
        if bank.rest_v <= self._dc_low_v[c]:
            return 0.0
        pcs = self.pcs[c]
        dc_w = STABILITY_MARGIN * bus.power_max_w(bank.se, bank.g) - pcs.spec.standby_w
        return min(pcs.spec.rated_discharge_w, pcs.losses.ac_from_dc_w(max(0.0, dc_w)))

    def _convert(
        self,
        c: int,
        power_w: float,
        bank: Bank | None,
        current_a: list[float],
    ) -> tuple[float, float, float, float]:
        """(DC voltage, DC current, AC contribution, loss) of one PCS; fills the currents."""
        if bank is None:
            return 0.0, 0.0, 0.0, 0.0
        pcs = self.pcs[c]
        standby_w = pcs.spec.standby_w
        conversion_w = pcs.losses.loss_w(power_w)
        dc_w, ac_w, lost_w = power_w + conversion_w, power_w, conversion_w
        if pcs.state is ISLAND:
            dc_w, lost_w = dc_w + standby_w, lost_w + standby_w
        elif pcs.state is RUN:
            ac_w, lost_w = ac_w - standby_w, lost_w + standby_w
        voltage_v = bus.voltage_at_power_v(bank.se, bank.g, dc_w)
        assert voltage_v is not None, "power was limited to what the packs can push out"
        total_a = 0.0
        for k, emf_v, conductance in bank.members:
            amps = conductance * (emf_v - voltage_v)
            current_a[k] = amps
            total_a += amps
        return voltage_v, total_a, ac_w, lost_w

    def _publish(
        self,
        c: int,
        pcs: Pcs,
        ac_w: float,
        dc_v: float,
        dc_a: float,
        now_s: float,
        effects: Effects,
    ) -> None:
        output = self.outputs[c]
        output.online = c not in effects.converters_lost
        if effects.silent or not output.online:
            return
        output.power_w = round(ac_w, 1)
        output.setpoint_w = pcs.setpoint_w
        output.state = pcs.state
        output.dc_voltage_v = round(dc_v, 1)
        output.dc_current_a = round(dc_a, 1)
        output.sampled_at_s = now_s
