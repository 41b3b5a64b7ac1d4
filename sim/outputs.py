"""What the simulated devices would report: the face of the plant towards drivers.

These objects live as long as the plant and are refreshed in place after every step;
cell arrays are new, read-only arrays each time.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ems.model import Contactor, ConverterState

FloatArray = NDArray[np.float64]

TEMP_FAILED_C = -273.0
"""What a BMS reports for a broken temperature sensor: an impossible value."""


def _empty() -> FloatArray:
    return np.zeros(0)


@dataclass(slots=True)
class BmsOutput:
    """One BMS; signs as everywhere: discharge positive."""

    online: bool = True
    """False: the BMS refuses connections."""
    cell_voltage_v: FloatArray = field(default_factory=_empty)
    """Reported cells, V, quantised; (lowest, highest) where the BMS reports extremes only."""
    cell_temp_c: FloatArray = field(default_factory=_empty)
    """Sensors, degC; ``TEMP_FAILED_C`` for a broken one."""
    voltage_v: float = 0.0
    current_a: float = 0.0
    soc_frac: float = 0.0
    soh_frac: float = 0.0
    charge_limit_a: float = 0.0
    discharge_limit_a: float = 0.0
    alarm_level: int = 0
    """0 none, 1 notify, 2 reduce, 3 protection."""
    contactor: Contactor = Contactor.OPEN
    heartbeat: int = 0
    heartbeat_at_s: float = 0.0
    """Plant time at which the counter last moved, s."""
    sampled_at_s: float = 0.0
    """Plant time of the last answer, s; stands still while the device is silent."""


@dataclass(slots=True)
class ConverterOutput:
    """One PCS or rectifier shelf."""

    online: bool = True
    power_w: float = 0.0
    """Contribution of the battery to the site bus, W, discharge positive."""
    setpoint_w: float = 0.0
    """Read-back of the set-point; of a rectifier shelf its output limit, W."""
    state: ConverterState = ConverterState.STANDBY
    dc_voltage_v: float = 0.0
    dc_current_a: float = 0.0
    power_limit_w: float = 0.0
    """Rectifier shelf only: output limit in force, W."""
    charge_limit_a: float = 0.0
    """Rectifier shelf only: limit of the total charge current, A."""
    sampled_at_s: float = 0.0


@dataclass(slots=True)
class MeterOutput:
    """The meter at the point of common coupling and the feeder and PV meters behind it."""

    n_loads: int
    online: bool = True
    power_w: float = 0.0
    """Grid import, W."""
    voltage_v: float = 0.0
    frequency_hz: float = 0.0
    import_wh: float = 0.0
    load_power_w: tuple[float, ...] = ()
    load_on: tuple[bool, ...] = ()
    pv_power_w: float = 0.0
    site_load_w: float = 0.0
    """Everything consumed at the site bus, W: grid + battery + PV."""
    sampled_at_s: float = 0.0

    def __post_init__(self) -> None:
        self.load_power_w = (0.0,) * self.n_loads
        self.load_on = (True,) * self.n_loads
