"""The real planner process, answering on virtual time.

The request leaves at once, so the solve uses the second core while the plant
simulation goes on; the answer counts from a seeded virtual delay later. When the
simulation gets there first it waits. So the outcome does not depend on how fast
the machine is.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from ems.dispatch import wire
from ems.model import Plan, PlanRequest

DELAY_S = (2.0, 8.0)
"""Virtual time a solve takes, uniform; a Pi needs about this."""


class LockstepPlanner:
    """A ``PlannerLink`` whose answers arrive at reproducible virtual times.

    Args:
        site_file: Site file handed to the planner process.
        seed: Of the delays.
        arguments: Further arguments of the planner process.
    """

    def __init__(self, site_file: Path, seed: int, arguments: tuple[str, ...] = ()) -> None:
        self.windows_sent = 0
        self.restarts = 0
        self.levels: dict[int, int] = {}
        """Plans received by fallback level."""
        self.solvers: dict[str, int] = {}
        self._rng = np.random.Generator(np.random.PCG64([seed, 0x9A]))
        self._plan: Plan | None = None
        self._due_s: float | None = None
        self._now_s = 0.0
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ems.dispatch.planner_process", str(site_file), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        greeting = self._read()
        if not wire.is_ready(greeting):
            raise RuntimeError(f"the planner process did not start: {greeting[:200]!r}")

    def ready(self) -> bool:
        return self._due_s is None

    def ask(self, request: PlanRequest) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(wire.encode_request(request) + "\n")
        self._process.stdin.flush()
        self.windows_sent += len(request.history)
        self._due_s = self._now_s + float(self._rng.uniform(*DELAY_S))

    def newest(self, now_s: float) -> Plan | None:
        self._now_s = now_s
        if self._due_s is not None and now_s >= self._due_s:
            self._due_s = None
            line = self._read()
            refused = wire.decode_error(line)
            if refused is not None:
                raise RuntimeError(f"the planner refused {refused[0]}: {refused[1]}")
            self._plan = wire.decode_plan(line)
            self.levels[self._plan.level] = self.levels.get(self._plan.level, 0) + 1
            solver = self._plan.solver
            self.solvers[solver] = self.solvers.get(solver, 0) + 1
        return self._plan

    def close(self) -> None:
        """End the planner process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the planner process ended with code {self._process.wait()}")
        return line
