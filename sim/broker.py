"""A broker for the demo: ``python -m sim.broker --port 1883`` on 127.0.0.1.

Mosquitto when it is installed, else the ``iotcore`` wheel (rumqttd). Both speak
MQTT 5 with wills, retained messages and QoS 1. Neither keeps anything across a
restart here: a subscriber who wants to lose nothing when the broker is killed
returns within the uplink's settle time and subscribes with QoS 0, because one that
has to acknowledge stops reading at the first failed write. Rumqttd also answers
"Success" to a record nobody is subscribed to (mosquitto says 0x10), and closes a
connection that sends more than 256 KiB without a word (no DISCONNECT).
"""

import argparse
import getpass
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from iotcore import Broker

SEARCH_PATH: Final = os.pathsep.join(
    (os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
)
_RUMQTTD: Final = """
id = 0
[router]
id = 0
max_connections = 100
max_outgoing_packet_count = 200
max_segment_size = 10485760
max_segment_count = 10
[v5.1]
name = "v5"
listen = "127.0.0.1:{port}"
next_connection_delay_ms = 1
    [v5.1.connections]
    connection_timeout_ms = 5000
    max_payload_size = 262144
    max_inflight_count = 100
    dynamic_filters = true
"""


def mosquitto() -> str | None:
    """Path of mosquitto, also where Debian hides it from users."""
    return shutil.which("mosquitto", path=SEARCH_PATH)


def become_mosquitto(binary: str, port: int) -> NoReturn:
    """Turn this process into mosquitto: its pid is the broker's, also for ``kill -9``."""
    config = (
        f"listener {port} 127.0.0.1\nallow_anonymous true\nuser {getpass.getuser()}\n"
        # Forward at once: what waits in its memory for a slow subscriber dies with it.
        "max_inflight_messages 0\n"
    )
    reading, writing = os.pipe()
    os.write(writing, config.encode())
    os.close(writing)
    os.set_inheritable(reading, True)
    os.execv(binary, [binary, "-c", f"/dev/fd/{reading}"])


def run_iotcore(port: int, directory: Path) -> NoReturn:
    """Run rumqttd until SIGTERM or SIGINT; its process ends with this one."""
    config = directory / "rumqttd.toml"
    config.write_text(_RUMQTTD.format(port=port), encoding="utf-8")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    with Broker(config_path=str(config)):
        while True:
            signal.pause()


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def main(arguments: list[str]) -> NoReturn:
    """Run a broker in the foreground until it is told to end."""
    parser = argparse.ArgumentParser(
        prog="python -m sim.broker",
        description="MQTT 5 broker on 127.0.0.1 for the demo.",
        epilog="Example: python -m sim.broker --port 1883",
    )
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument(
        "--kind",
        choices=("auto", "mosquitto", "iotcore"),
        default="auto",
        help="auto takes mosquitto when it is installed",
    )
    options = parser.parse_args(arguments)
    binary = mosquitto() if options.kind != "iotcore" else None
    if options.kind == "mosquitto" and binary is None:
        parser.error("mosquitto is not installed: apt-get install mosquitto")
    if binary is not None:
        become_mosquitto(binary, options.port)
    with tempfile.TemporaryDirectory(prefix="ems-broker-") as directory:
        run_iotcore(options.port, Path(directory))


if __name__ == "__main__":
    main(sys.argv[1:])
