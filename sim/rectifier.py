"""A −48 V rectifier shelf with its low-voltage disconnect; voltages are magnitudes."""

from typing import Final

from ems.site import ConverterSpec, RectifierSpec
from sim.converter import LossCurve

LVD_DELAY_S: Final = 2.0
"""The disconnect acts after the voltage has been low, or back, for this long. [E]"""


class Rectifier:
    """What the shelf was told, its walk-in ramp, and the state of its LVD.

    Args:
        spec: Converter of the site that is a rectifier shelf.
        rating_w: DC output the shelf is built for, W.
        start_s: Plant time, s.

    Raises:
        ValueError: the converter has no rectifier data.
    """

    def __init__(self, spec: ConverterSpec, rating_w: float, start_s: float) -> None:
        if spec.rectifier is None:
            raise ValueError(f"converter {spec.id} of a direct bus needs its rectifier data")
        self.spec = spec
        self.shelf: RectifierSpec = spec.rectifier
        self.losses = LossCurve(spec)
        self.rating_w = rating_w
        self.power_limit_w = rating_w
        self.charge_limit_a = self.shelf.charge_current_limit_a
        self.output_limit_w = rating_w
        """Limit in force, W: down at once, up within the ramp, from 0 after an outage."""
        self.obeyed_a = self.charge_limit_a
        """Charge limit in force, A."""
        self._obeyed_w = rating_w
        self.lvd_closed = True
        self.commanded_at_s = start_s
        self._lvd_since_s = 0.0

    def command(self, power_limit_w: float, charge_limit_a: float, now_s: float) -> str:
        """Take limits; never above the rating or the charge limit of the site file."""
        self.commanded_at_s = now_s
        self.power_limit_w = min(max(power_limit_w, 0.0), self.rating_w)
        self.charge_limit_a = min(max(charge_limit_a, 0.0), self.shelf.charge_current_limit_a)
        return ""

    def follow(self, now_s: float, dt_s: float, alive: bool, deaf: bool) -> float:
        """Output limit during the step that starts at ``now_s``, W; 0 without grid or in fault.

        Silence makes the shelf forget its limits: float voltage and full power are the
        safe state of a plant whose load must not go dark.
        """
        if now_s + dt_s - self.commanded_at_s > self.spec.device_timeout_s:
            self.power_limit_w = self.rating_w
            self.charge_limit_a = self.shelf.charge_current_limit_a
        if not deaf:
            self._obeyed_w, self.obeyed_a = self.power_limit_w, self.charge_limit_a
        reached_w = self.output_limit_w + self.spec.ramp_w_per_s * dt_s
        self.output_limit_w = min(self._obeyed_w, reached_w) if alive else 0.0
        return self.output_limit_w

    def watch_bus(self, bus_v: float, dt_s: float) -> None:
        """Open the LVD below its disconnect voltage, close it when the bus is back."""
        if self.lvd_closed:
            beyond = bus_v < self.shelf.lvd_disconnect_v
        else:
            beyond = bus_v >= self.shelf.lvd_reconnect_v
        self._lvd_since_s = self._lvd_since_s + dt_s if beyond else 0.0
        if self._lvd_since_s >= LVD_DELAY_S:
            self.lvd_closed = not self.lvd_closed
            self._lvd_since_s = 0.0
