"""Asks one OpenID Connect provider: its description, its keys, and who signed in (authorization code flow).

Needs the extra `oidc` for judging ID tokens. Redirects are not followed, and every answer is bounded.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast
from urllib.parse import quote_plus, urlencode

import httpx2

from client.errors import ClientError, ConnectionFailed
from client.id_token import Expected, TokenRefused, UnknownKey, verified_claims
from client.transport import SDK_MARKER, checked_api_url, origin_of, translated

T = TypeVar("T")

SCOPE = "openid email"
WELL_KNOWN = "/.well-known/openid-configuration"
ADDRESS = re.compile(r"[!-~]{1,2048}")
TEXT_CHARS_MAX = 200
"""How much of a provider's own words goes into a message."""


@dataclass(frozen=True, slots=True)
class ProviderLimits:
    """How long a provider may take, how much it may say, and how long that is believed."""

    connect_s: float = 5.0
    read_s: float = 10.0
    whole_s: float = 20.0
    """For one sign-in, all its requests together."""
    answer_bytes_max: int = 256 * 1024
    keys_max: int = 64
    kept_ms: int = 60 * 60 * 1000
    """The description and the keys are asked for anew after this, the keys also for an unknown one."""
    identified_at_once_max: int = 32
    """Sign-ins that wait for the provider at the same time; more are refused."""


class ProviderError(ClientError):
    """The provider did not say who signed in.

    `code` is `provider_busy`, `provider_refused`, `provider_bad_answer` or `provider_bad_token`; the message
    is for people.
    """


@dataclass(frozen=True, slots=True)
class Credentials:
    """What this application is registered as; without a secret it is a public client."""

    client_id: str
    client_secret: str | None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who signed in; `email` only where the provider says that it is verified."""

    issuer: str
    subject: str
    email: str | None


@dataclass(frozen=True, slots=True)
class _Kept:
    value: dict[str, Any]
    until_ms: int


class OidcClient:
    """One provider, known by its issuer. Close it after use."""

    def __init__(
        self,
        issuer: str,
        credentials: Credentials,
        now_ms: Callable[[], int],
        *,
        trust_env: bool = False,
        limits: ProviderLimits | None = None,
    ) -> None:
        """Raises `ClientError` for an issuer that is no address."""
        self.issuer = issuer
        self._base = checked_api_url(issuer)
        self._credentials = credentials
        self._now_ms = now_ms
        self._limits = limits or ProviderLimits()
        self._kept: dict[str, _Kept] = {}
        self._identifying = 0
        self._http = httpx2.AsyncClient(
            # Reading the system's certificates takes 100 ms, so only for https; see client.transport.
            verify=True if self._base.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
            trust_env=trust_env,
            follow_redirects=False,
            headers={"user-agent": SDK_MARKER, "accept": "application/json", "accept-encoding": "identity"},
            timeout=httpx2.Timeout(self._limits.read_s, connect=self._limits.connect_s),
        )

    def __repr__(self) -> str:
        return f"OidcClient({self.issuer!r})"

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def authorization_url(
        self, *, redirect_url: str, state: str, nonce: str, code_challenge: str
    ) -> str:
        """Where the browser goes to sign in; raises `ClientError` when the provider cannot be asked."""
        endpoint = self._endpoint(await self._bounded(self._description()), "authorization_endpoint")
        query = urlencode(
            {
                "response_type": "code",
                "client_id": self._credentials.client_id,
                "redirect_uri": redirect_url,
                "scope": SCOPE,
                "state": state,
                "nonce": nonce,
                "code_challenge": code_challenge,
                "code_challenge_method": "S256",
            }
        )
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{query}"

    async def identify(self, *, code: str, redirect_url: str, nonce: str, code_verifier: str) -> SignedIn:
        """Turn the code into who signed in. Raises `ProviderError` or `ConnectionFailed`."""
        if self._identifying >= self._limits.identified_at_once_max:
            raise ProviderError("provider_busy", "Too many people sign in at this moment. Try again.")
        self._identifying += 1
        try:
            return await self._bounded(self._identify(code, redirect_url, nonce, code_verifier))
        finally:
            self._identifying -= 1

    async def _bounded(self, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._limits.whole_s):
                return await work
        except TimeoutError as error:
            raise ConnectionFailed("timeout", self._base, f"more than {self._limits.whole_s} s") from error

    async def _identify(self, code: str, redirect_url: str, nonce: str, code_verifier: str) -> SignedIn:
        description = await self._description()
        tokens = await self._exchange(description, code, redirect_url, code_verifier)
        token = tokens.get("id_token")
        if not isinstance(token, str):
            raise _bad_answer("it gave no ID token")
        expected = Expected(self.issuer, self._credentials.client_id, nonce, self._now_ms() // 1000)
        try:
            claims = await self._judge(description, token, expected)
        except TokenRefused as error:
            raise ProviderError(
                "provider_bad_token", f"The ID token of the provider was refused: {error}."
            ) from error
        if not {"email", "email_verified"} <= claims.keys():
            claims = {**claims, **await self._email_claims(description, tokens, claims["sub"])}
        verified = claims.get("email_verified") is True and isinstance(claims.get("email"), str)
        return SignedIn(self.issuer, claims["sub"], claims["email"] if verified else None)

    async def _judge(self, description: dict[str, Any], token: str, expected: Expected) -> dict[str, Any]:
        """With the keys as they are known, and once more with fresh ones when none fits."""
        try:
            return verified_claims(token, await self._keys(description), expected)
        except UnknownKey:
            self._kept.pop("keys", None)
            return verified_claims(token, await self._keys(description), expected)

    async def _exchange(
        self, description: dict[str, Any], code: str, redirect_url: str, code_verifier: str
    ) -> dict[str, Any]:
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_url,
            "code_verifier": code_verifier,
        }
        client_id, secret = self._credentials.client_id, self._credentials.client_secret
        methods = description.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
        auth: httpx2.BasicAuth | None = None
        if secret is not None and "client_secret_basic" in methods:
            auth = httpx2.BasicAuth(quote_plus(client_id), quote_plus(secret))  # RFC 6749, 2.3.1
        else:
            form["client_id"] = client_id
            if secret is not None:
                form["client_secret"] = secret
        request = self._http.build_request("POST", self._endpoint(description, "token_endpoint"), data=form)
        return await self._ask(request, auth)

    async def _email_claims(
        self, description: dict[str, Any], tokens: dict[str, Any], subject: str
    ) -> dict[str, Any]:
        """The address by the userinfo endpoint, where the ID token has none (OpenID Connect Core 5.4)."""
        access_token = tokens.get("access_token")
        if "userinfo_endpoint" not in description or not isinstance(access_token, str):
            return {}
        request = self._http.build_request(
            "GET",
            self._endpoint(description, "userinfo_endpoint"),
            headers={"authorization": f"Bearer {access_token}"},
        )
        answer = await self._ask(request)
        if answer.get("sub") != subject:
            raise _bad_answer("its user information is about somebody else")
        return {name: answer[name] for name in ("email", "email_verified") if name in answer}

    async def _description(self) -> dict[str, Any]:
        description = await self._cached("description", self._base.rstrip("/") + WELL_KNOWN)
        if description.get("issuer") != self.issuer:
            self._kept.pop("description", None)
            raise _bad_answer(f"it calls itself {str(description.get('issuer'))[:TEXT_CHARS_MAX]!r}")
        return description

    async def _keys(self, description: dict[str, Any]) -> list[Mapping[str, Any]]:
        answer = await self._cached("keys", self._endpoint(description, "jwks_uri"))
        keys = answer.get("keys")
        if not isinstance(keys, list):
            raise _bad_answer("its keys are no JWK set")
        listed = cast("list[object]", keys)[: self._limits.keys_max]
        return [cast("dict[str, Any]", key) for key in listed if isinstance(key, dict)]

    async def _cached(self, name: str, url: str) -> dict[str, Any]:
        kept = self._kept.get(name)
        if kept is None or kept.until_ms <= self._now_ms():
            value = await self._ask(self._http.build_request("GET", url))
            kept = self._kept[name] = _Kept(value, self._now_ms() + self._limits.kept_ms)
        return kept.value

    def _endpoint(self, description: dict[str, Any], name: str) -> str:
        """An address from the description; it must be no less safe than the issuer's own."""
        url = description.get(name)
        scheme = self._base.partition(":")[0]
        safe = isinstance(url, str) and url.startswith(("https://", f"{scheme}://"))
        if not isinstance(url, str) or not safe or not ADDRESS.fullmatch(url):
            raise _bad_answer(f"its {name} is no {scheme} address")
        return url

    async def _ask(self, request: httpx2.Request, auth: httpx2.BasicAuth | None = None) -> dict[str, Any]:
        with translated(origin_of(request.url)):
            response = await self._http.send(request, auth=auth, stream=True)
            try:
                data = b""
                async for chunk in response.aiter_bytes():
                    data += chunk
                    if len(data) > self._limits.answer_bytes_max:
                        raise _bad_answer(f"its answer is longer than {self._limits.answer_bytes_max} bytes")
            finally:
                await response.aclose()
        try:
            value: Any = json.loads(data)
        except (ValueError, RecursionError):
            value = None
        answer = cast("dict[str, Any]", value) if isinstance(value, dict) else None
        if not response.is_success:
            said = f": {str((answer or {}).get('error', ''))[:TEXT_CHARS_MAX]}" if answer else ""
            message = f"The provider answered {response.status_code}{said}."
            raise ProviderError("provider_refused", message)
        if answer is None:
            raise _bad_answer("its answer is no JSON object")
        return answer


def _bad_answer(why: str) -> ProviderError:
    return ProviderError("provider_bad_answer", f"The provider did not answer as OpenID Connect says: {why}.")
