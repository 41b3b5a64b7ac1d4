"""Whom we believe: the certificates that a person has put into a folder."""

import ipaddress
import logging
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import verification

from ems.drivers.opcua.security import application_uri, load_certificate

log = logging.getLogger(__name__)

SUFFIXES: Final = (".pem", ".der", ".crt", ".cer")
KEY_MIN_BITS: Final = 2048
"""Least RSA key of both security policies."""


class Untrusted(Exception):
    """A certificate that must not be believed; says which, why, and what to do."""


def split(chain: bytes) -> list[x509.Certificate]:
    """The certificates of a chain as OPC UA sends it: one after the other, the server's first.

    Raises:
        Untrusted: it is none.
    """
    found = []
    while chain:
        try:
            header = 2 if chain[1] < 0x80 else 2 + (chain[1] & 0x7F)
            length = chain[1] if header == 2 else int.from_bytes(chain[2:header], "big")
            found.append(x509.load_der_x509_certificate(chain[: header + length]))
        except (ValueError, IndexError) as error:
            raise Untrusted("what the server calls its certificate is none") from error
        chain = chain[header + length :]
    if not found:
        raise Untrusted("the server shows no certificate")
    return found


def described(certificate: x509.Certificate) -> str:
    """Subject and fingerprint, as a person compares them with the device's display."""
    print_hex = certificate.fingerprint(hashes.SHA256()).hex(":").upper()
    return f"{certificate.subject.rfc4514_string() or 'no subject'}, SHA-256 {print_hex}"


def check_dates(certificate: x509.Certificate, whose: str, now_utc: datetime) -> None:
    """Raise ``Untrusted`` outside the certificate's time of validity."""
    if now_utc > certificate.not_valid_after_utc:
        raise Untrusted(
            f"{whose} certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}: "
            f"{described(certificate)}; it has to be renewed"
        )
    if now_utc < certificate.not_valid_before_utc:
        raise Untrusted(
            f"{whose} certificate is valid only from {certificate.not_valid_before_utc:%Y-%m-%d}: "
            f"{described(certificate)}; compare the clocks of both sides"
        )


def verify(
    chain: list[x509.Certificate], folder: Path, host: str, uri: str, now_utc: datetime
) -> None:
    """Whether a server may be believed.

    It may when its very certificate lies in the folder, or that of an authority which
    signed it. In the second case it must also be made out for this host, where it
    names hosts: an authority signs for many devices, and one must not pass for another.

    Args:
        chain: The server's certificate, then those of authorities it sends along.
        folder: Trusted certificates and revocation lists (``.crl``), PEM or DER.
        host: Host of the site file.
        uri: Application URI that the server says it has.
        now_utc: For the dates.

    Raises:
        Untrusted: it may not.
    """
    server = chain[0]
    check_dates(server, "the server's", now_utc)
    key = server.public_key()
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < KEY_MIN_BITS:
        raise _untrusted(server, f"has no RSA key of {KEY_MIN_BITS} bits or more")
    own_uri = application_uri(server)
    if own_uri and own_uri != uri:
        raise _untrusted(server, f"is made out for {own_uri}, but the server says it is {uri}")
    trusted, unreadable = _load(folder)
    if server in trusted:
        return
    authorities = [certificate for certificate in trusted if _is_authority(certificate)]
    if not authorities or not _signed(chain, authorities, now_utc):
        hint = f" (unreadable there: {', '.join(unreadable)})" if unreadable else ""
        raise _untrusted(
            server,
            "is not trusted",
            "if this is the fingerprint that the device itself shows, put its certificate "
            f"into {folder}{hint}",
        )
    if _revoked(server, folder, authorities):
        raise _untrusted(server, "was revoked by the authority that signed it")
    if not _for_host(server, host):
        raise _untrusted(
            server,
            f"is not made out for {host}",
            f"name the host as the certificate does, or put this very certificate into {folder}",
        )


def _untrusted(certificate: x509.Certificate, why: str, remedy: str = "") -> Untrusted:
    text = f"the server's certificate {why}: {described(certificate)}"
    return Untrusted(f"{text}; {remedy}" if remedy else text)


def _load(folder: Path) -> tuple[list[x509.Certificate], list[str]]:
    found, unreadable = [], []
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise Untrusted(f"trust folder {folder}: {error.strerror}") from error
    for path in paths:
        try:
            found.append(load_certificate(path))
        except (OSError, ValueError):
            unreadable.append(path.name)
    return found, unreadable


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (x509.ExtensionNotFound, ValueError):
        return False
    return basic.value.ca


def _signed(
    chain: list[x509.Certificate], authorities: list[x509.Certificate], now_utc: datetime
) -> bool:
    permit = verification.ExtensionPolicy.permit_all
    builder = verification.PolicyBuilder().store(verification.Store(authorities))
    # OPC UA certificates are not web certificates: only signatures, dates and the right
    # to sign are asked for, not the extensions that browsers insist on.
    verifier = (
        builder.time(now_utc.replace(tzinfo=None))
        .extension_policies(
            ca_policy=permit().require_present(
                x509.BasicConstraints, verification.Criticality.AGNOSTIC, _may_sign
            ),
            ee_policy=permit(),
        )
        .build_client_verifier()
    )
    try:
        verifier.verify(chain[0], chain[1:])
    except verification.VerificationError:
        return False
    return True


def _may_sign(
    _policy: verification.Policy, _certificate: x509.Certificate, basic: x509.BasicConstraints
) -> None:
    if not basic.ca:
        raise ValueError("not the certificate of an authority")


def _revoked(server: x509.Certificate, folder: Path, authorities: list[x509.Certificate]) -> bool:
    for path in sorted(folder.glob("*.crl")):
        content = path.read_bytes()
        load = x509.load_pem_x509_crl if b"-----BEGIN" in content else x509.load_der_x509_crl
        try:
            revocations = load(content)
        except ValueError:
            log.warning("%s is not a revocation list", path)
            continue
        issued = any(
            revocations.issuer == ca.subject and revocations.is_signature_valid(ca.public_key())  # type: ignore[arg-type]
            for ca in authorities
        )
        if (
            issued
            and revocations.issuer == server.issuer
            and revocations.get_revoked_certificate_by_serial_number(server.serial_number)
            is not None
        ):
            return True
    return False


def _for_host(server: x509.Certificate, host: str) -> bool:
    try:
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return True
    hosts = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
    addresses = set(names.get_values_for_type(x509.IPAddress))
    if not (hosts or addresses):
        return True
    try:
        return ipaddress.ip_address(host) in addresses
    except ValueError:
        return host.lower() in hosts


def save(certificate: x509.Certificate, path: Path) -> None:
    """Write a certificate as PEM."""
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
