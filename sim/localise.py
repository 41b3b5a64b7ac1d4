"""A site file made private to this machine: every address on loopback, every port free."""

import contextlib
import socket
from pathlib import Path
from typing import Any

import yaml

from ems.config import load_site


def private_copy(site_file: Path, folder: Path) -> Path:
    """The site file with every address on loopback and every port free.

    So any site can be shown with its devices simulated, and demos can run side by side. What
    the file names relative to itself is found from the copy too.

    Raises:
        ems.yamlfile.FileErrors: the file is no good; nothing is written.
    """
    load_site(site_file)
    data = yaml.safe_load(site_file.read_text(encoding="utf-8"))
    taken: dict[tuple[Any, int], int] = {}
    with contextlib.ExitStack() as stack:
        _localise(data, taken, stack)
    tariff = Path(data["grid"]["tariff"])
    data["grid"]["tariff"] = str((site_file.parent / tariff).resolve())
    for device in data["devices"].values():
        if is_own_profile(device["profile"]):
            device["profile"] = str((site_file.parent / device["profile"]).resolve())
    copy = folder / site_file.name
    copy.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return copy


def is_own_profile(name: str) -> bool:
    """Whether a profile is a file of the site's own, not one that comes with the program."""
    return name.endswith((".yaml", ".yml"))


def _localise(node: Any, taken: dict[tuple[Any, int], int], stack: contextlib.ExitStack) -> None:
    if isinstance(node, list):
        for item in node:
            _localise(item, taken, stack)
    elif isinstance(node, dict):
        port = node.get("port")
        if isinstance(port, int) and port:
            address = (node.get("host"), port)
            if address not in taken:
                taken[address] = _free_port(stack)
            node["port"] = taken[address]
            if "host" in node:
                node["host"] = "127.0.0.1"
        for value in node.values():
            _localise(value, taken, stack)


def _free_port(stack: contextlib.ExitStack) -> int:
    """A port that is free now; kept bound until all are chosen, so none is given twice."""
    sock = stack.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    port: int = sock.getsockname()[1]
    return port
