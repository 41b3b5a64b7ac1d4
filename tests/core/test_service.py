"""The parts of a controller as they are wired: what a start finds and keeps."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ems import prepare
from ems.commission import record
from ems.commission.record import Check, Name, Verdict
from ems.service import Service
from tests.core.test_commission_record import (
    changed_address,
    changed_profile,
    on_site,
    recorded,
)
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


def without_record(given):
    (given.site.data_dir / record.FILE).unlink()
    return given


def broken_record(given):
    (given.site.data_dir / record.FILE).write_text("{")
    return given


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


@pytest.fixture
def armed(given):
    """The site with its devices at addresses of a plant, commissioned, armed by a run before."""
    real = on_site(given)
    checks = [asdict(Check(name, Verdict.PASSED, "as promised")) for name in Name]
    made = {"site": real.site.id, "devices": {n: {"checks": checks} for n in real.devices}}
    record.write(real.site.data_dir, recorded(real, made))
    _, saved = start(given)
    saved["cycle"]["safety"]["armed"] = True
    (given.site.data_dir / "state.json").write_text(json.dumps(saved))
    return real


def last_record(directory):
    line = (directory / "log" / "interlock-000001.jsonl").read_text().splitlines()[-1]
    return json.loads(line)


def test_an_armed_site_whose_commissioning_holds_starts_armed(armed):
    service, _ = start(armed)
    assert service.daemon.state.safety.armed
    assert kinds(armed.site.data_dir) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(changed_profile, "pcs1: profile_sha256 changed", id="profile"),
        pytest.param(changed_address, "pcs1: address changed", id="device"),
        pytest.param(without_record, "not commissioned", id="no record"),
        pytest.param(broken_record, "cannot be read", id="unreadable"),
    ],
)
def test_an_armed_site_that_does_not_fit_its_commissioning_starts_disarmed(
    armed, caplog, change, words
):
    changed = change(armed)
    service, saved = start(changed)
    assert not service.daemon.state.safety.armed
    assert [r.levelname for r in caplog.records if words in r.message] == ["ERROR"]
    found = last_record(armed.site.data_dir)
    assert found["kind"] == "STARTED_DISARMED"
    assert words in found["data"]["text"]
    assert words in service.audit._uncommissioned(), "and arming is refused in the same words"
    assert saved["cycle"]["safety"]["armed"] is False, "the next start does not arm it either"


def test_a_disarmed_site_is_not_asked_for_its_commissioning_at_the_start(armed, caplog):
    state = json.loads((armed.site.data_dir / "state.json").read_text())
    state["cycle"]["safety"]["armed"] = False
    (armed.site.data_dir / "state.json").write_text(json.dumps(state))
    start(without_record(armed))
    assert caplog.records == []
    assert kinds(armed.site.data_dir) == []


def test_request_ids_carry_the_run(given):
    first, _ = start(given)
    second, _ = start(given)
    assert first.door._boot != second.door._boot
    assert first.door._boot == first.journal.boot_id
