"""The battery of the guide 'add a device' is a profile that works, word for word as printed."""

import re
from pathlib import Path

import pytest

from ems.drivers import language
from ems.drivers.compiling.compile import compile_device
from ems.drivers.language.__main__ import main
from tests.drivers.bench import device

GUIDE = Path(__file__).parents[2] / "docs" / "howto" / "add-a-device.md"
COUNTS = {"reported_cells": 16, "reported_temps": 4}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """The first YAML block of the guide as a file of its own."""
    found = re.search(r"```yaml\n(schema: .*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    path = tmp_path / "halden-hp16.yaml"
    path.write_text(found[1], encoding="utf-8")
    return path


def test_the_battery_of_the_guide_is_a_good_profile(profile, capsys):
    assert main([str(profile)]) == 0
    assert capsys.readouterr().out == f"{profile}: good, every golden vector holds\n"


@pytest.mark.parametrize(
    ("right", "wrong", "shown"),
    [
        pytest.param("unit: V, range: [20", "unit: mV, range: [20", "points.voltage_v", id="unit"),
        pytest.param("positive: charge", "positive: discharge", "golden[0]", id="sign"),
    ],
)
def test_the_mistakes_that_the_guide_shows_look_like_that(profile, capsys, right, wrong, shown):
    text = profile.read_text(encoding="utf-8")
    assert right in text
    profile.write_text(text.replace(right, wrong), encoding="utf-8")
    assert main([str(profile)]) == 1
    printed = capsys.readouterr().out.replace(f"{profile.parent}/", "").splitlines()
    guide = GUIDE.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in guide if line.startswith("halden-hp16.yaml:") and shown in line]
    assert line in printed


def test_it_is_read_in_four_requests_of_which_one_is_fast(profile):
    found = compile_device(language.read(profile), device("bms1", str(profile)), COUNTS)
    assert [(block.poll, block.requests) for block in found.blocks] == [
        ("fast", ((9, 13),)),
        ("slow", ((30, 24),)),
        ("slow", ((100, 2),)),
        ("once", ((0, 8),)),
    ]
    model = found.block_of("model")
    assert model is not None
    assert model.decode(model.encode({"model": "HP16-7"}, {})).texts == {"model": "HP16-7"}
    assert found.heartbeat is not None
    assert found.timeout is not None
    assert found.timeout.expected_s == 30.0


def test_the_check_explains_itself_and_fails_without_a_file(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out == "usage: python -m ems.drivers.language FILE...\n"
    assert main(["--help"]) == 0
