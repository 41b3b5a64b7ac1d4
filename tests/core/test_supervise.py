"""The planner's supervisor against real child processes that misbehave in every way."""

import asyncio
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from ems import supervise
from ems.clock import SystemClock
from ems.model import PlanRequest
from ems.supervise import PlannerProcess

GOOD = """
import sys, datetime, numpy as np
from ems.dispatch import wire
from ems.model import Plan
print(wire.encode_ready(0), flush=True)
for line in sys.stdin:
    r = wire.decode_request(line)
    z = np.zeros(2)
    print(wire.encode_plan(Plan(r.id + "-" + str(len(r.history)), r.now_utc, r.now_utc, 900.0, 1,
        "test", 1.0, np.zeros((2, 1)), z, z, z, 0.0, 0.0)), flush=True)
"""
DEAF = """
import time
from ems.dispatch import wire
print(wire.encode_ready(0), flush=True)
time.sleep(60)
"""
BABBLER = GOOD.replace("for line", "print('what?', flush=True)\nfor line")
AT_ONCE_DEAD = "raise SystemExit(3)"


def request(name: str, history: int = 0) -> PlanRequest:
    now = datetime(2026, 3, 2, tzinfo=UTC)
    one = np.zeros(1)
    windows = tuple((now, 1.0, None) for _ in range(history))
    return PlanRequest(name, now, one, one, one, one, 0.0, 0.0, 0.0, 0.0, one, windows)


def supervised(program: str, scenario, **patched):
    """Run a scenario beside a supervised child made from ``program``."""

    async def main():
        planner = PlannerProcess(Path("site.yaml"), SystemClock(), (sys.executable, "-c", program))
        running = asyncio.create_task(planner.run())
        try:
            await asyncio.wait_for(scenario(planner), 60)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return planner

    return asyncio.run(main())


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0.02)


def plan_id(planner) -> str | None:
    plan = planner.newest(0.0)
    return plan.id if plan else None


def test_request_is_answered_and_history_counted_once():
    async def scenario(planner):
        await until(planner.ready)
        planner.ask(request("a", history=3))
        await until(lambda: plan_id(planner) == "a-3")
        assert planner.windows_sent == 3

    supervised(GOOD, scenario)


def test_killed_planner_comes_back_and_its_last_plan_stays_in_force(monkeypatch):
    monkeypatch.setattr(supervise, "BACK_OFF_S", (0.1, 0.2))

    async def scenario(planner):
        await until(planner.ready)
        planner.ask(request("a", history=2))
        await until(lambda: plan_id(planner) == "a-2")
        first = planner.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: planner.restarts == 1)
        assert plan_id(planner) == "a-2"
        assert planner.windows_sent == 0
        assert "signal 9" in planner.last_error
        await until(planner.ready)
        assert planner.pid not in (None, first)
        planner.ask(request("b"))
        await until(lambda: plan_id(planner) == "b-0")

    supervised(GOOD, scenario)


def test_planner_that_never_answers_is_killed_at_its_deadline(monkeypatch):
    monkeypatch.setattr(supervise, "DEADLINE_S", 0.5)
    monkeypatch.setattr(supervise, "BACK_OFF_S", (0.1, 0.2))

    async def scenario(planner):
        await until(planner.ready)
        planner.ask(request("a"))
        await until(lambda: planner.restarts == 1)
        assert "deadline" in planner.last_error

    supervised(DEAF, scenario)


def test_planner_that_babbles_still_gets_its_plans_through():
    async def scenario(planner):
        await until(planner.ready)
        planner.ask(request("a"))
        await until(lambda: plan_id(planner) == "a-0")

    supervised(BABBLER, scenario)


def test_planner_that_dies_at_once_is_retried_with_back_off(monkeypatch):
    monkeypatch.setattr(supervise, "BACK_OFF_S", (0.05, 0.1))

    async def scenario(planner):
        await until(lambda: planner.restarts >= 3)
        assert planner.last_error == "exit code 3"
        planner.ask(request("a"))  # nobody there: must not raise

    supervised(AT_ONCE_DEAD, scenario)


def test_newest_request_wins_while_one_is_being_solved():
    async def scenario(planner):
        await until(planner.ready)
        for name in "abc":
            planner.ask(request(name))
        await until(lambda: plan_id(planner) == "c-0")

    supervised(GOOD, scenario)


def test_no_child_survives_its_supervisor():
    async def scenario(planner):
        await until(planner.ready)

    planner = supervised(GOOD, scenario)
    process = planner._process
    assert process is None or process.returncode is not None
