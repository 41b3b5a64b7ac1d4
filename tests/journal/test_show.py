"""The log in words: both languages from the same records."""

from pathlib import Path

import pytest

from ems.journal import chinese, show
from ems.model import ContactorDemand, Mode, RequestKind
from ems.safety.table import ROWS
from tests.builders import NOON_UTC
from tests.journal.logs import open_log

NAMES = {row.id: row.zh for row in ROWS}

CAUSE = {
    "cause": "C33",
    "name": "bms_silent",
    "level_from": 3,
    "level_to": 4,
    "first_out": True,
    "latched": False,
    "text": "C33 bms_silent level 4, first: p2: BMS silent 60 s ≥ 60 s, 1 sample",
}
REQUEST = {
    "kind": "reset",
    "actor": "li",
    "reason": "cable reseated",
    "target": "C33",
    "value": 0.0,
    "duration_s": 0.0,
    "text": "reset C33 by li: cable reseated",
}


def shown(tmp_path: Path, kind: str, data: dict[str, object], language: show.Language) -> str:
    """The line of one record, without number and time."""
    with open_log(tmp_path / language) as journal:
        journal.append(kind, data, 1.0, NOON_UTC)
    last = list(show.lines(tmp_path / language, language, names=NAMES))[-1]
    return last.split(" ok ")[-1].partition("+00:00 ")[2]


@pytest.mark.parametrize(
    ("kind", "data", "english", "zh"),
    [
        pytest.param(
            "MODE",
            {"from": "run", "to": "backup", "text": "run -> backup"},
            "mode: run -> backup",
            "运行模式: 运行 → 备电",
            id="mode",
        ),
        pytest.param(
            "MODE",
            {"from": None, "to": "selftest", "text": "none -> selftest"},
            "mode: none -> selftest",
            "运行模式: 无 → 自检",
            id="first mode",
        ),
        pytest.param(
            "CAUSE_LEVEL",
            CAUSE,
            f"interlock level: {CAUSE['text']}",
            f"联锁等级变化: C33 {NAMES['C33']} 等级 4，首出：p2: BMS silent 60 s ≥ 60 s, 1 sample",
            id="cause: what was seen stays as written",
        ),
        pytest.param(
            "CAUSE_LATCHED",
            CAUSE | {"latched": True, "first_out": False, "text": "C33: p2: gone"},
            "condition gone, still latched: C33: p2: gone",
            f"条件消失，仍锁存: C33 {NAMES['C33']} 等级 4，条件消失，仍锁存：p2: gone",
            id="latch",
        ),
        pytest.param(
            "CAUSE_CLEARED",
            CAUSE | {"level_to": 0, "text": "C33: p2: gone"},
            "interlock cleared: C33: p2: gone",
            f"联锁解除: C33 {NAMES['C33']} 原等级 3：p2: gone",
            id="cleared by itself",
        ),
        pytest.param(
            "CAUSE_CLEARED",
            CAUSE | {"level_to": 0, "latched": True, "text": "C33: p2: gone"},
            "interlock cleared: C33: p2: gone",
            f"联锁解除: C33 {NAMES['C33']} 经确认或复位，原等级 3：p2: gone",
            id="cleared by an operator",
        ),
        pytest.param(
            "REQUEST_REFUSED",
            REQUEST | {"refusal": "C33 still present", "text": "reset …; refused: C33 …"},
            "request refused: reset …; refused: C33 …",
            "操作请求被拒绝: 复位 C33，操作人 li：cable reseated；拒绝原因：C33 still present",
            id="refusal",
        ),
        pytest.param(
            "operator_request",
            REQUEST | {"kind": "setpoint", "target": "", "value": -2500.0, "duration_s": 60.0},
            f"request received: {REQUEST['text']}",
            "收到操作请求: 功率设定 -2.5 kW，60 s，操作人 li：cable reseated",
            id="set-point",
        ),
        pytest.param(
            "CONTACTOR",
            {"pack": "p2", "from": "CLOSE", "to": "OPEN", "text": "p2 CLOSE -> OPEN"},
            "contactor: p2 CLOSE -> OPEN",
            "接触器: p2 闭合 → 断开",
            id="contactor",
        ),
        pytest.param(
            "LOAD",
            {"load": "hvac", "on": False, "text": "hvac off"},
            "load: hvac off",
            "负载: hvac 切除",
            id="load",
        ),
        pytest.param(
            "COMMAND_REFUSED",
            {"target": "power pcs1", "reason": "timeout", "text": "power pcs1: timeout"},
            "command failed: power pcs1: timeout",
            "指令失败: 功率 pcs1：timeout",
            id="command",
        ),
        pytest.param(
            "SUMMARY",
            {"power_w": [500.0, 700.0], "causes": ["C41/1/None"], "text": "run, +1.2 kW, 1 causes"},
            "summary: run, +1.2 kW, 1 causes",
            "分钟摘要: 运行，+1.2 kW，1 项联锁",
            id="summary",
        ),
        pytest.param(
            "CLOCK_STEP",
            {"step_s": -3.0, "text": "-3.0 s, clock not synchronised"},
            "clock stepped: -3.0 s, clock not synchronised",
            "时钟跳变: -3.0 s，时钟未同步",
            id="clock",
        ),
        pytest.param(
            "MODE",
            {"text": "written by another version"},
            "mode: written by another version",
            "运行模式: written by another version",
            id="a record of another form is shown as it is",
        ),
        pytest.param("NEWS", {"a": 1}, "NEWS: a 1", "NEWS: a 1", id="unknown kind"),
    ],
)
def test_a_record_in_both_languages(tmp_path, kind, data, english, zh):
    assert shown(tmp_path, kind, data, "en") == english
    assert shown(tmp_path, kind, data, "zh") == zh


def test_every_word_of_the_program_has_a_chinese_one():
    assert chinese.MODES.keys() - {"none"} == {mode.value for mode in Mode}
    assert chinese.REQUESTS.keys() == {kind.value for kind in RequestKind}
    assert chinese.DEMANDS.keys() == {demand.name for demand in ContactorDemand}


def test_a_cause_without_a_chinese_name_keeps_its_own(tmp_path):
    data = CAUSE | {"cause": "C99", "name": "row_of_another_version"}
    assert "C99 row_of_another_version 等级 4" in shown(tmp_path, "CAUSE_RAISED", data, "zh")
