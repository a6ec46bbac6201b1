"""The heads that pass through a preview, rewritten so that nothing of ours gets in or out.

Pure: h11 has parsed the heads before, so names are lower-case tokens and values hold no line breaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_plus, unquote_to_bytes

import h11

from runs.credentials import KEY_PREFIX
from runs.previews import Preview
from runs.refusal import Refusal

TOKEN_HEADER = b"x-crownest-preview-token"
TOKEN_PARAMETER = "crownest_preview_token"  # noqa: S105 # a name, no secret
COOKIE = b"crownest_preview"
OUR_COOKIES = (b"crownest_", b"__Host-crownest_")
"""How every cookie of ours begins, those of people who are signed in included."""
COOKIES_OF_OURS_MAX = 8
"""Cookies of our name in one request that are tried; a program cannot set any, but its scripts can."""

OUR_PREFIX = b"x-crownest"
KEY_LIKE = (KEY_PREFIX.encode(), b"cn_", b"cnk_")
"""What a credential of ours begins with (CONTRACT §1)."""

HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
    b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings",
})  # fmt: skip
FORWARDED = frozenset({
    b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for", b"x-forwarded-port",
    b"x-forwarded-prefix", b"x-forwarded-server", b"x-real-ip",
})  # fmt: skip

SECRET_CHARS_MIN = 16
"""Shorter ones are no secrets of ours, and would be found in headers by chance."""
SWITCHING_PROTOCOLS = 101
NO_CONTENT = 204

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought along to be let in; at most one of the secrets counts, the first given."""

    key: str | None
    """`Authorization: Bearer …`."""
    header_token: str | None
    query_token: str | None
    cookie_tokens: Sequence[str]


@dataclass(frozen=True, slots=True)
class Head:
    """A request head as the proxy reads it."""

    request: h11.Request
    slug: str
    host: bytes
    target: bytes
    """Without our query parameter."""
    credentials: Credentials
    upgrade: bool
    """The client asks for a WebSocket."""


def read_head(request: h11.Request) -> Head:
    """Take a request apart; what cannot be passed on safely is refused with `invalid_request`."""
    target = request.target
    if not target.startswith(b"/") or request.method == b"CONNECT":
        raise Refusal("invalid_request", "A preview answers paths only: no CONNECT, no absolute address.")
    names = [name for name, _ in request.headers]
    if b"transfer-encoding" in names and b"content-length" in names:
        raise Refusal("invalid_request", "A request has Content-Length or Transfer-Encoding, never both.")
    host = _first(request.headers, b"host") or b""
    clean_target, query_token = _split_token(target)
    return Head(
        request=request,
        slug=host.split(b":")[0].split(b".")[0].lower().decode("ascii", "replace"),
        host=host,
        target=clean_target,
        credentials=Credentials(
            key=_bearer(_first(request.headers, b"authorization")),
            header_token=_text(_first(request.headers, TOKEN_HEADER)),
            query_token=query_token,
            cookie_tokens=_our_cookies(request.headers),
        ),
        upgrade=_wants_websocket(request),
    )


def wants_html(headers: Iterable[Header]) -> bool:
    """Whether a browser opens the address: only then `Accept` names text/html, scripts and fetches do not."""
    return b"text/html" in (_first(headers, b"accept") or b"").lower()


def to_program(head: Head, preview: Preview, *, client_ip: str, scheme: str) -> h11.Request:
    """The request as the program gets it: no credential, cookie, header or parameter of ours in it."""
    secrets = [secret.encode("latin-1", "replace") for secret in _secrets(head.credentials)]
    if any(secret in unquote_to_bytes(head.target) for secret in secrets):
        raise Refusal(
            "invalid_request",
            f"The address holds the credential, and not as ?{TOKEN_PARAMETER}=…: the program would see it.",
        )
    headers: list[Header] = [(b"Host", b"localhost:%d" % preview.port)]
    for raw_name, name, value in _passing(head.request):
        passed = _value_for_program(name, value, head, preview, scheme)
        if passed is not None and not any(secret in passed for secret in secrets):
            headers.append((raw_name, passed))
    headers += [
        (b"X-Forwarded-Host", head.host),
        (b"X-Forwarded-Proto", scheme.encode()),
        (b"X-Forwarded-For", client_ip.encode()),
        *_framing(head.request),
        *(
            [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
            if head.upgrade
            else [(b"Connection", b"close")]
        ),
    ]
    return h11.Request(method=head.request.method, target=head.target, headers=headers)


def _value_for_program(name: bytes, value: bytes, head: Head, preview: Preview, scheme: str) -> bytes | None:
    """What the program gets of one header; None where it is ours."""
    spelled = _spelled(name)
    if name == b"host" or spelled in FORWARDED or spelled.startswith(OUR_PREFIX):
        return None
    if name == b"authorization" and (preview.auth_mode == "authenticated" or _is_key(value)):
        return None
    if name == b"cookie":
        return _without_our_cookies(value) or None
    if name == b"origin" and value == scheme.encode() + b"://" + head.host:
        return b"http://localhost:%d" % preview.port  # the same origin, as the program sees itself
    return value


def to_client(answer: h11.Response | h11.InformationalResponse) -> list[Header]:
    """The headers of an answer as the client gets them: the program cannot speak for us."""
    headers: list[Header] = []
    for raw_name, name, value in _passing(answer):
        is_cookie = name == b"set-cookie"
        if _spelled(name).startswith(OUR_PREFIX) or (
            is_cookie and _cookie_name(value).startswith(OUR_COOKIES)
        ):
            continue
        headers.append((raw_name, _host_only(value) if is_cookie else value))
    if answer.status_code == SWITCHING_PROTOCOLS:
        return [*headers, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    if answer.status_code == NO_CONTENT:
        return headers  # a length is forbidden here: who believes it would wait for a body (RFC 9110 8.6)
    length = _first(answer.headers, b"content-length")
    chunked = _first(answer.headers, b"transfer-encoding") is not None
    return headers if length is None or chunked else [*headers, (b"Content-Length", length)]


def cookie_of(token: str, *, secure: bool, lifetime_s: int) -> str:
    """The value of `Set-Cookie`: host-only (no Domain), not for scripts, not sent along from elsewhere."""
    text = f"{COOKIE.decode()}={token}; Path=/; Max-Age={lifetime_s}; HttpOnly; SameSite=Lax"
    return text + ("; Secure" if secure else "")


def location_of(target: bytes) -> bytes:
    """The same place without our parameter; what begins like `//host` would lead elsewhere."""
    return b"/." + target if target[1:2] in {b"/", b"\\"} else target


def _passing(
    event: h11.Request | h11.Response | h11.InformationalResponse,
) -> Iterable[tuple[bytes, bytes, bytes]]:
    """(name as sent, lower-case name, value) of what is not for this connection alone, nor framing."""
    named = {
        token.strip().lower()
        for name, value in event.headers
        if name == b"connection"
        for token in value.split(b",")
    }
    dropped = HOP_BY_HOP | named | {b"content-length"}
    for raw_name, value in event.headers.raw_items():
        name = raw_name.lower()
        if _spelled(name) not in dropped:
            yield raw_name, name, value


def _spelled(name: bytes) -> bytes:
    """Some programs cannot tell X_Forwarded_For from X-Forwarded-For: neither do our rules."""
    return name.replace(b"_", b"-")


def _framing(request: h11.Request) -> list[Header]:
    """How the body is delimited, as h11 read it, whatever `Connection` says of these headers."""
    length = _first(request.headers, b"content-length")
    if length is not None:
        return [(b"Content-Length", length)]
    chunked = _first(request.headers, b"transfer-encoding") is not None
    return [(b"Transfer-Encoding", b"chunked")] if chunked else []


def _wants_websocket(request: h11.Request) -> bool:
    tokens = b",".join(value for name, value in request.headers if name == b"connection").lower().split(b",")
    upgrade = _first(request.headers, b"upgrade") or b""
    return (
        request.method == b"GET"
        and upgrade.lower() == b"websocket"
        and b"upgrade" in {token.strip() for token in tokens}
        and not _framing(request)
    )


def _first(headers: Iterable[Header], wanted: bytes) -> bytes | None:
    return next((value for name, value in headers if name == wanted), None)


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1").strip()


def _bearer(value: bytes | None) -> str | None:
    scheme, _, credential = (_text(value) or "").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None


def _is_key(value: bytes) -> bool:
    return (_bearer(value) or "").encode("latin-1").startswith(KEY_LIKE)


def _secrets(credentials: Credentials) -> list[str]:
    """What must not be found in any header that is passed on."""
    given = [credentials.header_token, credentials.query_token, *credentials.cookie_tokens]
    if credentials.key and credentials.key.encode("latin-1").startswith(KEY_LIKE):
        given.append(credentials.key)
    return [secret for secret in given if secret and len(secret) >= SECRET_CHARS_MIN]


def _split_token(target: bytes) -> tuple[bytes, str | None]:
    """The target without our parameter in any spelling, and the first value of it."""
    path, question, query = target.partition(b"?")
    kept: list[bytes] = []
    token: str | None = None
    for part in query.split(b"&"):
        name, _, value = part.partition(b"=")
        if unquote_plus(name.decode("latin-1")) != TOKEN_PARAMETER:
            kept.append(part)
        elif token is None:
            token = unquote_plus(value.decode("latin-1"))
    if token is None:
        return target, None
    return path + (question + b"&".join(kept) if kept else b""), token


def _cookie_name(cookie: bytes) -> bytes:
    """What a browser sends it back under: of a cookie without a name, its value stands first."""
    return cookie.strip().lstrip(b"= \t").split(b"=")[0].strip()


def _host_only(cookie: bytes) -> bytes:
    """Without `Domain`: a program sets cookies for its own preview, not for its neighbours."""
    first, *attributes = cookie.split(b";")
    kept = [part for part in attributes if part.split(b"=")[0].strip().lower() != b"domain"]
    return b";".join([first, *kept])


def _our_cookies(headers: Iterable[Header]) -> list[str]:
    found = [
        value.strip().strip(b'"').decode("latin-1")
        for header, line in headers
        if header == b"cookie"
        for name, _, value in (pair.partition(b"=") for pair in line.split(b";"))
        if name.strip() == COOKIE
    ]
    return found[:COOKIES_OF_OURS_MAX]


def _without_our_cookies(line: bytes) -> bytes:
    kept = [pair for pair in line.split(b";") if not pair.split(b"=")[0].strip().startswith(OUR_COOKIES)]
    return b";".join(kept).strip()
