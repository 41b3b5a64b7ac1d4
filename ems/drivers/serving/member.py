"""One device on a connection, with what its owner remembers about it."""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from ems.drivers.coding.codec import NotWritable
from ems.drivers.device import Located
from ems.drivers.link import PointWrite, Port
from ems.drivers.rules import Effect, Step
from ems.drivers.serving.budget import Budget
from ems.drivers.serving.image import DeviceImage
from ems.drivers.serving.schedule import Job
from ems.model import Command, Quality

log = logging.getLogger(__name__)

Context = Mapping[str, float]
"""Values a command brings along, by the names that profiles use."""
Key = tuple[str, int]
"""A write of the profile, and the array element it is for."""
TIMEOUT_VALUE: Final = "device_timeout_s"
POWER_WRITES: Final = ("power", "rectifier")
"""Writes that need the device's own dead-man behind them."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command on its way: which write of the profile, with which values."""

    command: Command
    write: str
    context: Context
    element: int
    at_s: float

    @property
    def key(self) -> Key:
        return self.write, self.element


@dataclass(slots=True)
class Expectation:
    """A measured effect that a confirmed write must have."""

    effect: Effect
    wanted: float
    since_s: float
    """From when on it has been missing."""
    order: Order
    told: bool = False


@dataclass(slots=True)
class Member:
    """One device, its port and its process image."""

    id: str
    port: Port
    image: DeviceImage
    device_timeout_s: float
    phase: float = 0.0
    """Share of a period by which its polls are shifted against its neighbours'."""
    budget: Budget = field(default_factory=Budget)
    pending: dict[Key, Order] = field(default_factory=dict)
    jobs: list[Job] = field(default_factory=list)
    prepared: bool = False
    foreign: str = ""
    """Why this is not the device its profile describes; then it is never written."""
    identify_at_s: float = 0.0
    """When a foreign device is looked at anew."""
    no_dead_man: str = ""
    """Why its own timeout is not trusted; then it gets no power commands."""
    failures: int = 0
    pause_s: float = 0.0
    """Pause before it is asked again, while it is silent."""
    silent_until_s: float = 0.0
    counter: int = 0
    beat_due_s: float = math.inf
    """When it wants to see our heartbeat again."""
    complaint: str = ""
    """What was logged last; empty while all is well."""
    spoiled: set[str] = field(default_factory=set)
    """Blocks whose last answer was not believed."""
    written: dict[Key, tuple[Context, float]] = field(default_factory=dict)
    expected: dict[Key, Expectation] = field(default_factory=dict)
    withheld: dict[str, None] = field(default_factory=dict)
    """What was not written because we only observe, in the order of the first time."""

    def complain(self, why: str) -> None:
        """Log what is wrong, once until all is well again."""
        if not self.complaint:
            log.warning("%s: %s; trying again quietly", self.id, why)
        self.complaint = self.complaint or why

    def content(self) -> None:
        """Nothing is wrong any more, if that is so."""
        if self.complaint and not self.spoiled:
            log.warning("%s: answers again", self.id)
            self.complaint = ""

    def due_s(self) -> float:
        """When it next wants attention."""
        if not self.prepared:
            return self.silent_until_s
        return max(self.silent_until_s, min((job.due_s for job in self.jobs), default=math.inf))

    def seen(self, point: str, now_s: float) -> float | None:
        """A value that may be relied on, or ``None``."""
        reading = self.image.read(point, now_s)
        return None if reading.quality > Quality.UNCERTAIN else reading.value

    def value_of(self, step: Step, context: Context) -> float:
        """The number a step writes."""
        if not isinstance(step.value, str):
            return step.value
        return self.device_timeout_s if step.value == TIMEOUT_VALUE else context[step.value]

    def coded(self, steps: tuple[Step, ...], context: Context, element: int) -> list[PointWrite]:
        """Coded writes; all are coded before the first is sent.

        Raises:
            NotWritable: one of them cannot be expressed.
        """
        found = []
        for step in steps:
            point = self.port.device.points[step.point]
            value = self.value_of(step, context)
            raw = point.codec.command(value, self.exponent(point, value))
            found.append(PointWrite(point, raw, element))
        return found

    def told(self, point: str, value: float) -> float:
        """The value a device really gets for a command: rounded to its own step."""
        located = self.port.device.points[point]
        return located.codec.told(value, self.exponent(located, value))

    def exponent(self, point: Located, value: float) -> int:
        """Exponent of the scale factor with which to code a value."""
        factor = point.codec.scale_factor
        if not factor or value == 0.0:
            return 0  # zero needs no scale, so the safe state needs no read before it
        if factor not in self.image.exponents:
            raise NotWritable(f"{point.codec.name}: its scale factor has not been read yet")
        return self.image.exponents[factor]
