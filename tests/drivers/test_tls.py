"""Modbus/TCP Security: both ends show a certificate, and a wrong one gives one clear message."""

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ems.drivers.link import LinkDown
from ems.drivers.modbus.tcp import TcpConnection, Tls
from ems.model import Link
from tests.drivers.pki import Made, made

pytestmark = pytest.mark.sockets

AUTHORITY = made("plant authority", authority=True, hosts=(), key=0)
STRANGER = made("another authority", authority=True, hosts=(), key=1)
DEVICE = made("pcs 1", issuer=AUTHORITY, key=2)
EMS = made("ems", issuer=AUTHORITY, hosts=(), key=3)


@contextlib.contextmanager
def device(folder: Path, shown: Made, oldest: ssl.TLSVersion | None = None) -> Iterator[int]:
    """A device that wants to see a certificate of the plant's authority.

    In a thread with blocking sockets: asyncio's server keeps its alerts to itself.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shown.files(folder, "device"))
    context.load_verify_locations(AUTHORITY.files(folder, "device-ca")[0])
    context.verify_mode = ssl.CERT_REQUIRED
    if oldest is not None:
        context.minimum_version = context.maximum_version = oldest
        context.set_ciphers("ALL:@SECLEVEL=0")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(10.0)

    def serve() -> None:
        with contextlib.suppress(OSError):
            plain, _ = listener.accept()
            plain.settimeout(10.0)
            with plain, context.wrap_socket(plain, server_side=True) as secure:
                while request := secure.recv(300):
                    secure.sendall(request[:2] + b"\0\0\0\x05" + request[6:8] + b"\x02\x12\x34")

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        thread.join(10.0)
        listener.close()


def files(folder: Path, trusted: Made = AUTHORITY, own: Made = EMS, name: str = "") -> Tls:
    """Our side."""
    certificate, key = own.files(folder, "ems")
    return Tls(trusted.files(folder, "ca")[0], certificate, key, name)


def talk(folder: Path, tls: Tls, shown: Made = DEVICE, **rules: ssl.TLSVersion) -> bytes:
    """One register read over the connection."""

    async def scene() -> bytes:
        with device(folder, shown, **rules) as port:
            connection = TcpConnection("127.0.0.1", port, 2.0, tls=tls)
            try:
                await connection.connect()
                return await connection.read(7, "holding", 100, 1)
            finally:
                await connection.close()

    return asyncio.run(scene())


def test_certificates_that_verify(tmp_path):
    assert talk(tmp_path, files(tmp_path)) == b"\x12\x34"


def test_the_devices_own_certificate_may_be_the_trust_store(tmp_path):
    alone = made("pcs 1", key=2)
    assert talk(tmp_path, files(tmp_path, trusted=alone), shown=alone) == b"\x12\x34"


def test_a_certificate_made_out_to_a_name(tmp_path):
    named = made("pcs 1", hosts=("pcs1.plant",), issuer=AUTHORITY, key=2)
    assert talk(tmp_path, files(tmp_path, name="pcs1.plant"), shown=named) == b"\x12\x34"


@pytest.mark.parametrize(
    ("changes", "shown", "words"),
    [
        pytest.param({"trusted": STRANGER}, DEVICE, "does not verify: .*certif", id="stranger"),
        pytest.param(
            {}, made("pcs 1", issuer=AUTHORITY, days=(-9, -1), key=2),
            "does not verify: certificate has expired", id="expired",
        ),
        pytest.param(
            {}, made("pcs 1", hosts=("elsewhere",), issuer=AUTHORITY, key=2),
            "does not verify: .*not valid for '127.0.0.1'", id="another device's",
        ),
        pytest.param(
            {"own": made("ems", issuer=STRANGER, hosts=(), key=3)}, DEVICE,
            "ended the TLS connection: .*(unknown ca|our certif)", id="ours is not trusted there",
        ),
    ],
)  # fmt: skip
def test_a_wrong_certificate_gives_one_clear_message(tmp_path, changes, shown, words):
    with pytest.raises(LinkDown, match=words) as down:
        talk(tmp_path, files(tmp_path, **changes), shown=shown)
    assert down.value.link is Link.REFUSED
    assert "127.0.0.1:" in str(down.value), "says which device"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_no_tls_older_than_1_2(tmp_path):
    with pytest.raises(LinkDown, match=r"no TLS connection to 127\.0\.0\.1:.*protocol"):
        talk(tmp_path, files(tmp_path), oldest=ssl.TLSVersion.TLSv1_1)


def test_files_that_cannot_be_used_are_named(tmp_path):
    good = files(tmp_path)
    other_key = made("x", key=4).files(tmp_path, "other")[1]
    junk = tmp_path / "junk.pem"
    junk.write_text("no certificate", encoding="utf-8")
    for tls, words in (
        (Tls(tmp_path / "none", good.certificate, good.key), "trust store .*none: No such file"),
        (Tls(junk, good.certificate, good.key), "trust store .*junk"),
        (Tls(good.ca, good.certificate, other_key), "key values mismatch"),
        (Tls(good.ca, good.certificate, tmp_path / "none"), "none: No such file"),
    ):
        with pytest.raises(LinkDown, match=words):
            asyncio.run(TcpConnection("127.0.0.1", 1, 1.0, tls=tls).connect())


def test_a_server_without_tls_is_not_talked_to(tmp_path):
    async def scene() -> None:
        server = await asyncio.start_server(lambda r, w: w.write(b"plain"), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(LinkDown, match=r"no TLS connection|within the time limit"):
            await TcpConnection("127.0.0.1", port, 2.0, tls=files(tmp_path)).connect()
        server.close()

    asyncio.run(scene())
