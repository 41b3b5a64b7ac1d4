"""The simulator as a process of its own: ready line, control channel, clean end."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sim.control import answer, ask
from sim.plant import Plant
from tests.builders import make_site
from tests.drivers.bench import DEMO, free_port

pytestmark = pytest.mark.sockets


def site_file(tmp_path: Path) -> Path:
    """The demo site without its OPC UA device, on free ports."""
    data = yaml.safe_load(DEMO.read_text(encoding="utf-8"))
    for entry in data["devices"].values():
        entry["port"] = free_port()
    data["devices"]["bms3"] |= {"profile": "bms_rack_0x2000", "transport": "modbus_tcp"}
    for key in ("path", "options"):
        del data["devices"]["bms3"][key]
    data["grid"]["tariff"] = str((DEMO.parent / data["grid"]["tariff"]).resolve())
    path = tmp_path / "site.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


def test_it_serves_takes_events_and_ends_cleanly(tmp_path):
    door = tmp_path / "c.sock"
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.serve", str(site_file(tmp_path)), "--control", str(door)],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        word, ports = process.stdout.readline().split(" ", 1)
        assert word == "READY"
        assert len(json.loads(ports)) == 8
        assert ask(door, {"inject": {"event": "load_step", "target": "*", "value": 5000}})["ok"]
        assert "pack_lost" in ask(door, {"events": True})["events"]
        first = ask(door, {"truth": True})
        while (found := ask(door, {"truth": True}))["now_s"] <= first["now_s"]:
            time.sleep(0.05)  # plant time follows wall time
        assert found["truth"]["load_power_w"] == pytest.approx(23_000.0), "18 kW and the step"
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert not door.exists()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("line", "word"),
    [
        pytest.param(b"not json", "JSONDecodeError", id="no JSON"),
        pytest.param(b"{}", "expected inject", id="nothing asked"),
        pytest.param(b"[1]", "expected inject", id="not an object"),
        pytest.param(b'{"inject": {}}', "KeyError", id="no event"),
        pytest.param(b'{"inject": {"event": "meteor"}}', "ValueError", id="unknown event"),
        pytest.param(b'{"inject": {"event": "load_step", "value": null}}', "TypeError", id="null"),
    ],
)
def test_a_wrong_question_gets_an_error_and_changes_nothing(line, word):
    plant = Plant(make_site(), 1)
    assert word in answer(plant, line)["error"]


def test_a_broken_site_file_ends_with_its_position_and_no_traceback(tmp_path):
    path = site_file(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("kind: own", "kind: my"))
    done = subprocess.run(
        [sys.executable, "-m", "sim.serve", str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "site.yaml:" in done.stderr
    assert "Traceback" not in done.stderr
