"""Before the first request: which endpoint, is it the one we trust, and who are we to it."""

from datetime import datetime
from typing import Any, Final

from asyncua import Client, ua
from asyncua.common.utils import ServiceError
from asyncua.crypto import security_policies, uacrypto
from cryptography import x509

from ems.drivers.opcua import trust
from ems.drivers.opcua.security import Security

_POLICY: Final = {
    "Basic256Sha256": security_policies.SecurityPolicyBasic256Sha256,
    "Aes256Sha256RsaPss": security_policies.SecurityPolicyAes256Sha256RsaPss,
}
_REFUSES_LOGIN: Final = (
    ua.uaerrors.BadUserAccessDenied,
    ua.uaerrors.BadIdentityTokenRejected,
    ua.uaerrors.BadIdentityTokenInvalid,
)
_REFUSES_US: Final = (
    ua.uaerrors.BadSecurityChecksFailed,
    ua.uaerrors.BadCertificateUntrusted,
    ua.uaerrors.BadCertificateInvalid,
    ua.uaerrors.BadCertificateUriInvalid,
    ua.uaerrors.BadCertificateUseNotAllowed,
    ua.uaerrors.BadCertificateTimeInvalid,
    ua.uaerrors.BadCertificateChainIncomplete,
    AssertionError,
)
"""asyncua only asserts that the secure channel was granted; what the server said is lost."""


async def secure(client: Client, security: Security, now_utc: datetime) -> dict[str, datetime]:
    """Find the endpoint, verify the server, and arm the client with keys and login.

    The server's certificate is verified before anything is encrypted for it, so
    nobody else ever gets the password or a value from us.

    Args:
        client: Not yet connected.
        security: As the site file says.
        now_utc: For the dates of the certificates.

    Returns:
        When the ``own`` and the ``server`` certificate expire; empty without security.

    Raises:
        Untrusted: the server's certificate or our own must not be used.
        ua.UaError: the server offers no such endpoint or login, or does not answer.
        OSError, ValueError: no connection; a file of ours is missing or wrong.
    """
    if not security.policy:
        return {}
    own = security.own()
    trust.check_dates(own.certificate, "our own", now_utc)
    endpoint = _endpoint(await client.connect_and_get_server_endpoints(), security)
    chain = trust.split(endpoint.ServerCertificate or b"")
    assert security.trust is not None
    trust.verify(
        chain, security.trust, client.server_url.hostname, endpoint.Server.ApplicationUri, now_utc
    )
    client.certificate_validator = _only(chain[0], endpoint.Server.ApplicationUri)
    client.application_uri = own.application_uri
    await client.set_security(
        _POLICY[security.policy],
        certificate=uacrypto.CertProperties(own.certificate_der, "der"),
        private_key=uacrypto.CertProperties(own.key_der, "der"),
        server_certificate=uacrypto.CertProperties(uacrypto.der_from_x509(chain[0]), "der"),
        mode=ua.MessageSecurityMode[security.mode],
    )
    if security.user:
        client.set_user(security.user)
        client.set_password(security.password())
    user = security.login_identity()
    if user is not None:
        client.user_certificate, client.user_private_key = user.certificate, user.key
    return {
        "own": own.certificate.not_valid_after_utc,
        "server": chain[0].not_valid_after_utc,
    }


def explained(error: Exception, security: Security) -> str:
    """What went wrong while connecting, for a person who can do something about it."""
    if isinstance(error, _REFUSES_LOGIN):
        return f"the server refuses the login as {security.login} ({type(error).__name__})"
    if isinstance(error, _REFUSES_US):
        name = "no secure channel" if isinstance(error, AssertionError) else type(error).__name__
        return (
            f"the server refuses our certificate ({name}); put "
            f"{security.certificate} among the certificates that the server trusts"
        )
    return f"no connection: {str(error) or type(error).__name__}"


async def shown_certificate(client: Client) -> x509.Certificate:
    """The certificate that a server shows, not verified in any way.

    Raises:
        Untrusted: it shows none.
    """
    endpoints = await client.connect_and_get_server_endpoints()
    chains = [e.ServerCertificate for e in endpoints if e.ServerCertificate]
    return trust.split(chains[0] if chains else b"")[0]


def _endpoint(endpoints: list[Any], security: Security) -> Any:
    """The endpoint with our policy and mode, provided it takes our kind of login."""
    uri, mode = _POLICY[security.policy].URI, ua.MessageSecurityMode[security.mode]
    found = next(
        (
            e
            for e in endpoints
            if e.SecurityPolicyUri == uri
            and e.SecurityMode == mode
            and (e.EndpointUrl or "").startswith("opc.tcp")
        ),
        None,
    )
    if found is None:
        offers = {
            f"{e.SecurityPolicyUri.rsplit('#', 1)[-1]} {e.SecurityMode.name.rstrip('_')}"
            for e in endpoints
        }
        raise ua.UaError(
            f"the server has no endpoint with {security.policy} {security.mode}; "
            f"it offers {', '.join(sorted(offers)) or 'none'}"
        )
    wanted = ua.UserTokenType.Anonymous
    if security.user:
        wanted = ua.UserTokenType.UserName
    elif security.user_certificate is not None:
        wanted = ua.UserTokenType.Certificate
    logins = {token.TokenType for token in found.UserIdentityTokens}
    if wanted not in logins:
        names = ", ".join(sorted(login.name for login in logins)) or "none"
        raise ua.UaError(f"the server takes no login as {security.login}; it takes {names}")
    return found


def _only(expected: x509.Certificate, uri: str) -> Any:
    """A validator that accepts the verified certificate again and nothing else.

    asyncua asks it with what the server says inside the encrypted channel.
    """

    async def same(shown: x509.Certificate, server: Any) -> None:
        if shown != expected or server.ApplicationUri != uri:
            raise ServiceError(ua.StatusCodes.BadCertificateUntrusted)

    return same
