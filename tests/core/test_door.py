"""The operator door: who may ask what, and what a clumsy peer gets."""

import asyncio
import json
import os
import pwd
from pathlib import Path

import pytest

from ems import door
from ems.door import LONGEST_S, Answer, Door, parse_request
from ems.model import OperatorRequest, RequestKind

ME = pwd.getpwuid(os.getuid()).pw_name


async def ask(path: Path, line: bytes) -> dict:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line + b"\n")
    answer = await reader.readline()
    writer.close()
    return json.loads(answer)


def serve(
    path: Path, line: bytes, refusal: str = "", note: str = "", boot: str = "b0a7"
) -> tuple[dict, list[OperatorRequest]]:
    """Open a door, send one line, return the answer and what the gate was asked."""
    asked: list[OperatorRequest] = []

    async def gate(request: OperatorRequest) -> Answer:
        asked.append(request)
        return Answer(refusal, note)

    async def main() -> dict:
        opened = Door(path, lambda: {"mode": "run"}, gate, boot)
        await opened.start()
        try:
            return await ask(path, line)
        finally:
            await opened.stop()

    return asyncio.run(main()), asked


def test_a_note_reaches_the_caller_of_a_granted_request(tmp_path):
    line = b'{"op": "request", "kind": "disarm", "reason": "rack work"}'
    answer, _ = serve(tmp_path / "door", line, note="it is not in the log: disk full")
    assert answer["ok"]
    assert answer["note"] == "it is not in the log: disk full"


def test_ids_of_requests_do_not_repeat_after_a_restart(tmp_path):
    line = b'{"op": "request", "kind": "disarm", "reason": "rack work"}'
    first, _ = serve(tmp_path / "door", line, boot="b0a7")
    second, _ = serve(tmp_path / "door", line, boot="c1d8")
    assert first["id"] != second["id"]
    assert "b0a7" in first["id"]


def test_status_is_read_without_asking_the_gate(tmp_path):
    answer, asked = serve(tmp_path / "door", b'{"op": "status"}')
    assert answer == {"ok": True, "status": {"mode": "run"}}
    assert asked == []


def test_actor_comes_from_the_kernel_not_from_the_message(tmp_path):
    line = b'{"op": "request", "kind": "arm", "reason": "commissioned", "actor": "mallory"}'
    answer, asked = serve(tmp_path / "door", line)
    assert answer["ok"]
    assert answer["actor"] == ME
    assert asked[0].actor == ME
    assert asked[0].kind is RequestKind.ARM


def test_refusal_of_the_gate_reaches_the_caller_in_words(tmp_path):
    line = b'{"op": "request", "kind": "reset", "target": "C01", "reason": "try again"}'
    answer, _ = serve(tmp_path / "door", line, refusal="cell 7 is still at 3.66 V")
    assert not answer["ok"]
    assert answer["error"] == "cell 7 is still at 3.66 V"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        pytest.param(b"not json", "Expecting value", id="no JSON"),
        pytest.param(b"[1]", "JSON object", id="no object"),
        pytest.param(b'{"op": "sudo"}', "op must be", id="unknown operation"),
        pytest.param(b'{"op": "request", "kind": "fly"}', "kind must be", id="unknown kind"),
        pytest.param(b'{"op": "request", "kind": "arm"}', "reason", id="no reason"),
        pytest.param(
            b'{"op": "request", "kind": "reset", "reason": "test"}', "target", id="reset of nothing"
        ),
        pytest.param(
            b'{"op": "request", "kind": "arm", "reason": "ok\\nforged"}',
            "one line",
            id="reason of two lines",
        ),
        pytest.param(
            b'{"op": "request", "kind": "setpoint", "reason": "test", "value": "much"}',
            "value must be a number",
            id="set-point that is no number",
        ),
        pytest.param(
            b'{"op": "request", "kind": "setpoint", "reason": "test", "value": NaN}',
            "out of range",
            id="set-point NaN",
        ),
        pytest.param(
            b'{"op": "request", "kind": "notice", "reason": "test", "duration_s": -1}',
            "negative",
            id="negative duration",
        ),
        pytest.param(
            b'{"op": "request", "kind": "setpoint", "reason": "test", "duration_s": 604801}',
            "7 days",
            id="longer than a week",
        ),
    ],
)
def test_bad_message_gets_one_clear_error_and_no_request(tmp_path, line, says):
    answer, asked = serve(tmp_path / "door", line)
    assert not answer["ok"]
    assert says in answer["error"]
    assert asked == []


def test_door_is_open_to_owner_and_group_only(tmp_path):
    async def main() -> int:
        opened = Door(tmp_path / "door", dict, None, "b0a7")  # type: ignore[arg-type]
        await opened.start()
        mode = (tmp_path / "door").stat().st_mode & 0o777
        await opened.stop()
        return mode

    assert asyncio.run(main()) == 0o660
    assert not (tmp_path / "door").exists()


def test_nobody_at_the_door_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match=r"."):
        door.call(tmp_path / "absent", {"op": "status"})


@pytest.mark.parametrize("duration_s", [0.0, 1.0, LONGEST_S])
def test_an_order_may_last_a_week_and_a_duration_of_zero_ends_one(duration_s):
    message = {"kind": "setpoint", "reason": "acceptance test", "duration_s": duration_s}
    assert parse_request(message, "lin", "op-1").duration_s == duration_s


def test_request_carries_value_and_duration():
    request = parse_request(
        {"kind": "setpoint", "reason": "acceptance test", "value": 2000, "duration_s": 60},
        "lin",
        "op-1",
    )
    assert (request.value, request.duration_s, request.actor) == (2000.0, 60.0, "lin")
