"""`ems demo` with a site of one's own: found files, and errors in plain words."""

import shutil
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ems.cli import app
from ems.config import load_site
from sim import demo as demo_run
from sim.localise import private_copy

DEMO = Path(__file__).parents[2] / "configs" / "sites" / "demo.yaml"
PROFILES = Path(__file__).parents[2] / "ems" / "drivers" / "profiles"


def own_site(folder: Path, change=lambda data: None) -> Path:
    """The demo site in a folder of its own, with one profile and the tariff beside it."""
    data = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    shutil.copy(PROFILES / "bms_rack_0x2000.yaml", folder / "my-bms.yaml")
    shutil.copy(DEMO.parent / data["grid"]["tariff"], folder / "tariff.yaml")
    data["grid"]["tariff"] = "tariff.yaml"
    data["devices"]["bms1"]["profile"] = "my-bms.yaml"
    change(data)
    site = folder / "site.yaml"
    site.write_text(yaml.safe_dump(data, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return site


def demo(*words):
    return CliRunner().invoke(app, ["demo", *map(str, words)])


def test_files_named_relative_to_the_site_file_are_found_from_the_copy(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "copy").mkdir()
    site = load_site(private_copy(own_site(tmp_path / "mine"), tmp_path / "copy"))
    assert site.devices["bms1"].profile == str(tmp_path / "mine" / "my-bms.yaml")
    assert site.devices["bms2"].profile == "bms_ev_module_rack"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda d: d.pop("uplink"), "has no section uplink", id="no uplink"),
        pytest.param(lambda d: d.pop("packs"), "packs: is missing", id="a wrong file"),
        pytest.param(
            lambda d: d["devices"]["bms1"].update(profile="none.yaml"),
            "devices.bms1.profile",
            id="a profile that is not there",
        ),
    ],
)
def test_a_site_that_cannot_be_shown_is_refused_in_words(tmp_path, change, words):
    answer = demo("--site", own_site(tmp_path, change), "--keep", tmp_path / "kept")
    assert answer.exit_code == 2
    assert words in " ".join(answer.output.split())
    assert "Traceback" not in answer.output


def test_a_site_file_that_is_not_there_is_refused_in_words(tmp_path):
    answer = demo("--site", tmp_path / "none.yaml")
    assert answer.exit_code == 2
    assert "no such file" in " ".join(answer.output.split())


def test_a_self_test_that_does_not_end_names_the_profiles_that_are_not_ours(tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    monkeypatch.setattr(demo_run, "ARM_TIMEOUT_S", 0.0)
    started = demo_run.Demo(own_site(tmp_path), tmp_path / "kept")
    with pytest.raises(demo_run.DemoError, match="bms1: a profile of your own is simulated only"):
        started._arm()
