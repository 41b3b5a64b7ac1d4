"""The simulated plant behind real Modbus TCP and OPC UA sockets.

Every device of the site file gets the address it has there. A device that the plant
takes offline stops listening and drops its connections; one that is merely silent
takes requests in and does not answer.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ems.site import DeviceSpec, Site
from sim.faces import Face, faces
from sim.modbus_server import ModbusListener
from sim.plant import Plant
from sim.registers import RegisterImage

_Address = tuple[str, int, str]


class Servers:
    """All simulated devices of a site.

    Args:
        site: Its ``devices`` say where to listen.
        plant: What the devices measure and steer; advanced by the caller, who then
            calls :meth:`refresh`.
        pki: Folder as of :func:`sim.opcua_pki.arm`; with it OPC UA is encrypted.

    Raises:
        ems.drivers.device.ProfileMisfit: site file and profiles do not fit.
    """

    def __init__(self, site: Site, plant: Plant, pki: Path | None = None) -> None:
        self.plant = plant
        self.faces: Mapping[str, Face] = faces(site, plant)
        self._modbus: dict[_Address, ModbusListener] = {}
        self._opcua: dict[_Address, Any] = {}
        groups: dict[_Address, list[DeviceSpec]] = {}
        for spec in site.devices.values():
            groups.setdefault((spec.host, spec.port, spec.path), []).append(spec)
        for address, specs in groups.items():
            host, port, path = address
            if specs[0].transport == "modbus_tcp":
                units = {s.unit_id: RegisterImage(self.faces[s.id]) for s in specs}
                self._modbus[address] = ModbusListener(host, port, units)
            else:
                # Loaded only for sites that need it, as in the EMS.
                opcua = importlib.import_module("sim.opcua_server")
                mine = [self.faces[s.id] for s in specs]
                self._opcua[address] = opcua.OpcUaListener(host, port, path, mine, pki)

    @property
    def ports(self) -> dict[str, int]:
        """Port of each device, by id."""
        listeners = {**self._modbus, **self._opcua}
        return {
            name: listeners[(f.device.spec.host, f.device.spec.port, f.device.spec.path)].port
            for name, f in self.faces.items()
        }

    async def start(self) -> None:
        """Listen on every address.

        Raises:
            RuntimeError, OSError: an address cannot be bound.
        """
        for listener in (*self._modbus.values(), *self._opcua.values()):
            await listener.start()

    async def refresh(self) -> None:
        """After the plant moved: run device timers, follow outages, show new values."""
        for face in self.faces.values():
            face.tick()
        for listener in (*self._modbus.values(), *self._opcua.values()):
            listener.silent = self.plant.silent
            if listener.wanted and not listener.listening:
                await listener.start()
            elif listener.listening and not listener.wanted:
                await listener.stop()
        for opcua in self._opcua.values():
            if opcua.listening:
                await opcua.refresh()

    async def stop(self) -> None:
        """Close everything."""
        for listener in self._modbus.values():
            await listener.stop()
        for opcua in self._opcua.values():
            await opcua.close()
