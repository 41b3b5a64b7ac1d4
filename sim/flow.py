"""Result of one electrical solution: where power goes during a step."""

from dataclasses import dataclass

from sim.loads import Demand


@dataclass(slots=True)
class Flow:
    """Powers and currents held constant over one step; signs feed the site bus."""

    current_a: list[float]
    """Per pack, discharge positive."""
    grid_w: float
    pv_w: float
    load_w: float
    """Everything consumed at the site bus, converter loss of a rectifier included."""
    converter_loss_w: float
    """Between the packs' terminals and the site bus, standby included."""
    bus_loss_w: float
    """Of a rectifier: part of ``load_w`` that is loss and not served load."""
    served: bool
    """False: the loads that should be carried are dark."""
    demand: Demand
    served_w: float
    """Load power that reached loads."""
