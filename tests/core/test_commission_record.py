"""Whether a commissioning record still holds for a site, which is what arming asks."""

import json
from dataclasses import asdict, replace

import pytest

from ems import handover, prepare
from ems.commission import record
from ems.commission.admission import uncommissioned
from ems.commission.record import Check, Name, Verdict
from tests.drivers.bench import DEMO


@pytest.fixture(scope="module")
def proven(tmp_path_factory):
    """The demo site, and a record of it in which everything passed."""
    given = prepare.prepare(DEMO, tmp_path_factory.mktemp("data"))
    checks = [asdict(Check(name, Verdict.PASSED, "as promised")) for name in Name]
    made = {"site": given.site.id, "devices": {n: {"checks": checks} for n in given.devices}}
    return given, recorded(given, made)


def check(made, device, name):
    return next(c for c in made["devices"][device]["checks"] if c["name"] == name)


def on_site(given):
    """The same site with its devices at addresses of a plant, not of this machine."""
    site = given.site
    specs = {n: replace(s, host=f"10.0.0.{k}") for k, (n, s) in enumerate(site.devices.items())}
    devices = {n: replace(d, spec=specs[n]) for n, d in given.devices.items()}
    return replace(given, site=replace(site, devices=specs), devices=devices)


def recorded(given, made):
    """The record as it would be of that site."""
    found = json.loads(json.dumps(made))
    for name, entry in found["devices"].items():
        hashed = given.profile_sha256[name]
        entry |= record.fingerprint(given.devices[name], hashed, given.site)
    return found


def refusal(given, made):
    return record.refusal(given.site, given.devices, given.profile_sha256, made)


def test_simulated_devices_need_no_record(proven):
    given, _ = proven
    assert refusal(given, None) == ""


def test_real_devices_need_one_that_fits(proven):
    given, made = proven
    real = on_site(given)
    assert refusal(real, None).startswith("not commissioned: with the service stopped run")
    assert refusal(real, recorded(real, made)) == ""
    assert ": address changed" in refusal(real, made), "proven on this machine, used elsewhere"


def changed_profile(given):
    return replace(given, profile_sha256={**given.profile_sha256, "pcs1": "0" * 64})


def changed_address(given):
    pcs = given.devices["pcs1"]
    moved = replace(pcs, spec=replace(pcs.spec, unit_id=99))
    return replace(given, devices={**given.devices, "pcs1": moved})


def changed_promise(given):
    shorter = replace(given.site.converters[0], device_timeout_s=1.0)
    return replace(given, site=replace(given.site, converters=(shorter,)))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(changed_profile, "pcs1: profile_sha256 changed", id="profile"),
        pytest.param(changed_address, "pcs1: address changed", id="address"),
        pytest.param(changed_promise, "pcs1: device_timeout_s changed", id="promise"),
    ],
)
def test_a_record_holds_only_for_what_was_proven(proven, change, words):
    given, made = proven
    real = on_site(given)
    assert words in refusal(change(real), recorded(real, made))


def spoiled(made, device, name, verdict):
    found = json.loads(json.dumps(made))
    check(found, device, name)["verdict"] = verdict
    return found


@pytest.mark.parametrize(
    ("device", "name", "verdict", "words"),
    [
        pytest.param("pcs1", "sign", "failed", "sign failed", id="wrong sign"),
        pytest.param("pcs1", "sign", "skipped", "sign was not checked", id="sign left out"),
        pytest.param("pcs1", "timeout", "skipped", "timeout was not checked", id="time-out left"),
        pytest.param("pcs1", "timeout", "stated", "", id="vouched for"),
        pytest.param("bms1", "sign", "skipped", "sign was not checked", id="its own sign left out"),
        pytest.param("bms1", "timeout", "skipped", "", id="no time-out of its own to prove"),
        pytest.param("bms1", "contactor", "failed", "contactor failed", id="contactor failed"),
        pytest.param("bms1", "contactor", "skipped", "", id="contactor not allowed"),
        pytest.param("bms1", "order", "skipped", "", id="threshold of the BMS not known"),
        pytest.param("bms1", "identity", "odd", "identity failed", id="an unknown verdict"),
    ],
)
def test_what_has_failed_or_is_missing_forbids_arming(proven, device, name, verdict, words):
    given, made = proven
    real = on_site(given)
    found = refusal(real, spoiled(recorded(real, made), device, name, verdict))
    assert words in found
    assert bool(found) is bool(words)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param({"devices": None}, id="no devices"),
        pytest.param({"devices": {"pcs1": 7}}, id="no device"),
        pytest.param({"site": "other"}, id="of another site"),
    ],
)
def test_a_damaged_or_foreign_record_forbids_arming(proven, damage):
    given, made = proven
    real = on_site(given)
    assert "commissioned" in refusal(real, recorded(real, made) | damage)


def test_the_service_reads_the_record_at_every_arming(proven, tmp_path):
    real = on_site(proven[0])
    real = replace(real, site=replace(real.site, data_dir=tmp_path))
    assert uncommissioned(real).startswith("not commissioned")
    record.write(tmp_path, recorded(real, proven[1]))
    assert uncommissioned(real) == ""
    (tmp_path / record.FILE).write_text("{")
    assert "cannot be read" in uncommissioned(real)


def test_a_bms_proven_with_its_converter_needs_no_sign_check_of_its_own(proven):
    given, made = proven
    real = on_site(given)
    found = recorded(real, made)
    entry = found["devices"]["bms1"]
    entry["checks"] = [c for c in entry["checks"] if c["name"] not in ("sign", "timeout")]
    assert refusal(real, found) == ""


def test_each_device_has_a_person_and_a_time_of_an_older_record_those_of_the_whole():
    made = {"utc": "t1", "person": "an", "devices": {"a": {"person": "bo", "utc": "t2"}, "b": {}}}
    assert record.entries(made) == {
        "a": {"person": "bo", "utc": "t2"},
        "b": {"person": "an", "utc": "t1"},
    }


def test_what_was_never_commissioned_is_told_as_open(proven):
    given, made = proven
    found = recorded(given, made)
    assert record.left_open(given.site, found) == []
    del found["devices"]["bms2"]
    assert record.left_open(given.site, found) == ["bms2: not commissioned"]


def test_the_record_before_is_kept_beside(tmp_path):
    record.write(tmp_path, {"n": 1})
    record.write(tmp_path, {"n": 2})
    assert json.loads((tmp_path / record.FILE).read_text()) == {"n": 2}
    assert json.loads((tmp_path / f"{record.FILE}.before").read_text()) == {"n": 1}


def test_hashes_of_profiles_arrive_in_the_control_process(proven):
    given, _ = proven
    assert handover.read(handover.write(given)).profile_sha256 == given.profile_sha256
    assert {len(digest) for digest in given.profile_sha256.values()} == {64}
