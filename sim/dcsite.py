"""Sites whose packs float on the load's own −48 V bus beside a rectifier shelf.

The site load is taken as DC load. With the grid present the shelf carries what its
limits allow and the packs the rest; without it the packs carry all, until the
low-voltage disconnect opens. Base load (not a listed load) stays on the bus: there is no
transfer switch.
"""

from ems.model import ConverterState
from ems.site import Site
from sim import bus
from sim.faults import Effects
from sim.flow import Flow
from sim.loads import LoadBank
from sim.outputs import ConverterOutput
from sim.rectifier import Rectifier


class DcSite:
    """The shelf, its LVD and the packs of a direct-bus site."""

    def __init__(self, site: Site, loads: LoadBank, start_s: float) -> None:
        spec = site.converters[0]
        self._site = site
        self._loads = loads
        self.rectifier = Rectifier(spec, site.grid.import_limit_w * spec.efficiency_frac, start_s)
        self.outputs = [ConverterOutput()]

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
        grid_on = not effects.grid_out
        alive = grid_on and 0 not in effects.converters_failed
        demand = self._loads.demand(load_w)
        need_w = demand.listed_w + demand.base_w
        limit_w = self.rectifier.follow(now_s, dt_s, alive, 0 in effects.deaf)
        on_bus = closed if self.rectifier.lvd_closed else [False] * len(closed)
        voltage_v, current_a, carried = self._solve(emf_v, resistance_ohm, on_bus, need_w, limit_w)
        self.rectifier.watch_bus(voltage_v, dt_s)

        served_w = need_w if carried else 0.0
        battery_w = voltage_v * sum(current_a) if carried else 0.0
        output_w = max(0.0, served_w - battery_w)
        loss_w = 0.0
        if alive:
            loss_w = self.rectifier.losses.loss_w(output_w) + self.rectifier.spec.standby_w
        pv_w = pv_w if grid_on else 0.0
        consumed_w = served_w + loss_w
        grid_w = consumed_w - battery_w - pv_w if grid_on else 0.0
        self._publish(battery_w, voltage_v, sum(current_a), now_s + dt_s, effects)
        return Flow(current_a, grid_w, pv_w, consumed_w, 0.0, loss_w, carried, demand, served_w)

    def _solve(
        self,
        emf_v: list[float],
        resistance_ohm: list[float],
        on_bus: list[bool],
        need_w: float,
        limit_w: float,
    ) -> tuple[float, list[float], bool]:
        """(bus voltage, pack currents, whether the load is carried)."""
        shelf = self.rectifier.shelf
        conductance_s = [
            1.0 / r if connected else 0.0
            for r, connected in zip(resistance_ohm, on_bus, strict=True)
        ]
        idle_a = [0.0] * len(emf_v)
        if not any(on_bus):
            if limit_w >= need_w and limit_w > 0.0:
                return shelf.float_v, idle_a, True
            return 0.0, idle_a, False
        se, g = bus.sums(emf_v, conductance_s)
        voltage_v = bus.rectifier_voltage_v(
            se, g, need_w, shelf.float_v, limit_w, self.rectifier.obeyed_a
        )
        if voltage_v is None:
            # The bus collapses to where the packs give their most; loads drop out.
            return se / g / 2.0, idle_a, False
        return voltage_v, bus.currents_a(emf_v, conductance_s, voltage_v), True

    def _publish(
        self, battery_w: float, bus_v: float, battery_a: float, now_s: float, effects: Effects
    ) -> None:
        output, rectifier = self.outputs[0], self.rectifier
        output.online = 0 not in effects.converters_lost
        if effects.silent or not output.online:
            return
        output.power_w = round(battery_w, 1)
        output.setpoint_w = output.power_limit_w = rectifier.power_limit_w
        output.charge_limit_a = rectifier.charge_limit_a
        output.state = ConverterState.STANDBY if effects.grid_out else ConverterState.RUN
        if 0 in effects.converters_failed:
            output.state = ConverterState.FAULT
        output.dc_voltage_v = round(bus_v, 1)
        output.dc_current_a = round(battery_a, 1)
        output.sampled_at_s = now_s
