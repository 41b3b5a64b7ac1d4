"""The planner as its own process: requests on stdin, plans on stdout, one JSON a line.

``python -m ems.dispatch.planner_process SITE.yaml``

It never touches a device and is the first to die when memory runs short: control
goes on without it. It imports solvers, so control must never import it. The site
file is read again here because a process that may be restarted at any moment is
simplest when it needs nothing but its command line.
"""

import argparse
import logging
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TextIO

import numpy as np

from ems.clock import Clock, SystemClock
from ems.config import load_site
from ems.dispatch import wire
from ems.dispatch.planner import Planner
from ems.dispatch.tariff import Tariff
from ems.dispatch.tariff_file import load_tariff
from ems.model import Plan, PlanRequest
from ems.site import Site
from ems.yamltext import FileErrors

log = logging.getLogger(__name__)

MEMORY_CAP_BYTES = 1024 * 1024 * 1024
"""Heap and anonymous memory; a plan for 16 packs needs a quarter of it."""
NOISE_HELP = "simulation only: every price is wrong by up to FRAC between two times; repeatable"
OOM_SCORE = 900
"""The kernel's first choice when memory is short (1000 is certain death)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until stdin ends; 0, or 2 when the site or tariff file is no good."""
    parser = argparse.ArgumentParser(description="Plan for one site, over stdin and stdout.")
    parser.add_argument("site", type=Path, help="site file")
    parser.add_argument("--memory-mib", type=int, default=MEMORY_CAP_BYTES // 2**20)
    parser.add_argument(
        "--price-noise",
        nargs=3,
        action="append",
        default=[],
        metavar=("FRAC", "FROM_UTC", "UNTIL_UTC"),
        help=NOISE_HELP,
    )
    parser.add_argument("--seed", type=int, default=1, help="of the price noise")
    options = parser.parse_args(arguments)
    # A stray print of a library must not end up among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="planner: %(message)s")
    # Ctrl-C reaches the whole foreground group; when to stop is the parent's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    notes = restrain(options.memory_mib * 2**20)
    try:
        site = load_site(options.site)
        tariff = load_tariff(site.grid.tariff)
        planner: Planner | NoisyPlanner = Planner(site, tariff)
        if options.price_noise:
            windows = [
                (float(frac), datetime.fromisoformat(begin), datetime.fromisoformat(end))
                for frac, begin, end in options.price_noise
            ]
            planner = NoisyPlanner(site, tariff, windows, options.seed)
    except FileErrors as errors:
        log.error("%s", errors)
        return 2
    planner.warm_up()
    with answers:
        answers.write(wire.encode_ready(os.getpid(), notes) + "\n")
        try:
            serve(planner, sys.stdin, answers, SystemClock())
        except BrokenPipeError:
            log.info("the other side is gone")
            # Closing would try to flush into the broken pipe once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), answers.fileno())
    return 0


class NoisyPlanner:
    """Plans with wrong prices while a window lasts, and with the true ones otherwise.

    Args:
        site: As for ``Planner``.
        tariff: The true one.
        windows: Largest relative error, begin and end in UTC; of windows that overlap
            the largest error counts.
        seed: Of the errors.
    """

    def __init__(
        self,
        site: Site,
        tariff: Tariff,
        windows: Sequence[tuple[float, datetime, datetime]],
        seed: int,
    ) -> None:
        self._windows = windows
        fracs = {0.0, *(frac for frac, _, _ in windows)}
        self._planners = {
            frac: Planner(site, with_noise(tariff, frac, seed)) for frac in sorted(fracs)
        }

    def warm_up(self) -> None:
        """Build and compile every problem before the first request needs it."""
        for planner in self._planners.values():
            planner.warm_up()

    def plan(self, request: PlanRequest) -> Plan:
        """The plan of whoever's prices hold at the time of the request; all keep the history."""
        at = request.now_utc
        frac = max((f for f, begin, end in self._windows if begin <= at < end), default=0.0)
        for planner in self._planners.values():
            planner.observe(request.history)
        return self._planners[frac].plan(replace(request, history=()))


def with_noise(tariff: Tariff, noise_frac: float, seed: int) -> Tariff:
    """The tariff as a planner sees it whose every price is wrong by up to a fraction."""
    rng = np.random.Generator(np.random.PCG64(seed))
    shape = tariff.table_per_kwh.shape
    factor = 1.0 + noise_frac * rng.uniform(-1.0, 1.0, shape)
    return replace(tariff, table_per_kwh=tariff.table_per_kwh * factor)


def restrain(memory_bytes: int) -> tuple[str, ...]:
    """Cap memory and volunteer for the out-of-memory killer; says what was not permitted."""
    notes = []
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    except (OSError, ValueError) as error:
        notes.append(f"no memory cap: {error}")
    try:
        Path("/proc/self/oom_score_adj").write_text(f"{OOM_SCORE}\n", encoding="ascii")
    except OSError as error:
        notes.append(f"oom score unchanged: {error}")
    return tuple(notes)


def serve(planner: Planner | NoisyPlanner, requests: TextIO, answers: TextIO, clock: Clock) -> None:
    """Answer every line until the stream ends; a bad line gets an error, not silence.

    What the planner cannot compute is answered too: the parent has a deadline for
    a missing answer, and a reason in words is worth more than a kill.
    """
    for line in requests:
        try:
            request = wire.decode_request(line)
        except ValueError as error:
            answers.write(wire.encode_error("", str(error)) + "\n")
            continue
        began_s = clock.monotonic_s()
        try:
            plan = planner.plan(request)
        except (ArithmeticError, LookupError, ValueError, MemoryError) as error:
            log.exception("no plan for %s", request.id)
            answers.write(wire.encode_error(request.id, repr(error)) + "\n")
            continue
        plan = replace(plan, solve_s=clock.monotonic_s() - began_s)
        answers.write(wire.encode_plan(plan) + "\n")


if __name__ == "__main__":
    sys.exit(main())
