"""Operator requests: what is logged first, what acts first, and what an unknown past forbids."""

import asyncio
import errno
import json
from datetime import UTC, datetime

import pytest

from ems.audit import INSPECT, Audit
from ems.journal.verify import verify
from ems.model import OperatorRequest, RequestKind
from tests.journal.logs import open_log

NOW = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)


class StillClock:
    def monotonic_s(self):
        return 7.0

    def now_utc(self):
        return NOW


class Loop:
    """The control loop: remembers what it was asked and how long the log was by then."""

    clock_ok = True

    def __init__(self, journal=None, refusal=""):
        self.journal, self.refusal = journal, refusal
        self.asked = []
        self.logged_before = []

    async def operator(self, request):
        self.asked.append(request.kind)
        self.logged_before.append(self.journal is not None and self.journal.head[0] >= 0)
        return self.refusal


class FullDisk:
    """An interlock log that takes nothing."""

    def append(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    def commit(self):
        raise AssertionError("nothing was written that could be committed")


class DiskFailsLater(FullDisk):
    """Takes the bytes, but cannot bring them to the disk."""

    def append(self, *args, **kwargs):
        return 0

    def commit(self):
        raise OSError(errno.EIO, "Input/output error")


def request(kind, target="", value=0.0, duration_s=0.0):
    return OperatorRequest("op-b0a7-1", kind, "lin", "a reason", target, value, duration_s)


DISARM = request(RequestKind.DISARM)
ARM = request(RequestKind.ARM)
STILL = request(RequestKind.SETPOINT, value=0.0, duration_s=60.0)
RESET_ALL = request(RequestKind.RESET)

LOOSENS = [
    pytest.param(ARM, id="arm"),
    pytest.param(RESET_ALL, id="reset"),
    pytest.param(request(RequestKind.ACK, "C33"), id="ack"),
    pytest.param(request(RequestKind.SETPOINT, value=1.0, duration_s=60.0), id="set-point 1 W"),
    pytest.param(request(RequestKind.SETPOINT), id="end of a set-point: the plan may want power"),
    pytest.param(request(RequestKind.NOTICE, value=4.0, duration_s=60.0), id="notice"),
]
LOWERS = [pytest.param(DISARM, id="disarm"), pytest.param(STILL, id="set-point 0 W")]


def ask(journal, loop, asked, lost="", latched=False, uncommissioned=""):
    audit = Audit(journal, loop, StillClock(), lambda: latched, lost, lambda: uncommissioned)
    return asyncio.run(audit.ask(asked)), audit


def records(directory):
    lines = [
        json.loads(line)
        for path in sorted(directory.glob("interlock-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [line for line in lines if line["kind"] != "BOOT"]


@pytest.mark.parametrize("asked", LOOSENS)
def test_what_loosens_waits_for_its_durable_record(tmp_path, asked):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, _ = ask(journal, loop, asked)
    assert (answer.refusal, answer.note) == ("", "")
    assert loop.logged_before == [True]
    assert [r["kind"] for r in records(tmp_path)] == ["operator_request"]


@pytest.mark.parametrize("asked", LOWERS)
def test_what_lowers_power_acts_before_the_log(tmp_path, asked):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, _ = ask(journal, loop, asked)
    assert (answer.refusal, answer.note) == ("", "")
    assert loop.logged_before == [False]
    assert [r["kind"] for r in records(tmp_path)] == ["operator_request"]


@pytest.mark.parametrize("asked", LOWERS)
@pytest.mark.parametrize("disk", [FullDisk(), DiskFailsLater()], ids=["full", "failing"])
def test_a_bad_disk_never_stops_what_lowers_power(asked, disk):
    loop = Loop()
    answer, _ = ask(disk, loop, asked)
    assert loop.asked == [asked.kind]
    assert answer.refusal == ""
    assert "not in the log" in answer.note


@pytest.mark.parametrize("asked", LOOSENS)
@pytest.mark.parametrize("disk", [FullDisk(), DiskFailsLater()], ids=["full", "failing"])
def test_a_bad_disk_stops_everything_else(asked, disk):
    loop = Loop()
    answer, _ = ask(disk, loop, asked)
    assert loop.asked == []
    assert "the log cannot be written" in answer.refusal


def test_arming_is_refused_while_devices_are_not_proven_and_the_log_says_so(tmp_path):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, _ = ask(journal, loop, ARM, uncommissioned="not commissioned: do it")
    assert answer.refusal == "not commissioned: do it"
    assert loop.asked == []
    assert [r["kind"] for r in records(tmp_path)] == ["operator_request", "REQUEST_REFUSED"]


@pytest.mark.parametrize("asked", [RESET_ALL, DISARM, STILL, request(RequestKind.ACK, "C33")])
def test_nothing_but_arming_asks_whether_devices_are_proven(tmp_path, asked):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, _ = ask(journal, loop, asked, uncommissioned="not commissioned: do it")
    assert answer.refusal == ""
    assert loop.asked == [asked.kind]


def test_the_gates_refusal_is_the_answer(tmp_path):
    with open_log(tmp_path) as journal:
        for asked in (ARM, DISARM):
            answer, _ = ask(journal, Loop(refusal="not now"), asked)
            assert answer.refusal == "not now"


@pytest.mark.parametrize("clock_ok", [True, False])
def test_a_doubtful_clock_is_marked_in_the_record(tmp_path, clock_ok):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        loop.clock_ok = clock_ok
        ask(journal, loop, ARM)
    assert records(tmp_path)[0]["utc_q"] == ("ok" if clock_ok else "unsynchronised")


def test_arming_is_refused_while_the_latches_of_before_are_unknown(tmp_path):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, audit = ask(journal, loop, ARM, lost="the file was cut off")
    assert answer.refusal == INSPECT
    assert "reset all" in answer.refusal
    assert loop.asked == []
    assert audit.lost
    kinds = [r["kind"] for r in records(tmp_path)]
    assert kinds == ["operator_request", "REQUEST_REFUSED"]


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(request(RequestKind.RESET, "C01"), id="reset of one cause"),
        pytest.param(request(RequestKind.ACK), id="ack of all"),
        pytest.param(DISARM, id="disarm"),
    ],
)
def test_only_a_reset_of_all_says_that_somebody_has_looked(tmp_path, asked):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, audit = ask(journal, loop, asked, lost="the file was cut off")
    assert answer.refusal == ""
    assert loop.asked == [asked.kind], "it is served as always"
    assert audit.lost


def test_after_a_reset_of_all_arming_is_the_gates_business_again(tmp_path):
    with open_log(tmp_path) as journal:
        loop = Loop(journal)
        answer, audit = ask(journal, loop, RESET_ALL, lost="the file was cut off")
        assert (answer.refusal, audit.lost) == ("", "")
        assert asyncio.run(audit.ask(ARM)).refusal == ""
    assert loop.asked == [RequestKind.ARM], "with no latch there was nothing to reset"
    inspected = records(tmp_path)[1]
    assert inspected["kind"] == "STATE_INSPECTED"
    assert inspected["data"]["found"] == "the file was cut off"
    assert verify(tmp_path).ok


def test_a_latch_that_came_since_has_to_be_reset_too(tmp_path):
    with open_log(tmp_path) as journal:
        loop = Loop(journal, refusal="C01 still present")
        answer, audit = ask(journal, loop, RESET_ALL, lost="the file was cut off", latched=True)
        assert answer.refusal == "C01 still present"
        assert audit.lost
        loop.refusal = ""
        assert asyncio.run(audit.ask(RESET_ALL)).refusal == ""
        assert audit.lost == ""
    assert loop.asked == [RequestKind.RESET, RequestKind.RESET]
