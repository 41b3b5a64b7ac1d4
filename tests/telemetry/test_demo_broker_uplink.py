"""The demo's broker, both kinds: what the uplink may rely on, and the known limits."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from ems.clock import SystemClock
from ems.site import UplinkSpec
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import Uplink
from tests.telemetry.mosquitto import free_port, listening, wait_for
from tests.telemetry.test_outbox import message

pytestmark = pytest.mark.sockets
ROOT = Path(__file__).parents[2]
KINDS = ("mosquitto", "iotcore")


class DemoBroker:
    def __init__(self, kind: str) -> None:
        self.kind, self.port = kind, free_port()
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "sim.broker", "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*command, "--kind", self.kind], cwd=ROOT, stderr=subprocess.DEVNULL
        )
        wait_for(lambda: listening(self.port), what="the broker")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self._process.wait(10)


class Listener:
    """A subscriber in this process that reconnects by itself within about a second.

    It subscribes with QoS 0: one that has to acknowledge notices the broker's death when it
    writes, closes at once, and never reads what had already arrived.
    """

    def __init__(self, port: int) -> None:
        self.topics: list[str] = []
        self.payloads: list[str] = []
        self.subscribed = 0
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "listener", protocol=mqtt.MQTTv5)
        client.on_connect = lambda c, *_: c.subscribe("ems/#", qos=0)
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.reconnect_delay_set(1, 1)
        client.connect("127.0.0.1", port)
        client.loop_start()
        self._client = client
        wait_for(lambda: self.subscribed == 1, what="the subscription")

    def _on_subscribe(self, *_: object) -> None:
        self.subscribed += 1

    def _on_message(self, _c: object, _u: object, received: mqtt.MQTTMessage) -> None:
        self.topics.append(received.topic)
        self.payloads.append(received.payload.decode())

    def numbers(self) -> list[int]:
        return [int(p.split('"n":')[1].split(",")[0]) for p in self.payloads if '"n":' in p]

    def states(self) -> list[str]:
        return [p.split('"state": "')[1].split('"')[0] for p in self.payloads if '"state"' in p]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def broker(kind: str) -> Iterator[DemoBroker]:
    broker = DemoBroker(kind)
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker: DemoBroker) -> Iterator[Listener]:
    listener = Listener(broker.port)
    yield listener
    listener.close()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite", SystemClock())
    yield box
    box.close()


@pytest.fixture
def uplink(broker: DemoBroker, outbox: Outbox) -> Iterator[Uplink]:
    spec = UplinkSpec("127.0.0.1", broker.port, "ems")
    uplink = Uplink(outbox, spec, "s", "b", SystemClock(), backoff_s=(0.05, 0.2), pause_s=0.1)
    uplink.start()
    yield uplink
    uplink.stop()


def test_records_status_and_will_pass(
    broker: DemoBroker, listener: Listener, uplink: Uplink, outbox: Outbox, tmp_path: Path
) -> None:
    outbox.offer([message(i) for i in range(300)])
    wait_for(lambda: len(listener.numbers()) == 300, what="300 records")
    assert listener.numbers() == list(range(300))
    uplink.stop()
    wait_for(lambda: listener.states() == ["online", "offline"], what="the status")
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.telemetry.publisher"),
            *(str(tmp_path / "other.sqlite"), str(broker.port), "100000"),
        ],
        stdout=subprocess.DEVNULL,
        cwd=ROOT,
    )
    try:
        wait_for(lambda: listener.states()[2:] == ["online"], what="the other process")
    finally:
        child.kill()
        child.wait(10)
    wait_for(lambda: listener.states()[3:] == ["lost"], what="the will")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "kill -9"])
def test_however_it_ends_the_port_is_free_for_the_next(broker: DemoBroker, number: int) -> None:
    code = broker.stop(number)
    assert code == (0 if number == signal.SIGTERM else -number)
    wait_for(lambda: not listening(broker.port), what="the port")
    broker.start()
    assert listening(broker.port)


@pytest.mark.parametrize("kind", ["mosquitto"])
def test_mosquitto_tells_that_nobody_listens(uplink: Uplink, outbox: Outbox) -> None:
    outbox.offer([message(0)])
    wait_for(lambda: uplink.status().unheard >= 1, what="the broker's word")
    assert outbox.stats().rows == 1


@pytest.mark.parametrize("kind", ["iotcore"])
def test_rumqttd_calls_that_a_success(uplink: Uplink, outbox: Outbox) -> None:
    """A limit of that broker, not ours: the subscriber must come first."""
    outbox.offer([message(0)])
    wait_for(lambda: outbox.stats().delivered == 1, what="the broker's word")
    assert uplink.status().unheard == 0


def test_a_broker_killed_in_mid_burst_costs_a_returning_subscriber_nothing(
    broker: DemoBroker, listener: Listener, uplink: Uplink, outbox: Outbox
) -> None:
    outbox.offer([message(i) for i in range(200)])
    wait_for(lambda: len(listener.numbers()) > 20, what="the burst")
    broker.stop(signal.SIGKILL)
    outbox.offer([message(i) for i in range(200, 300)])
    wait_for(lambda: not listening(broker.port), what="the port")
    broker.start()
    wait_for(lambda: outbox.stats().rows + outbox.stats().waiting == 0, what="drain")
    wait_for(lambda: set(listener.numbers()) == set(range(300)), what="all records")
    assert list(dict.fromkeys(listener.numbers())) == list(range(300))
    assert uplink.status().connections == 2
