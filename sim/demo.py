"""``ems demo``: broker, simulated devices and the real daemon on one machine, watched live.

Everything speaks over real sockets on loopback. The broker and the device server
are kept alive by this process, the planner by the daemon, so that any of them may
be killed by hand while it runs.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel

from ems import door, screen
from ems.commands.options import MISUSED
from ems.config import load_site
from ems.journal import verify
from ems.yamlfile import FileErrors
from sim.localise import is_own_profile, private_copy
from sim.witness import Witness

READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 30.0
ARM_TIMEOUT_S = 60.0
PLAN_TIMEOUT_S = 120.0
DRAIN_TIMEOUT_S = 10.0
RESTART_S = 1.0
DEMO_SITE = Path("configs") / "sites" / "demo.yaml"


@dataclass(slots=True)
class Child:
    """One process of the demo, started again when it dies."""

    name: str
    command: tuple[str, ...]
    log: Path
    restart: bool
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    died_s: float | None = None

    def start(self) -> None:
        self.starts += 1
        self.died_s = None
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
        with self.log.open("ab") as file:
            self.process = subprocess.Popen(
                self.command, stdout=file, stderr=subprocess.STDOUT, env=environment
            )

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def watch(self, now_s: float) -> None:
        """Start again ``RESTART_S`` after a death."""
        if self.alive() or not self.restart:
            return
        if self.died_s is None:
            self.died_s = now_s
        elif now_s - self.died_s >= RESTART_S:
            self.start()

    def stop(self) -> int | None:
        """Ask it to end, then insist; returns its exit code."""
        if self.process is None:
            return None
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def tail(self) -> str:
        """Last lines of its log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])
        return ""


class DemoError(RuntimeError):
    """Something did not come up; says what and shows the log's end."""


class Demo:
    """The running demo.

    Args:
        site_file: Site whose devices are all simulated.
        folder: For logs and data.
    """

    def __init__(self, site_file: Path, folder: Path) -> None:
        self.folder = folder
        self.site_file = private_copy(site_file, folder)
        self.site = load_site(self.site_file)
        if self.site.uplink is None:
            raise DemoError(
                f"{site_file} has no section uplink, which the demo shows; copy it from {DEMO_SITE}"
            )
        self.door = folder / "door.sock"
        self.control_socket = folder / "sim.sock"
        self.data_dir = folder / "data"
        python = sys.executable
        self.broker = self._child(
            "broker", python, "-m", "sim.broker", "--port", str(self.site.uplink.port), restart=True
        )
        self.plant = self._child(
            "plant",
            *(python, "-m", "sim.serve", str(self.site_file)),
            *("--control", str(self.control_socket)),
            restart=True,
        )
        self.daemon = self._child(
            "daemon",
            *(python, "-m", "ems", "run", str(self.site_file)),
            *("--data-dir", str(self.data_dir), "--socket", str(self.door)),
            restart=False,
        )
        self.witness = Witness("127.0.0.1", self.site.uplink.port, self.site.uplink.topic_prefix)

    def _child(self, name: str, *command: str, restart: bool) -> Child:
        return Child(name, command, self.folder / f"{name}.log", restart)

    def start(self) -> None:
        """Bring everything up in order and arm the site."""
        self.broker.start()
        self._wait("the broker", lambda: _listens(self.witness.port), self.broker)
        self.witness.start()
        self.plant.start()
        self._wait("the simulated devices", self.control_socket.exists, self.plant)
        self.daemon.start()
        self._wait("the daemon's door", self.door.exists, self.daemon)
        self._arm()

    def _arm(self) -> None:
        """Arm as an operator would: once the self-test has passed."""
        deadline_s = time.monotonic() + ARM_TIMEOUT_S
        answer: dict[str, Any] = {"error": "the self-test did not end"}
        while time.monotonic() < deadline_s:
            if (self.status() or {}).get("mode") == "standby":
                answer = door.call(
                    self.door, {"op": "request", "kind": "arm", "reason": "demo start"}
                )
                if answer["ok"]:
                    return
            time.sleep(0.5)
        told = f"the gate refused to arm: {answer.get('error')}\n{self.daemon.tail()}"
        own = [d.id for d in self.site.devices.values() if is_own_profile(d.profile)]
        if own:
            told += (
                f"\n{', '.join(own)}: a profile of your own is simulated only as far as the "
                "simulator knows its points; prove it with `ems probe` and the device itself"
            )
        raise DemoError(told)

    def _wait(self, what: str, up: Any, child: Child) -> None:
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while not up():
            if not child.alive() or time.monotonic() > deadline_s:
                raise DemoError(f"{what} did not come up:\n{child.tail()}")
            time.sleep(0.1)

    def status(self) -> dict[str, Any] | None:
        """Status from the door, or ``None`` while nobody answers."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            status: dict[str, Any] = door.call(self.door, {"op": "status"}, timeout_s=2.0)["status"]
            return status
        return None

    def watch(self) -> None:
        """Keep broker and plant alive; the daemon must live by itself."""
        now_s = time.monotonic()
        self.broker.watch(now_s)
        self.plant.watch(now_s)
        if not self.daemon.alive():
            raise DemoError(f"the daemon ended:\n{self.daemon.tail()}")

    def stop(self) -> dict[str, Any]:
        """End everything and judge the run; see :func:`verdict`."""
        last = self.status() or {}
        memory = self._memory_mb(last)
        exit_code = self.daemon.stop()
        result = _read_json(self.data_dir / "run.json")
        uplink = result.get("uplink") or {}
        deadline_s = time.monotonic() + DRAIN_TIMEOUT_S
        while self.witness.unique < uplink.get("acked", 0) and time.monotonic() < deadline_s:
            time.sleep(0.1)
        self.witness.stop()
        self.plant.stop()
        self.broker.stop()
        report = verify.verify(self.data_dir / "log")
        return {
            "cycles": result.get("cycles", 0),
            "missed": result.get("missed"),
            "p50_ms": result.get("p50_ms"),
            "p99_ms": result.get("p99_ms"),
            "messages_acked": uplink.get("acked", 0),
            "messages_queued": uplink.get("queued"),
            "messages_received": self.witness.unique,
            "duplicates": self.witness.duplicates,
            "out_of_order": self.witness.out_of_order,
            "log_verified": report.ok,
            "log": str(report),
            "plans": result.get("plans", {}),
            "rss_mb": memory,
            "daemon_exit": exit_code,
            "mode": last.get("mode"),
        }

    def _memory_mb(self, status: dict[str, Any]) -> dict[str, float]:
        pids = {
            "control": self.daemon.process.pid if self.daemon.process else None,
            "planner": (status.get("planner") or {}).get("pid"),
            "plant": self.plant.process.pid if self.plant.process else None,
            "broker": self.broker.process.pid if self.broker.process else None,
        }
        return {name: rss for name, pid in pids.items() if pid and (rss := rss_mb(pid)) is not None}

    def kill(self) -> None:
        """End what is left after an error."""
        for child in (self.daemon, self.plant, self.broker):
            child.stop()
        self.witness.stop()


def problems(summary: dict[str, Any]) -> list[str]:
    """What a run did not achieve; empty when it is a success."""
    found = []
    if not summary["cycles"]:
        found.append("no control cycle ran")
    if summary["missed"] != 0:
        found.append(f"{summary['missed']} control cycles were missed")
    if summary["messages_received"] != summary["messages_acked"] or summary["messages_queued"]:
        found.append("not every message arrived")
    if not summary["messages_received"]:
        found.append("no message arrived at all")
    if summary["out_of_order"]:
        found.append(f"{summary['out_of_order']} messages arrived out of order")
    if not summary["log_verified"]:
        found.append("the interlock log does not verify")
    if not any(int(level) <= 3 for level in summary["plans"]):
        found.append("no plan was made by the optimiser")
    if summary["daemon_exit"] != 0:
        found.append(f"the daemon ended with code {summary['daemon_exit']}")
    return found


def in_words(summary: dict[str, Any]) -> str:
    """The summary for the terminal."""
    memory = ", ".join(f"{name} {rss:.0f} MB" for name, rss in summary["rss_mb"].items())
    plans = ", ".join(
        f"{count} × {screen.PLAN_LEVELS.get(int(level), level)}"
        for level, count in summary["plans"].items()
    )
    return "\n".join(
        (
            f"control cycles   {summary['cycles']}, {summary['missed']} missed,"
            f" p50 {summary['p50_ms']} ms, p99 {summary['p99_ms']} ms",
            f"messages         {summary['messages_acked']} sent and acknowledged,"
            f" {summary['messages_received']} received by the subscriber,"
            f" {summary['duplicates']} duplicates, {summary['out_of_order']} out of order",
            f"interlock log    {summary['log']}",
            f"plans            {plans or 'none'}",
            f"memory (RSS)     {memory}",
        )
    )


def main(duration_s: float | None, site_file: Path | None, keep: Path | None, plain: bool) -> int:
    """Run the demo; returns the process's exit code."""
    console = Console()
    source = site_file or Path(__file__).resolve().parent.parent / DEMO_SITE
    with contextlib.ExitStack() as stack:
        if keep is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ems-demo-")))
        else:
            keep.mkdir(parents=True, exist_ok=True)
            folder = keep
        try:
            demo = Demo(source, folder)
        except (DemoError, FileErrors, ValueError, OSError) as error:
            console.print(f"[red]{escape(str(error))}")
            return MISUSED
        try:
            console.print(f"starting; logs in {folder}")
            demo.start()
            _show(demo, duration_s, console, plain)
            summary = demo.stop()
        except DemoError as error:
            demo.kill()
            console.print(f"[red]{escape(str(error))}")
            return 1
        except BaseException:
            demo.kill()
            raise
    (folder / "demo.json").write_text(json.dumps(summary, indent=2)) if keep else None
    console.print(Panel(in_words(summary), title="demo summary"))
    found = problems(summary)
    for problem in found:
        console.print(f"[red]{problem}")
    return 1 if found else 0


def _show(demo: Demo, duration_s: float | None, console: Console, plain: bool) -> None:
    """Draw until the time is over, or the user ends it with Ctrl-C.

    With a duration the clock counts from the first plan's deadline at the latest, so
    that a slow machine still shows one.
    """
    started_s = time.monotonic()
    live = None if plain or not console.is_terminal else Live(console=console, screen=True)
    with contextlib.ExitStack() as stack:
        if live is not None:
            stack.enter_context(live)
        with contextlib.suppress(KeyboardInterrupt):
            while duration_s is None or time.monotonic() - started_s < duration_s:
                demo.watch()
                status = demo.status()
                if live is not None and status is not None:
                    live.update(Group(screen.render(status), _hints(demo, status)))
                time.sleep(0.5)


def _hints(demo: Demo, status: dict[str, Any]) -> Panel:
    """What a visitor can break, ready to be copied."""
    planner = (status.get("planner") or {}).get("pid")
    broker = demo.broker.process.pid if demo.broker.process else None
    control = f"python -m sim.control {demo.control_socket}"
    pack = demo.site.packs[0].id
    return Panel(
        f"kill -9 {planner}   the planner      kill -9 {broker}   the broker\n"
        f"{control} grid_outage '*' 30\n{control} pack_lost {pack} 30\n"
        f"ems status --socket {demo.door}      Ctrl-C ends",
        title="try in another terminal",
    )


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0


def rss_mb(pid: int) -> float | None:
    """Resident memory of a process, MB, or ``None`` when it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    return None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
