"""What the running demo puts on the wire, judged by a foreign protocol analyser (tshark)."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ems.site import Site
from sim.demo import Demo
from tests.integration.live import LiveSite

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(180)]

SITE_FILE = Path("configs/sites/demo.yaml")
OBSERVED_S = 8.0
"""After the start, which is captured as well; some 20 s in all."""
START_S = 10.0
PROTOCOLS = ("mbtcp", "opcua", "mqtt")
FRAMES_MIN = {"mbtcp": 200, "opcua": 50, "mqtt": 20}
"""Far fewer than a demo of this length sends; none would prove nothing."""


def ports(site: Site) -> dict[int, str]:
    """Protocol of each port of a site."""
    assert site.uplink is not None
    of_transport = {"modbus_tcp": "mbtcp", "opcua": "opcua"}
    found = {spec.port: of_transport[spec.transport] for spec in site.devices.values()}
    return {**found, site.uplink.port: "mqtt"}


@contextmanager
def captured(file: Path, expected: dict[int, str]) -> Iterator[None]:
    """Write everything on these ports of the loopback interface into a file."""
    if shutil.which("tshark") is None:
        pytest.skip("tshark is not installed")
    wanted = " or ".join(f"tcp port {port}" for port in expected)
    log = file.with_suffix(".log")
    with log.open("wb") as messages:
        process = subprocess.Popen(
            ["tshark", "-i", "lo", "-f", wanted, "-w", str(file)], stdout=messages, stderr=messages
        )
    try:
        until_s = time.monotonic() + START_S
        # The file appears once the interface is open.
        while not file.exists():
            if process.poll() is not None or time.monotonic() > until_s:
                pytest.skip(f"tshark may not capture here: {log.read_text().strip()[-200:]}")
            time.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(START_S)


def frames(file: Path, expected: dict[int, str], matching: str) -> list[str]:
    """Number, protocol and summary of each frame that matches."""
    # Told by preference, not by -d: only so the Modbus dissector knows questions from answers.
    tell = []
    for name in PROTOCOLS:
        listed = ",".join(str(port) for port, protocol in expected.items() if protocol == name)
        tell += ["-o", f"{name}.tcp.port:{listed}"] if listed else []
    done = subprocess.run(
        [
            "tshark", "-r", str(file), *tell, "-Y", matching, "-T", "fields",
            "-e", "frame.number", "-e", "_ws.col.Protocol", "-e", "_ws.col.Info",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


def test_a_malformed_frame_is_found(tmp_path):
    file, cut_short = tmp_path / "broken.pcapng", bytes.fromhex("0001000000020103")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with captured(file, {port: "mbtcp"}):
            with socket.create_connection(("127.0.0.1", port)) as client:
                answering, _ = server.accept()
                client.sendall(bytes.fromhex("000100000006010300000028"))
                answering.recv(100)
                answering.sendall(cut_short)
                client.recv(100)
                answering.close()
            time.sleep(1.0)  # tshark writes what it has captured once a second
    assert len(frames(file, {port: "mbtcp"}, "mbtcp")) == 2
    assert len(frames(file, {port: "mbtcp"}, "_ws.malformed")) == 1


def test_no_frame_of_a_running_demo_is_malformed(tmp_path):
    demo = Demo(SITE_FILE, tmp_path)
    expected, file = ports(demo.site), tmp_path / "demo.pcapng"
    try:
        with captured(file, expected):
            demo.start()
            live = LiveSite(demo)
            live.until(lambda s: s["uplink"]["acked"] > 0, 60.0, "a message acknowledged")
            until_s = time.monotonic() + OBSERVED_S
            for _ in live.observe(2 * OBSERVED_S):
                if time.monotonic() > until_s:
                    break
    finally:
        demo.kill()
    assert frames(file, expected, "_ws.malformed") == []
    found = {name: frames(file, expected, name) for name in PROTOCOLS}
    counts = {name: len(lines) for name, lines in found.items()}
    print(f"\nframes captured: {counts}")
    assert all(counts[name] >= FRAMES_MIN[name] for name in PROTOCOLS), counts
    assert not [line for line in found["mbtcp"] if "unknown" in line], "each one was taken apart"
