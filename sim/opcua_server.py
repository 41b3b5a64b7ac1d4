"""Simulated OPC UA devices behind one real server."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from asyncua import Server, ua
from asyncua.common.callback import CallbackType
from asyncua.server.binary_server_asyncio import BinaryServer

from ems.drivers.device import Located
from sim.faces import Face
from sim.opcua_pki import arm

_VARIANT = {
    "float64": ua.VariantType.Double,
    "int32": ua.VariantType.Int32,
    "uint32": ua.VariantType.UInt32,
}

logging.getLogger("asyncua").setLevel(logging.ERROR)


class OpcUaListener:
    """One OPC UA endpoint with the nodes of one or several devices.

    Args:
        host: Where to listen.
        port: Where to listen.
        path: Of the endpoint.
        faces: The devices.
        pki: Folder as of :func:`sim.opcua_pki.arm` for an encrypted endpoint; else an open one.
    """

    def __init__(
        self, host: str, port: int, path: str, faces: Sequence[Face], pki: Path | None = None
    ) -> None:
        self.host, self.port, self.path = host, port, path
        self._pki = pki
        self._faces = faces
        self._server: Any = None
        self._nodes: dict[tuple[int, str], tuple[Any, Located]] = {}
        self._commands: dict[Any, tuple[Face, str]] = {}
        self.listening = False
        self.silent = False
        """While true, requests are taken in and not answered."""

    @property
    def wanted(self) -> bool:
        return any(face.online for face in self._faces)

    async def start(self) -> None:
        """Listen; the address space is built once and survives a stop."""
        if self._server is None:
            self._server = await self._build()
            await self._server.start()
        else:
            binary = BinaryServer(self._server.iserver, self.host, self.port, self._server.limits)
            binary.set_policies(self._server.bserver._policies)
            self._server.bserver = binary
            await binary.start()
        self.listening = True
        await self.refresh()

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        if self.listening:
            self.listening = False
            await self._server.bserver.stop()

    async def close(self) -> None:
        """Stop for good."""
        if self._server is not None:
            await self._server.stop()
            self._server = None
        self.listening = False

    async def refresh(self) -> None:
        """Show what the plant says now."""
        for client in list(self._server.bserver.clients):
            (client.transport.pause_reading if self.silent else client.transport.resume_reading)()
        if self.silent or not self.listening:
            return
        for number, face in enumerate(self._faces):
            values = face.values()
            for name, value in values.items():
                if (number, name) in self._nodes:
                    node, point = self._nodes[(number, name)]
                    await self._server.write_attribute_value(node, _data(point, value))

    async def _build(self) -> Any:
        server = Server()
        await server.init()
        server.set_endpoint(f"opc.tcp://{self.host}:{self.port}/{self.path.lstrip('/')}")
        if self._pki is None:
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        else:
            await arm(server, self._pki)
        for number, face in enumerate(self._faces):
            index = await server.register_namespace(face.device.link.namespace_uri)
            folder = await server.nodes.objects.add_object(index, face.device.spec.id)
            for name, point in face.device.points.items():
                node_id = ua.NodeId.from_string(f"ns={index};{point.node}")
                start: Any = [] if point.step else 0
                variant = ua.Variant(start, _VARIANT[point.type], is_array=bool(point.step))
                node = await folder.add_variable(node_id, name, variant)
                self._nodes[(number, name)] = (node.nodeid, point)
                if point.writable:
                    await node.set_writable()
                    self._commands[node.nodeid] = (face, name)
        server.subscribe_server_callback(CallbackType.PreWrite, self._written)
        return server

    def _written(self, event: Any, _: Any) -> None:
        """A client writes; raising makes the server answer with that status."""
        if not event.is_external:
            return
        for item in event.request_params.NodesToWrite:
            face, name = self._commands.get(item.NodeId, (None, ""))
            if face is None:
                continue
            codec = face.device.points[name].codec
            value, _quality = codec.value(item.Value.Value.Value)
            if value is None or face.write(name, 0, value):
                raise ua.UaStatusCodeError(ua.StatusCodes.BadInvalidState)


def _data(point: Located, value: Any) -> ua.DataValue:
    variant = _VARIANT[point.type]
    codec = point.codec
    if value is None:
        return ua.DataValue(StatusCode=ua.StatusCode(ua.StatusCodes.BadNoData))
    if point.step:
        return ua.DataValue(ua.Variant([codec.raw(v) for v in value], variant, is_array=True))
    return ua.DataValue(ua.Variant(codec.raw(value), variant))
