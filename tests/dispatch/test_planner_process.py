"""The planner as a process: real pipes, a real site file, and rude endings."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ems.config import load_site
from ems.dispatch import planner_process, wire
from ems.model import PlanRequest
from tests.dispatch.worlds import FLAT_UTC

ROOT = Path(__file__).parents[2]
SITE = ROOT / "configs" / "sites" / "peak-shaving.yaml"


def request(ident: str = "plan-7") -> PlanRequest:
    site = load_site(SITE)
    n = site.n_packs
    return PlanRequest(
        id=ident,
        now_utc=FLAT_UTC,
        energy_wh=np.full(n, 15_000.0),
        headroom_wh=np.full(n, 10_000.0),
        charge_w=np.full(n, 20_000.0),
        discharge_w=np.full(n, 20_000.0),
        reserve_wh=25_000.0,
        incurred_peak_w=0.0,
        window_w=115_000.0,
        window_elapsed_frac=0.5,
        converter_power_w=np.zeros(n),
        history=((FLAT_UTC, 120_000.0, None),),
    )


def start() -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "ems.dispatch.planner_process", str(SITE)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def planner() -> Iterator["subprocess.Popen[str]"]:
    """A running planner; when its input ends it ends by itself, with code 0."""
    process = start()
    assert process.stdout is not None
    assert process.stdin is not None
    assert wire.is_ready(process.stdout.readline())
    yield process
    process.stdin.close()
    try:
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.stdout.close()


def ask(process: "subprocess.Popen[str]", line: str) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(line + "\n")
    process.stdin.flush()
    return process.stdout.readline()


def test_a_request_is_answered_by_a_plan(planner: "subprocess.Popen[str]") -> None:
    plan = wire.decode_plan(ask(planner, wire.encode_request(request())))
    assert plan.id == "plan-7"
    assert plan.level <= 3
    assert plan.converter_power_w.shape == (96, 8)
    assert plan.solve_s > 0.0


@pytest.mark.parametrize("line", ["", "no json", "[]", '{"kind":"plan"}', '{"kind":"request"}'])
def test_nonsense_gets_an_error_and_the_next_request_a_plan(
    planner: "subprocess.Popen[str]", line: str
) -> None:
    error = wire.decode_error(ask(planner, line))
    assert error is not None
    assert error[1]
    answer = ask(planner, wire.encode_request(request("after")))
    assert wire.decode_plan(answer).id == "after"


def test_a_request_for_another_fleet_is_refused_by_name(
    planner: "subprocess.Popen[str]",
) -> None:
    data = json.loads(wire.encode_request(request("odd"))) | {"energy_wh": [1.0]}
    error = wire.decode_error(ask(planner, json.dumps(data)))
    assert error is not None
    assert error[0] == "odd"


def test_interrupt_is_the_parents_business(planner: "subprocess.Popen[str]") -> None:
    planner.send_signal(signal.SIGINT)
    answer = ask(planner, wire.encode_request(request("still-here")))
    assert wire.decode_plan(answer).id == "still-here"


def test_a_killed_planner_just_closes_its_pipe() -> None:
    with start() as process:
        assert process.stdout is not None
        assert wire.is_ready(process.stdout.readline())
        process.kill()
        assert process.stdout.readline() == ""
        assert process.wait(timeout=20) == -signal.SIGKILL


def test_a_bad_site_file_is_named_on_stderr(tmp_path: Path) -> None:
    bad = tmp_path / "site.yaml"
    bad.write_text("site: {id: x}\n", "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "ems.dispatch.planner_process", str(bad)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert "site.yaml:1" in result.stderr


def test_what_is_not_permitted_is_said_not_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(planner_process.resource, "setrlimit", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    notes = planner_process.restrain(2**40)
    assert len(notes) == 2
    assert all("not yours" in note for note in notes)
