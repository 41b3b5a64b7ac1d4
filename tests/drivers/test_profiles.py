"""Shipped profiles prove themselves; wrong ones are refused with words that help."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from ems.drivers import golden, profile
from ems.drivers.compiler import ProfileMisfit, compile_device
from ems.drivers.profile import Profile
from ems.yamlfile import FileErrors
from tests.drivers.bench import device


@pytest.mark.parametrize("name", profile.shipped())
def test_every_golden_vector_of_a_shipped_profile_holds(name):
    assert golden.check(profile.load(name)) == []


@pytest.mark.parametrize("name", profile.shipped())
def test_every_shipped_profile_says_where_its_facts_come_from(name):
    found = profile.load(name)
    assert all(p.source and p.licence and p.facts for p in found.provenance)
    assert found.maturity in {"template", "simulated"}, "nothing here has met a real device yet"


def test_the_seven_profiles_of_this_release_are_there():
    assert set(profile.shipped()) == {
        "bms_ev_module_rack",
        "bms_opcua_sim",
        "bms_rack_0x2000",
        "meter_acrel_adw300",
        "meter_loads_sim",
        "pcs_sunspec_704",
        "rectifier_48v_sim",
    }


@pytest.mark.parametrize(
    ("point", "change"),
    [
        pytest.param("voltage_v", {"scale": Decimal("0.01")}, id="scale"),
        pytest.param("current_a", {"sign": -1}, id="sign"),
        pytest.param("current_a", {"type": "uint16"}, id="signedness"),
        pytest.param("soc_frac", {"at": 0x2104}, id="address"),
        pytest.param("voltage_v", {"range": None}, id="plausible range"),
        pytest.param("contactor", {"enum": {0: "closed", 3: "open"}}, id="enumeration"),
        pytest.param("cell_voltage_v", {"sentinels": (), "range": None}, id="sentinel"),
    ],
)
def test_golden_vectors_notice_a_wrong_point(point, change):
    good = profile.load("bms_rack_0x2000")
    points = {**good.points, point: good.points[point].model_copy(update=change)}
    assert golden.check(good.model_copy(update={"points": points})) != []


MINIMAL = """\
schema: 1
kind: meter
vendor: v
device: d
summary: s
maturity: template
provenance: [{source: s, licence: l, facts: f}]
link: {protocol: modbus, poll_ms: {fast: 500}}
blocks:
  all: {start: 0, count: 4, poll: fast}
points:
  power_w: {at: 0, type: int32, unit: W}
"""


def load(tmp_path: Path, text: str) -> Profile:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return profile.load(str(path))


def test_a_profile_of_the_users_own_is_loaded_by_path(tmp_path):
    assert load(tmp_path, MINIMAL).provides == {"power_w"}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("unit: W", "unit: kW", "unit is 'W' after scaling, found 'kW'", id="unit"),
        pytest.param("at: 0,", "", "power_w: at is needed", id="no address"),
        pytest.param("poll: fast", "poll: often", "poll class 'often'", id="poll class"),
        pytest.param("type: int32", "typ: int32", "did you mean 'type'", id="misspelt key"),
        pytest.param("kind: meter", "kind: pack", "voltage_v: neither a point nor", id="absence"),
        pytest.param(
            "unit: W}",
            "unit: W}\nsafe_state: [{point: power_w, value: 0}]",
            "not a writable point",
            id="write to a read-only point",
        ),
        pytest.param(
            "unit: W}", "unit: W, scale_factor: nobody}", "'nobody' is not a point", id="no factor"
        ),
    ],
)
def test_a_wrong_profile_is_refused_with_its_position(tmp_path, old, new, words):
    with pytest.raises(FileErrors) as refused:
        load(tmp_path, MINIMAL.replace(old, new))
    assert "own.yaml:" in str(refused.value)
    assert words in str(refused.value)


def test_an_unknown_profile_names_the_nearest():
    with pytest.raises(FileNotFoundError, match="did you mean 'bms_rack_0x2000'"):
        profile.load("bms_rack_0x200")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("count: 4", "count: 1", "power_w lies in no block", id="half outside"),
        pytest.param(
            "  all: {", "  more: {start: 0, count: 2, poll: fast}\n  all: {", "lies in", id="twice"
        ),
        pytest.param("unit: W}", "unit: W, count: reported_cells}", "packs only", id="array size"),
        pytest.param(
            "protocol: modbus, poll_ms: {fast: 500}}",
            "protocol: opcua, poll_ms: {fast: 500}}",
            "node is needed",
            id="node missing",
        ),
    ],
)
def test_a_profile_that_cannot_be_compiled_says_why(tmp_path, old, new, words):
    with pytest.raises((ProfileMisfit, FileErrors), match=words):
        compile_device(load(tmp_path, MINIMAL.replace(old, new)), device("m", "own"))


def test_a_32_bit_command_needs_more_than_one_register_per_write(tmp_path):
    # With function 6 the two halves would arrive separately: a moment of nonsense power.
    text = MINIMAL.replace(
        "poll_ms: {fast: 500}}", "poll_ms: {fast: 500}, write_function: 6, max_write_registers: 1}"
    ).replace("unit: W}", "unit: W, access: rw}")
    with pytest.raises(FileErrors, match="does not fit one write"):
        load(tmp_path, text)


def test_the_reference_page_names_every_key_and_every_shipped_profile():
    page = (Path(__file__).parents[2] / "docs/reference/device-profiles.md").read_text("utf-8")
    parts = (
        Profile, profile.LinkRules, profile.BlockSpec, profile.PointSpec, profile.Override,
        profile.AlarmWord, profile.Step, profile.WriteSpec, profile.Readback, profile.Golden,
        profile.Provenance,
    )  # fmt: skip
    keys = {info.alias or name for part in parts for name, info in part.model_fields.items()}
    names = {*profile.PACK_POINTS, *profile.CONVERTER_POINTS, *profile.METER_POINTS}
    words = set(re.findall(r"[A-Za-z0-9_]+", page))
    assert (keys | names | set(profile.shipped())) - words == set()
