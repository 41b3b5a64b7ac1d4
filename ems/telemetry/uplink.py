"""MQTT 5 uplink: drains the outbox to the platform's broker, QoS 1, in order.

One thread owns the client and the connection. Every connection gets a fresh
client without broker-side state: the outbox alone remembers what was not acknowledged,
so paho's own queue (lost with the process) never holds anything else. A record
is deleted only on a PUBACK whose reason code says success: paho calls a refused
publish "published" as well.
"""

import json
import logging
import os
import random
import socket
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.properties import Properties

from ems.clock import Clock
from ems.site import UplinkSpec
from ems.telemetry.messages import SCHEMA_VERSION, SITE_SUBJECT
from ems.telemetry.outbox import Outbox
from ems.telemetry.store import Row

log = logging.getLogger(__name__)

WINDOW: Final = 20
"""Records on the wire at most; also the bound of duplicates after a crash."""
KEEPALIVE_S: Final = 30
CONNECT_TIMEOUT_S: Final = 10.0
ACK_TIMEOUT_S: Final = 60.0
PAUSE_S: Final = 5.0
"""Wait after the broker took a record nobody is subscribed to, or was over quota."""
SETTLE_S: Final = 3.0
"""After a reconnect subscribers get this long to return as well."""
STRIKES: Final = 5
"""Connections a record may cost before it is set aside."""
_LOOP_S: Final = 0.1
_PACKET_OVERHEAD_B: Final = 16
_NO_SUBSCRIBERS: Final = 0x10
_FAILURE: Final = 0x80
_TRY_LATER: Final = frozenset({0x91, 0x97})
"""Packet identifier in use, quota exceeded: nothing is wrong with the record."""
_NO_RECEIVE_MAXIMUM: Final = 65_535


@dataclass(frozen=True, slots=True)
class UplinkStatus:
    """Where the uplink stands and what it has done since it was started."""

    state: str = "stopped"
    """``stopped``, ``connecting``, ``online``, ``unheard`` (nobody subscribed), ``throttled``."""
    error: str = ""
    """Why the last connection ended; empty when all is well."""
    connections: int = 0
    sent: int = 0
    acked: int = 0
    refused: int = 0
    unheard: int = 0
    """Publishes the broker took although nobody was subscribed; they are sent again."""


@dataclass(slots=True)
class _Connection:
    """One connection."""

    client: mqtt.Client
    started_s: float
    connected: bool = False
    window_high: int = WINDOW
    window: int = 1
    """One until the first record got through: finds a poison record, keeps order."""
    packet_high_b: int | None = None
    error: str = ""
    silent: bool = False
    """Ended without a word from the peer: says nothing about the record."""
    paused: bool = False
    paused_to_s: float = 0.0
    progress: bool = False
    flight: dict[int, tuple[Row | None, float]] = field(default_factory=dict)
    """Packet id -> record and when it was sent; ``None`` is the status record."""
    answers: list[tuple[int, int, str]] = field(default_factory=list)
    """(packet id, reason code, its name), filled by the callback."""


class Uplink:
    """Publishes what the outbox holds until stopped.

    Args:
        outbox: Where the records wait; this object is its only consumer.
        spec: Broker, topic prefix, TLS and the names of credential variables.
        site_id: Second part of every topic; makes the MQTT client id.
        boot: Id of this run of the process, told with the status.
        clock: Source of monotonic time for time-outs.
        hold_unheard: Keep a record the broker took while nobody was subscribed
            (PUBACK 0x10): a plain broker has thrown it away. Off for platforms
            whose rules consume records without a subscription.
        backoff_s: First and longest wait between two connections, s; jittered.
        pause_s: Wait before an unheard or throttled record is tried again, s.
        settle_s: Wait after a reconnect before the first record, s. A broker that
            restarted has forgotten its subscribers, and not every one says so.
        environ: Where credentials are looked up.
    """

    def __init__(
        self,
        outbox: Outbox,
        spec: UplinkSpec,
        site_id: str,
        boot: str,
        clock: Clock,
        *,
        hold_unheard: bool = True,
        backoff_s: tuple[float, float] = (1.0, 60.0),
        pause_s: float = PAUSE_S,
        settle_s: float = SETTLE_S,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._spec = spec
        self._site_id = site_id
        self._boot = boot
        self._outbox = outbox
        self._clock = clock
        self._hold_unheard = hold_unheard
        self._backoff_s = backoff_s
        self._pause_s = pause_s
        self._settle_s = settle_s
        self._environ = environ
        self._status = UplinkStatus()
        self._status_topic = f"{spec.topic_prefix}/{site_id}/{SITE_SUBJECT}/status"
        self._strikes: tuple[int, int] = (0, 0)
        # Only spreads reconnects of many sites over time; control never sees it.
        self._jitter = random.Random(site_id)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Connect and drain in a thread of its own."""
        self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Say ``offline`` to the broker when it is there, and end the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def status(self) -> UplinkStatus:
        """Present state and counters; cheap, from any thread."""
        return self._status

    def _run(self) -> None:
        first_s, longest_s = self._backoff_s
        wait_s = first_s
        while not self._stop.is_set():
            self._set(state="connecting")
            connection = self._connect()
            if connection is not None:
                self._serve(connection)
                self._lost(connection)
            if connection is not None and connection.progress:
                wait_s = first_s
            self._stop.wait(wait_s * self._jitter.uniform(0.5, 1.0))
            wait_s = min(2.0 * wait_s, longest_s)
        self._set(state="stopped")

    def _connect(self) -> _Connection | None:
        try:
            client = self._client()
            connection = _Connection(client, self._clock.monotonic_s())
            client.on_connect = lambda _c, _u, _f, code, properties: self._on_connect(
                connection, code, properties
            )
            client.on_socket_open = _no_delay
            client.on_publish = lambda _c, _u, mid, code, _p: connection.answers.append(
                (mid, code.value, str(code))
            )
            client.on_disconnect = lambda _c, _u, flags, code, _p: _on_disconnect(
                connection, flags.is_disconnect_packet_from_server, str(code)
            )
            client.connect(
                self._spec.host, self._spec.port, keepalive=KEEPALIVE_S, clean_start=True
            )
        except (OSError, ValueError) as error:
            self._note(f"cannot connect to {self._spec.host}:{self._spec.port}: {error}")
            return None
        return connection

    def _client(self) -> mqtt.Client:
        spec = self._spec
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=f"ems-{self._site_id}",
            protocol=mqtt.MQTTv5,
        )
        client.connect_timeout = CONNECT_TIMEOUT_S
        client.max_inflight_messages_set(WINDOW)
        client.will_set(self._status_topic, self._status_payload("lost"), qos=1, retain=True)
        if spec.tls_ca is not None:
            client.tls_set(ca_certs=str(spec.tls_ca))
        if spec.username_env is not None:
            client.username_pw_set(self._credential(spec.username_env), self._password())
        return client

    def _password(self) -> str | None:
        name = self._spec.password_env
        return None if name is None else self._credential(name)

    def _credential(self, name: str) -> str:
        value = self._environ.get(name)
        if value is None:
            raise ValueError(f"environment variable {name} is not set")
        return value

    def _on_connect(
        self, connection: _Connection, code: Any, properties: Properties | None
    ) -> None:
        if code.value >= _FAILURE:
            connection.error = f"the broker refused the connection: {code}"
            return
        connection.connected = True
        receive_maximum = getattr(properties, "ReceiveMaximum", _NO_RECEIVE_MAXIMUM)
        connection.window_high = max(1, min(WINDOW, receive_maximum))
        connection.packet_high_b = getattr(properties, "MaximumPacketSize", None)
        if self._status.connections > 0:
            connection.paused = True
            connection.paused_to_s = self._clock.monotonic_s() + self._settle_s
        if self._status.error:
            log.info("uplink to %s:%d is back", self._spec.host, self._spec.port)
        self._set(state="online", error="", connections=self._status.connections + 1)

    def _serve(self, connection: _Connection) -> None:
        """Publish and collect answers until the connection ends or we are stopped."""
        try:
            while not self._stop.is_set() and not connection.error:
                greeted = connection.connected
                self._turn(connection)
                if connection.error or not connection.connected:
                    continue
                if not greeted:
                    self._say(connection, "online")
                self._fill(connection)
            if connection.connected and not connection.error:
                self._part(connection)
        except Exception as error:
            # Garbage from the peer surfaces as whatever paho's decoder stumbles over, and
            # this thread must outlive it: report, reconnect.
            log.exception("uplink connection failed")
            connection.error = f"{type(error).__name__}: {error}"
        finally:
            connection.client.disconnect()

    def _turn(self, connection: _Connection) -> None:
        """Let the client read and write once, at most ``_LOOP_S`` long."""
        code = connection.client.loop(_LOOP_S)
        self._settle(connection)
        if code is not mqtt.MQTT_ERR_SUCCESS:
            connection.silent = code is mqtt.MQTT_ERR_KEEPALIVE
            connection.error = connection.error or mqtt.error_string(code)
        elif (
            not connection.connected
            and self._clock.monotonic_s() - connection.started_s > CONNECT_TIMEOUT_S
        ):
            connection.error = "no answer to CONNECT"

    def _part(self, connection: _Connection) -> None:
        """A clean end: the retained status says ``offline`` and answers are awaited briefly."""
        self._say(connection, "offline")
        until_s = self._clock.monotonic_s() + 1.0
        while connection.flight and not connection.error and self._clock.monotonic_s() < until_s:
            self._turn(connection)

    def _fill(self, connection: _Connection) -> None:
        """Top up the records on the wire when half of the window is free."""
        now_s = self._clock.monotonic_s()
        flight = connection.flight
        if flight and now_s - next(iter(flight.values()))[1] > ACK_TIMEOUT_S:
            connection.error = "no acknowledgement"
        elif connection.paused:
            self._resume(connection, now_s)
        elif len(flight) <= connection.window // 2 and self._outbox.ready > 0:
            for row in self._outbox.take(connection.window):
                self._publish(connection, row, now_s)

    def _publish(self, connection: _Connection, row: Row, now_s: float) -> None:
        size_b = len(row.payload) + len(row.topic.encode()) + _PACKET_OVERHEAD_B
        if connection.packet_high_b is not None and size_b > connection.packet_high_b:
            self._refuse(row, f"{size_b} B, the broker takes {connection.packet_high_b} B at most")
            return
        if connection.error:
            return
        info = connection.client.publish(row.topic, row.payload, qos=1)
        connection.flight[info.mid] = (row, now_s)
        self._set(sent=self._status.sent + 1)
        if info.rc is not mqtt.MQTT_ERR_SUCCESS:
            connection.error = mqtt.error_string(info.rc)

    def _resume(self, connection: _Connection, now_s: float) -> None:
        """After a pause: everything unanswered goes out again, oldest first."""
        if now_s >= connection.paused_to_s and not connection.flight:
            self._outbox.give_back()
            connection.window = 1
            connection.paused = False

    def _settle(self, connection: _Connection) -> None:
        """Act on the answers collected by the callback."""
        answers, connection.answers = connection.answers, []
        for mid, code, name in answers:
            row, _ = connection.flight.pop(mid, (None, 0.0))
            if row is None:
                if code >= _FAILURE:
                    log.warning("the broker refused %s: %s", self._status_topic, name)
            elif code in _TRY_LATER:
                self._pause(connection, "throttled")
            elif code == _NO_SUBSCRIBERS and self._hold_unheard:
                self._set(unheard=self._status.unheard + 1)
                self._pause(connection, "unheard")
            else:
                connection.progress = True
                connection.window = connection.window_high
                if code >= _FAILURE:
                    self._refuse(row, name)
                else:
                    self._outbox.acknowledge(row.id)
                    self._set(state="online", acked=self._status.acked + 1)

    def _pause(self, connection: _Connection, state: str) -> None:
        if self._status.state != state:
            log.warning("uplink is %s: records are kept", state)
        self._set(state=state)
        connection.paused = True
        connection.paused_to_s = self._clock.monotonic_s() + self._pause_s

    def _refuse(self, row: Row, reason: str) -> None:
        log.warning("record %s seq %d set aside: %s", row.stream, row.seq, reason)
        self._outbox.quarantine(row.id, reason)
        self._set(refused=self._status.refused + 1)

    def _lost(self, connection: _Connection) -> None:
        """Take the unanswered rows back; a record that keeps killing connections is set aside."""
        if self._stop.is_set():
            return
        error = connection.error or "the broker closed the connection"
        self._note(error)
        try:
            if connection.flight and not connection.progress and not connection.silent:
                self._strike(next(iter(connection.flight.values()))[0], error)
            self._outbox.give_back()
        except (TimeoutError, sqlite3.Error, RuntimeError) as failure:
            self._note(f"the outbox does not answer: {failure}")

    def _strike(self, row: Row | None, error: str) -> None:
        """Count a connection that ended with nothing but this record unanswered."""
        if row is None:
            return
        last, strikes = self._strikes
        self._strikes = (row.id, strikes + 1 if row.id == last else 1)
        if self._strikes[1] >= STRIKES:
            self._refuse(row, f"the connection ended {STRIKES} times on it: {error}")

    def _say(self, connection: _Connection, state: str) -> None:
        payload = self._status_payload(state)
        info = connection.client.publish(self._status_topic, payload, qos=1, retain=True)
        connection.flight[info.mid] = (None, self._clock.monotonic_s())

    def _status_payload(self, state: str) -> bytes:
        status = {
            "v": SCHEMA_VERSION,
            "site": self._site_id,
            "boot": self._boot,
            "state": state,
        }
        return json.dumps(status).encode()

    def _note(self, error: str) -> None:
        if not self._status.error:
            log.warning("uplink: %s; records are kept and sent later", error)
        self._set(state="connecting", error=error)

    def _set(self, **changes: Any) -> None:
        self._status = replace(self._status, **changes)


def _no_delay(_client: mqtt.Client, _userdata: Any, opened: socket.socket) -> None:
    # Small records one by one: Nagle's algorithm would wait for each other's TCP ACK.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _on_disconnect(connection: _Connection, by_broker: bool, reason: str) -> None:
    if by_broker:
        connection.error = connection.error or f"the broker ended the connection: {reason}"
