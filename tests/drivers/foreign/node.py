"""node-opcua as a server that is not ours: installed by npm, started, steered, killed."""

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.drivers.bench import free_port

ROOT = Path(__file__).parents[3]
VERSION = "2.182.2"
HOME = ROOT / "build" / "node"
SCRIPT = Path(__file__).with_name("node_server.js")
INSTALL_S, START_S = 240.0, 30.0
NAMESPACE = "urn:test:battery"


def install() -> str:
    """Install node-opcua once; why that is not possible, or nothing."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    package = HOME / "node_modules" / "node-opcua" / "package.json"
    if package.is_file() and json.loads(package.read_text())["version"] == VERSION:
        return ""
    HOME.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["npm", "install", "--no-save", "--no-audit", "--no-fund", f"node-opcua@{VERSION}"],
        cwd=HOME, capture_output=True, text=True, timeout=INSTALL_S, check=False,
    )  # fmt: skip
    return "" if done.returncode == 0 else f"npm cannot install node-opcua: {done.stderr[-300:]}"


class NodeServer:
    """A server process on a port of its own; survives being killed and started again.

    Args:
        folder: For its configuration and trust list.
        certificate: Its certificate, PEM.
        key: Its key, PEM.
        config: As described in ``node_server.js``.
    """

    def __init__(self, folder: Path, certificate: Path, key: Path, **config: Any) -> None:
        self.port = free_port()
        self.url = f"opc.tcp://127.0.0.1:{self.port}/UA"
        self._config = folder / "node_server.json"
        folder.mkdir(parents=True, exist_ok=True)
        content = {
            "port": self.port, "certificate": str(certificate), "key": str(key),
            "pki": str(folder / "pki"), "modules": str(HOME), **config,
        }  # fmt: skip
        self._config.write_text(json.dumps(content))
        self._process: subprocess.Popen[str] | None = None
        self._said: queue.Queue[str] = queue.Queue()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it listens."""
        self._process = subprocess.Popen(
            ["node", str(SCRIPT), str(self._config)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self._said = queue.Queue()
        threading.Thread(target=self._listen, args=(self._process, self._said), daemon=True).start()
        self._wait("READY")

    def show(self, name: str, value: Any, status: str = "Good") -> None:
        """Put a value and its status on the server."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"set": name, "value": value, "status": status}))
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        self._wait(f"SET {name}")

    @contextlib.contextmanager
    def paused(self) -> Any:
        """The process stands still; its sockets stay open and take what arrives."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it without a farewell."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _wait(self, what: str) -> None:
        seen = []
        try:
            while (line := self._said.get(timeout=START_S)) != what:
                seen.append(line)
                assert line, f"the server ended:\n{''.join(seen[-20:])}"
        except queue.Empty:
            raise AssertionError(f"the server never said {what}: {seen[-20:]}") from None

    @staticmethod
    def _listen(process: subprocess.Popen[str], said: "queue.Queue[str]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            said.put(line.rstrip("\n") or " ")
        said.put("")
