"""The parts of a controller as they are wired: what a start finds and keeps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ems import prepare
from ems.service import Service
from tests.journal.logs import write

DEMO = Path(__file__).parents[2] / "configs" / "sites" / "demo.yaml"


@pytest.fixture
def given(tmp_path):
    """The demo site without its uplink, data in a fresh folder."""
    compiled = prepare.prepare(DEMO, tmp_path)
    return replace(compiled, site=replace(compiled.site, uplink=None))


def start(given):
    """What a controller that has just been built believes, and what it would save."""
    service = Service(given, DEMO, given.site.data_dir / "door")
    saved = service.state.data()
    service.writer.close()
    service.journal.close()
    return service, saved


def kinds(directory):
    lines = (directory / "log" / "interlock-000001.jsonl").read_text().splitlines()
    return [json.loads(line)["kind"] for line in lines]


def test_a_first_start_forbids_nothing(given):
    service, saved = start(given)
    assert service.audit.lost == ""
    assert "lost" not in saved
    assert kinds(given.site.data_dir) == []


def test_a_log_without_a_state_is_said_in_the_log_and_kept_over_restarts(given):
    write(given.site.data_dir / "log", 3)
    service, saved = start(given)
    assert "no state was saved" in service.audit.lost
    assert kinds(given.site.data_dir)[-2:] == ["BOOT", "STATE_LOST"]
    (given.site.data_dir / "state.json").write_text(json.dumps(saved))
    again, _ = start(given)
    assert again.audit.lost == service.audit.lost
    assert not again.daemon.state.safety.armed


def test_a_good_state_beside_a_log_is_simply_taken_up(given):
    _, saved = start(given)
    saved["cycle"]["safety"]["armed"] = True
    (given.site.data_dir / "state.json").write_text(json.dumps(saved))
    write(given.site.data_dir / "log", 3)
    service, _ = start(given)
    assert service.audit.lost == ""
    assert service.daemon.state.safety.armed


def test_request_ids_carry_the_run(given):
    first, _ = start(given)
    second, _ = start(given)
    assert first.door._boot != second.door._boot
    assert first.door._boot == first.journal.boot_id
