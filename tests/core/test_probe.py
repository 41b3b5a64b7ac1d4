"""`ems probe`: what it shows of devices on real sockets, and that it writes nothing."""

import asyncio
import io
import json
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from ems import probe
from ems.cli import app
from ems.clock import SystemClock
from ems.drivers.roles import compile_site
from ems.drivers.rules import HeartbeatRead, IdentityCheck
from ems.probe import view
from ems.probe.report import plain
from ems.probe.watch import wholly
from sim.localise import private_copy
from sim.plant import Plant
from sim.servers import Servers
from tests.drivers.bench import DEMO, demo_site, free_port, modbus_only
from tests.journal.logs import open_log

pytestmark = pytest.mark.sockets


@asynccontextmanager
async def served(site):
    """The site's devices behind sockets, moving ten times a second."""
    plant = Plant(site, 1, None, protection=True)
    servers = Servers(site, plant)
    await servers.start()

    async def live():
        while True:
            plant.advance(plant.now_s + 0.25)
            await servers.refresh()
            await asyncio.sleep(0.1)

    moving = asyncio.create_task(live())
    try:
        yield plant
    finally:
        moving.cancel()
        await servers.stop()


def probed(site, devices=None, seconds=0.3, before=lambda plant: None, patience_s=8.0):
    """The report on a served site; ``devices`` maps compiled devices to those probed."""

    async def scenario():
        async with served(site) as plant:
            before(plant)
            chosen = compile_site(site)
            chosen = chosen if devices is None else devices(chosen)
            return await probe.look(site, chosen, SystemClock(), seconds, patience_s)

    return asyncio.run(scenario())


def only(*names):
    return lambda devices: {name: devices[name] for name in names}


def seen(report, device):
    return next(found for found in report.devices if found.id == device)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param(2_303_110_417.0, "2303110417", id="a serial number keeps its digits"),
        pytest.param(-5.0, "-5", id="whole"),
        pytest.param(52.8, "52.8", id="measured"),
        pytest.param(3.3331999, "3.3332", id="six digits are enough"),
        pytest.param(1_234_567.8, "1234567.8", id="a counter of energy"),
        pytest.param(1e20, "1e+20", id="too large to be exact"),
    ],
)
def test_numbers_are_shown_as_a_person_writes_them(value, shown):
    assert plain(value) == shown


def point(device, name):
    return next(found for found in device.points if found.name == name)


@pytest.fixture(scope="module")
def whole():
    """A probe of the whole demo site, its OPC UA pack included."""
    return probed(demo_site(), seconds=2.0)


def test_every_device_answers_and_nothing_was_written(whole):
    assert [d.problem for d in whole.devices] == [""] * 8
    assert {d.link for d in whole.devices} == {"up"}
    assert whole.sent_writes == 0
    assert whole.refused_writes > 0, "the drivers wanted to write, and were stopped"
    assert sum(len(d.withheld) for d in whole.devices) == whole.refused_writes, "each is named"
    assert "reversion_time_s (time-out)" in seen(whole, "pcs1").withheld
    assert seen(whole, "meter").withheld == ()
    assert whole.ok


def test_a_register_is_shown_with_value_unit_age_and_raw_content(whole):
    voltage = point(seen(whole, "bms1"), "voltage_v")
    assert (voltage.unit, voltage.quality, voltage.raw.address) == ("V", "good", 0x2100)
    assert voltage.value == pytest.approx(voltage.raw.registers[0] / 10)
    assert 0.0 <= voltage.age_s < 2.0


def test_codes_and_flags_are_shown_in_words(whole):
    bms = seen(whole, "bms1")
    assert point(bms, "contactor").words == "open"
    assert point(bms, "alarms_level_2").words == "no flag set"
    assert point(bms, "alarm_level").words == "none"


def test_every_cell_is_in_the_report_with_its_registers(whole):
    cells = point(seen(whole, "bms1"), "cell_voltage_v")
    assert len(cells.value) == len(cells.raw.registers) == 48
    assert cells.value[7] == pytest.approx(cells.raw.registers[7] / 1000)


def test_an_opc_ua_node_is_shown_with_its_name_and_content(whole):
    voltage = point(seen(whole, "bms3"), "voltage_v")
    assert voltage.raw.node == "s=p3.voltage"
    assert float(voltage.raw.content) == voltage.value


def test_the_sunspec_chain_and_name_plate_are_the_identity(whole):
    found = {check.what: check for check in seen(whole, "pcs1").identity}
    assert found["SunSpec models"].found.startswith("1 at 40002, 701 at ")
    assert found["sunspec_manufacturer"].found == "secondlife-ems"


def test_a_sunspec_register_is_shown_where_the_device_has_it(whole):
    pcs = seen(whole, "pcs1")
    chain = next(check for check in pcs.identity if check.what == "SunSpec models").found
    start = next(int(item.split()[-1]) for item in chain.split(", ") if item.startswith("701 "))
    assert point(pcs, "power_w").raw.address == start + 10


def test_a_moving_heartbeat_is_seen_and_a_missing_one_explained(whole):
    beat = seen(whole, "bms3").heartbeat
    assert (beat.changes > 0, beat.problem) == (True, "")
    assert seen(whole, "bms1").heartbeat is None
    assert any("does not tell heartbeat" in note for note in seen(whole, "bms1").notes)


def test_a_time_out_that_run_would_set_is_told_and_no_fault(whole):
    timeout = seen(whole, "pcs1").timeout
    assert (timeout.seen_s, timeout.expected_s, timeout.written_by_run) == (0.0, 10.0, True)
    assert timeout.problem == ""


def test_the_table_says_it_all_on_a_terminal(whole):
    console = Console(record=True, width=120, file=io.StringIO())
    console.print(view.render(whole))
    text = console.export_text()
    words_shown = (
        "bms3  link up  ok",
        "8448 (0x2100)",
        "time-out",
        "not sent   reversion_enable, reversion_time_s (time-out), ",
        "0 writes sent",
        "stopped before the wire, as it should be",
    )
    for words in words_shown:
        assert words in text


def test_the_json_is_complete(whole):
    data = json.loads(json.dumps(whole.as_json()))
    assert data["ok"]
    assert len(data["devices"][5]["points"]) == len(whole.devices[5].points)


def test_one_device_is_probed_alone():
    report = probed(modbus_only(demo_site()), only("bms1"))
    assert [d.id for d in report.devices] == ["bms1"]
    assert report.ok


def test_a_device_that_refuses_connections_says_so_and_spoils_the_verdict():
    site = modbus_only(demo_site())
    elsewhere = replace(site.devices["bms2"], port=free_port())

    def moved(devices):
        return {**only("bms1")(devices), "bms2": replace(devices["bms2"], spec=elsewhere)}

    report = probed(site, moved, patience_s=1.0)
    assert seen(report, "bms2").link == "refused"
    assert "refused" in seen(report, "bms2").problem
    assert seen(report, "bms1").problem == ""
    assert not report.ok


def test_another_device_is_called_so_and_its_values_are_shown_all_the_same():
    def checked(devices):
        rules = (IdentityCheck("contactor", frozenset({3.0})),)
        return {"bms1": replace(devices["bms1"], identity=rules)}

    report = probed(modbus_only(demo_site()), checked)
    bms = seen(report, "bms1")
    assert bms.problem.startswith("this is not the device its profile describes: contactor is 0")
    assert point(bms, "voltage_v").value > 100
    assert point(bms, "voltage_v").quality == "bad"
    assert not report.ok


@pytest.mark.parametrize(
    ("may_rest_s", "problem"),
    [
        pytest.param(0.1, "heartbeat stood still", id="watched for longer than it may rest"),
        pytest.param(60.0, "", id="not watched for long enough to tell"),
    ],
)
def test_a_heartbeat_that_stands_still(may_rest_s, problem):
    def freeze(devices):
        # A register that never moves plays the counter.
        device = devices["bms1"]
        beat = HeartbeatRead("ems_timeout_s", may_rest_s)
        return {"bms1": replace(device, heartbeat=beat)}

    report = probed(modbus_only(demo_site()), freeze, seconds=1.0)
    found = seen(report, "bms1")
    assert found.problem.startswith(problem.replace("heartbeat", "ems_timeout_s", 1))
    assert bool(found.problem) is bool(problem)


def test_a_missing_sunspec_model_is_named_with_what_there_is_instead():
    def lacking(devices):
        link = replace(devices["pcs1"].link, sunspec_models=(701, 704, 805))
        return {"pcs1": replace(devices["pcs1"], link=link)}

    report = probed(modbus_only(demo_site()), lacking, patience_s=1.5)
    found = seen(report, "pcs1")
    assert found.problem.startswith(
        "not the device its profile describes: SunSpec model 805 is missing; the chain has 1, 701, "
    )
    assert re.search(r" and ends at 40\d{3}$", found.problem)
    assert found.link == "silent", "nothing of it is believed, and nothing is sent to it"
    assert not report.ok


def test_a_time_out_that_nobody_sets_must_already_be_right():
    def compared(devices):
        rule = replace(devices["pcs1"].timeout, enforce=False)
        return {"pcs1": replace(devices["pcs1"], timeout=rule)}

    report = probed(modbus_only(demo_site()), compared)
    assert "reversion_time_s is 0 s where at most 10 s" in seen(report, "pcs1").problem


def test_what_is_read_on_demand_is_read_by_a_probe():
    device = compile_site(demo_site())["bms1"]
    *polled, last = device.blocks
    lazy = replace(device, blocks=tuple(polled), on_demand=(last,))
    assert last.names[0] in {name for block in wholly(lazy).blocks for name in block.names}
    assert wholly(lazy).on_demand == ()


def ask(*words):
    return CliRunner().invoke(app, ["probe", *map(str, words)])


def test_a_bad_file_and_an_unknown_device_are_misuse(tmp_path):
    bad = tmp_path / "site.yaml"
    bad.write_text("site: {}\n")
    assert ask(bad).exit_code == 2
    answer = ask(DEMO, "--device", "bms9")
    assert answer.exit_code == 2
    assert "no device bms9; there are meter, loads" in answer.output


def test_the_command_exits_1_when_a_device_does_not_answer(tmp_path):
    site = private_copy(DEMO, tmp_path)
    answer = ask(site, "--device", "bms1", "--seconds", "0", "--wait", "0.5", "--json")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["devices"][0]["problem"] == "connection refused"
    assert logging.getLogger("ems.drivers").isEnabledFor(logging.WARNING), "muted for good"


def test_a_controller_in_service_does_not_lose_its_device_to_a_probe(tmp_path):
    site = private_copy(DEMO, tmp_path)
    data = yaml.safe_load(site.read_text())
    data["storage"]["data_dir"] = str(tmp_path / "data")
    site.write_text(yaml.safe_dump(data))
    with open_log(tmp_path / "data" / "log"):
        answer = ask(site, "--device", "bms1")
    assert answer.exit_code == 1
    assert "bms1 would lose its connection" in answer.output
