"""The terminal screen of a running site, drawn from the door's status."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

BAR_CELLS = 10
HEAD_WIDTHS = (10, 14, 12, 22, 14)
"""Fixed, so that the head does not jump with every digit; 80 columns hold it."""
SOC_STYLE = ((0.2, "red"), (0.4, "yellow"), (1.01, "green"))
MODE_STYLE = {
    "run": "bold green",
    "backup": "bold yellow",
    "stopped": "bold red",
    "trip": "bold red",
    "tripped": "bold red",
}
LEVELS = {
    1: ("warn", "white"),
    2: ("derate", "yellow"),
    3: ("stop", "red"),
    4: ("trip", "bold red"),
    5: ("site", "bold white on red"),
}
PLAN_LEVELS = {
    0: "no plan yet",
    1: "PIQP",
    2: "Clarabel",
    3: "HiGHS",
    4: "last plan, shifted",
    5: "rules",
    6: "safe hold",
}


def render(status: dict[str, Any]) -> Group:
    """Everything an operator needs on one screen."""
    if "flows" not in status:
        return Group(Panel(Text("starting: no control cycle has completed yet", style="yellow")))
    return Group(_head(status), _packs(status), _site(status), _causes(status))


def kw(power_w: float | None) -> str:
    """Power for people, with its unit; ``?`` when nobody knows it."""
    return "?" if power_w is None else f"{_number(power_w)} kW"


def _number(power_w: float | None) -> str:
    # Adding 0.0 turns a negative zero into zero.
    return "?" if power_w is None else f"{round(power_w / 1000, 2) + 0.0:.2f}"


def bar(fraction: float) -> Text:
    """A bar of fixed width, coloured by how full it is."""
    clipped = min(1.0, max(0.0, fraction))
    style = next(style for limit, style in SOC_STYLE if clipped < limit)
    filled = round(clipped * BAR_CELLS)
    return Text("█" * filled, style=style) + Text("░" * (BAR_CELLS - filled), style="grey50")


def _head(status: dict[str, Any]) -> Panel:
    flows, mode, site = status["flows"], status["mode"], status["site"]
    grid = "LOST" if mode == "backup" else kw(flows["grid_power_w"])
    table = Table.grid(padding=(0, 1))
    for width in HEAD_WIDTHS:
        table.add_column(min_width=width)
    table.add_row(
        Text(f"● {mode.upper()}", style=MODE_STYLE.get(mode, "bold cyan")),
        f"grid {grid}",
        f"PV {kw(flows['pv_power_w'])}",
        f"battery {_battery(flows['battery_power_w'])}",
        f"load {kw(flows['load_power_w'])}",
    )
    now = datetime.fromisoformat(status["now_utc"]).astimezone(ZoneInfo(site["timezone"]))
    doubt = "" if status["clock_ok"] else "  CLOCK NOT TRUSTED"
    return Panel(
        Group(table, Text(status["dispatch"]["reason"], style="italic")),
        title=f"{site['name_en']} · {site['name_zh']}",
        subtitle=f"{now:%Y-%m-%d %H:%M:%S} (UTC{now.isoformat()[-6:]}){doubt}",
    )


def _battery(power_w: float | None) -> str:
    if power_w is None or power_w == 0.0:
        return kw(power_w)
    return f"{'gives' if power_w > 0 else 'takes'} {kw(abs(power_w))}"


def _packs(status: dict[str, Any]) -> Padding:
    table = Table(expand=True, box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("pack", no_wrap=True)
    table.add_column("", width=BAR_CELLS, no_wrap=True)
    for heading in ("SoC ±2σ", "health", "weakest cell", "kW", "may take / give kW"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("why limited", ratio=1)
    for pack in status["packs"]:
        up, known = pack["link"] == "up", pack["soc_known"]
        cell_v = pack["weakest_cell_v"]
        why = [pack["limit_reason"]] if up else [f"link {pack['link']}", pack["limit_reason"]]
        table.add_row(
            f"{pack['id']} {pack['chemistry']}",
            bar(pack["soc_frac"]) if known else Text("?" * BAR_CELLS, style="red"),
            _soc(pack) if known else "unknown",
            f"{pack['health']:.2f}",
            f"#{pack['weakest_cell']} " + ("?" if cell_v is None else f"{cell_v:.3f} V"),
            _number(pack["power_w"] if up else None),
            f"{_number(pack['charge_limit_w'])} / {_number(pack['discharge_limit_w']):>5}",
            ", ".join(filter(None, why)),
            style="" if up else "red",
        )
    return Padding(table, (0, 1))


def _soc(pack: dict[str, Any]) -> str:
    return f"{100 * pack['soc_frac']:.0f} ±{200 * pack['soc_sigma_frac']:.0f} %"


def _site(status: dict[str, Any]) -> Panel:
    """Promise, demand, plan and the program itself, one line each."""
    demand, cycle = status["demand"], status["cycle"]
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    table.add_row("backup", _backup(status))
    table.add_row(
        "demand",
        f"window so far {kw(demand['window_w'])}, target {kw(demand['target_w'])},"
        f" highest this month {kw(demand['incurred_w'])}",
    )
    table.add_row("plan", f"{_plan(status)}; power set by {status['dispatch']['source']}")
    table.add_row(
        "control",
        f"cycle {cycle['count']}, {cycle['missed']} missed, p50 {1000 * cycle['p50_s']:.1f} ms,"
        f" p99 {1000 * cycle['p99_s']:.1f} ms; planner {_planner(status)}",
    )
    table.add_row("uplink", _uplink(status))
    return Panel(table)


def _backup(status: dict[str, Any]) -> Text:
    backup = status["backup"]
    enough = backup["energy_wh"] >= backup["required_wh"]
    shed = [load["id"] for load in status["loads"] if not load["wanted_on"]]
    return Text(
        f"{backup['hours']:.1f} h now, at least {backup['hours_low']:.1f} h"
        f" with {100 * backup['confidence']:.0f} % confidence;"
        f" promised {backup['promised_hours']:.1f} h, keeping {backup['required_wh'] / 1e3:.1f}"
        f" of {backup['energy_wh'] / 1e3:.1f} kWh"
        + (f"; loads let go: {', '.join(shed)}" if shed else ""),
        style="green" if enough else "bold red",
    )


def _plan(status: dict[str, Any]) -> str:
    dispatch = status["dispatch"]
    if dispatch["plan_id"] is None:
        return PLAN_LEVELS[0]
    level = dispatch["plan_level"]
    return f"{PLAN_LEVELS.get(level, level)}, {dispatch['plan_age_s']:.0f} s old"


def _planner(status: dict[str, Any]) -> str:
    planner = status.get("planner")
    if planner is None:
        return "not supervised here"
    restarts = planner["restarts"]
    again = f"{restarts} restart{'' if restarts == 1 else 's'}"
    if planner["pid"] is None:
        return f"down ({planner['last_error']}), {again}"
    return f"pid {planner['pid']}, {again}"


def _uplink(status: dict[str, Any]) -> str:
    uplink = status.get("uplink")
    if uplink is None:
        return "off"
    state = "connected" if uplink["connected"] else "NOT CONNECTED"
    return f"{state}, {uplink['queued']} queued, {uplink['acked']} acknowledged"


def _causes(status: dict[str, Any]) -> Panel:
    title = "interlocks"
    if not status["causes"]:
        return Panel(Text("none active", style="green"), title=title)
    table = Table.grid(padding=(0, 2))
    for cause in sorted(status["causes"], key=lambda c: (-c["level"], not c["first_out"])):
        table.add_row(*_cause(cause))
    return Panel(table, title=title)


def _cause(cause: dict[str, Any]) -> tuple[RenderableType, ...]:
    word, style = LEVELS[cause["level"]]
    marks = [
        mark
        for mark, on in (
            ("FIRST", cause["first_out"]),
            ("LATCHED", cause["latched"]),
            ("acked", cause["acknowledged"]),
        )
        if on
    ]
    return (
        Text(f"{word} {cause['cause']}", style=style),
        cause["name"],
        cause["detail"],
        f"{cause['for_s']:.0f} s",
        " ".join(marks),
    )
