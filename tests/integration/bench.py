"""Any site under the real control process, its devices simulated, seen by a second master."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pymodbus.client import ModbusTcpClient

from ems import door
from ems.config import load_site
from ems.site import Site
from sim import control
from sim.demo import Child
from sim.localise import private_copy
from tests.integration.live import LiveSite

START_S = 60.0
SUNSPEC = 40_000
"""Where the simulated converters keep their SunSpec marker."""
END_OF_MODELS = 0xFFFF


class Bench:
    """One site in a folder of its own, on loopback and free ports, without uplink.

    Args:
        site_file: A site file.
        folder: For the copy, logs and data.
        edit: Changes the copy's data before it is used.
    """

    def __init__(self, site_file: Path, folder: Path, edit: Callable[[Any], None]) -> None:
        self.site_file = private_copy(site_file, folder)
        data = yaml.safe_load(self.site_file.read_text(encoding="utf-8"))
        data.pop("uplink", None)
        data["storage"]["data_dir"] = str(folder / "data")
        edit(data)
        self.site_file.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
        self.site: Site = load_site(self.site_file)
        self.door, self.control_socket = folder / "door.sock", folder / "sim.sock"
        plant = ("-m", "sim.serve", str(self.site_file), "--control", str(self.control_socket))
        ems = ("-m", "ems", "run", str(self.site_file), "--socket", str(self.door))
        self.plant, self.daemon = (
            Child(name, (sys.executable, *command), folder / f"{name}.log", restart=False)
            for name, command in (("plant", plant), ("daemon", ems))
        )

    def status(self) -> dict[str, Any] | None:
        """Status from the door, or ``None`` while nobody answers."""
        try:
            found: dict[str, Any] = door.call(self.door, {"op": "status"}, timeout_s=2.0)["status"]
        except (OSError, ValueError, KeyError):
            return None
        return found

    def watch(self) -> None:
        """Fail with the end of its log when a process ended."""
        for child in (self.plant, self.daemon):
            assert child.process is None or child.alive(), f"{child.name} ended:\n{child.tail()}"

    def wait(self, true: Callable[[], object], timeout_s: float, what: str) -> None:
        """Poll until something holds, while the processes live."""
        deadline_s = time.monotonic() + timeout_s
        while not true():
            self.watch()
            assert time.monotonic() < deadline_s, f"not within {timeout_s:.0f} s: {what}"
            time.sleep(0.05)

    def start_plant(self) -> None:
        """Serve the simulated devices."""
        self.plant.start()
        self.wait(self.control_socket.exists, START_S, "the simulated devices")

    def arm(self) -> LiveSite:
        """Start control, arm it once its self-test has passed, and wait until it runs."""
        self.daemon.start()
        live = LiveSite(self)  # type: ignore[arg-type]
        live.until(lambda s: s["mode"] == "standby", START_S, "mode standby")
        live.granted("arm")
        live.running(START_S)
        return live

    def stop(self) -> None:
        """End what is left."""
        for child in (self.daemon, self.plant):
            child.stop()


@contextmanager
def bench(site_file: Path, folder: Path, edit: Callable[[Any], None]) -> Iterator[Bench]:
    """A bench that is cleared away afterwards, whatever happened."""
    found = Bench(site_file, folder, edit)
    try:
        yield found
    finally:
        found.stop()


def ports_spoken_to(pid: int) -> set[int]:
    """TCP ports at the far end of a process's connections."""
    sockets = {
        os.readlink(fd).removeprefix("socket:[").removesuffix("]")
        for fd in Path(f"/proc/{pid}/fd").iterdir()
        if os.readlink(fd).startswith("socket:[")
    }
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(row[2].rpartition(":")[2], 16) for row in rows if row[9] in sockets}


@dataclass(frozen=True, slots=True)
class Shown:
    """What a converter says of itself to a stranger."""

    power_w: float
    """Discharge positive; of a rectifier shelf what its battery gives."""
    setpoint_w: float
    """0 when none is in force; of a shelf the limit of its output."""
    charge_limit_a: float = 0.0
    """Of a shelf."""
    bus_v: float = 0.0
    """Of a shelf."""


class SecondMaster:
    """Reads one converter with a client and a register map that are not ours.

    Addresses, types and signs are written down here from the maps' documents, so that a
    mistake in a profile or in our codec cannot hide itself.
    """

    def __init__(self, site: Site, converter: int) -> None:
        spec = site.devices[site.converters[converter].device]
        self.profile = spec.profile
        self._unit = spec.unit_id
        self._client = ModbusTcpClient(spec.host, port=spec.port, timeout=3)
        assert self._client.connect()
        self._models: dict[int, int] = {}

    def close(self) -> None:
        self._client.close()

    def read(self) -> Shown:
        """What it shows now."""
        return {
            "pcs_sunspec_704": self._sunspec,
            "pcs_sinexcel": self._sinexcel,
            "rectifier_48v_sim": self._shelf,
        }[self.profile]()

    def _registers(self, at: int, count: int) -> list[int]:
        answer = self._client.read_holding_registers(at, count=count, device_id=self._unit)
        assert not answer.isError(), f"{self.profile}: {answer}"
        return list(answer.registers)

    def _sunspec(self) -> Shown:
        if not self._models:
            at = SUNSPEC + 2
            while (head := self._registers(at, 2))[0] != END_OF_MODELS:
                self._models[head[0]] = at
                at += 2 + head[1]
        ac, controls = self._models[701], self._models[704]
        power = _int16(self._registers(ac + 10, 1)[0])
        enabled, _mode, *setpoint = self._registers(controls + 22, 4)
        return Shown(
            power * 10.0 ** _int16(self._registers(ac + 116, 1)[0]),
            enabled * _int32(setpoint) * 10.0 ** _int16(self._registers(controls + 55, 1)[0]),
        )

    def _sinexcel(self) -> Shown:
        return Shown(
            10.0 * _int16(self._registers(122, 1)[0]), 100.0 * _int16(self._registers(135, 1)[0])
        )

    def _shelf(self) -> Shown:
        volts = self._registers(101, 1)[0]
        battery = self._registers(104, 2)
        limit = self._registers(110, 2)
        charge = self._registers(112, 1)[0]
        return Shown(-float(_int32(battery)), float(_int32(limit)), 0.1 * charge, 0.01 * volts)


def _int16(word: int) -> int:
    return word - 0x1_0000 if word & 0x8000 else word


def _int32(words: list[int]) -> int:
    value = words[0] << 16 | words[1]
    return value - 0x1_0000_0000 if value & 0x8000_0000 else value


def truth(found: Bench) -> dict[str, Any]:
    """What the simulated plant really does."""
    answer: dict[str, Any] = control.ask(found.control_socket, {"truth": True})["truth"]
    return answer
