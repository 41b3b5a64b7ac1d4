"""Keeps the planner process alive, on deadline, and out of the way of control."""

import asyncio
import contextlib
import logging
import os
import random
import sys
from pathlib import Path

from ems.clock import Clock
from ems.dispatch import wire
from ems.model import Plan, PlanRequest

log = logging.getLogger(__name__)

DEADLINE_S = 60.0
"""A planner that has not answered by then is killed and started anew."""
READY_DEADLINE_S = 180.0
"""Importing the solvers and building the problem takes this long at most on a Pi."""
BACK_OFF_S = (1.0, 30.0)
HEALTHY_S = 120.0
"""A planner that lived this long resets the back-off."""
LINE_LIMIT_BYTES = 16 * 1024 * 1024


class PlannerProcess:
    """The planner as a child process that may die without consequence.

    Args:
        site_file: Site file handed to the planner.
        clock: For deadlines.
        command: Program and arguments before the site file.
    """

    def __init__(self, site_file: Path, clock: Clock, command: tuple[str, ...] = ()) -> None:
        self.windows_sent = 0
        self.pid: int | None = None
        self.restarts = 0
        self.last_error = ""
        self._command = command or (sys.executable, "-m", "ems.dispatch.planner_process")
        self._site_file = site_file
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._plan: Plan | None = None
        self._waiting: str | None = None
        self._next: PlanRequest | None = None
        self._deadline_s = float("inf")
        self._is_ready = False

    def ready(self) -> bool:
        return self._is_ready

    def newest(self, now_s: float) -> Plan | None:
        return self._plan

    def ask(self, request: PlanRequest) -> None:
        """Send now, or as soon as the running solve has answered."""
        process = self._process
        if process is None or process.stdin is None or not self._is_ready:
            return
        if self._waiting is not None:
            self._next = request
            return
        self.windows_sent += len(request.history)
        self._waiting = request.id
        self._deadline_s = self._clock.monotonic_s() + DEADLINE_S
        process.stdin.write(wire.encode_request(request).encode() + b"\n")

    async def run(self) -> None:
        """Start the planner again and again until cancelled; never raises for its faults."""
        back_off_s = BACK_OFF_S[0]
        try:
            while True:
                started_s = self._clock.monotonic_s()
                await self._live()
                self._forget()
                self.restarts += 1
                if self._clock.monotonic_s() - started_s > HEALTHY_S:
                    back_off_s = BACK_OFF_S[0]
                log.warning("planner ended (%s); next start in %.0f s", self.last_error, back_off_s)
                await asyncio.sleep(back_off_s * random.uniform(0.9, 1.1))
                back_off_s = min(2 * back_off_s, BACK_OFF_S[1])
        finally:
            await self._kill()

    async def _live(self) -> None:
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                str(self._site_file),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=LINE_LIMIT_BYTES,
                env=environment,
            )
        except OSError as error:
            self.last_error = f"could not be started: {error}"
            return
        self.pid = self._process.pid
        self._deadline_s = self._clock.monotonic_s() + READY_DEADLINE_S
        assert self._process.stdout is not None
        read = asyncio.create_task(self._process.stdout.readline())
        while True:
            done, _ = await asyncio.wait({read}, timeout=1.0)
            if done:
                line = _line(read)
                if line is None:
                    self.last_error = await self._exit_reason()
                    return
                self._heard(line.decode(errors="replace"))
                read = asyncio.create_task(self._process.stdout.readline())
            elif self._clock.monotonic_s() > self._deadline_s:
                self.last_error = f"no answer within its deadline to {self._waiting or 'the start'}"
                read.cancel()
                await self._kill()
                return

    def _heard(self, line: str) -> None:
        if wire.is_ready(line):
            self._is_ready = True
            self._deadline_s = float("inf")
            return
        error = wire.decode_error(line)
        if error is not None:
            log.error("planner refused %s: %s", *error)
        else:
            try:
                self._plan = wire.decode_plan(line)
            except ValueError as problem:
                log.error("planner said something that is no plan: %s", problem)
        self._waiting = None
        self._deadline_s = float("inf")
        if self._next is not None:
            request, self._next = self._next, None
            self.ask(request)

    def _forget(self) -> None:
        """The last plan stays in force (it ages); what the dead planner knew is gone."""
        self.windows_sent = 0
        self.pid = None
        self._is_ready = False
        self._waiting = self._next = None
        self._process = None

    async def _exit_reason(self) -> str:
        assert self._process is not None
        code = await self._process.wait()
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

    async def _kill(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _line(read: asyncio.Task[bytes]) -> bytes | None:
    """The line read, or ``None`` at the end of the stream or after an over-long line."""
    try:
        return read.result() or None
    except ValueError as error:
        log.error("planner answered with an over-long line: %s", error)
        return None
