"""An encrypted face for the simulated OPC UA server: its keys, whom it trusts, its users."""

from pathlib import Path
from typing import Any, Final

from asyncua import Server, ua
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from cryptography import x509

POLICIES: Final = (
    ua.SecurityPolicyType.Basic256Sha256_SignAndEncrypt,
    ua.SecurityPolicyType.Aes256Sha256RsaPss_SignAndEncrypt,
)
USERS: Final = "users"


async def arm(server: Server, folder: Path) -> None:
    """Offer encrypted endpoints only.

    Args:
        server: Before it is started.
        folder: ``server.pem`` and ``server.key``; ``trusted`` with the certificates of
            clients; and, if there are users, ``users`` with a line ``name:password`` each:
            then nobody gets in without.

    Raises:
        OSError, ValueError: something is missing or wrong there.
    """
    certificate = folder / "server.pem"
    await server.load_certificate(certificate)
    await server.load_private_key(folder / "server.key", format="pem")
    shown = x509.load_pem_x509_certificate(certificate.read_bytes())
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    await server.set_application_uri(names.get_values_for_type(x509.UniformResourceIdentifier)[0])
    server.set_security_policy(list(POLICIES))
    trusted = TrustStore([folder / "trusted"], [])
    await trusted.load()
    checks = CertificateValidatorOptions.TRUSTED | CertificateValidatorOptions.BASIC_VALIDATION
    server.set_certificate_validator(
        CertificateValidator(checks | CertificateValidatorOptions.PEER_CLIENT, trusted)
    )
    users = folder / USERS
    if users.is_file():
        lines = users.read_text(encoding="utf-8").split()
        server.iserver.user_manager = _Users(dict(line.split(":", 1) for line in lines))
        server.set_identity_tokens([ua.UserNameIdentityToken])


class _Users:
    """Who may log in, with which password."""

    def __init__(self, passwords: dict[str, str]) -> None:
        self._passwords = passwords

    def get_user(
        self,
        _server: Any,
        username: str | None = None,
        password: str | None = None,
        certificate: Any = None,
    ) -> User | None:
        known = username is not None and self._passwords.get(username) == password
        return User(role=UserRole.User, name=username) if known else None
