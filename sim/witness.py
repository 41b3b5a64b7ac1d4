"""An independent subscriber that counts what really arrived at the broker."""

import json
import threading
from collections.abc import Callable
from typing import Any

from paho.mqtt.client import CallbackAPIVersion, Client, MQTTMessage, MQTTv5
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

SESSION_S = 3600


class Witness:
    """Counts unique records, duplicates and order per stream.

    Args:
        host: Broker.
        port: Its port.
        prefix: Topic prefix to listen under.
    """

    def __init__(self, host: str, port: int, prefix: str) -> None:
        self.host, self.port = host, port
        self.duplicates = 0
        self.out_of_order = 0
        self._highest: dict[tuple[str, str], int] = {}
        self._seen: set[tuple[str, str, int]] = set()
        self._lock = threading.Lock()
        self._client = Client(CallbackAPIVersion.VERSION2, "demo-witness", protocol=MQTTv5)
        self._client.reconnect_delay_set(0.2, 2.0)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect(f"{prefix}/#")

    @property
    def unique(self) -> int:
        with self._lock:
            return len(self._seen)

    def start(self) -> None:
        """Subscribe with a session that outlives short disconnections."""
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = SESSION_S
        self._client.connect_async(
            self.host, self.port, keepalive=5, clean_start=False, properties=properties
        )
        self._client.loop_start()

    def stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(self, topics: str) -> Callable[..., None]:
        def subscribe(client: Client, *_: Any) -> None:
            # QoS 0: a subscriber that owes acknowledgements throws away what it has read
            # when the broker dies under it, and would report losses of its own.
            client.subscribe(topics, qos=0)

        return subscribe

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        record = json.loads(message.payload)
        if "seq" not in record:
            return  # the retained status topic is no record
        stream = (record["stream"], record["boot"])
        with self._lock:
            key = (*stream, record["seq"])
            if key in self._seen:
                self.duplicates += 1
                return
            self._seen.add(key)
            if record["seq"] < self._highest.get(stream, -1):
                self.out_of_order += 1
            self._highest[stream] = max(record["seq"], self._highest.get(stream, -1))
