"""One HTTP exchange with a CrowNest API: headers, limits, timeouts, and errors of one kind.

Redirects are never followed (a server of this contract issues none), and the credential leaves this
module only towards the API's own origin (CONTRACT §4.2).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import httpx2

from client.envelope import error_of, json_object
from client.errors import ApiError, BadAnswer, ClientError, ConnectionFailed, FailureKind
from client.shapes import JsonObject
from client.version import VERSION

SDK_MARKER = f"crownest-server-client/{VERSION}"
DEFAULT_PORTS = {"http": 80, "https": 443}
WAITS_MAX = 3
"""Times that a request over the rate limit waits and is sent again."""
WAIT_S_MAX = 60
"""A longer `Retry-After` is left to the caller."""
IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})
"""RFC 9110 §9.2.2; a POST is sent again when it carries an `Idempotency-Key`."""

Content = Callable[[], Iterable[bytes]]
"""Begins the request's body; called again when the request is sent again."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds of silence after which a step is given up; none of them limits the whole exchange."""

    connect_s: float = 10
    read_s: float = 120
    write_s: float = 120
    stream_read_s: float = 60
    """Between two bytes of an event stream: servers send something every 10 to 15 s (CONTRACT rule 6)."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Bytes that this client accepts; past them an answer is refused instead of filling memory or disk."""

    json_bytes_max: int = 64 * 1024 * 1024
    text_bytes_max: int = 1024 * 1024
    proof_bytes_max: int = 16 * 1024 * 1024
    error_bytes_max: int = 64 * 1024
    event_bytes_max: int = 4 * 1024 * 1024
    download_bytes_max: int = 16 * 1024 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks without an API key; only a development server on loopback listens to it (CONTRACT §1)."""

    org_id: str
    user_id: str
    role: str

    def headers(self) -> dict[str, str]:
        """As they go out. Raises `ClientError` when a value cannot stand in a header."""
        named = {
            "x-crownest-org-id": self.org_id,
            "x-crownest-user-id": self.user_id,
            "x-crownest-role": self.role,
        }
        for name, value in named.items():
            if not value.isascii() or not value.isprintable():
                raise ClientError(
                    "invalid_credential", f"The value of {name} holds characters that no id has."
                )
        return named


class Transport:
    """Sends requests below one API address with one credential. Not safe for use by several threads."""

    def __init__(
        self,
        api_url: str,
        credential: str | None,
        *,
        person: Person | None = None,
        trust_env: bool = False,
        timeouts: Timeouts | None = None,
        limits: BodyLimits | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`trust_env` lets proxy variables and SSL_CERT_FILE apply; the caller decides (DESIGN §1).

        `wait` is called with the seconds to wait before a request over the rate limit is sent again.
        """
        self.api_url = checked_api_url(api_url)
        self.limits = limits or BodyLimits()
        self._timeouts = timeouts or Timeouts()
        self._trust_env = trust_env
        self._wait = wait
        self._credential = _checked_credential(credential)
        self._person = person.headers() if person and not credential else {}
        self._clients: dict[str, httpx2.Client] = {}

    def __repr__(self) -> str:
        return f"Transport(api_url={self.api_url!r}, credential={'set' if self._credential else None})"

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def json(
        self,
        method: str,
        path: str,
        *,
        body: JsonObject | None = None,
        content: Content | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> JsonObject:
        """Send a request whose 2xx answer is a JSON object (CONTRACT rule 8) and parse it."""
        wanted = {"accept": "application/json", **(headers or {})}
        with self.exchange(
            method, path, body=body, content=content, params=params, headers=wanted
        ) as response:
            return parse_object(_read(response, self.limits.json_bytes_max), response)

    def text(self, path: str) -> str:
        """GET a text document."""
        return self.document(path, bytes_max=self.limits.text_bytes_max).decode("utf-8", "replace")

    def document(
        self, path: str, params: Mapping[str, str | int] | None = None, *, bytes_max: int | None = None
    ) -> bytes:
        """GET a text document as the bytes that it has."""
        with self.exchange("GET", path, params=params, headers={"accept": "text/plain"}) as response:
            return _read(response, bytes_max or self.limits.proof_bytes_max)

    @contextmanager
    def exchange(
        self,
        method: str,
        target: str,
        *,
        body: JsonObject | None = None,
        content: Content | None = None,
        params: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        streaming: bool = False,
    ) -> Generator[httpx2.Response]:
        """Send one request and hand out the unread 2xx response; every failure becomes a `ClientError`.

        `target` is a path below the API address, or an upload URL as the server gave it. `streaming`
        takes the timeout of event streams. Over the rate limit it waits as long as the server says and is
        sent again, a few times, unless sending it twice could do it twice.
        """
        url = self.resolve(target)
        given = headers or {}
        read_s = self._timeouts.stream_read_s if streaming else self._timeouts.read_s
        timeout = httpx2.Timeout(
            read_s, connect=self._timeouts.connect_s, read=read_s, write=self._timeouts.write_s
        )

        def send() -> AbstractContextManager[httpx2.Response]:
            return self._client_for(url).stream(
                method,
                url,
                json=body,
                content=content() if content else None,
                params=params,
                headers={**self._own_headers(url), **given},
                timeout=timeout,
            )

        repeatable = method in IDEMPOTENT_METHODS or "idempotency-key" in given
        with translated(origin_of(url)), ExitStack() as opened:
            yield self._answered(send, opened, waits=WAITS_MAX if repeatable else 0)

    def _answered(
        self, send: Callable[[], AbstractContextManager[httpx2.Response]], opened: ExitStack, waits: int
    ) -> httpx2.Response:
        """The 2xx response, open as long as `opened` is; raises `ApiError`."""
        while True:
            with ExitStack() as attempt:
                response = attempt.enter_context(send())
                if response.is_success:
                    opened.enter_context(attempt.pop_all())
                    return response
                error = _api_error(response, self.limits.error_bytes_max)
            pause_s = error.retry_after_s
            over_limit = error.status == 429 and error.retryable
            if not over_limit or pause_s is None or pause_s > WAIT_S_MAX or not waits:
                raise error
            waits -= 1
            self._wait(pause_s)

    def resolve(self, target: str) -> httpx2.URL:
        """The absolute address of `target`: `/v1/…` lies below the API address, anything else is a URL.

        An upload URL that is relative to the origin (`/upload/…`) is resolved as browsers do. From an
        https API a plain http upload address is refused: the archive would travel in the clear.
        """
        if target.startswith("/v1/"):
            return httpx2.URL(self.api_url + target)
        try:
            url = httpx2.URL(self.api_url).join(target)
        except (httpx2.InvalidURL, ValueError) as exc:
            raise BadAnswer("The server named an upload address that is not a URL.") from exc
        if url.scheme not in DEFAULT_PORTS or not url.host:
            raise BadAnswer(
                f"The server named an upload address of scheme {url.scheme!r}; http or https is needed."
            )
        if url.scheme == "http" and self.api_url.startswith("https:"):
            raise BadAnswer(
                "The server, reached by https, named an upload address without TLS. Nothing was sent."
            )
        return url

    def session(self, path: str) -> tuple[str, dict[str, str], bool]:
        """Address and headers of a WebSocket below the API address, and whether proxy variables apply."""
        url = self.resolve(path)
        return "ws" + str(url).removeprefix("http"), self._own_headers(url), self._trust_env

    def is_own_origin(self, url: httpx2.URL) -> bool:
        """Whether scheme, host and port are the API's (default ports normalised)."""
        return origin_of(url) == origin_of(httpx2.URL(self.api_url))

    def _own_headers(self, url: httpx2.URL) -> dict[str, str]:
        if not self.is_own_origin(url):
            return {}
        marker = {"x-crownest-sdk": SDK_MARKER, **self._person}
        return {**marker, "authorization": f"Bearer {self._credential}"} if self._credential else marker

    def _client_for(self, url: httpx2.URL) -> httpx2.Client:
        """One pool per scheme: reading the system's certificates takes 100 ms, so only for https."""
        if url.scheme not in self._clients:
            # For http: a TLS context that trusts nobody, so that it can never carry https by mistake.
            verify = True if url.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            agent = {"user-agent": SDK_MARKER}
            self._clients[url.scheme] = httpx2.Client(
                verify=verify, trust_env=self._trust_env, headers=agent, follow_redirects=False
            )
        return self._clients[url.scheme]


def parse_object(data: bytes, response: httpx2.Response) -> JsonObject:
    """Parse a 2xx JSON body, or say that this is no CrowNest API."""
    parsed = json_object(data)
    if parsed is None:
        raise BadAnswer(
            f"{response.request.method} {response.request.url.path} answered {response.status_code} "
            "without a JSON object. Is this the address of a CrowNest API?"
        )
    return parsed


def _read(response: httpx2.Response, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    size_bytes = 0
    for chunk in response.iter_bytes():
        size_bytes += len(chunk)
        if size_bytes > bytes_max:
            raise BadAnswer(
                f"The answer is larger than {bytes_max} bytes. Ask for less, for example by --limit."
            )
        parts.append(chunk)
    return b"".join(parts)


def _api_error(response: httpx2.Response, bytes_max: int) -> ApiError:
    """Parse `{"error":{…}}`; any other shape keeps its status and gets the code `invalid_error_response`."""
    status = response.status_code
    request_id = response.headers.get("x-request-id")
    retry_after_s = _seconds(response.headers.get("retry-after"))
    if response.is_redirect:
        return ApiError(
            "invalid_error_response",
            f"The address answers with a redirect to {response.headers.get('location', '(nowhere)')}. "
            "A CrowNest API never redirects: check the API address (http or https, no path too much).",
            status=status,
            request_id=request_id,
        )
    return error_of(
        _read_some(response, bytes_max), status, request_id=request_id, retry_after_s=retry_after_s
    )


def _read_some(response: httpx2.Response, bytes_max: int) -> bytes:
    """Read at most `bytes_max`: an error page that is longer is no error of this contract anyway."""
    data = b""
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) > bytes_max:
            return b""
    return data


def _seconds(value: str | None) -> float | None:
    """Retry-After as whole seconds; the date form is left alone, because the client reads no clock."""
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


@contextmanager
def translated(origin: str) -> Generator[None]:
    """Whatever the HTTP library raises in the block becomes a `ClientError`."""
    try:
        yield
    except httpx2.SSEError as exc:
        raise BadAnswer(f"The event stream is not what the contract says: {exc}") from exc
    except httpx2.DecodingError as exc:
        raise BadAnswer(f"The answer of {origin} is compressed in a broken way.") from exc
    except httpx2.RequestError as exc:
        raise ConnectionFailed(_failure_kind(exc), origin, str(exc) or type(exc).__name__) from exc
    except httpx2.InvalidURL as exc:
        raise ClientError("invalid_address", f"Not an address: {exc}") from exc


def _failure_kind(error: Exception) -> FailureKind:
    """Look through the chain of causes for the reason that a person can act on."""
    if isinstance(error, httpx2.TimeoutException):
        return "timeout"
    cause: BaseException | None = error
    for _ in range(8):  # chains here are two or three long
        if isinstance(cause, ConnectionRefusedError):
            return "refused"
        if isinstance(cause, socket.gaierror):
            return "unresolved"
        if isinstance(cause, ssl.SSLError):
            return "tls"
        cause = cause.__cause__ or cause.__context__ if cause else None
    return "dropped" if isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError) else "other"


def origin_of(url: httpx2.URL) -> str:
    """Scheme, host and port; the port only when it is not the scheme's own."""
    port = url.port or DEFAULT_PORTS.get(url.scheme)
    shown = "" if port == DEFAULT_PORTS.get(url.scheme) else f":{port}"
    host = f"[{url.host}]" if ":" in url.host else url.host
    return f"{url.scheme}://{host}{shown}"


def checked_api_url(api_url: str) -> str:
    """The address without spaces and slashes around it. Raises `ClientError` when it is none."""
    trimmed = api_url.strip().rstrip("/")
    try:
        url = httpx2.URL(trimmed)
    except (httpx2.InvalidURL, ValueError) as exc:
        raise ClientError("invalid_address", f"{api_url!r} is not an address: {exc}") from exc
    if url.scheme not in DEFAULT_PORTS or not url.host or url.query or url.fragment or url.userinfo:
        raise ClientError(
            "invalid_address", f"{api_url!r} is not an API address: write it like http://127.0.0.1:8787."
        )
    return trimmed


def _checked_credential(credential: str | None) -> str | None:
    if credential is not None and (
        not credential.isascii() or not credential.isprintable() or " " in credential
    ):
        raise ClientError(
            "invalid_credential", "The API key holds characters that no key has. Copy it again."
        )
    return credential
