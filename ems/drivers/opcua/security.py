"""What a site file says about the security of an OPC UA connection, checked at start.

Knows nothing of asyncua, so that ``ems check`` can ask without loading it.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from ems.drivers.device import ProfileMisfit
from ems.site import DeviceSpec

POLICIES: Final = ("Basic256Sha256", "Aes256Sha256RsaPss")
MODES: Final = ("SignAndEncrypt", "Sign")
FILES: Final = ("certificate", "key", "password_file", "user_certificate", "user_key")
"""Options that name a file; ``trust`` names a folder."""
_KEYS: Final = ("security", "policy", "mode", "trust", "user", *FILES)
_NEEDED: Final = ("policy", "certificate", "key", "trust")


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate with its private key: who we are to the server."""

    certificate: x509.Certificate
    key: serialization.PrivateFormat | object
    application_uri: str
    """From the certificate; the server compares it with what we say we are."""

    @property
    def certificate_der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def key_der(self) -> bytes:
        coded: bytes = self.key.private_bytes(  # type: ignore[union-attr]
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        return coded


@dataclass(frozen=True, slots=True)
class Security:
    """How to talk to a server and as whom; without a policy openly and anonymously.

    Files are read again at each connect, so that a renewed certificate or a changed
    password needs no restart.
    """

    policy: str = ""
    mode: str = "SignAndEncrypt"
    certificate: Path | None = None
    key: Path | None = None
    trust: Path | None = None
    user: str = ""
    password_file: Path | None = None
    user_certificate: Path | None = None
    user_key: Path | None = None

    @classmethod
    def of(cls, spec: DeviceSpec) -> "Security":
        """Security of a device's connection, from its options.

        Without any of the keys a server on this very machine is talked to openly;
        any other needs either a policy or the words ``security: none``.

        Raises:
            ProfileMisfit: everything wrong with the options and the files they name.
        """
        wrong = problems(spec)
        if wrong:
            raise ProfileMisfit(f"device {spec.id}: {'; '.join(wrong)}")
        given = _given(spec)
        found = cls(
            policy=given.get("policy", ""),
            mode=given.get("mode", MODES[0]),
            user=given.get("user", ""),
            trust=Path(given["trust"]) if "trust" in given else None,
            **{key: Path(given[key]) for key in FILES if key in given},
        )
        try:
            found.check_files()
        except (OSError, ValueError) as error:
            raise ProfileMisfit(f"device {spec.id}: {error}") from error
        return found

    def check_files(self) -> None:
        """Load everything once.

        Raises:
            OSError: a file or folder cannot be read.
            ValueError: a file does not hold what it should.
        """
        if not self.policy:
            return
        self.own()
        self.password()
        self.login_identity()
        if self.trust is not None and not self.trust.is_dir():
            raise ValueError(f"trust: {self.trust} is not a folder")

    def own(self) -> Identity:
        """Certificate and key of this controller; see :meth:`check_files` for errors."""
        assert self.certificate is not None
        assert self.key is not None
        identity = _identity(self.certificate, self.key)
        if not identity.application_uri:
            raise ValueError(
                f"{self.certificate}: no application URI in it (subjectAltName=URI:urn:...); "
                "OPC UA servers refuse such a certificate"
            )
        return identity

    def password(self) -> str:
        """Content of the password file without the end of its line; empty without a file."""
        if self.password_file is None:
            return ""
        password = self.password_file.read_text(encoding="utf-8").rstrip("\r\n")
        if not password:
            raise ValueError(f"password_file: {self.password_file} is empty")
        return password

    def login_identity(self) -> Identity | None:
        """Certificate and key of the user, where the login is by certificate."""
        if self.user_certificate is None or self.user_key is None:
            return None
        return _identity(self.user_certificate, self.user_key)

    @property
    def login(self) -> str:
        """The way we log in, for messages."""
        if self.user:
            return f"user {self.user!r} with a password"
        if self.user_certificate is not None:
            return f"user certificate {self.user_certificate}"
        return "anonymous"


def problems(spec: DeviceSpec) -> list[str]:
    """What is wrong with the options as such; the files they name are not looked at."""
    given, loopback = _given(spec), _loopback(spec.host)
    openly = given.get("security")
    if openly is not None:
        if openly != "none":
            return [
                "option security can only be 'none'; an encrypted connection has the options "
                f"{', '.join(_NEEDED)}"
            ]
        also = [key for key in given if key != "security"]
        return [f"security: none leaves no use for {', '.join(also)}"] if also else []
    if not given and loopback:
        return []
    found = [f"option {key} is missing" for key in _NEEDED if not given.get(key)]
    if not given:
        return [
            f"an OPC UA connection needs the options {', '.join(_NEEDED)}, or the words "
            "security: none to go without protection"
        ]
    policy, mode = given.get("policy", POLICIES[0]), given.get("mode", MODES[0])
    if policy not in POLICIES:
        found.append(f"policy {policy!r} is none of {', '.join(POLICIES)}")
    if mode not in MODES:
        found.append(f"mode {mode!r} is none of {', '.join(MODES)}")
    if mode == "Sign" and "user" in given:
        found.append("mode Sign encrypts nothing, so it must not carry a password")
    if ("user" in given) != ("password_file" in given):
        found.append("user and password_file are given together or not at all")
    if ("user_certificate" in given) != ("user_key" in given):
        found.append("user_certificate and user_key are given together or not at all")
    if "user" in given and "user_certificate" in given:
        found.append("the login is either by user or by user_certificate")
    return found


def _given(spec: DeviceSpec) -> Mapping[str, str]:
    return {key: spec.options[key] for key in _KEYS if key in spec.options}


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _identity(certificate: Path, key: Path) -> Identity:
    found, content = load_certificate(certificate), key.read_bytes()
    load = (
        serialization.load_pem_private_key
        if b"-----BEGIN" in content
        else serialization.load_der_private_key
    )
    try:
        private = load(content, password=None)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key} is not a private key without a password") from error
    if private.public_key() != found.public_key():
        raise ValueError(f"{key} is not the key of {certificate}")
    return Identity(found, private, application_uri(found))


def load_certificate(path: Path) -> x509.Certificate:
    """The certificate in a PEM or DER file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no certificate.
    """
    content = path.read_bytes()
    load = (
        x509.load_pem_x509_certificate
        if b"-----BEGIN" in content
        else x509.load_der_x509_certificate
    )
    try:
        return load(content)
    except ValueError as error:
        raise ValueError(f"{path} is not a certificate") from error


def application_uri(certificate: x509.Certificate) -> str:
    """The application URI in a certificate; empty when it has none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return ""
    return next(iter(names.get_values_for_type(x509.UniformResourceIdentifier)), "")
