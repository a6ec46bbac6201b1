"""The browser's session cookie: whose it is, and from which pages a request with it may change things."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from api.people import is_local
from api.rate_limit import RateLimiter
from api.transactions import Transactions
from runs.access import Principal
from runs.accounts import Inviting
from runs.refusal import Refusal
from runs.sessions import Session, SessionService
from runs.sign_in import IdentityProvider, SignInService, check_address

CALLBACK_PATH = "/auth/callback"
SESSION_COOKIE, TRANSACTION_COOKIE = "crownest_session", "crownest_sign_in"
HOST_PREFIX = "__Host-"
"""Browsers take such a cookie over https alone, from this very host, for this very host."""
CSRF_HEADER = "x-crownest-csrf"
SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Oidc:
    """Sign-in of persons by a provider. `redirect_url` None: derived from the request, on loopback alone."""

    provider: IdentityProvider
    issuer: str
    service: SignInService
    transactions: Transactions
    redirect_url: str | None

    @property
    def public_url(self) -> str | None:
        """Where browsers reach this server, as the redirect address says."""
        return self.redirect_url.removesuffix(CALLBACK_PATH) if self.redirect_url is not None else None

    def callback_url(self, request: HTTPConnection) -> str | None:
        """Where the provider sends the browser back; None for a request that may not decide it."""
        if self.redirect_url is not None:
            return self.redirect_url
        return f"http://{request.headers['host']}{CALLBACK_PATH}" if is_local(request) else None


@dataclass(frozen=True, slots=True)
class SignIn:
    """What sign-in works with. `public_url` is where browsers reach this server, None where nobody said."""

    sessions: SessionService
    attempts: RateLimiter
    """Counts, by the address that asks, sign-ins with a key or a link."""
    public_url: str | None
    oidc: Oidc | None

    @property
    def secure(self) -> bool:
        """Whether browsers reach this server over https."""
        return self.public_url is not None and self.public_url.startswith("https:")

    def own_origin(self, request: HTTPConnection) -> str:
        """The origin of our own pages, as a browser names it."""
        if self.public_url is not None:
            url = urlsplit(self.public_url)
            return f"{url.scheme}://{url.netloc}"
        return f"http://{request.headers.get('host', '')}"

    def is_private(self, request: HTTPConnection) -> bool:
        """Whether nobody between browser and server can read along: https, or loopback."""
        return self.secure or is_local(request)

    def cookie(self, request: HTTPConnection, name: str) -> str | None:
        """What the browser holds under this name."""
        return request.cookies.get(self._full_name(name))

    def set_cookie(
        self, response: Response, name: str, value: str, max_age_s: int, *, strict: bool = True
    ) -> None:
        """Have the browser keep it from scripts, from other hosts, and from requests of other sites.

        One that is not strict comes along where another site sends the browser here, as a provider does.
        """
        response.set_cookie(
            self._full_name(name),
            value,
            max_age=max_age_s,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="strict" if strict else "lax",
        )

    def keep_session(self, response: Response, token: str) -> None:
        """Sign this browser in."""
        self.set_cookie(response, SESSION_COOKIE, token, self.sessions.limits.session_ms // 1000)

    def _full_name(self, name: str) -> str:
        return f"{HOST_PREFIX}{name}" if self.secure else name


def csrf_token(token: str) -> str:
    """What a page of a session sends beside its cookie: derived from it, and of no use without it."""
    digest = hmac.digest(token.encode("utf-8", "surrogatepass"), b"crownest csrf", "sha256")
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


async def session_of(request: HTTPConnection, sign_in: SignIn) -> Session | None:
    """The session of this browser. A request that changes something must come from our own pages: 403."""
    token = sign_in.cookie(request, SESSION_COOKIE)
    session = await sign_in.sessions.session(token) if token else None
    if token and session is not None and request.scope.get("method") not in SAFE_METHODS:
        require_same_origin(request, sign_in)
        _require_csrf_token(request, token)
    return session


async def signed_in(request: HTTPConnection, sign_in: SignIn) -> Principal | None:
    """Who asks by a session, with what its person or key may do at this moment."""
    session = await session_of(request, sign_in)
    if session is not None and request.scope.get("method") not in SAFE_METHODS:
        _require_private(request, sign_in)
    return session.principal if session else None


def invitation_to(sign_in: SignIn, email: str, org_id: str) -> Inviting:
    """Invites this address to be the person that is about to be added."""
    oidc = sign_in.oidc
    if oidc is None:
        raise Refusal(
            "invalid_request",
            "email invites somebody to sign in, and this server knows no provider. Leave it out.",
            {"field": "email"},
        )
    check_address(email)
    return lambda user_id: oidc.service.inviting(email, org_id, user_id)


def require_same_origin(request: HTTPConnection, sign_in: SignIn) -> None:
    """`Sec-Fetch-Site: same-origin`, or from older browsers an `Origin` that is this host; else 403."""
    site = request.headers.get("sec-fetch-site")
    own = sign_in.own_origin(request)
    if site != "same-origin" and (site is not None or request.headers.get("origin") != own):
        raise Refusal(
            "forbidden",
            "A session changes things from this server's own pages only. Use an API key elsewhere.",
        )


def _require_csrf_token(request: HTTPConnection, token: str) -> None:
    """A page of another origin can send the cookie along, but cannot know this header's value."""
    sent = request.headers.get(CSRF_HEADER, "").encode("utf-8", "surrogateescape")
    if not hmac.compare_digest(sent, csrf_token(token).encode()):
        raise Refusal(
            "forbidden",
            f"A session changes things with the header {CSRF_HEADER}, which the page that was loaded last "
            "knows. Reload the page.",
        )


def _require_private(request: HTTPConnection, sign_in: SignIn) -> None:
    """Over plain http beyond loopback a cookie can be read on its way: there it only reads."""
    if not sign_in.is_private(request):
        raise Refusal(
            "forbidden",
            "Over plain http a session only reads. Open the dashboard over https, or on the server itself.",
        )
