"""Whom we talk to and as whom, against a server that is not ours (node-opcua)."""

import asyncio
from dataclasses import replace

import pytest

from ems.drivers.link import LinkDown
from ems.drivers.opcua.connection import OpcUaConnection
from ems.drivers.opcua.security import POLICIES, Security
from ems.model import Link
from tests.drivers.foreign import node
from tests.drivers.foreign.battery import TIMEOUT_S, URI, connected, device
from tests.drivers.pki import made

pytestmark = [pytest.mark.sockets, pytest.mark.timeout(400)]


def refused(server: node.NodeServer, security: Security) -> str:
    """Why connecting does not work; nothing can then be read or written."""

    async def scene() -> str:
        connection = OpcUaConnection(server.url, TIMEOUT_S, security)
        with pytest.raises(LinkDown) as caught:
            await connection.connect()
        assert not connection.connected
        with pytest.raises(LinkDown, match="not connected"):
            await connection.namespace_index(node.NAMESPACE)
        assert caught.value.link is Link.SILENT
        return str(caught.value)

    return asyncio.run(scene())


@pytest.mark.parametrize("policy", POLICIES)
def test_a_server_that_is_not_trusted_gets_no_word(node_site, node_server, tmp_path, policy):
    nobody = replace(node_site.by_password, policy=policy, trust=tmp_path)
    why = refused(node_server, nobody)
    assert "the server's certificate is not trusted: CN=battery, SHA-256" in why
    assert f"put its certificate into {tmp_path}" in why
    (tmp_path / "other.der").write_bytes(made("battery", URI, key=4).der)
    assert "is not trusted" in refused(node_server, nobody), "same name, another key"


@pytest.mark.parametrize("policy", POLICIES)
def test_a_wrong_login_is_named(node_site, node_server, policy):
    wrong = replace(node_site.by_password, policy=policy, password_file=node_site.folder / "wrong")
    why = refused(node_server, wrong)
    assert why.startswith("the server refuses the login as user 'ems' with a password")
    assert "correct" not in why, "the password itself is told to nobody"


def test_a_server_that_does_not_know_us_says_so(node_site):
    server = node_site.server("strict", accept_clients=False, anonymous=False)
    server.start()
    try:
        why = refused(server, node_site.by_password)
        assert "the server refuses our certificate" in why
        assert f"put {node_site.base.certificate} among the certificates" in why
        assert "takes no login as anonymous; it takes" in refused(server, node_site.base)
    finally:
        server.kill()


def test_an_endpoint_that_the_server_does_not_have(node_site, node_server):
    why = refused(node_server, replace(node_site.base, mode="Sign"))
    assert "no endpoint with Basic256Sha256 Sign; it offers " in why
    assert "Basic256Sha256 SignAndEncrypt" in why


def test_our_own_certificate_expires(node_site, node_server, tmp_path):
    old = made("controller", "urn:test:ems", key=2, days=(-9, -1)).files(tmp_path, "old")
    why = refused(node_server, replace(node_site.base, certificate=old[0], key=old[1]))
    assert why.startswith("our own certificate expired on")


def test_days_left(node_site, node_server, tmp_path, caplog):
    short = made("controller", "urn:test:ems", key=2, days=(-1, 10)).files(tmp_path, "short")

    async def scene() -> dict[str, float]:
        security = replace(node_site.base, certificate=short[0], key=short[1])
        async with connected(node_server, security, device()) as (connection, _):
            return connection.days_left()

    days = asyncio.run(scene())
    assert days["own"] == pytest.approx(10, abs=1)
    assert days["server"] == pytest.approx(365, abs=1)
    assert "the own certificate expires in" in caplog.text
