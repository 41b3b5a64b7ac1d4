"""`ems commission` on devices behind real sockets, and what arming makes of its record."""

import asyncio
import json
import os
import signal
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import yaml
from typer.testing import CliRunner

from ems import prepare
from ems.cli import app
from ems.clock import SystemClock
from ems.commission import guide, record
from ems.commission.checks import Checks
from ems.commission.record import Verdict
from ems.commission.rig import Rig
from ems.door import Answer, Door
from ems.drivers.field import FieldIO
from ems.model import Contactor, Link
from sim.localise import private_copy
from sim.plant import Plant
from sim.servers import Servers
from tests.core.test_commission_record import on_site
from tests.drivers.bench import DEMO
from tests.journal.logs import open_log, write

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(120)]
PROMISED_S = 2.0
TICK_S = 0.1


class Scripted:
    """A person who answers as told and remembers what was asked."""

    def __init__(self, volts="", refuses="never"):
        self.volts, self.refuses = volts, refuses
        self.asked, self.told = [], []

    def tell(self, text):
        self.told.append(text)

    def confirm(self, text):
        self.asked.append(text)
        return self.refuses not in text

    def ask(self, text):
        self.asked.append(text)
        return self.volts


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A site with one pack and one PCS that promises to rest after 2 s, on free ports."""
    folder = tmp_path_factory.mktemp("small")
    path = private_copy(DEMO, folder)
    data = yaml.safe_load(path.read_text())
    data["packs"], data["converters"] = data["packs"][:1], data["converters"][:1]
    data["converters"][0]["device_timeout_s"] = PROMISED_S
    data["simulation"]["packs"] = {"p1": data["simulation"]["packs"]["p1"]}
    data["devices"] = {name: spec for name, spec in data["devices"].items() if name[-1] not in "23"}
    data["storage"]["data_dir"] = str(folder / "data")
    path.write_text(yaml.safe_dump(data))
    return path


@asynccontextmanager
async def served(site):
    """The site's devices in real time."""
    plant = Plant(site, 1, None, protection=True)
    servers = Servers(site, plant)
    await servers.start()

    async def live():
        loop = asyncio.get_running_loop()
        last_s = loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            now_s = loop.time()
            plant.advance(plant.now_s + now_s - last_s)
            last_s = now_s
            await servers.refresh()

    moving = asyncio.create_task(live())
    try:
        yield plant
    finally:
        moving.cancel()
        await servers.stop()


@pytest.fixture(scope="module")
def commissioned(small):
    """The whole way through, with a person who knows the data sheet of the BMS."""
    given = prepare.prepare(small)
    log_head = write(given.site.data_dir / "log", 3)
    person = Scripted("2,5")

    async def scenario():
        async with served(given.site) as plant:
            made = await guide.commission(
                given, person, SystemClock(), small.parent / "no-door", yes=False
            )
            return made, plant.bms[0].contactor, plant.converters[0].power_w

    made, contactor, power_w = asyncio.run(scenario())
    return given, made, contactor, power_w, person, log_head


def check(made, device, name):
    return next(c for c in made["devices"][device]["checks"] if c["name"] == name)


def test_every_promise_is_measured(commissioned):
    _, made, *_ = commissioned
    assert {c["verdict"] for d in made["devices"].values() for c in d["checks"]} == {
        "passed",
        "stated",
    }
    sign = check(made, "pcs1", "sign")["measured"]
    for what, change in (("converter power", 500), ("meter", -500)):
        assert sign[what]["during"] - sign[what]["before"] == pytest.approx(change, rel=0.1)
    assert sign["BMS current"]["during"] > sign["BMS current"]["before"]
    rest = check(made, "pcs1", "timeout")["measured"]
    assert PROMISED_S - 1.0 < rest["power_until_s"] < PROMISED_S + 1.0
    feedback = check(made, "bms1", "contactor")["measured"]
    assert feedback["opened_s"] < feedback["closed_s"], "closing goes through precharge"


def test_afterwards_the_site_is_at_rest_as_it_was_found(commissioned):
    _, _, contactor, power_w, *_ = commissioned
    assert contactor == Contactor.OPEN
    assert abs(power_w) < 50.0


def test_each_active_step_was_asked_for_with_its_abort(commissioned):
    *_, person, _ = commissioned
    steps = [text for text in person.asked if "Ctrl-C" in text]
    assert len(steps) == 3
    assert "contactor of p1, discharges 500 W" in steps[1]


def test_what_a_person_says_is_recorded_as_said_by_a_person(commissioned):
    _, made, *_ = commissioned
    order = check(made, "bms1", "order")
    assert order["verdict"] == "stated"
    assert (order["measured"]["bms_v"], order["measured"]["bms_stated"]) == (2.5, True)


def test_the_record_names_site_person_software_and_the_log(commissioned):
    given, made, *_, log_head = commissioned
    stored = json.loads((given.site.data_dir / record.FILE).read_text())
    assert stored == json.loads(json.dumps(made))
    assert stored["config_sha256"] == given.site.source_sha256
    assert (stored["log_head"]["seq"], stored["log_head"]["hash"]) == log_head
    assert stored["signature"] is None
    assert "signed once the log's keys exist" in stored["signature_note"]
    assert stored["person"]


def driven(given, what, before=lambda plant: None, during=None):
    """The result of one active check, with a fault in the plant."""

    async def scenario():
        async with served(given.site) as plant:
            before(plant)
            io = FieldIO(given.site, given.devices, SystemClock())
            await io.start()
            hook = asyncio.create_task(during(plant)) if during else None
            try:
                rig = Rig(given.site, io, SystemClock())
                images = io.images.values()
                up = await rig.until(lambda _: all(i.link is Link.UP for i in images), 10.0)
                assert up is not None
                await rig.until(lambda _: False, guide.WARM_S)
                result = await what(Checks(rig, Scripted()))
                return result, plant.bms[0].contactor, plant.converters[0].power_w
            finally:
                if hook:
                    hook.cancel()
                await io.stop()

    return asyncio.run(scenario())


def test_a_converter_that_charges_when_told_to_discharge_is_found(commissioned):
    result, contactor, power_w = driven(
        commissioned[0],
        lambda checks: checks.sign(0),
        lambda plant: plant.inject("pcs_wrong_sign", "pcs1", 1e6, 0.0),
    )
    assert result.verdict is Verdict.FAILED
    assert "its sign is turned" in result.text
    assert (contactor, abs(power_w) < 50.0) == (Contactor.OPEN, True)


def test_a_converter_that_goes_on_without_us_is_found_and_power_ends(commissioned):
    async def deaf(plant):
        while plant.converters[0].power_w < 400.0:
            await asyncio.sleep(0.05)
        plant.inject("pcs_ignore", "pcs1", PROMISED_S + 6.0, 0.0)

    result, _, power_w = driven(commissioned[0], lambda checks: checks.timeout(0), during=deaf)
    assert result.verdict is Verdict.FAILED
    assert result.text.startswith("still carried power")
    assert abs(power_w) < 50.0


def run(given, person, yes=False, socket="no-door"):
    door = given.site.data_dir / socket
    return asyncio.run(guide.commission(given, person, SystemClock(), door, yes))


def elsewhere(given, tmp_path):
    """The same with a folder of its own, so that no record is there."""
    return replace(given, site=replace(given.site, data_dir=tmp_path))


def test_nobody_is_left_unasked_on_a_real_site(commissioned):
    with pytest.raises(guide.CannotCommission, match="--yes is for simulated devices"):
        run(on_site(commissioned[0]), Scripted(), yes=True)


def test_a_site_whose_log_is_being_written_is_left_alone(commissioned, tmp_path):
    given = elsewhere(commissioned[0], tmp_path)
    with open_log(tmp_path / "log"), pytest.raises(RuntimeError, match="another process"):
        run(given, Scripted())


def test_a_site_whose_door_answers_is_left_alone(commissioned, tmp_path):
    given = elsewhere(commissioned[0], tmp_path)

    async def scenario(site_id):
        async def ask(request):
            return Answer("no")

        door = Door(tmp_path / "door", lambda: {"site": {"id": site_id}}, ask, "boot")
        await door.start()
        try:
            return await asyncio.to_thread(guide._serves, tmp_path / "door", given.site)
        finally:
            await door.stop()

    assert asyncio.run(scenario("demo"))
    assert not asyncio.run(scenario("another site on this machine"))


def test_devices_that_do_not_answer_are_not_written_to(commissioned, tmp_path, monkeypatch):
    monkeypatch.setattr(guide, "PATIENCE_S", 0.5)
    monkeypatch.setattr(guide, "LOOK_S", 0.0)
    given, person = elsewhere(commissioned[0], tmp_path), Scripted()
    with pytest.raises(guide.CannotCommission, match="every device must answer"):
        run(given, person)
    assert person.asked == []
    assert not (tmp_path / record.FILE).exists()


def test_a_person_who_says_no_changes_nothing(commissioned, tmp_path, monkeypatch):
    monkeypatch.setattr(guide, "LOOK_S", 0.0)
    given = elsewhere(commissioned[0], tmp_path)

    async def scenario():
        async with served(given.site) as plant:
            with pytest.raises(guide.CannotCommission, match="nothing was written"):
                await guide.commission(
                    given, Scripted(refuses="From here on"), SystemClock(), tmp_path / "d", False
                )
            return plant

    asyncio.run(scenario())
    assert not (tmp_path / record.FILE).exists()


def test_being_stopped_in_the_middle_leaves_rest_and_no_record(commissioned, tmp_path):
    given = elsewhere(commissioned[0], tmp_path)

    async def scenario():
        async with served(given.site) as plant:
            work = asyncio.create_task(
                guide.commission(given, Scripted(), SystemClock(), tmp_path / "d", False)
            )
            while plant.converters[0].power_w < 400.0:
                assert not work.done(), "ended before it moved any power"
                await asyncio.sleep(0.05)
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(asyncio.CancelledError):
                await work
            return plant.converters[0].power_w, plant.bms[0].contactor

    power_w, contactor = asyncio.run(scenario())
    assert abs(power_w) < 50.0
    assert contactor == Contactor.OPEN
    assert not (tmp_path / record.FILE).exists()


def test_a_bad_file_is_misuse(tmp_path):
    bad = tmp_path / "site.yaml"
    bad.write_text("site: {}\n")
    assert CliRunner().invoke(app, ["commission", str(bad)]).exit_code == 2
