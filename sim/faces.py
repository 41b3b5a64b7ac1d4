"""Simulated devices as their register maps show them: plant outputs in, commands out.

A face knows one device of the site and one part of the plant. Values are named like
the points of the device's profile, so the servers encode them through the very codecs
that the EMS decodes with.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from math import ceil, log10
from typing import Final

from ems.drivers.device import CompiledDevice
from ems.drivers.roles import compile_site
from ems.drivers.wiring import channels
from ems.model import Contactor
from ems.site import Site
from sim.plant import Plant

Value = float | Sequence[float | None] | None

_INT16_MAX: Final = 32_767


class Face(ABC):
    """What every simulated device has: registers that hold what was written, and timers."""

    exponents: Mapping[str, int] = {}
    """SunSpec scale factors this device chose."""

    def __init__(self, device: CompiledDevice, plant: Plant) -> None:
        self.device, self.plant = device, plant
        self.held: dict[str, float] = {
            name: 0.0 for name, point in device.points.items() if point.writable
        }
        self.held |= {
            name: value
            for name, value in device.simulator.items()
            if isinstance(value, int | float)
        }
        self.heard_s: float | None = None
        """Plant time of the last request, s."""

    @property
    @abstractmethod
    def online(self) -> bool:
        """False while the device refuses connections."""

    @abstractmethod
    def values(self) -> dict[str, Value]:
        """Every point's value now."""

    @abstractmethod
    def command(self, point: str, element: int, value: float) -> str:
        """Act on a written point; returns why refused, empty when taken."""

    def write(self, point: str, element: int, value: float) -> str:
        """A point was written."""
        refusal = self.command(point, element, value)
        if not refusal:
            self.held[point] = value
        return refusal

    def tick(self) -> None:  # noqa: B027 - most devices have no timers
        """The plant has moved on; run the device's own timers."""


class PackFace(Face):
    """A BMS."""

    def __init__(self, device: CompiledDevice, plant: Plant, index: int) -> None:
        super().__init__(device, plant)
        self.index = index

    @property
    def online(self) -> bool:
        return self.plant.bms[self.index].online

    def values(self) -> dict[str, Value]:
        bms = self.plant.bms[self.index]
        return {
            **self.held,
            "voltage_v": bms.voltage_v,
            "current_a": bms.current_a,
            "soc_frac": bms.soc_frac,
            "soh_frac": bms.soh_frac,
            "charge_limit_a": bms.charge_limit_a,
            "discharge_limit_a": bms.discharge_limit_a,
            "alarm_level": float(bms.alarm_level),
            "contactor": float(bms.contactor),
            "heartbeat": float(bms.heartbeat),
            "cell_voltage_v": bms.cell_voltage_v.tolist(),
            "cell_temp_c": bms.cell_temp_c.tolist(),
        }

    def command(self, point: str, element: int, value: float) -> str:
        if point in ("contactor", "contactor_command"):
            return self.plant.set_contactor(self.index, value == Contactor.CLOSED)
        return ""

    def tick(self) -> None:
        """Open the contactor when the EMS has been silent for the BMS's time-out."""
        limit_s = self.held.get("ems_timeout_s", 0.0)
        if self.heard_s is None or limit_s <= 0.0:
            return
        if self.plant.now_s - self.heard_s > limit_s:
            self.plant.set_contactor(self.index, False)


class ConverterFace(Face):
    """A PCS or rectifier shelf."""

    def __init__(self, device: CompiledDevice, plant: Plant, index: int) -> None:
        super().__init__(device, plant)
        self.index = index
        spec = plant.site.converters[index]
        largest_w = max(spec.rated_charge_w, spec.rated_discharge_w)
        self.exponents = {
            "ac_power_exponent": max(0, ceil(log10(2.0 * largest_w / _INT16_MAX))),
            "setpoint_exponent": 0,
            "dc_current_exponent": -1,
            "dc_voltage_exponent": -1,
        }
        output = plant.converters[index]
        self.held["power_limit_w"] = output.power_limit_w
        self.held["battery_charge_limit_a"] = output.charge_limit_a
        self._set_at_s = 0.0

    @property
    def online(self) -> bool:
        return self.plant.converters[self.index].online

    def values(self) -> dict[str, Value]:
        output = self.plant.converters[self.index]
        return {
            "setpoint_w": output.setpoint_w,
            **self.held,
            "power_w": output.power_w,
            "state": float(output.state),
            "dc_voltage_v": output.dc_voltage_v,
            "dc_current_a": output.dc_current_a,
        }

    def command(self, point: str, element: int, value: float) -> str:
        held = {**self.held, point: value}
        if point in ("setpoint_w", "setpoint_enable"):
            self._set_at_s = self.plant.now_s
            power_w = held["setpoint_w"] if held.get("setpoint_enable", 1.0) else 0.0
            return self.plant.set_power(self.index, power_w)
        if point in ("power_limit_w", "battery_charge_limit_a"):
            return self.plant.set_rectifier(
                self.index, held["power_limit_w"], held["battery_charge_limit_a"]
            )
        return ""

    def tick(self) -> None:
        """Show what is in force, and revert when the set-point was not renewed in time."""
        held, output = self.held, self.plant.converters[self.index]
        if "power_limit_w" in held and self.plant.site.converters[self.index].rectifier:
            held["power_limit_w"] = output.power_limit_w
            held["battery_charge_limit_a"] = output.charge_limit_a
        if "setpoint_enable" not in held and "setpoint_w" in held:
            # No switch: the set-point is always in force, and the plant has the time-out.
            held["setpoint_w"] = output.setpoint_w
        if not held.get("setpoint_enable"):
            return
        held["setpoint_w"] = output.setpoint_w
        limit_s = held["reversion_time_s"] if held["reversion_enable"] else 0.0
        if limit_s > 0.0 and self.plant.now_s - self._set_at_s > limit_s:
            self.plant.set_power(self.index, held["reversion_power_w"])
            held["setpoint_enable"] = 0.0


class MeterFace(Face):
    """The grid meter, or an I/O module with feeders, PV and frequency, or both."""

    def __init__(self, device: CompiledDevice, plant: Plant) -> None:
        super().__init__(device, plant)
        site, name = plant.site, device.spec.id
        self._is_grid = site.grid.device == name
        self._has_pv = site.pv is not None and site.pv.device == name
        self._loads = [
            index
            for index, _ in sorted(channels(site).items(), key=lambda pair: pair[1])
            if site.loads[index].device == name
        ]

    @property
    def online(self) -> bool:
        return self.plant.meter.online or not self._is_grid

    def values(self) -> dict[str, Value]:
        meter = self.plant.meter
        values: dict[str, Value] = {
            "frequency_hz": meter.frequency_hz,
            "load_power_w": [meter.load_power_w[i] for i in self._loads],
            "load_on": [float(meter.load_on[i]) for i in self._loads],
            "pv_power_w": meter.pv_power_w if self._has_pv else None,
        }
        if self._is_grid:
            values |= {
                "power_w": meter.power_w,
                "voltage_v": meter.voltage_v,
                "import_wh": meter.import_wh,
            }
        return values

    def command(self, point: str, element: int, value: float) -> str:
        if point != "load_on" or element >= len(self._loads):
            return "nothing is connected there"
        return self.plant.set_load(self._loads[element], value > 0.5)


def faces(site: Site, plant: Plant) -> dict[str, Face]:
    """A face for every device of the site, by id."""
    packs = {pack.device: index for index, pack in enumerate(site.packs)}
    converters = {spec.device: index for index, spec in enumerate(site.converters)}
    found: dict[str, Face] = {}
    for name, device in compile_site(site).items():
        if name in packs:
            found[name] = PackFace(device, plant, packs[name])
        elif name in converters:
            found[name] = ConverterFace(device, plant, converters[name])
        else:
            found[name] = MeterFace(device, plant)
    return found
