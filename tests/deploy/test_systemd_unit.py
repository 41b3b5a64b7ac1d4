"""The unit file, judged by systemd's own tools."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "raspi" / "secondlife-ems.service"
HOWTO = ROOT / "docs" / "howto" / "install-on-raspberry-pi.md"
EXPOSURE_HIGH = 2.0
"""systemd calls 2.0 and below OK; each remaining point has its reason in the how-to."""


@pytest.fixture(scope="module")
def analyze() -> str:
    found = shutil.which("systemd-analyze")
    assert found, "systemd-analyze is not installed: apt-get install systemd"
    return found


def settings() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def verify(analyze: str, unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True)


def with_program(tmp_path: Path, text: str) -> Path:
    """The unit with a program that exists here, everything else as shipped."""
    program = tmp_path / "ems"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / UNIT.name
    unit.write_text(text.replace("/opt/secondlife-ems/current/bin/ems", str(program)))
    return unit


def test_systemd_accepts_every_line(analyze: str, tmp_path: Path) -> None:
    done = verify(analyze, with_program(tmp_path, UNIT.read_text(encoding="utf-8")))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_notices_a_misspelt_setting(analyze: str, tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8").replace("WatchdogSec=15", "WatchdogSecs=15")
    assert "WatchdogSecs" in verify(analyze, with_program(tmp_path, text)).stderr


def exposure(analyze: str) -> float:
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found.group(1))


def test_exposure_stays_low_and_is_what_the_how_to_says(analyze: str) -> None:
    score = exposure(analyze)
    assert score <= EXPOSURE_HIGH
    assert f"exposure level {score}" in HOWTO.read_text(encoding="utf-8")


def test_the_watchdogs_are_nested() -> None:
    """Device time-out (10 s at most) < service watchdog < board watchdog start-up limit."""
    watchdog_s = int(settings()["WatchdogSec"][0])
    board = (UNIT.parent / "10-watchdog.conf").read_text(encoding="utf-8")
    (board_s,) = re.findall(r"^RuntimeWatchdogSec=(\d+)$", board, re.M)
    assert 10 < watchdog_s <= 15
    assert int(board_s) <= 14


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("User", "ems"),
        ("Restart", "always"),
        ("StartLimitIntervalSec", "0"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("StateDirectory", "secondlife-ems"),
        ("RuntimeDirectory", "secondlife-ems"),
        ("OOMPolicy", "continue"),
        ("ExecStart", "/opt/secondlife-ems/current/bin/ems run /etc/secondlife-ems/site.yaml"),
    ],
)
def test_what_the_rest_of_the_program_relies_on(key: str, value: str) -> None:
    assert settings()[key] == [value]
