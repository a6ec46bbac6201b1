"""The outermost ASGI layer: request ids, bodies that stop coming, and those that nobody read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import LATE
from api.errors import envelope
from api.limits import ApiLimits
from api.protocol import WHOLE
from api.rate_limit import RATE_HEADERS
from runs.ids import new_id
from runs.refusal import Refusal

SESSION_PATH = re.compile(r"/v1/workspace-runs/[^/]+/events/session")
"""The one WebSocket (CONTRACT §2.1)."""


class Edge:
    """Wraps the application; plain ASGI, because streaming answers must not be buffered."""

    def __init__(self, app: ASGIApp, limits: ApiLimits) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] == "websocket" and not SESSION_PATH.fullmatch(scope["path"]):
            await _refuse_upgrade(scope, send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._limits)
        await self._app(scope, exchange.receive, exchange.send)


async def _refuse_upgrade(scope: Scope, send: Send) -> None:
    """404 in the envelope (rule 7) where no route speaks WebSocket, not the plain text of the framework."""
    request_id = new_id("req")
    refusal = Refusal("not_found", f"There is no route {scope['path'][:200]} for WebSockets. Check the path.")
    status, headers, body = envelope(refusal, request_id)
    headers |= {"content-length": str(len(body)), "x-request-id": request_id}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "websocket.http.response.start", "status": status, "headers": raw})
    await send({"type": "websocket.http.response.body", "body": body})


class Patience:
    """How long a body is waited for: `idle_s` in vain, of which each byte that comes gives a part back.

    So a client must send `rate_min` bytes a second, or in any bursts whose pauses its bytes have paid for. A
    long upload over a slow line goes on; one byte now and then is soon as good as silence; and what came
    quickly at first is no licence for later, since no more than `idle_s` is ever saved.
    """

    def __init__(self, idle_s: float, rate_min: int) -> None:
        self._idle_s = idle_s
        self._rate_min = rate_min
        self.left_s = idle_s

    def __repr__(self) -> str:
        return f"Patience({self.left_s:.3f} s of {self._idle_s:g})"

    def spend(self, waited_s: float, received: int) -> None:
        """So long was waited for so many bytes. Time in which nobody waited is not the client's."""
        self.left_s = min(self._idle_s, self.left_s - waited_s + received / self._rate_min)


class _Exchange:
    """One request and its answer: knows whether the body was read and the answer begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ApiLimits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._patience: Patience | None = None
        headers = dict(scope["headers"])
        self._body_pending = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        self.request_id = new_id("req")
        self._state: MutableMapping[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = self.request_id

    async def receive(self) -> Message:
        """The next message; a body that stops coming, or drips, counts as a connection that closed.

        Else its client would hold an idempotency key, a temporary file and a descriptor for as long as it
        likes. Who vanished without a word would for as long as the server runs.
        """
        if not self._body_pending:
            return await self._receive()
        if WHOLE in self._state:  # as nearly always, and then it is not waited for
            message = await self._receive()
        else:
            message = await self._receive_in_time()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_pending = False
        return message

    async def _receive_in_time(self) -> Message:
        patience = self._patience
        if patience is None:
            patience = self._patience = Patience(self._limits.body_idle_s, self._limits.body_rate_min)
        clock = asyncio.get_running_loop().time
        began_s = clock()
        try:
            async with asyncio.timeout(patience.left_s):  # unlike `wait_for`, no task for each message
                message = await self._receive()
        except TimeoutError:
            self._state[LATE] = True
            return {"type": "http.disconnect"}
        patience.spend(clock() - began_s, len(message.get("body", b"")))
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._drain()
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self.request_id.encode()),
                *self._state.get(RATE_HEADERS, ()),
            ]
            if LATE in self._state:  # what comes later is the rest of this body, and no new request
                message["headers"].append((b"connection", b"close"))
        await self._send(message)

    async def _drain(self) -> None:
        """Read what the client still sends (CONTRACT rule 10), up to the named limit."""
        drained = 0
        while self._body_pending and drained <= self._limits.drain_bytes_max:
            message = await self.receive()
            drained += len(message.get("body", b""))
