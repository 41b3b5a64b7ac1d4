"""Brokers that refuse, stall, close and talk nonsense: nothing is lost or repeated for ever."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ems.clock import SystemClock
from ems.site import UplinkSpec
from ems.telemetry import uplink as module
from ems.telemetry.outbox import Outbox
from ems.telemetry.uplink import STRIKES, WINDOW, Uplink
from tests.telemetry.mosquitto import wait_for
from tests.telemetry.scripted_broker import (
    Answer,
    ScriptedBroker,
    connack,
    disconnect,
    puback,
    receive_maximum,
)
from tests.telemetry.test_outbox import message

pytestmark = pytest.mark.sockets
CLOCK = SystemClock()


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    box = Outbox(tmp_path / "outbox.sqlite", CLOCK)
    yield box
    box.close()


def uplink_to(port: int, outbox: Outbox) -> Uplink:
    spec = UplinkSpec("127.0.0.1", port, "ems")
    uplink = Uplink(
        outbox, spec, "s", "b", CLOCK, backoff_s=(0.02, 0.05), pause_s=0.05, settle_s=0.0
    )
    uplink.start()
    return uplink


class Exchange:
    """An uplink facing a scripted broker until the queue is empty."""

    def __init__(self, outbox: Outbox, count: int, answer: Answer, greeting: bytes) -> None:
        outbox.offer([message(i) for i in range(count)])
        self.broker = ScriptedBroker(answer, greeting)
        self.uplink = uplink_to(self.broker.port, outbox)
        try:
            wait_for(lambda: outbox.stats().rows + outbox.stats().waiting == 0, what="drain")
        finally:
            self.uplink.stop()
            self.broker.close()

    @property
    def numbers(self) -> list[int]:
        bodies = [body[body.index(b"{") :] for body in self.broker.published]
        return [json.loads(body)["values"]["n"] for body in bodies]


@pytest.mark.parametrize(
    ("told", "window"),
    [
        pytest.param(3, 3, id="broker takes three"),
        pytest.param(1, 1, id="broker takes one"),
        pytest.param(1000, WINDOW, id="broker takes many: ours is smaller"),
        pytest.param(None, WINDOW, id="broker says nothing"),
    ],
)
def test_never_more_in_flight_than_the_broker_takes(
    outbox: Outbox, told: int | None, window: int
) -> None:
    waiting: list[bytes] = []
    most = 0

    def answer(n: int, body: bytes) -> bytes:
        # Answers late: the first at once, then only when a full window has arrived.
        nonlocal most
        waiting.append(puback(body))
        most = max(most, len(waiting))
        if n == 0 or len(waiting) == window or n == 60:
            reply = b"".join(waiting)
            waiting.clear()
            return reply
        return b""

    greeting = connack(b"" if told is None else receive_maximum(told))
    # 1 + a whole number of windows, so that the last window fills as well.
    exchange = Exchange(outbox, 61, answer, greeting)
    assert exchange.numbers == list(range(61))
    assert most == window


def test_over_quota_is_tried_again_later_and_not_set_aside(outbox: Outbox) -> None:
    def answer(n: int, body: bytes) -> bytes:
        return puback(body, 0x97 if n < 3 else 0x00)

    exchange = Exchange(outbox, 10, answer, connack())
    assert exchange.numbers == [0, 0, 0, *range(10)]
    assert outbox.stats().quarantined == 0


@pytest.mark.parametrize("code", [0x80, 0x83, 0x87, 0x90, 0x99])
def test_every_refusal_sets_the_record_aside_once(outbox: Outbox, code: int) -> None:
    def answer(n: int, body: bytes) -> bytes:
        return puback(body, code if n == 4 else 0)

    exchange = Exchange(outbox, 10, answer, connack())
    assert exchange.numbers == list(range(10))
    assert outbox.stats().quarantined == 1
    assert exchange.uplink.status().refused == 1


@pytest.mark.parametrize("farewell", [None, disconnect(0x95)], ids=["closes", "DISCONNECT 0x95"])
def test_a_record_that_kills_every_connection_is_set_aside(
    outbox: Outbox, farewell: bytes | None
) -> None:
    def answer(_: int, body: bytes) -> bytes | None:
        return farewell if b'"n":5,' in body else puback(body)

    exchange = Exchange(outbox, 10, answer, connack())
    # No strike is counted while one of the five earlier records still gets through.
    assert STRIKES <= exchange.numbers.count(5) <= STRIKES + 5
    assert [n for n in dict.fromkeys(exchange.numbers)] == list(range(10))
    assert outbox.stats().quarantined == 1


def test_a_link_that_dies_now_and_then_sets_nothing_aside(outbox: Outbox) -> None:
    def answer(n: int, body: bytes) -> bytes | None:
        return None if n % 7 == 6 else puback(body)

    exchange = Exchange(outbox, 60, answer, connack())
    assert list(dict.fromkeys(exchange.numbers)) == list(range(60))
    assert outbox.stats().quarantined == 0
    assert exchange.broker.connections > 5


def test_an_answer_that_never_comes_ends_the_connection(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACK_TIMEOUT_S", 0.3)

    def answer(n: int, body: bytes) -> bytes:
        return b"" if n == 0 else puback(body)

    exchange = Exchange(outbox, 5, answer, connack())
    assert exchange.numbers == [0, *range(5)]
    assert exchange.broker.connections == 2


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", id="a web server"),
        pytest.param(b"\x20\x02\x00", id="cut short"),
        pytest.param(b"\x20\xff\xff\xff\xff\xff\xff", id="impossible length"),
        pytest.param(b"\x20\x03\x00\x00\x7f", id="properties beyond the packet"),
        pytest.param(b"\x20\x05\x00\x00\x02\xee\x01", id="unknown property"),
        pytest.param(b"\x40\x02\x00\x01", id="PUBACK before CONNACK"),
        pytest.param(b"\x00" * 64, id="zeros"),
    ],
)
def test_nonsense_from_the_peer_is_survived(
    outbox: Outbox, nonsense: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECT_TIMEOUT_S", 0.3)
    outbox.offer([message(0)])
    bad = ScriptedBroker(lambda _n, body: puback(body), nonsense)
    uplink = uplink_to(bad.port, outbox)
    wait_for(lambda: bad.connections >= 2, what="a second try")
    assert uplink.status().error
    uplink.stop()
    bad.close()
    outbox.take(0)
    assert outbox.stats().rows == 1


def test_a_refused_connection_names_the_reason(outbox: Outbox) -> None:
    broker = ScriptedBroker(lambda _n, body: puback(body), connack(code=0x8A))
    uplink = uplink_to(broker.port, outbox)
    wait_for(lambda: "Banned" in uplink.status().error, what="the reason")
    assert uplink.status().connections == 0
    uplink.stop()
    broker.close()


def test_stopping_is_quick_while_nobody_answers(outbox: Outbox) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uplink = uplink_to(silent.getsockname()[1], outbox)
        wait_for(lambda: uplink.status().state == "connecting")
        uplink.stop()
        assert uplink.status().state == "stopped"
