"""The battery of ``node_server.js`` with the keys of both sides, as the tests use it."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

from ems.drivers.compiling.compile import compile_device
from ems.drivers.device import CompiledDevice
from ems.drivers.language import read
from ems.drivers.opcua.connection import OpcUaConnection
from ems.drivers.opcua.port import OpcUaPort
from ems.drivers.opcua.security import Security
from ems.site import DeviceSpec
from tests.drivers.foreign import node
from tests.drivers.pki import made

PROFILE = Path(__file__).with_name("node_battery.yaml")
URI = "urn:test:node-server"
TIMEOUT_S = 0.9


class Site:
    """Keys of both sides, and a server that knows ours."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server_made = made("battery", URI, key=1)
        own = made("controller", "urn:test:ems", key=2).files(folder, "own")
        user = made("operator", key=3).files(folder, "user")
        self.trust = folder / "trusted"
        self.trust.mkdir()
        (self.trust / "battery.der").write_bytes(self.server_made.der)
        (folder / "password").write_text("correct\n")
        (folder / "wrong").write_text("incorrect\n")
        self.base = Security("Basic256Sha256", "SignAndEncrypt", own[0], own[1], self.trust)
        self.by_password = replace(self.base, user="ems", password_file=folder / "password")
        self.by_certificate = replace(self.base, user_certificate=user[0], user_key=user[1])

    def server(self, name: str = "server", **config: object) -> node.NodeServer:
        files = self.server_made.files(self.folder / name, "battery")
        return node.NodeServer(
            self.folder / name, *files, uri=URI, user="ems", password="correct", **config
        )


def device(mode: str = "batch", **link: object) -> CompiledDevice:
    spec = DeviceSpec("battery", str(PROFILE), "opcua", "127.0.0.1", 1, 1, "/UA", {})
    compiled = compile_device(read(PROFILE), spec, {"reported_cells": 16, "reported_temps": 4})
    return replace(compiled, link=replace(compiled.link, opcua_mode=mode, **link))


@contextlib.asynccontextmanager
async def connected(
    server: node.NodeServer, security: Security, made: CompiledDevice
) -> AsyncIterator[tuple[OpcUaConnection, OpcUaPort]]:
    connection = OpcUaConnection(server.url, TIMEOUT_S, security)
    port = OpcUaPort(connection, made)
    await connection.connect()
    try:
        await port.prepare()
        yield connection, port
    finally:
        await connection.close()
