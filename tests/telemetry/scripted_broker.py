"""A broker that misbehaves on purpose: just enough MQTT 5 on a raw socket to answer by script."""

import socket
import threading
from collections.abc import Callable

CONNECT, CONNACK, PUBLISH, PUBACK, DISCONNECT = 1, 2, 3, 4, 14
Answer = Callable[[int, bytes], bytes | None]


class ScriptedBroker:
    """Accepts one client at a time and answers each PUBLISH as told.

    Args:
        answer: Gets the running number of the PUBLISH (from 0, over all
            connections, the status record left out) and its body; returns the
            bytes to send, or ``None`` to close the connection without a word.
        connack: Bytes sent in answer to CONNECT.
    """

    def __init__(self, answer: Answer, connack: bytes = b"\x20\x03\x00\x00\x00") -> None:
        self.published: list[bytes] = []
        self.connections = 0
        self._answer = answer
        self._connack = connack
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = int(self._listener.getsockname()[1])
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5)
        self._listener.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            client.settimeout(0.1)
            with client:
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        data = b""
        while not self._ended.is_set():
            try:
                chunk = client.recv(65536)
                if not chunk:
                    return
                data += chunk
                while (packet := _split(data)) is not None:
                    kind, body, data = packet
                    reply = self._reply(kind, body)
                    if reply is None:
                        return
                    client.sendall(reply)
            except TimeoutError:
                continue
            except OSError:
                return  # the client went first

    def _reply(self, kind: int, body: bytes) -> bytes | None:
        if kind == CONNECT:
            return self._connack
        if kind != PUBLISH:
            return b""
        if b"/status" in body:
            return puback(body)
        self.published.append(body)
        return self._answer(len(self.published) - 1, body)


def _split(data: bytes) -> tuple[int, bytes, bytes] | None:
    """First complete packet: type, body, rest."""
    length, shift, at = 0, 0, 1
    while True:
        if at >= len(data):
            return None
        length |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if not data[at - 1] & 0x80:
            break
    if len(data) < at + length:
        return None
    return data[0] >> 4, data[at : at + length], data[at + length :]


def puback(body: bytes, code: int = 0) -> bytes:
    """PUBACK for the packet id inside a PUBLISH body (QoS 1)."""
    topic_end = 2 + int.from_bytes(body[:2], "big")
    return bytes([PUBACK << 4, 3]) + body[topic_end : topic_end + 2] + bytes([code])


def disconnect(code: int) -> bytes:
    return bytes([DISCONNECT << 4, 1, code])


def connack(properties: bytes = b"", code: int = 0) -> bytes:
    return bytes([CONNACK << 4, 3 + len(properties), 0, code, len(properties)]) + properties


def receive_maximum(count: int) -> bytes:
    return b"\x21" + count.to_bytes(2, "big")
