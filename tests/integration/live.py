"""The running demo as a test sees it: the door, the plant's truth, and bounded waiting."""

import io
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from ems import door, screen
from sim import control
from sim.demo import Demo

POLL_S = 0.05

Status = dict[str, Any]


class LiveSite:
    """A demo and the questions a test asks it."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo

    def status(self) -> Status:
        """The door's status; empty while nobody answers."""
        return self.demo.status() or {}

    def truth(self) -> dict[str, Any]:
        """What the simulated plant really does, whatever its devices report."""
        truth: dict[str, Any] = control.ask(self.demo.control_socket, {"truth": True})["truth"]
        return truth

    def inject(self, event: str, target: str, duration_s: float, value: float = 0.0) -> None:
        """Break something in the plant for a while."""
        wish = {"event": event, "target": target, "duration_s": duration_s, "value": value}
        answer = control.ask(self.demo.control_socket, {"inject": wish})
        assert answer.get("ok"), answer

    def ask(self, kind: str, reason: str = "integration test", **fields: Any) -> dict[str, Any]:
        """One operator request through the door; the whole answer."""
        message = {"op": "request", "kind": kind, "reason": reason, **fields}
        return door.call(self.demo.door, message)

    def granted(self, kind: str, reason: str = "integration test", **fields: Any) -> None:
        """One operator request that has to be granted."""
        answer = self.ask(kind, reason, **fields)
        assert answer["ok"], f"{kind} was refused: {answer['error']}"

    def setpoint(self, power_w: float, duration_s: float = 120.0) -> None:
        """Hold a battery power, so that a test does not depend on the hour of the day."""
        self.granted("setpoint", value=power_w, duration_s=duration_s)

        def near(seen_w: float | None) -> bool:
            return seen_w is not None and abs(seen_w - power_w) < 0.1 * abs(power_w)

        self.until(
            lambda s: near(self.truth()["battery_power_w"]) and near(s["flows"]["battery_power_w"]),
            20.0,
            f"battery power near {power_w:.0f} W",
        )

    def until(self, true: Callable[[Status], object], timeout_s: float, what: str) -> Status:
        """First status for which ``true`` holds; broker and plant are kept alive meanwhile."""
        deadline_s = time.monotonic() + timeout_s
        status: Status = {}
        while time.monotonic() < deadline_s:
            self.demo.watch()
            status = self.status()
            if status.get("flows") is not None and true(status):
                return status
            time.sleep(POLL_S)
        raise AssertionError(f"not within {timeout_s:.0f} s: {what}\n{text_of(status)}")

    def running(self, timeout_s: float = 60.0) -> Status:
        """Wait for mode ``run``."""
        return self.until(lambda s: s["mode"] == "run", timeout_s, "mode run")

    def observe(self, duration_s: float) -> Iterator[Status]:
        """Each new cycle's status; fails when the caller has not left by the end."""
        deadline_s = time.monotonic() + duration_s
        seen = -1
        while time.monotonic() < deadline_s:
            self.demo.watch()
            status = self.status()
            if status.get("flows") is not None and status["cycle"]["count"] != seen:
                seen = status["cycle"]["count"]
                yield status
            time.sleep(POLL_S)
        raise AssertionError(f"not within {duration_s:.0f} s of observing")

    @contextmanager
    def no_missed_cycle(self) -> Iterator[None]:
        """Whatever happens inside, control goes on and misses no cycle."""
        before = self.status()["cycle"]
        yield
        after = self.until(lambda s: s["cycle"]["count"] > before["count"], 5.0, "another cycle")
        assert after["cycle"]["missed"] == before["missed"]


def pack(status: Status, pack_id: str) -> dict[str, Any]:
    """One pack of a status."""
    return next(p for p in status["packs"] if p["id"] == pack_id)


def text_of(status: Status) -> str:
    """The operator's screen as plain text."""
    if not status:
        return "(no status)"
    console = Console(record=True, width=160, file=io.StringIO())
    console.print(screen.render(status))
    return console.export_text()


def kill(pid: int) -> None:
    """``kill -9``."""
    os.kill(pid, signal.SIGKILL)


def gone(pid: int) -> bool:
    """Whether no such process runs any more; a zombie does not run."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def pid_of(process: subprocess.Popen[bytes] | None) -> int:
    """Process id of a started child."""
    assert process is not None
    return process.pid
