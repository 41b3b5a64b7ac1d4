"""The way to the platform, through a real mosquitto and seen by a real subscriber."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ems.clock import SystemClock
from ems.site import UplinkSpec
from ems.telemetry.messages import Kind, Message
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import WINDOW, Uplink
from tests.telemetry.mosquitto import Mosquitto, Witness, by_stream, free_port, wait_for
from tests.telemetry.test_outbox import message

pytestmark = pytest.mark.sockets
CLOCK = SystemClock()
ROOT = Path(__file__).parents[2]
ALL = "ems/#"


class Rig:
    """Everything one test starts; ended in reverse order whatever happens."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.outbox = Outbox(directory / "outbox.sqlite", CLOCK)
        self._ends: list[Callable[[], None]] = [self.outbox.close]

    def broker(self, *settings: str, port: int | None = None) -> Mosquitto:
        broker = Mosquitto(self.directory, *settings, port=port)
        self._ends.append(broker.kill)
        return broker

    def witness(self, port: int, topic: str = "ems/+/+/telemetry") -> Witness:
        witness = Witness(port, self.directory, topic)
        self._ends.append(witness.close)
        return witness

    def uplink(self, port: int, **options: Any) -> Uplink:
        spec_keys = ("username_env", "password_env")
        spec = {k: options.pop(k) for k in spec_keys if k in options}
        uplink = Uplink(
            self.outbox,
            UplinkSpec("127.0.0.1", port, "ems", **spec),
            "s",
            "boot1",
            CLOCK,
            backoff_s=(0.05, 0.2),
            pause_s=0.1,
            settle_s=0.0,
            **options,
        )
        uplink.start()
        self._ends.append(uplink.stop)
        return uplink

    def drained(self) -> None:
        wait_for(lambda: self.outbox.stats().rows + self.outbox.stats().waiting == 0, what="drain")

    def end(self) -> None:
        for end in reversed(self._ends):
            end()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.end()


def batch(start: int, count: int, subjects: tuple[str, ...] = ("p1", "p2", "p3")) -> list[Message]:
    return [message(i, subject) for i in range(start, start + count) for subject in subjects]


def test_six_hundred_records_arrive_once_and_in_order(rig: Rig) -> None:
    broker = rig.broker()
    witness = rig.witness(broker.port)
    uplink = rig.uplink(broker.port)
    rig.outbox.offer(batch(0, 200))
    rig.drained()
    wait_for(lambda: len(witness.records()) == 600, what="600 records")
    assert by_stream(witness.records()) == {
        (f"{p}/telemetry", "boot1"): list(range(200)) for p in ("p1", "p2", "p3")
    }
    status = uplink.status()
    assert (status.sent, status.acked, status.refused) == (600, 600, 0)
    assert (status.state, status.error, status.connections) == ("online", "", 1)


def test_offline_records_queue_then_drain_interlocks_first(rig: Rig) -> None:
    port = free_port()
    uplink = rig.uplink(port)
    rig.outbox.offer(batch(0, 100))
    rig.outbox.offer([message(0, "p1", Kind.INTERLOCK), message(1, "site", Kind.EVENT)])
    wait_for(lambda: "refused" in uplink.status().error.lower(), what="the error")
    assert uplink.status().sent == 0
    wait_for(lambda: rig.outbox.ready == 302, what="all on disk")
    rig.broker(port=port)
    witness = rig.witness(port, ALL)
    rig.drained()
    wait_for(lambda: len(witness.records()) == 303, what="302 records and the status")
    records = [r for r in witness.records() if "stream" in r]
    assert [r["stream"] for r in records[:2]] == ["p1/interlock", "site/event"]
    assert by_stream(records)["p3/telemetry", "boot1"] == list(range(100))
    assert uplink.status().error == ""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill -9", "terminate"])
def test_nothing_is_lost_or_reordered_when_the_broker_dies(rig: Rig, number: int) -> None:
    broker = rig.broker()
    witness = rig.witness(broker.port)
    rig.uplink(broker.port)
    for part in range(2):
        rig.outbox.offer(batch(part * 100, 100, ("p1", "p2")))
        mark = 200 * part + 40
        wait_for(lambda mark=mark: len(witness.records()) > mark, what="mid-stream")
        broker.kill(number)
        broker.start()
    rig.drained()
    expected = {(f"{p}/telemetry", "boot1"): list(range(200)) for p in ("p1", "p2")}
    wait_for(lambda: sum(map(len, by_stream(witness.records()).values())) == 400, what="all 400")
    records = witness.records()
    assert by_stream(records) == expected
    assert len(records) - 400 <= 2 * WINDOW


def test_nothing_committed_is_lost_when_the_process_is_killed(tmp_path: Path) -> None:
    broker = Mosquitto(tmp_path)
    witness = Witness(broker.port, tmp_path)
    path = tmp_path / "outbox.sqlite"
    command = [sys.executable, "-m", "tests.telemetry.publisher", str(path), str(broker.port)]
    committed = 0
    try:
        for round_ in range(2):
            child = subprocess.Popen([*command, "100000"], stdout=subprocess.PIPE, cwd=ROOT)
            assert child.stdout is not None
            before = committed
            for line in child.stdout:
                committed = before + int(line)
                if len(witness.records()) > 100 * (round_ + 1) and committed > before + 200:
                    break
            child.kill()
            child.wait(10)
            child.stdout.close()
            committed = max(committed, next_seq(path) * 2)
        subprocess.run([*command, "0"], check=True, cwd=ROOT, timeout=30)
        wait_for(
            lambda: sum(map(len, by_stream(witness.records()).values())) >= committed,
            what="all committed records",
        )
        records = witness.records()
    finally:
        witness.close()
        broker.kill()
    streams = by_stream(records)
    total = sum(map(len, streams.values()))
    assert total == committed
    for seqs in streams.values():
        assert seqs == list(range(len(seqs)))
    assert len(records) - total <= 2 * WINDOW


def next_seq(path: Path) -> int:
    """The next number of each stream on disk; both streams are offered together."""
    import sqlite3

    db = sqlite3.connect(path)
    rows = db.execute("SELECT next_seq FROM counter").fetchall()
    db.close()
    assert len({row[0] for row in rows}) == 1
    return int(rows[0][0])


def test_a_refused_record_is_set_aside_not_lost_not_repeated(rig: Rig) -> None:
    acl = rig.directory / "acl"
    acl.write_text(
        "topic readwrite ems/s/p1/#\ntopic readwrite ems/s/site/#\ntopic readwrite ready\n"
    )
    acl.chmod(0o600)
    broker = rig.broker(f"acl_file {acl}")
    witness = rig.witness(broker.port)
    uplink = rig.uplink(broker.port)
    rig.outbox.offer(batch(0, 60, ("p1", "p2")))
    rig.drained()
    assert rig.outbox.stats().quarantined == 60
    status = uplink.status()
    assert (status.sent, status.acked, status.refused) == (120, 60, 60)
    assert by_stream(witness.records()) == {("p1/telemetry", "boot1"): list(range(60))}

    acl.write_text("topic readwrite #\n")
    broker.reload()
    wait_for(lambda: rig.outbox.stats().held == 0)
    assert rig.outbox.release() == 60
    rig.drained()
    wait_for(lambda: len(witness.records()) == 120, what="released records")
    assert by_stream(witness.records())["p2/telemetry", "boot1"] == list(range(60))
    assert rig.outbox.stats().quarantined == 0


def test_a_record_too_large_for_the_broker_blocks_nobody(rig: Rig) -> None:
    broker = rig.broker("max_packet_size 4000")
    witness = rig.witness(broker.port)
    uplink = rig.uplink(broker.port)
    rig.outbox.offer([message(0, "p1"), message(1, "p1", padding=5_000), message(2, "p1")])
    rig.drained()
    wait_for(lambda: len(witness.records()) == 2, what="the others")
    assert [r["seq"] for r in witness.records()] == [0, 2]
    assert rig.outbox.stats().quarantined == 1
    assert uplink.status().connections == 1


def test_records_nobody_hears_are_kept_until_somebody_does(rig: Rig) -> None:
    broker = rig.broker()
    uplink = rig.uplink(broker.port)
    rig.outbox.offer(batch(0, 50, ("p1",)))
    wait_for(lambda: uplink.status().unheard >= 2, what="two tries")
    assert uplink.status().state == "unheard"
    assert rig.outbox.stats().rows == 50
    witness = rig.witness(broker.port)
    rig.drained()
    wait_for(lambda: len(witness.records()) >= 50)
    assert by_stream(witness.records()) == {("p1/telemetry", "boot1"): list(range(50))}
    assert uplink.status().state == "online"


def test_a_platform_with_rules_instead_of_subscriptions_is_believed(rig: Rig) -> None:
    broker = rig.broker()
    uplink = rig.uplink(broker.port, hold_unheard=False)
    rig.outbox.offer(batch(0, 50, ("p1",)))
    rig.drained()
    assert (uplink.status().acked, uplink.status().unheard) == (50, 0)


def test_the_retained_status_tells_online_offline_and_lost(rig: Rig) -> None:
    broker = rig.broker()
    witness = rig.witness(broker.port, "ems/s/site/status")

    def states() -> list[str]:
        return [payload["state"] for payload in witness.records()]

    uplink = rig.uplink(broker.port)
    wait_for(lambda: states() == ["online"], what="online")
    uplink.stop()
    wait_for(lambda: states() == ["online", "offline"], what="offline")
    command = [sys.executable, "-m", "tests.telemetry.publisher"]
    child = subprocess.Popen(
        [*command, str(rig.directory / "other.sqlite"), str(broker.port), "100000"],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        wait_for(lambda: states()[2:] == ["online"], what="the other process")
    finally:
        child.kill()
        child.wait(10)
    wait_for(lambda: states()[3:] == ["lost"], what="the will")
    late = rig.witness(broker.port, "ems/s/+/status")
    wait_for(lambda: [p["state"] for p in late.records()] == ["lost"], what="the retained status")


def test_credentials_come_from_the_environment_and_a_wrong_one_is_named(rig: Rig) -> None:
    passwords = rig.directory / "passwords"
    subprocess.run(["mosquitto_passwd", "-c", "-b", str(passwords), "site", "right"], check=True)
    passwords.chmod(0o600)
    broker = rig.broker("allow_anonymous false", f"password_file {passwords}")
    names = {"username_env": "EMS_USER", "password_env": "EMS_PASSWORD"}
    absent = rig.uplink(broker.port, environ={"EMS_USER": "site"}, **names)
    wait_for(lambda: "EMS_PASSWORD is not set" in absent.status().error)
    absent.stop()
    wrong = rig.uplink(broker.port, environ={"EMS_USER": "site", "EMS_PASSWORD": "x"}, **names)
    wait_for(lambda: "Not authorized" in wrong.status().error)
    assert wrong.status().state != "online"
    wrong.stop()
    right = rig.uplink(broker.port, environ={"EMS_USER": "site", "EMS_PASSWORD": "right"}, **names)
    wait_for(lambda: right.status().state == "online")
