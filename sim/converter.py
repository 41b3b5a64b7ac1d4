"""A power conversion system: latency, ramp, losses, command timeout, refusals, islanding."""

from math import sqrt
from typing import Final

from ems.model import ConverterState
from ems.site import ConverterSpec

LATENCY_S: Final = 0.3
"""From the write to the first change of power. [E]"""
FALL_BACK_S: Final = 0.5
"""From rated power to none once commands stay away: the ramp of the site file limits what
set-points may do, not a protective stop. [E]"""
SQUARE_SHARE: Final = 0.4
"""Part of the conversion loss at rated power that grows with the square of the power. [E]"""
# Looking up a member of an enum costs more than the comparison it is needed for.
FAULT: Final = ConverterState.FAULT
STANDBY: Final = ConverterState.STANDBY


class LossCurve:
    """Losses of a converter: standby + proportional + square term.

    Scaled so that the efficiency at half of rated power, standby included, is the
    ``efficiency_frac`` that the site file plans with.
    """

    def __init__(self, spec: ConverterSpec) -> None:
        self.rated_w = max(spec.rated_charge_w, spec.rated_discharge_w)
        self.standby_w = spec.standby_w
        whole = 1.0 / spec.efficiency_frac - 1.0
        self.square_per_w = SQUARE_SHARE * whole / self.rated_w
        standby = 2.0 * spec.standby_w / self.rated_w
        self.linear = max(0.0, whole * (1.0 - SQUARE_SHARE / 2.0) - standby)

    def loss_w(self, power_w: float) -> float:
        """Conversion loss without standby at this output power, W, >= 0."""
        size_w = abs(power_w)
        return size_w * (self.linear + size_w * self.square_per_w)

    def ac_from_dc_w(self, dc_w: float) -> float:
        """AC power at which the DC side carries ``dc_w``; both discharge positive, W.

        Inverse of ``dc = ac + loss(ac)``.
        """
        if dc_w == 0.0:
            return 0.0
        a = self.square_per_w
        if dc_w > 0.0:
            b = 1.0 + self.linear
            return 2.0 * dc_w / (b + sqrt(b * b + 4.0 * a * dc_w))
        b = 1.0 - self.linear
        return 2.0 * dc_w / (b + sqrt(max(0.0, b * b + 4.0 * a * dc_w)))


class Pcs:
    """State of one PCS: what it was told and what it does.

    In ``RUN`` the AC power follows the set-point within the ramp; standby is drawn from
    AC. In ``ISLAND`` the plant tells it its share of the load and standby comes
    from the packs. Without a DC voltage, or in ``FAULT``, it refuses set-points.
    """

    def __init__(self, spec: ConverterSpec, start_s: float) -> None:
        self.spec = spec
        self.losses = LossCurve(spec)
        self.state = ConverterState.STANDBY
        self.setpoint_w = 0.0
        self.power_w = 0.0
        """Regulated AC power, without standby, W."""
        self.commanded_at_s = start_s
        self._changed_at_s = start_s
        self._earlier_w = 0.0
        self._fallen_back = False

    def command(self, power_w: float, now_s: float) -> str:
        """Take a set-point; returns the reason of a refusal, empty when taken."""
        if self.state is FAULT:
            return "converter is in fault"
        if self.state is STANDBY and power_w != 0.0:
            return "no DC voltage or no grid: not running"
        self.commanded_at_s = now_s
        wanted_w = min(max(power_w, -self.spec.rated_charge_w), self.spec.rated_discharge_w)
        if wanted_w != 0.0:
            self._fallen_back = False
        if wanted_w != self.setpoint_w:
            self._earlier_w, self.setpoint_w = self.setpoint_w, wanted_w
            self._changed_at_s = now_s
        return ""

    def follow(self, now_s: float, dt_s: float, sign: float, deaf: bool) -> float:
        """AC power at the end of a grid-following step that starts at ``now_s``, W.

        Args:
            now_s: Start of the step, s.
            dt_s: Its length, s.
            sign: +1, or −1 while wired the wrong way round.
            deaf: True while it ignores its set-point and keeps its power.
        """
        if now_s + dt_s - self.commanded_at_s > self.spec.device_timeout_s:
            self.setpoint_w = 0.0
            self._fallen_back = True
        if deaf:
            return self.power_w
        waiting_s = min(dt_s, max(0.0, self._changed_at_s + LATENCY_S - now_s))
        if waiting_s > 0.0:
            self._ramp(sign * self._earlier_w, waiting_s)
        self._ramp(sign * self.setpoint_w, dt_s - waiting_s)
        return self.power_w

    def _ramp(self, target_w: float, duration_s: float) -> None:
        rate_w_per_s = self.spec.ramp_w_per_s
        if self._fallen_back:
            rate_w_per_s = max(rate_w_per_s, self.losses.rated_w / FALL_BACK_S)
        reach_w = rate_w_per_s * duration_s
        self.power_w += min(max(target_w - self.power_w, -reach_w), reach_w)

    def stop(self, fault: bool) -> None:
        """No grid to follow, no DC, or a fault: zero at once, set-point forgotten."""
        self.power_w = self.setpoint_w = self._earlier_w = 0.0
        self.state = FAULT if fault else STANDBY
