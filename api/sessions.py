"""The browser's session cookie: whose it is, and from which pages a request with it may change things."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import Response

from api.people import is_local
from api.transactions import Transactions
from runs.access import Principal
from runs.accounts import Inviting
from runs.refusal import Refusal
from runs.sign_in import IdentityProvider, Session, SignInService, check_address

CALLBACK_PATH = "/auth/callback"
SESSION_COOKIE, TRANSACTION_COOKIE = "crownest_session", "crownest_sign_in"
HOST_PREFIX = "__Host-"
"""Browsers take such a cookie over https alone, from this very host, for this very host."""
SAFE_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class SignIn:
    """What sign-in works with. `redirect_url` None: derived from the request, on loopback alone."""

    provider: IdentityProvider
    issuer: str
    service: SignInService
    transactions: Transactions
    redirect_url: str | None

    @property
    def secure(self) -> bool:
        """Whether browsers reach this server over https."""
        return self.redirect_url is not None and self.redirect_url.startswith("https:")

    def callback_url(self, request: HTTPConnection) -> str | None:
        """Where the provider sends the browser back; None for a request that may not decide it."""
        if self.redirect_url is not None:
            return self.redirect_url
        return f"http://{request.headers['host']}{CALLBACK_PATH}" if is_local(request) else None

    def cookie(self, request: HTTPConnection, name: str) -> str | None:
        """What the browser holds under this name. Over plain http only loopback counts."""
        if not self.secure and not is_local(request):
            return None
        return request.cookies.get(self._full_name(name))

    def set_cookie(self, response: Response, name: str, value: str, max_age_s: int) -> None:
        """Have the browser keep it from scripts, from other hosts, and from requests of other sites."""
        response.set_cookie(
            self._full_name(name),
            value,
            max_age=max_age_s,
            path="/",
            secure=self.secure,
            httponly=True,
            samesite="lax",
        )

    def _full_name(self, name: str) -> str:
        return f"{HOST_PREFIX}{name}" if self.secure else name


async def session_of(request: HTTPConnection, sign_in: SignIn) -> Session | None:
    """The session of this browser. A request that changes something must come from our own pages: 403."""
    token = sign_in.cookie(request, SESSION_COOKIE)
    session = await sign_in.service.session(token) if token else None
    if session is not None and request.scope.get("method") not in SAFE_METHODS:
        _require_same_origin(request, sign_in)
    return session


async def person_signed_in(request: HTTPConnection, sign_in: SignIn) -> Principal | None:
    """Who asks by a session, with the role of this moment."""
    session = await session_of(request, sign_in)
    return session.principal if session else None


def invitation_to(sign_in: SignIn | None, email: str, org_id: str) -> Inviting:
    """Invites this address to be the person that is about to be added."""
    if sign_in is None:
        raise Refusal(
            "invalid_request",
            "email invites somebody to sign in, and this server has no sign-in. Leave it out.",
            {"field": "email"},
        )
    check_address(email)
    return lambda user_id: sign_in.service.inviting(email, org_id, user_id)


def _require_same_origin(request: HTTPConnection, sign_in: SignIn) -> None:
    """`Sec-Fetch-Site: same-origin`, or from older browsers an `Origin` that is this host; else 403."""
    site = request.headers.get("sec-fetch-site")
    url = urlsplit(sign_in.callback_url(request) or "")
    own = f"{url.scheme}://{url.netloc}"
    if site != "same-origin" and (site is not None or request.headers.get("origin") != own):
        raise Refusal(
            "forbidden",
            "A session changes things from this server's own pages only. Use an API key elsewhere.",
        )
