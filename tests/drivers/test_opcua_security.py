"""Whom an OPC UA connection believes, and what a site file may say about it."""

from dataclasses import replace
from pathlib import Path

import pytest

from ems.drivers.device import ProfileMisfit
from ems.drivers.opcua import trust
from ems.drivers.opcua.security import Security
from ems.drivers.opcua.trust import Untrusted
from ems.site import DeviceSpec
from tests.drivers.pki import DAY, NOW_UTC, Made, made, revocations

URI, HOST = "urn:test:device", "10.0.0.7"
CA = made("works authority", hosts=(), authority=True, key=1)


def device(**changes) -> Made:
    return made("device", **{"uri": URI, "hosts": (HOST,), "key": 2, **changes})


@pytest.fixture
def folder(tmp_path) -> Path:
    """An empty trust folder."""
    found = tmp_path / "trusted"
    found.mkdir()
    return found


def verify(folder: Path, *chain: Made, host: str = HOST, uri: str = URI, now_utc=NOW_UTC) -> None:
    shown = trust.split(b"".join(link.der for link in chain))
    trust.verify(shown, folder, host, uri, now_utc)


@pytest.mark.parametrize("form", ["pem", "der"])
def test_a_certificate_in_the_folder_is_believed_whatever_its_host(folder, form):
    server = device(hosts=("another-name",))
    with pytest.raises(Untrusted, match="is not trusted"):
        verify(folder, server)
    (folder / f"device.{form}").write_bytes(getattr(server, form))
    verify(folder, server)


def test_the_message_says_which_certificate_and_where_to_put_it(folder):
    (folder / "notes.pem").write_text("call the vendor")
    (folder / "readme.txt").write_text("not a certificate, and not looked at")
    with pytest.raises(Untrusted) as caught:
        verify(folder, device())
    text = str(caught.value)
    assert "CN=device, SHA-256 " in text
    assert text.count(":") > 31, "the whole fingerprint"
    assert f"put its certificate into {folder} (unreadable there: notes.pem)" in text


def test_another_certificate_with_the_same_name_and_key_is_not_believed(folder):
    (folder / "device.pem").write_bytes(device().pem)
    with pytest.raises(Untrusted, match="is not trusted"):
        verify(folder, device())


def test_an_authority_in_the_folder_vouches_for_its_devices_and_hosts(folder):
    (folder / "authority.crt").write_bytes(CA.pem)
    verify(folder, device(issuer=CA))
    verify(folder, device(issuer=CA, hosts=("pack.site",)), host="Pack.Site")
    verify(folder, device(issuer=CA, hosts=()), host="anything")
    with pytest.raises(Untrusted, match=r"is not made out for 10\.0\.0\.8"):
        verify(folder, device(issuer=CA), host="10.0.0.8")
    with pytest.raises(Untrusted, match="is not made out for pack"):
        verify(folder, device(issuer=CA), host="pack")
    with pytest.raises(Untrusted, match="is not trusted"):
        verify(folder, device())
    forger = made("works authority", hosts=(), authority=True, key=3)
    with pytest.raises(Untrusted, match="is not trusted"):
        verify(folder, device(issuer=forger))


def test_an_authority_below_a_trusted_one_is_sent_along(folder):
    middle = made("line authority", hosts=(), authority=True, issuer=CA, key=3)
    server = device(issuer=middle)
    (folder / "authority.pem").write_bytes(CA.pem)
    verify(folder, server, middle)
    with pytest.raises(Untrusted, match="is not trusted"):
        verify(folder, server)


def test_a_trusted_device_cannot_vouch_for_others(folder):
    (folder / "device.pem").write_bytes(device().pem)
    other = made("other", URI, (HOST,), issuer=device(), key=3)
    with pytest.raises(Untrusted, match="is not trusted"):
        verify(folder, other)


def test_a_revoked_certificate_is_not_believed(folder):
    good, stolen = device(issuer=CA), device(issuer=CA)
    (folder / "authority.pem").write_bytes(CA.pem)
    (folder / "authority.crl").write_bytes(revocations(CA, stolen))
    verify(folder, good)
    with pytest.raises(Untrusted, match="was revoked"):
        verify(folder, stolen)
    forger = made("works authority", hosts=(), authority=True, key=3)
    (folder / "authority.crl").write_bytes(revocations(forger, good))
    verify(folder, good)


@pytest.mark.parametrize(
    ("at", "why"),
    [
        pytest.param(0, "", id="valid today"),
        pytest.param(9, "", id="on its last day"),
        pytest.param(11, "expired on", id="after its last day"),
        pytest.param(-3, "valid only from", id="before its first day"),
    ],
)
@pytest.mark.parametrize("by_authority", [False, True])
def test_dates(folder, at, why, by_authority):
    server = device(days=(-2, 10), issuer=CA if by_authority else None)
    (folder / "trusted.pem").write_bytes(CA.pem if by_authority else server.pem)
    if not why:
        verify(folder, server, now_utc=NOW_UTC + at * DAY)
        return
    with pytest.raises(Untrusted, match=why):
        verify(folder, server, now_utc=NOW_UTC + at * DAY)


def test_the_application_uri_and_the_key_size_must_be_right(folder):
    server = device()
    (folder / "device.pem").write_bytes(server.pem)
    with pytest.raises(Untrusted, match="made out for urn:test:device, but the server says"):
        verify(folder, server, uri="urn:test:other")
    weak = device(key=4, bits=1024)
    (folder / "weak.pem").write_bytes(weak.pem)
    with pytest.raises(Untrusted, match="2048 bits or more"):
        verify(folder, weak)


@pytest.mark.parametrize("shown", [b"", b"\x30", b"\x30\x82\x01", b"hello", device().der[:-9]])
def test_what_is_no_certificate_is_not_believed(folder, shown):
    with pytest.raises(Untrusted, match="certificate"):
        trust.verify(trust.split(shown), folder, HOST, URI, NOW_UTC)


def test_a_missing_trust_folder_trusts_nobody(tmp_path):
    with pytest.raises(Untrusted, match="trust folder"):
        verify(tmp_path / "nowhere", device())


@pytest.fixture
def spec(tmp_path) -> DeviceSpec:
    """A device with a complete and right set of options."""
    own, key = made("controller", "urn:test:ems").files(tmp_path, "own")
    user, user_key = made("user", key=1).files(tmp_path, "user")
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "trusted").mkdir()
    options = {
        "prefix": "p1", "policy": "Basic256Sha256", "certificate": str(own), "key": str(key),
        "trust": str(tmp_path / "trusted"), "user": "ems",
        "password_file": str(tmp_path / "password"),
        "user_certificate": str(user), "user_key": str(user_key),
    }  # fmt: skip
    return DeviceSpec("bms1", "any", "opcua", HOST, 4840, 1, "", options)


def options(spec: DeviceSpec, *without: str, **changes: str) -> DeviceSpec:
    kept = {key: value for key, value in spec.options.items() if key not in without}
    return replace(spec, options={**kept, **changes})


def test_right_options(spec):
    by_password = Security.of(options(spec, "user_certificate", "user_key"))
    assert by_password.password() == "secret"
    assert by_password.own().application_uri == "urn:test:ems"
    by_certificate = Security.of(options(spec, "user", "password_file"))
    assert by_certificate.login_identity() is not None
    anonymous = options(spec, "user", "password_file", "user_certificate", "user_key")
    assert Security.of(anonymous).login == "anonymous"
    assert Security.of(replace(spec, options={"prefix": "p1", "security": "none"})).policy == ""


def test_without_options_only_this_machine_is_talked_to_openly(spec):
    bare = replace(spec, options={"prefix": "p1"})
    for host in ("127.0.0.1", "::1", "localhost"):
        assert Security.of(replace(bare, host=host)).policy == ""
    with pytest.raises(ProfileMisfit, match=r"device bms1: .* or the words security: none"):
        Security.of(bare)


BY_PASSWORD = ("user_certificate", "user_key")


@pytest.mark.parametrize(
    ("without", "changes", "why"),
    [
        (BY_PASSWORD, {"security": "none"}, "security: none leaves no use for policy, trust"),
        (BY_PASSWORD, {"security": "Basic256Sha256,Sign"}, "can only be 'none'"),
        (BY_PASSWORD, {"policy": "Basic128Rsa15"}, "'Basic128Rsa15' is none of Basic256Sha256, Ae"),
        (BY_PASSWORD, {"mode": "None"}, "mode 'None' is none of SignAndEncrypt, Sign"),
        (BY_PASSWORD, {"mode": "Sign"}, "mode Sign encrypts nothing"),
        ((*BY_PASSWORD, "trust", "key"), {}, "option key is missing; option trust is missing"),
        ((*BY_PASSWORD, "user"), {}, "user and password_file are given together"),
        (("user", "password_file", "user_key"), {}, "user_certificate and user_key are given"),
        ((), {}, "either by user or by user_certificate"),
        (BY_PASSWORD, {"certificate": "/nowhere/own.pem"}, "No such file.*/nowhere/own.pem"),
        (BY_PASSWORD, {"trust": "/nowhere"}, "trust: /nowhere is not a folder"),
    ],
)
def test_wrong_options_are_named(spec, without, changes, why):
    with pytest.raises(ProfileMisfit, match=f"device bms1: .*{why}"):
        Security.of(options(spec, *without, **changes))


def test_wrong_files_are_named(spec, tmp_path):
    spec = options(spec, *BY_PASSWORD)
    for name, content, why in (
        ("password_file", b"\n", "is empty"),
        ("certificate", b"nothing", "is not a certificate"),
        ("key", b"nothing", "is not a private key without a password"),
        ("key", made("other", key=1).key_pem, "is not the key of"),
        ("certificate", made("controller").pem, "no application URI in it"),
    ):
        path = tmp_path / "wrong"
        path.write_bytes(content)
        with pytest.raises(ProfileMisfit, match=f"wrong.* {why}|wrong: {why}"):
            Security.of(options(spec, **{name: str(path)}))
