"""Book-keeping of the plant's energy, so that every joule can be asked for."""

from dataclasses import dataclass, field

from sim.flow import Flow

J_PER_WH = 3600.0


@dataclass(slots=True)
class Ledger:
    """Energies since the start, J, each >= 0 unless it says otherwise."""

    grid_import: float = 0.0
    grid_export: float = 0.0
    pv: float = 0.0
    served: float = 0.0
    """Delivered to loads."""
    conversion_loss: float = 0.0
    cell_heat: float = 0.0
    wiring_loss: float = 0.0
    self_discharge: float = 0.0
    charged: float = 0.0
    """Into pack terminals."""
    discharged: float = 0.0
    backup_shortfall_s: float = 0.0
    """Time in which the critical load was not carried, s."""
    backup_shortfall: float = 0.0
    """Energy the critical load missed."""
    window_violation_s: dict[int, float] = field(default_factory=dict)
    """Pack -> time with a cell outside its absolute window, s."""

    def book(self, flow: Flow, terminal_w: list[float], dt_s: float) -> None:
        """Add one step."""
        if flow.grid_w >= 0.0:
            self.grid_import += flow.grid_w * dt_s
        else:
            self.grid_export -= flow.grid_w * dt_s
        self.pv += flow.pv_w * dt_s
        self.served += flow.served_w * dt_s
        self.conversion_loss += (flow.converter_loss_w + flow.bus_loss_w) * dt_s
        for power_w in terminal_w:
            if power_w >= 0.0:
                self.discharged += power_w * dt_s
            else:
                self.charged -= power_w * dt_s
        if not flow.served and flow.demand.critical_w > 0.0:
            self.backup_shortfall_s += dt_s
            self.backup_shortfall += flow.demand.critical_w * dt_s


@dataclass(frozen=True, slots=True)
class Balance:
    """Closing of the books: in = out + stored, all Wh since the start."""

    grid_wh: float
    """Import minus export."""
    pv_wh: float
    load_wh: float
    loss_wh: float
    """Conversion, heat in cells and wiring, self-discharge."""
    stored_wh: float
    """Change of the energy in the cells."""
    throughput_wh: float
    """Charged plus discharged at the terminals."""

    @property
    def error_wh(self) -> float:
        """What does not add up."""
        return self.grid_wh + self.pv_wh - self.load_wh - self.loss_wh - self.stored_wh
