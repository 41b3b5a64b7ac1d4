"""A real mosquitto on loopback and an independent subscriber that writes down what it hears."""

import contextlib
import getpass
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SEARCH_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"


def tool(name: str) -> str:
    """Path of a system tool; a missing one is an error, not a reason to skip."""
    found = shutil.which(name) or shutil.which(name, path=SEARCH_PATH)
    assert found, f"{name} is not installed: apt-get install mosquitto mosquitto-clients"
    return found


def wait_for(condition: Callable[[], bool], timeout_s: float = 20.0, what: str = "") -> None:
    """Wait for another process or thread; fails when it does not get there."""
    until_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until_s, f"timed out waiting: {what}"
        time.sleep(0.01)


def free_port() -> int:
    """A port nobody listens on; the broker must come back on the same one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


class Mosquitto:
    """One broker with its own configuration; may be killed and started again."""

    def __init__(self, directory: Path, *settings: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self.directory = directory
        self._config = directory / "mosquitto.conf"
        if not any(line.startswith("allow_anonymous") for line in settings):
            settings = (*settings, "allow_anonymous true")
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"user {getpass.getuser()}",
            # Nothing waits inside the broker for a subscriber that is a little slow.
            "max_inflight_messages 0",
            *settings,
        ]
        if any(line.startswith("max_inflight_messages") for line in settings):
            lines.remove("max_inflight_messages 0")
        self._config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [tool("mosquitto"), "-c", str(self._config)],
            stdout=subprocess.DEVNULL,
            stderr=(self.directory / "mosquitto.log").open("ab"),
        )
        wait_for(lambda: listening(self.port), what="mosquitto to listen")

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(10)
            self._process = None

    def reload(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)


class Witness:
    """``mosquitto_sub`` writing every message to a file, across broker restarts.

    With QoS 0: a subscriber that has to acknowledge notices a broker's death when it writes,
    closes at once, and never reads what had already arrived.
    """

    def __init__(self, port: int, directory: Path, topic: str = "ems/+/+/telemetry") -> None:
        self._file = directory / f"witness-{topic.replace('/', '_')}.txt"
        self._process = subprocess.Popen(
            [
                *(tool("mosquitto_sub"), "-V", "mqttv5", "-h", "127.0.0.1", "-p", str(port)),
                *("-t", topic, "-t", "ready", "-q", "0", "-F", "%t\t%r\t%p"),
            ],
            stdout=self._file.open("ab"),
            stderr=subprocess.DEVNULL,
        )
        self._port = port
        wait_for(self._ready, what="the subscriber")

    def _ready(self) -> bool:
        subprocess.run(
            [tool("mosquitto_pub"), "-p", str(self._port), "-t", "ready", "-m", "{}", "-q", "1"],
            check=False,
            stderr=subprocess.DEVNULL,
        )
        return b"ready" in self._file.read_bytes()

    def heard(self) -> list[tuple[str, dict[str, Any]]]:
        """(topic, payload) of all complete lines, in the order of arrival."""
        lines = self._file.read_text(encoding="utf-8").split("\n")[:-1]
        parts = [line.split("\t", 2) for line in lines if not line.startswith("ready")]
        return [(topic, json.loads(payload)) for topic, _retained, payload in parts]

    def records(self) -> list[dict[str, Any]]:
        return [payload for _, payload in self.heard()]

    def close(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)


def by_stream(records: list[dict[str, Any]]) -> dict[tuple[str, str], list[int]]:
    """Sequence numbers per (stream, boot) in the order of arrival, repeats left out."""
    seqs: dict[tuple[str, str], dict[int, None]] = {}
    for record in records:
        seqs.setdefault((record["stream"], record["boot"]), {})[record["seq"]] = None
    return {key: list(value) for key, value in seqs.items()}
