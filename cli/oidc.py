"""The provider that people sign in with: its settings, and what stands between it and the rules."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from api.sessions import CALLBACK_PATH, Oidc
from api.transactions import Transactions
from cli.loopback import is_loopback
from cli.problems import failure
from client.errors import ClientError
from runs.dispatch import Store
from runs.limits import SignInLimits
from runs.sessions import SessionService
from runs.sign_in import Identity, NotIdentified, SignInService

if TYPE_CHECKING:
    from client.oidc import OidcClient

INSTALL = "Type: pip install 'crownest-server[oidc]'"


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """An OpenID Connect provider; without an issuer nobody signs in."""

    issuer: str | None = None
    """As the provider writes it, for example https://accounts.example.org."""
    client_id: str | None = None
    client_secret: SecretStr | None = None
    """None for a public client. Never shown."""
    redirect_url: str | None = None
    """https://<this server>/auth/callback; on loopback it follows from the request."""


def _client(settings: OidcSettings, now_ms: Callable[[], int]) -> OidcClient | None:
    """The client of the configured provider, None without one; settings that cannot work end the start."""
    if settings.issuer is None:
        return None
    if not settings.client_id:
        raise failure(
            "CROWNEST_OIDC__ISSUER is set and CROWNEST_OIDC__CLIENT_ID is not.",
            "Set it to the id under which this server is registered at the provider.",
        )
    if not _is_safe(settings.issuer):
        raise failure("CROWNEST_OIDC__ISSUER must be an https address.", "http is for loopback alone.")
    url = settings.redirect_url
    if url is not None and not (_is_safe(url) and urlsplit(url).path == CALLBACK_PATH):
        raise failure(
            f"CROWNEST_OIDC__REDIRECT_URL must be https://<this server>{CALLBACK_PATH}.",
            "Register the same address at the provider; http is for loopback alone.",
        )
    try:
        from client.oidc import Credentials, OidcClient
    except ModuleNotFoundError as error:
        message = "Sign-in needs the package joserfc, which is not installed."
        raise failure(message, INSTALL, reason="extra_not_installed") from error
    secret = settings.client_secret.get_secret_value() if settings.client_secret else None
    try:
        return OidcClient(settings.issuer, Credentials(settings.client_id, secret), now_ms)
    except ClientError as error:
        raise failure(f"CROWNEST_OIDC__ISSUER: {error.message}") from error


def open_oidc(
    stack: AsyncExitStack,
    settings: OidcSettings,
    store: Store,
    sessions: SessionService,
    limits: SignInLimits,
) -> Oidc | None:
    """Everything that the sign-in of persons works with, None without a provider.

    Called before the first start makes a key that is shown once: bad settings must not lose it.
    """
    client = _client(settings, sessions.now_ms)
    if client is None:
        return None
    stack.push_async_callback(client.close)
    return Oidc(
        provider=Provider(client),
        issuer=client.issuer,
        service=SignInService(store, sessions, limits, sessions.now_ms),
        transactions=Transactions(limits, sessions.now_ms),
        redirect_url=settings.redirect_url,
    )


class Provider:
    """The client as the rules want it: whatever goes wrong there is `NotIdentified` here."""

    def __init__(self, client: OidcClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"Provider({self._client!r})"

    async def authorization_url(
        self, *, redirect_url: str, state: str, nonce: str, code_challenge: str
    ) -> str:
        """Where the browser goes to sign in."""
        try:
            return await self._client.authorization_url(
                redirect_url=redirect_url, state=state, nonce=nonce, code_challenge=code_challenge
            )
        except ClientError as error:
            raise NotIdentified(error.message) from error

    async def identify(self, *, code: str, redirect_url: str, nonce: str, code_verifier: str) -> Identity:
        """Who came back with this code."""
        try:
            person = await self._client.identify(
                code=code, redirect_url=redirect_url, nonce=nonce, code_verifier=code_verifier
            )
        except ClientError as error:
            raise NotIdentified(error.message) from error
        return Identity(person.issuer, person.subject, person.email)


def _is_safe(url: str) -> bool:
    return url.startswith("https://") or (url.startswith("http://") and is_loopback(url))
