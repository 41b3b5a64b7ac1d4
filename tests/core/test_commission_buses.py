"""`ems commission` where packs share a bus: one device after another, and by word of mouth."""

import asyncio
import copy
import json
from dataclasses import replace

import pytest
import yaml
from typer.testing import CliRunner

from ems import prepare
from ems.cli import app
from ems.clock import SystemClock
from ems.commission import guide, record
from ems.commission.order import ours_v
from ems.commission.record import Check, Name, Verdict
from ems.commission.steps import _of_device, _signs
from ems.config import load_site
from ems.drivers.rules import Maturity
from ems.model import Contactor
from sim.localise import private_copy
from tests.core.test_commission import Scripted, check, served
from tests.core.test_commission_record import on_site, recorded, refusal
from tests.drivers.bench import DEMO

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(120)]

STATION = DEMO.parent / "base-station-48v.yaml"
LOAD_W = 4_500.0


class Knowing(Scripted):
    """A person who answers each question by the words in it."""

    def __init__(self, answers):
        super().__init__()
        self.answers = {words: list(told) for words, told in answers.items()}

    def ask(self, text):
        self.asked.append(text)
        return next(told.pop(0) for words, told in self.answers.items() if words in text)


def commissioned(path, data_dir, person, only=()):
    """What was recorded, and the plant afterwards."""
    given = prepare.prepare(path, data_dir)

    async def scenario():
        async with served(given.site) as plant:
            before = plant.bms[0].contactor
            made = await guide.commission(
                given, person, SystemClock(), data_dir / "no-door", False, only
            )
            return given, made, plant, before

    return asyncio.run(scenario())


@pytest.fixture(scope="module")
def station(tmp_path_factory):
    """The base station, by a person who knows some of the answers."""
    folder = tmp_path_factory.mktemp("station")
    person = Knowing(
        {
            "shelf: how was its sign": ["held back to 2 kW: clamp +38 A, BMS +37.6 A"],
            "shelf: how was its timeout": ["cable pulled: float 53.4 V after 9 s"],
            "p1: at which": ["2,5"],
            "p2: at which": [""],
            "p3: at which": ["2.75"],
            "p4: at which": ["about two", "2.4"],
        }
    )
    return *commissioned(private_copy(STATION, folder), folder / "data", person), person


def test_of_a_shelf_a_person_states_what_was_proven_by_hand(station):
    _, made, *_ = station
    assert (
        check(made, "shelf", "sign")["verdict"],
        check(made, "shelf", "timeout")["verdict"],
    ) == (
        "stated",
        "stated",
    )
    assert "clamp +38 A" in check(made, "shelf", "sign")["text"]
    assert "53.4 V after 9 s" in check(made, "shelf", "timeout")["text"]


def test_on_a_direct_bus_nothing_is_moved_and_the_load_stays_lit(station):
    given, made, plant, before, person = station
    assert {check(made, f"bms{k}", "contactor")["verdict"] for k in (1, 2, 3, 4)} == {"skipped"}
    assert [text for text in person.asked if "Ctrl-C" in text] == [], "no active step is offered"
    assert plant.bms[0].contactor == before == Contactor.CLOSED
    assert plant.truth().backup_shortfall_s == 0.0
    full_w = given.site.grid.import_limit_w * given.site.converters[0].efficiency_frac
    assert plant.converters[0].power_limit_w == pytest.approx(full_w)


@pytest.mark.parametrize(
    ("device", "verdict", "words"),
    [
        pytest.param("bms1", "stated", "then BMS at 2.5 V a cell", id="last"),
        pytest.param("bms2", "skipped", "the BMS's is not known", id="not known"),
        pytest.param(
            "bms3", "failed", "the BMS must come after the EMS trip (L4) and the LVD", id="early"
        ),
        pytest.param("bms4", "stated", "then BMS at 2.4 V a cell", id="answered at the second go"),
    ],
)
def test_who_acts_first_is_computed_from_the_site_and_asked_where_it_cannot_be(
    station, device, verdict, words
):
    _, made, *_, person = station
    found = check(made, device, "order")
    assert found["verdict"] == verdict
    assert words in found["text"]
    assert found["measured"]["lvd_v"] == pytest.approx(43.2 / 16)
    assert found["measured"]["bms_stated"] is True
    assert found["text"].startswith("EMS stop (L3)"), "who is named first acts first"
    assert "'about two' is no cell voltage" in person.told


def test_our_stop_comes_before_the_lvd_of_the_base_station_and_our_trip_after_it(station):
    given, made, *_ = station
    for k, pack in enumerate(given.site.packs):
        measured = check(made, pack.device, "order")["measured"]
        stop_v, trip_v = ours_v(given.site, k, SystemClock().now_utc().date())
        assert (measured["ems_stop_v"], measured["ems_trip_v"]) == (stop_v, trip_v)
        assert stop_v > measured["lvd_v"] > trip_v


def test_an_override_of_the_site_file_moves_our_stop(tmp_path):
    today = SystemClock().now_utc().date()
    path = private_copy(STATION, tmp_path)
    before_v, _ = ours_v(load_site(path), 0, today)
    data = yaml.safe_load(path.read_text())
    data["safety"] = {"overrides": [{"cause": "C02", "level": 3, "value": 2.85, "reason": "x"}]}
    path.write_text(yaml.safe_dump(data))
    assert ours_v(load_site(path), 0, today)[0] == pytest.approx(before_v + 0.05)


def test_a_shelf_of_which_nobody_proved_the_time_out_must_not_be_armed(station):
    given, made, *_ = station
    real = on_site(given)
    shelf = replace(real.devices["shelf"], maturity=Maturity.TEMPLATE)
    real = replace(real, devices={**real.devices, "shelf": shelf})
    found = recorded(real, made)
    check(found, "bms3", "order")["verdict"] = "skipped"
    assert refusal(real, found) == ""
    check(found, "shelf", "timeout")["verdict"] = "skipped"
    assert "shelf is not complete: timeout was not checked" in refusal(real, found)
    check(found, "shelf", "timeout")["verdict"] = "stated"
    check(found, "bms3", "order")["verdict"] = "failed"
    assert "bms3 is not complete: order failed: EMS stop (L3)" in refusal(real, found)


def shared_bus(folder):
    """Two equal packs behind one PCS, the second one a little emptier."""
    path = private_copy(DEMO, folder)
    data = yaml.safe_load(path.read_text())
    data["site"]["kind"] = "shared_dc_bus"
    first, second = data["packs"][0], copy.deepcopy(data["packs"][0])
    second |= {
        "id": "p2",
        "device": "bms2",
        "code": data["packs"][1]["code"].replace("PE05", "PB02"),
        "original_codes": ["9ZZPB02ABC123496L0000102"],
    }
    data["packs"] = [first, second]
    data["converters"] = [data["converters"][0] | {"packs": ["p1", "p2"], "device_timeout_s": 2}]
    port = data["devices"]["bms2"]["port"]
    data["devices"]["bms2"] = data["devices"]["bms1"] | {"port": port}
    for name in ("pcs2", "pcs3", "bms3"):
        del data["devices"][name]
    data["simulation"]["packs"] = {
        "p1": {**data["simulation"]["packs"]["p1"], "soc_start_pct": 62},
        "p2": {**data["simulation"]["packs"]["p1"], "soc_start_pct": 61},
    }
    data["storage"]["data_dir"] = str(folder / "data")
    path.write_text(yaml.safe_dump(data))
    return path


@pytest.fixture(scope="module")
def one_more(tmp_path_factory):
    """A shared bus that was commissioned by an, whose second BMS is then proven by bo."""
    folder = tmp_path_factory.mktemp("shared")
    path = shared_bus(folder)
    given = prepare.prepare(path, folder / "data")
    checks = [{"name": str(n), "verdict": "passed", "text": "as promised"} for n in Name]
    by = {"utc": "2026-01-01T00:00:00+00:00", "person": "an"}
    known = {name: {"checks": checks, **by} for name in given.devices if name != "loads"}
    done = recorded(given, {"site": given.site.id, "devices": known})
    done["devices"]["gone"] = {"checks": checks, **by}
    record.write(given.site.data_dir, done)
    person = Scripted("2.5")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(guide, "user", lambda: "bo")
        given, new, plant, _ = commissioned(path, folder / "data", person, ["bms2"])
    return given, done, new, plant, person


def test_only_the_steps_of_that_device_are_gone_through(one_more):
    *_, person = one_more
    steps = [text for text in person.asked if "Ctrl-C" in text]
    assert [text.split(":")[0] for text in steps] == ["p2", "pcs1, sign check"]
    assert "closes the contactor of p2, discharges" in steps[1], "its pack, not the fuller one"
    assert [text for text in person.asked if "at which cell voltage" in text] == [
        text for text in person.asked if text.startswith("p2: at which")
    ]


def test_its_sign_is_proven_with_its_converter_and_kept_with_it(one_more):
    _, _, new, plant, _ = one_more
    assert [c["name"] for c in new["devices"]["bms2"]["checks"]] == [
        "identity", "contactor", "sign", "order",
    ]  # fmt: skip
    assert {c["verdict"] for c in new["devices"]["bms2"]["checks"]} == {"passed", "stated"}
    sign = check(new, "bms2", "sign")["measured"]
    assert sign["packs"] == ["p2"]
    assert sign["BMS current"]["during"] > sign["BMS current"]["before"]
    assert plant.bms[1].contactor == Contactor.OPEN, "as found"


def test_the_record_keeps_what_was_there_and_says_who_and_when_of_each(one_more):
    given, done, new, *_ = one_more
    stored = json.loads((given.site.data_dir / record.FILE).read_text())
    assert stored == json.loads(json.dumps(new))
    assert stored["devices"]["pcs1"] == done["devices"]["pcs1"]
    assert stored["devices"]["pcs1"]["person"] == "an"
    mine = stored["devices"]["bms2"]
    assert (mine["person"], mine["utc"]) == ("bo", stored["utc"])
    assert mine["utc"] != stored["devices"]["pcs1"]["utc"]
    assert "gone" not in stored["devices"], "the site has no such device any more"
    assert record.left_open(given.site, new) == ["loads: not commissioned"]


def test_every_device_is_gone_through_when_none_is_named(one_more):
    given = one_more[0]
    assert guide.chosen(given, ()) == set(given.devices)
    assert guide.chosen(given, ["bms1", "pcs1"]) == {"bms1", "pcs1"}


@pytest.mark.parametrize(
    ("wanted", "kept"),
    [
        pytest.param({"pcs1", "bms1", "meter"}, ["pcs1"], id="with its converter, there"),
        pytest.param({"bms1", "bms2"}, ["bms1", "bms2"], id="both packs behind it"),
        pytest.param({"meter"}, ["meter"], id="the meter: the first converter proves it"),
        pytest.param({"loads"}, [], id="nothing to do with it"),
    ],
)
def test_where_a_sign_check_is_kept(one_more, wanted, kept):
    assert _signs(one_more[0].site, 0, frozenset(wanted)) == kept


def test_a_pack_that_was_not_connected_has_no_part_in_the_sign_check(one_more):
    site = one_more[0].site
    done = Check(Name.SIGN, Verdict.PASSED, "all move", {"packs": ["p2"]})
    assert _of_device(site, "bms2", done) == _of_device(site, "meter", done) == done
    left_out = _of_device(site, "bms1", done)
    assert (left_out.verdict, left_out.text) == (
        Verdict.SKIPPED,
        "p1 was not connected: all move",
    )


def test_a_record_that_cannot_be_read_is_not_merged_with(one_more, tmp_path):
    given = prepare.prepare(DEMO, tmp_path)
    (tmp_path / record.FILE).write_text("{")
    run = guide.commission(given, Scripted(), SystemClock(), tmp_path / "d", False, ["bms1"])
    with pytest.raises(guide.CannotCommission, match="commission the whole site"):
        asyncio.run(run)


def test_of_another_sites_record_nothing_is_kept(tmp_path):
    site = prepare.prepare(DEMO, tmp_path).site
    assert guide._before(site) == {}
    record.write(tmp_path, {"site": "other", "devices": {"bms1": {}}})
    assert guide._before(site) == {}
    record.write(tmp_path, {"site": site.id, "devices": {"bms1": {}}})
    assert guide._before(site).keys() == {"bms1"}


def test_an_unknown_device_is_misuse():
    answer = CliRunner().invoke(app, ["commission", str(DEMO), "--device", "bms9"])
    assert answer.exit_code == 2
    assert "no device bms9; there are" in answer.output
