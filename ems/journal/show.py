"""The log in lines a person reads, in English or Chinese.

What was seen stays in the words it was written in: those are the record.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ems.journal import chinese
from ems.journal.tail import segments

Language = Literal["en", "zh"]

KINDS: dict[str, tuple[str, str]] = {
    "BOOT": ("start of the program", "程序启动"),
    "LOG_RECOVERED": ("torn tail put aside", "日志尾部损坏，已隔离"),
    "TAMPER": ("log found altered", "日志被篡改"),
    "START": ("first cycle", "首个控制周期"),
    "MODE": ("mode", "运行模式"),
    "CAUSE_RAISED": ("interlock raised", "联锁触发"),
    "CAUSE_LEVEL": ("interlock level", "联锁等级变化"),
    "CAUSE_LATCHED": ("condition gone, still latched", "条件消失，仍锁存"),
    "CAUSE_CLEARED": ("interlock cleared", "联锁解除"),
    "operator_request": ("request received", "收到操作请求"),
    "REQUEST_GRANTED": ("request granted", "操作请求已批准"),
    "REQUEST_REFUSED": ("request refused", "操作请求被拒绝"),
    "CONTACTOR": ("contactor", "接触器"),
    "LOAD": ("load", "负载"),
    "COMMAND_REFUSED": ("command failed", "指令失败"),
    "STATE_LOST": ("saved interlock state lost", "联锁状态丢失"),
    "STARTED_DISARMED": ("started disarmed: not commissioned", "未经调试确认，以撤防状态启动"),
    "STATE_INSPECTED": ("loss of state accepted", "状态丢失已确认"),
    "CLOCK_STEP": ("clock stepped", "时钟跳变"),
    "SUMMARY": ("summary", "分钟摘要"),
}


def lines(
    path: Path,
    language: Language = "en",
    kinds: frozenset[str] | None = None,
    names: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Yield one readable line per record.

    Args:
        path: Log directory or one segment.
        language: ``en`` or ``zh``.
        kinds: Only these kinds; all when ``None``.
        names: Causes by id in the language; as they were written when ``None``.

    A line that cannot be read is shown as such, never skipped: ``verify`` says why.
    """
    for file in segments(path) if path.is_dir() else [path]:
        for number, line in enumerate(file.read_bytes().splitlines(), start=1):
            try:
                record = json.loads(line)
                kind = str(record["kind"])
                text = _line(record, kind, language, names or {})
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                yield f"?? {file.name}:{number}: unreadable"
                continue
            if kinds is None or kind in kinds:
                yield _plain(text)


def _plain(text: str) -> str:
    """One line of text: what somebody wrote into a reason cannot forge a line or a colour."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def _line(record: dict[str, Any], kind: str, language: Language, names: Mapping[str, str]) -> str:
    words = KINDS.get(kind, (kind, kind))[language == "zh"]
    doubt = "" if record["utc_q"] == "ok" else " (?)"
    data = record["data"]
    detail = _chinese(kind, data, names) if language == "zh" else ""
    return f"{record['seq']:>8} {record['utc']}{doubt} {words}: {detail or _detail(data)}"


def _chinese(kind: str, data: dict[str, Any], names: Mapping[str, str]) -> str:
    """Details in Chinese; empty where another version wrote the record differently."""
    try:
        return chinese.detail(kind, data, names)
    except (KeyError, TypeError, ValueError, AttributeError):
        return ""


def _detail(data: dict[str, Any]) -> str:
    if "text" in data:
        return str(data["text"])
    return ", ".join(f"{key} {value}" for key, value in data.items() if not isinstance(value, dict))
