"""Certificates for tests: authorities, devices and users, made in a moment."""

import datetime
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

NOW_UTC = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@lru_cache
def _key(number: int, bits: int) -> rsa.RSAPrivateKey:
    """Keys take long to find, so tests share a few."""
    return rsa.generate_private_key(public_exponent=65_537, key_size=bits)


@dataclass(frozen=True)
class Made:
    """A certificate with its key, and as files where asked for."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def files(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Certificate and key as PEM files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = folder / f"{name}.pem", folder / f"{name}.key"
        paths[0].write_bytes(self.pem)
        paths[1].write_bytes(self.key_pem)
        return paths


def made(
    name: str,
    uri: str = "",
    hosts: tuple[str, ...] = ("localhost", "127.0.0.1"),
    issuer: Made | None = None,
    authority: bool = False,
    days: tuple[int, int] = (-1, 365),
    key: int = 0,
    bits: int = 2048,
) -> Made:
    """A certificate, signed by itself or by an authority.

    Args:
        name: Common name.
        uri: Application URI; empty for none.
        hosts: Names and addresses it is made out for.
        issuer: Who signs it.
        authority: Whether it may sign others.
        days: First and last day of validity, counted from today.
        key: Which of the shared keys.
        bits: Their size.
    """
    own = _key(key, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri)] if uri else []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW_UTC + days[0] * DAY)
        .not_valid_after(NOW_UTC + days[1] * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=True, key_encipherment=True,
                data_encipherment=True, key_agreement=False, key_cert_sign=True,
                crl_sign=authority, encipher_only=False, decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(
            x509.SubjectKeyIdentifier.from_public_key(own.public_key()), critical=False
        )
    )  # fmt: skip
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if issuer is not None:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key()),
            critical=False,
        )
    signer = issuer.key if issuer else own
    return Made(builder.sign(signer, hashes.SHA256()), own)


def revocations(issuer: Made, *revoked: Made) -> bytes:
    """A revocation list of an authority, PEM."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.certificate.subject)
        .last_update(NOW_UTC - DAY)
        .next_update(NOW_UTC + DAY)
    )
    for entry in revoked:
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder()
            .serial_number(entry.certificate.serial_number)
            .revocation_date(NOW_UTC - DAY)
            .build()
        )
    return builder.sign(issuer.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
