"""Shipped profiles prove themselves; wrong ones are refused with words that help."""

from decimal import Decimal

import pytest

from ems.drivers import language
from ems.drivers.compiling import golden


@pytest.mark.parametrize("name", language.shipped())
def test_every_golden_vector_of_a_shipped_profile_holds(name):
    assert golden.check(language.load(name)) == []


@pytest.mark.parametrize("name", language.shipped())
def test_every_shipped_profile_says_where_its_facts_come_from(name):
    found = language.load(name)
    assert all(p.source and p.licence and p.facts for p in found.provenance)
    assert found.maturity in {"template", "simulated"}, "nothing here has met a real device yet"


def test_the_profiles_of_this_release_are_there():
    assert set(language.shipped()) == {
        "battery_sunspec_802",
        "bms_ev_module_rack",
        "bms_opcua_sim",
        "bms_rack_0x2000",
        "meter_acrel_adw300",
        "meter_gavazzi_em300",
        "meter_janitza_umg604",
        "meter_loads_sim",
        "meter_sunspec_203",
        "pcs_sinexcel",
        "pcs_sunspec_704",
        "pv_sunspec_103",
        "rectifier_48v_sim",
        "victron_gx_battery",
    }


def test_what_describes_our_simulator_says_so():
    """`ems run` keeps these away from real devices."""
    simulated = {n for n in language.shipped() if language.load(n).maturity == "simulated"}
    assert simulated == {n for n in language.shipped() if n.endswith("_sim")}


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
    good = language.load("bms_rack_0x2000")
    points = {**good.points, point: good.points[point].model_copy(update=change)}
    assert golden.check(good.model_copy(update={"points": points})) != []
