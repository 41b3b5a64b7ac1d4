"""A record's details in Chinese, made anew from its data."""

from collections.abc import Mapping
from typing import Any, Final

MODES: Final = {
    "none": "无",
    "init": "初始化",
    "selftest": "自检",
    "standby": "待机",
    "precharge": "预充",
    "run": "运行",
    "backup": "备电",
    "stopped": "停止",
    "trip": "跳闸中",
    "tripped": "已跳闸",
}
REQUESTS: Final = {
    "ack": "确认",
    "reset": "复位",
    "arm": "投入",
    "disarm": "退出",
    "setpoint": "功率设定",
    "notice": "停电预告",
}
DEMANDS: Final = {"CLOSE": "闭合", "HOLD": "保持", "OPEN": "断开"}
TARGETS: Final = {"contactor": "接触器", "power": "功率", "load": "负载"}


def detail(kind: str, data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Details of a record; empty for a kind that has no Chinese form.

    Args:
        kind: Kind of the record.
        data: Its data.
        names: Names of causes in Chinese by id; a cause without one keeps its own.

    Raises:
        KeyError: the data lack what a record of this kind holds.
    """
    if kind.startswith("CAUSE_"):
        return _cause(data, names)
    if "REQUEST" in kind.upper():
        return _request(data)
    match kind:
        case "MODE":
            return f"{_mode(data['from'])} → {_mode(data['to'])}"
        case "CONTACTOR":
            return f"{data['pack']} {DEMANDS[data['from']]} → {DEMANDS[data['to']]}"
        case "LOAD":
            return f"{data['load']} {'接通' if data['on'] else '切除'}"
        case "COMMAND_REFUSED":
            what, _, which = data["target"].partition(" ")
            return f"{TARGETS.get(what, what)} {which}：{data['reason']}"
        case "CLOCK_STEP":
            good = data["text"].endswith("good")
            return f"{data['step_s']:+.1f} s，时钟{'可信' if good else '未同步'}"
        case "START" | "SUMMARY":
            mode = data["text"].partition(",")[0]
            power_kw = sum(data["power_w"]) / 1000.0
            return f"{_mode(mode)}，{power_kw:+.1f} kW，{len(data['causes'])} 项联锁"
    return ""


def _mode(mode: str | None) -> str:
    return MODES.get(mode or "none", str(mode))


def _cause(data: Mapping[str, Any], names: Mapping[str, str]) -> str:
    name = names.get(data["cause"], data["name"])
    if data["level_to"]:
        stands = f"等级 {data['level_to']}"
        stands += "，首出" if data["first_out"] else ""
        stands += "，条件消失，仍锁存" if data["latched"] else ""
    else:
        how = "经确认或复位，" if data["latched"] else ""
        stands = f"{how}原等级 {data['level_from']}"
    seen = data["text"].partition(": ")[2]
    return f"{data['cause']} {name} {stands}：{seen}"


def _request(data: Mapping[str, Any]) -> str:
    kind = REQUESTS.get(data["kind"], data["kind"])
    target = f" {data['target']}" if data["target"] else ""
    match data["kind"]:
        case "setpoint":
            target += f" {data['value'] / 1000.0:g} kW，{data['duration_s']:g} s"
        case "notice":
            target += f" {data['value']:g} h，{data['duration_s']:g} s"
    refusal = f"；拒绝原因：{data['refusal']}" if "refusal" in data else ""
    return f"{kind}{target}，操作人 {data['actor']}：{data['reason']}{refusal}"
