"""The operator's screen: what it says, and that it can be read on any terminal."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ems import cycle, screen, status
from ems.daemon import CycleStats
from ems.dispatch.tariff_file import load_tariff
from ems.model import Link, Quality, Reading
from tests.builders import make_site, make_snapshot, with_pack

TARIFF = load_tariff(
    Path(__file__).parents[2] / "configs" / "tariffs" / "beijing-two-part-10kv.yaml"
)


def text_of(shown, width: int = 130) -> str:
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(screen.render(shown))
    return console.export_text()


def status_of(change=lambda snapshot: snapshot):
    """Status after one cycle on a snapshot."""
    site = make_site()
    snapshot = change(make_snapshot(site))
    _, record = cycle.step(cycle.initial(site), snapshot, None, site, TARIFF)
    return status.of(site, record, None, CycleStats(cycles=1))


def test_before_the_first_cycle_it_says_so():
    shown = status.of(make_site(), None, None, CycleStats())
    assert "no control cycle has completed yet" in text_of(shown)


def test_a_running_site_shows_flows_packs_promise_and_plan():
    text = text_of(status_of())
    for word in ("SELFTEST", "grid", "load", "backup", "promised", "demand", "no plan yet"):
        assert word in text
    for pack in make_site().packs:
        assert f"{pack.id} {pack.chemistry}" in text


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("Asia/Shanghai", "2026-03-02 20:00:07 (UTC+08:00)"),
        ("Europe/Berlin", "2026-03-02 13:00:07 (UTC+01:00)"),
        ("America/St_Johns", "2026-03-02 08:30:07 (UTC-03:30)"),
        ("UTC", "2026-03-02 12:00:07 (UTC+00:00)"),
    ],
)
def test_the_time_is_the_sites_own_and_says_its_offset(zone, shown):
    status = status_of()
    status["now_utc"] = "2026-03-02T12:00:07+00:00"
    status["site"]["timezone"] = zone
    assert shown in text_of(status)


@pytest.mark.parametrize("width", [80, 100, 130, 200])
def test_no_line_is_longer_than_the_terminal(width):
    assert max(map(len, text_of(status_of(), width).splitlines())) <= width


def test_a_missing_reading_is_a_question_mark_and_never_zero():
    missing = Reading(None, 0.0, Quality.MISSING)
    text = text_of(
        status_of(lambda s: replace(s, grid=replace(s.grid, power_w=missing), pv_power_w=missing))
    )
    assert "grid ?" in text
    assert "PV ?" in text


def test_a_lost_link_names_itself_beside_the_pack():
    text = text_of(status_of(lambda s: with_pack(s, 1, link=Link.REFUSED)))
    assert "link refused" in text


def test_the_promise_is_red_only_when_the_energy_does_not_cover_it():
    shown = status_of()
    for energy_wh, colour in ((5000.0, "32"), (4999.0, "31")):
        shown["backup"] |= {"energy_wh": energy_wh, "required_wh": 5000.0}
        console = Console(
            width=130, file=io.StringIO(), force_terminal=True, color_system="standard"
        )
        console.print(screen.render(shown))
        line = next(x for x in console.file.getvalue().splitlines() if "promised" in x)
        assert f"\x1b[{colour}m" in line or f";{colour}m" in line


def test_the_highest_level_comes_first_and_marks_are_words():
    shown = status_of()
    cause = {"pack": None, "detail": "seen", "for_s": 3.0, "latched": False, "acknowledged": False}
    shown["causes"] = [
        cause | {"cause": "C41", "name": "low", "level": 1, "first_out": True},
        cause
        | {"cause": "C01", "name": "high", "level": 4, "first_out": False}
        | {"latched": True, "acknowledged": True},
    ]
    text = text_of(shown)
    assert text.index("trip C01") < text.index("warn C41")
    assert "LATCHED acked" in text
    assert "FIRST" in text


@pytest.mark.parametrize(
    ("power_w", "words"),
    [
        pytest.param(5000.0, "gives 5.00 kW", id="discharge"),
        pytest.param(-5000.0, "takes 5.00 kW", id="charge"),
        pytest.param(0.0, "battery 0.00 kW", id="rest"),
        pytest.param(None, "battery ?", id="unknown"),
    ],
)
def test_the_battery_gives_or_takes(power_w, words):
    shown = status_of()
    shown["flows"]["battery_power_w"] = power_w
    assert words in text_of(shown)
