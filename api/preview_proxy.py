"""The preview proxy: a server of its own beside the API, which lets requests in and passes them on.

It has its own port and one host name per preview, so that a program under test shares an origin neither with
the API nor with another preview. It is no ASGI application, since those cannot pass WebSockets and streamed
bodies through untouched. It answers nothing itself but refusals, and one redirect that takes a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

import h11

from api.client_places import TRUSTED_DEFAULT, ClientPlaces
from api.errors import envelope, log_failure, raw_answer, refusal_of
from api.limits import PreviewLimits
from api.preview_exchange import ClientGone, ClientSide, ended, forward
from api.preview_heads import Head, cookie_of, location_of, read_head, wants_html
from api.preview_page import PAGE_HEADERS, refusal_page
from runs.access import Principal
from runs.ids import new_id
from runs.previews import Dial, Preview, PreviewService
from runs.refusal import Refusal

logger = logging.getLogger(__name__)

ACCEPT_PAUSE_S = 1.0
TURNED_AWAY_BYTES = 64 * 1024
SAFE_METHODS = frozenset({b"GET", b"HEAD"})

Authenticate = Callable[[str], Awaitable[Principal | None]]
"""The principal of an API key, or None."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Why a connection is open: it ends when this no longer holds."""

    slug: str
    key: str | None
    """The API key that let it in; None where the preview's token did."""


class PreviewProxy:
    """Serves one listening socket. `scheme` is what browsers see, perhaps of a TLS proxy in front."""

    def __init__(
        self, previews: PreviewService, authenticate: Authenticate, dial: Dial, limits: PreviewLimits,
        now_ms: Callable[[], int], *, scheme: str = "http", trusted: str = TRUSTED_DEFAULT,
    ) -> None:  # fmt: skip
        """`trusted` are the addresses of proxies, as in uvicorn's FORWARDED_ALLOW_IPS."""
        self._previews = previews
        self._authenticate = authenticate
        self._dial = dial
        self._limits = limits
        self._now_ms = now_ms
        self._scheme = scheme
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: dict[Grant, set[asyncio.Task[None]]] = {}
        self._per_preview: Counter[str] = Counter()
        self._places = ClientPlaces(limits.connections_per_address_max, trusted)

    def __repr__(self) -> str:
        return f"PreviewProxy({len(self._tasks)} connections)"

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncGenerator[None]:
        """Serve until the block ends; open connections end with it."""
        loop = asyncio.get_running_loop()
        listener.setblocking(False)
        loop.add_reader(listener, self._accept, listener)
        checking = asyncio.create_task(self._check_forever(), name="preview checks")
        try:
            yield
        finally:
            loop.remove_reader(listener)
            tasks = [checking, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self, listener: socket.socket) -> None:
        """Take one connection; in a callback of our own, so that none is accepted and served by nobody."""
        try:
            connection, peer = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: what waits in the queue waits a little longer
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            self._tasks.add(pause := asyncio.create_task(self._accept_later(listener)))
            pause.add_done_callback(self._tasks.discard)
            return
        if len(self._tasks) >= self._limits.connections_max:
            connection.close()
            return
        place = None
        if not self._places.trusts(peer[0]) and (place := self._places.take(peer[0])) is None:
            _turn_away(connection)
            return
        task = asyncio.create_task(self._serve(connection), name="preview connection")
        self._tasks.add(task)
        task.add_done_callback(partial(self._served, connection, place))

    def _served(self, connection: socket.socket, place: str | None, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if place is not None:
            self._places.give_back(place)
        connection.close()  # for a task that was canceled before it began

    async def _accept_later(self, listener: socket.socket) -> None:
        await asyncio.sleep(ACCEPT_PAUSE_S)
        asyncio.get_running_loop().add_reader(listener, self._accept, listener)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        reader, writer = await asyncio.open_connection(sock=connection, limit=self._limits.buffer_bytes)
        client = ClientSide(reader, writer, self._limits)
        try:
            while await self._serve_one(client):
                client.http.start_next_cycle()
            await client.close()
        except (OSError, h11.ProtocolError, ClientGone):
            pass  # cut off in the middle, which the client sees: its answer is not whole
        except asyncio.CancelledError:
            pass  # the preview has ended, or the server stops: nobody awaits this task
        finally:
            client.abort()

    async def _serve_one(self, client: ClientSide) -> bool:
        """One request; whether another may follow on this connection."""
        request_id = new_id("req")
        try:
            async with asyncio.timeout(self._limits.head_s):
                request = await client.next_event()
            if not isinstance(request, h11.Request):
                return False
            client.asked_for_head = request.method == b"HEAD"
            client.reads_html = wants_html(request.headers)
            head = read_head(request)
            preview, grant, fresh_token = await self._admit(head)
            if fresh_token is not None:
                await self._take_token(client, head, preview, fresh_token)
                return False
            with self._behind_a_proxy(client, head), self._opened(grant):
                return await forward(client, head, preview, self._dial, self._limits, scheme=self._scheme)
        except h11.RemoteProtocolError as error:
            refusal = Refusal("invalid_request", f"The request could not be read: {error}")
        except (OSError, ClientGone):
            raise
        except Exception as error:  # noqa: BLE001 # answered in the envelope, and logged
            log_failure(request_id, "of a preview", error)
            refusal = refusal_of(error) or Refusal(
                "internal_error", "The server failed. Report this request's id to its operator."
            )
        await self._refuse(client, refusal, request_id)
        return False

    async def _admit(self, head: Head) -> tuple[Preview, Grant, str | None]:
        """Who may look at what; the third is a token from the address, to be kept in a cookie."""
        preview = await self._previews.live(head.slug)
        if preview is None:
            raise ended()
        given = head.credentials
        if preview.auth_mode == "authenticated":
            return preview, Grant(head.slug, await self._admit_key(preview, given.key)), None
        tokens = [token for token in (given.header_token, given.query_token) if token is not None][:1]
        for token in tokens or given.cookie_tokens:
            if await self._previews.is_token(preview, token):
                in_address = token == given.query_token and given.header_token is None
                fresh = in_address and head.request.method in SAFE_METHODS and not head.upgrade
                return preview, Grant(head.slug, None), token if fresh else None
        raise Refusal(
            "unauthorized",
            "This preview needs its token: open its address with ?crownest_preview_token=… added, "
            "or send the header x-crownest-preview-token.",
        )

    async def _admit_key(self, preview: Preview, key: str | None) -> str:
        if key is None:
            raise Refusal(
                "unauthorized",
                "This preview needs an API key: send Authorization: Bearer cn_live_…. For a browser, "
                "open one with a token: crownest previews create SANDBOX-ID PORT --token",
            )
        who = await self._authenticate(key)
        if who is None:
            raise Refusal("unauthorized", "This API key is unknown or revoked. Send a valid key.")
        if not who.sees(preview.org_id, preview.project_id):
            raise ended()
        who.require("preview:read")
        return key

    @contextlib.contextmanager
    def _behind_a_proxy(self, client: ClientSide, head: Head) -> Generator[None]:
        """Count the exchange for whom a trusted proxy names; others have their place by connection."""
        address = self._places.behind(client.address, head.request.headers)
        if address is None:
            yield
            return
        place = self._places.take(address)
        if place is None:
            raise too_many_of_one()
        try:
            yield
        finally:
            self._places.give_back(place)

    @contextlib.contextmanager
    def _opened(self, grant: Grant) -> Generator[None]:
        """Count the exchange while it lasts, and let `_check_forever` end it."""
        if self._per_preview[grant.slug] >= self._limits.connections_per_preview_max:
            raise Refusal(
                "slow_down", "Too many connections to this preview are open. Try again in a moment."
            )
        task = asyncio.current_task()
        assert task is not None
        self._per_preview[grant.slug] += 1
        self._open.setdefault(grant, set()).add(task)
        try:
            yield
        finally:
            self._open[grant].discard(task)
            if not self._open[grant]:
                del self._open[grant]
            self._per_preview[grant.slug] -= 1
            if not self._per_preview[grant.slug]:
                del self._per_preview[grant.slug]

    async def _check_forever(self) -> None:
        """End connections whose preview or key has ended, `check_s` later at most and a look-up."""
        while True:
            await asyncio.sleep(self._limits.check_s)
            for grant in tuple(self._open):
                if not await self._holds(grant):
                    for task in self._open.get(grant, ()):
                        task.cancel()

    async def _holds(self, grant: Grant) -> bool:
        try:
            preview = await self._previews.live(grant.slug)
            if preview is not None and grant.key is not None:
                await self._admit_key(preview, grant.key)
        except Refusal:
            return False
        except Exception:
            logger.exception("a preview could not be checked; its connections are closed")
            return False
        return preview is not None

    async def _take_token(self, client: ClientSide, head: Head, preview: Preview, token: str) -> None:
        """303 to the same place without the token, which a cookie of this one host keeps."""
        lifetime_s = max(0, (preview.expires_at_ms - self._now_ms()) // 1000)
        cookie = cookie_of(token, secure=self._scheme == "https", lifetime_s=lifetime_s)
        headers = [
            ("location", location_of(head.target).decode("ascii")),
            ("set-cookie", cookie),
            ("referrer-policy", "no-referrer"),
            ("x-request-id", new_id("req")),
        ]
        await self._answer(client, 303, headers, b"")

    async def _refuse(self, client: ClientSide, refusal: Refusal, request_id: str) -> None:
        status, headers, body = envelope(refusal, request_id)
        if client.reads_html:
            headers |= PAGE_HEADERS
            body = refusal_page(refusal, status, request_id)
        await self._answer(client, status, [*headers.items(), ("x-request-id", request_id)], body)

    async def _answer(
        self, client: ClientSide, status: int, headers: Iterable[tuple[str, str]], body: bytes
    ) -> None:
        """An answer of our own, after which the connection closes."""
        if client.http.our_state not in {h11.IDLE, h11.SEND_RESPONSE}:
            return
        own = [("content-length", str(len(body))), ("cache-control", "no-store"), ("connection", "close")]
        reason = HTTPStatus(status).phrase
        await client.send(h11.Response(status_code=status, headers=[*headers, *own], reason=reason))
        if body and not client.asked_for_head:
            await client.send(h11.Data(data=body))
        await client.send(h11.EndOfMessage())
        await client.linger()


def too_many_of_one() -> Refusal:
    """429: one address holds all the connections that one may."""
    return Refusal(
        "slow_down",
        "Too many connections from this address are open. Close some, or try again in a moment.",
    )


def _turn_away(connection: socket.socket) -> None:
    """Say why and hang up, at once: who has too many connections must not cost a task with one more.

    What has arrived is read, since closing with unread bytes would reset the connection under the answer.
    """
    connection.setblocking(False)
    with connection, contextlib.suppress(OSError):
        connection.send(raw_answer(too_many_of_one(), new_id("req")))
        connection.shutdown(socket.SHUT_WR)
        connection.recv(TURNED_AWAY_BYTES)
