"""Modbus TCP, plain or under TLS (Modbus/TCP Security)."""

import asyncio
import itertools
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ems.drivers.link import BadAnswer, LinkDown
from ems.drivers.modbus.frames import (
    MBAP_SIZE,
    VERDICTS,
    Question,
    is_tcp_frame,
    payload,
    tcp_frame,
    tcp_right,
    to_tcp,
)
from ems.drivers.modbus.transaction import Pace, Tap, Transactions
from ems.model import Link

_TRANSACTION: Final = itertools.count(1)
"""Shared by all connections, so that no two open questions have the same id: an answer
that a gateway gives to the wrong client is never taken for one's own."""
_QUIET_S: Final = 0.02
"""A stream out of step is listened to until it has been silent for this long."""
_OUT_OF_STEP_MAX: Final = 3
"""Broken frames in a row after which only a new connection helps."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of Modbus/TCP Security, all PEM: both ends show a certificate.

    Source:
        MODBUS/TCP Security Protocol Specification v2.1: TLS 1.2 or newer, mutual.
    """

    ca: Path
    """Certificates we trust the device's to be signed with, or the device's own."""
    certificate: Path
    key: Path
    server_name: str = ""
    """Name the device's certificate is made out to, where it is not the address."""

    def context(self) -> ssl.SSLContext:
        """Client side of a connection that verifies the other end.

        Raises:
            LinkDown: a file cannot be used; says which.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(self.ca)
        except (OSError, ssl.SSLError) as error:
            raise LinkDown(Link.REFUSED, f"trust store {self.ca}: {_reason(error)}") from error
        try:
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise LinkDown(
                Link.REFUSED,
                f"certificate {self.certificate} with key {self.key}: {_reason(error)}",
            ) from error
        return context


class TcpConnection(Transactions):
    """One TCP connection, one request in flight, one owner task.

    Args:
        host: Name or address.
        port: TCP port; 502 is usual, 802 under TLS.
        timeout_s: Time limit of connecting, s.
        observe: Refuse and count every write.
        tls: Encrypt, and verify the device's certificate.
    """

    def __init__(
        self, host: str, port: int, timeout_s: float, observe: bool = False, tls: Tls | None = None
    ) -> None:
        super().__init__(f"{host}:{port}", timeout_s, observe)
        self.host, self.port = host, port
        self._tls = tls
        self._transaction = -1
        self._right = b""
        self._size = 0
        self._next_at_s = 0.0
        self._out_of_step = 0
        self._dirty = False
        self._heard_s = 0.0
        """When something other than a plain answer came last; 0 while nothing did at all."""

    async def _open(self) -> None:
        context = self._tls.context() if self._tls else None
        name = (self._tls.server_name or self.host) if self._tls else None
        self._buffer.clear()
        self._out_of_step, self._dirty, self._heard_s = 0, False, 0.0
        await self._loop.create_connection(
            lambda: Tap(self), self.host, self.port, ssl=context, server_hostname=name
        )

    def _why(self, error: OSError) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"the certificate of {self.where} does not verify: {error.verify_message}"
        if isinstance(error, ssl.SSLError):
            return f"no TLS connection to {self.where}: {_reason(error)}"
        return super()._why(error)

    def _loss(self, error: Exception | None) -> str:
        # Under TLS 1.3 a refused client certificate shows only after the handshake, and
        # the reset that follows may overtake the alert that says so.
        if isinstance(error, ssl.SSLError):
            return f"{self.where} ended the TLS connection: {_reason(error)}"
        if self._tls is not None and not self._heard_s:
            return f"{self.where} ended the TLS connection: it may not accept our certificate"
        return super()._loss(error)

    async def _ask(self, question: Question, pace: Pace) -> bytes:
        if self._dirty:
            await self._settle(pace.timeout_s)
        if pace.gap_s:
            wait_s = self._next_at_s - self._loop.time()
            if wait_s > 0.0:
                await asyncio.sleep(wait_s)
        self._transaction = transaction = next(_TRANSACTION) & 0xFFFF
        self._right = tcp_right(transaction, question)
        self._size = MBAP_SIZE + question.size
        try:
            return await self._exchange(question, to_tcp(transaction, question), pace.timeout_s)
        finally:
            if self._buffer:
                self._dirty = True  # half a frame: its rest may come or not
            if pace.gap_s:
                self._next_at_s = self._loop.time() + pace.gap_s

    def data_received(self, data: bytes) -> None:
        """Believe the one right frame; everything else is looked at closely."""
        if (
            len(data) == self._size
            and self._waiter is not None
            and not self._buffer
            and data.startswith(self._right)
        ):
            self._out_of_step = 0
            self._heard_s = self._heard_s or self._loop.time()
            self._answered(data[len(self._right) :])
            return
        self._heard_s = self._loop.time()
        broken = bool(self._buffer) and is_tcp_frame(data)
        self._buffer += data
        if self._dirty:
            return
        try:
            if broken:
                raise BadAnswer("a frame broke off and another one followed")
            body = self._take_frames()
        except BadAnswer as error:
            self._lose_step(error)
            return
        if body is not None and self._question is not None:
            self._out_of_step = 0
            try:
                self._answered(payload(self._question, body))
            except VERDICTS as verdict:
                self._failed(verdict)

    def _take_frames(self) -> bytes | None:
        """Body of our answer, once all that has come is whole frames up to the last one.

        Raises:
            BadAnswer: out of step. An answer with a torso behind it counts as that too:
                its own end may have been somebody else's beginning.
        """
        buffer, found = self._buffer, None
        while len(buffer) >= MBAP_SIZE:
            transaction, size = tcp_frame(buffer)
            if len(buffer) < size:
                break
            # Late answers to given-up questions are passed over.
            if self._question is not None and transaction == self._transaction:
                found = found or bytes(buffer[MBAP_SIZE:size])
            del buffer[:size]
        if buffer and found is not None:
            raise BadAnswer("more than whole frames came")
        return found

    def _lose_step(self, error: BadAnswer) -> None:
        self._buffer.clear()
        self._dirty = True
        self._out_of_step += 1
        self._failed(error)
        if self._out_of_step >= _OUT_OF_STEP_MAX and self._wire is not None:
            self._wire.close()

    async def _settle(self, limit_s: float) -> None:
        """Wait until the rest of a broken frame has passed."""
        until_s = self._loop.time() + limit_s
        while (wait_s := self._heard_s + _QUIET_S - self._loop.time()) > 0.0:
            if self._loop.time() > until_s:
                raise BadAnswer("the stream does not fall silent between answers")
            await asyncio.sleep(wait_s)
        self._buffer.clear()
        self._dirty = False


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _no_password() -> str:
    raise ValueError("the key is locked with a password; store it without one, readable by us only")
