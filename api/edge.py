"""The outermost ASGI layer: request ids, bodies that stop coming, and those that nobody read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import envelope
from api.limits import ApiLimits
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


class _Exchange:
    """One request and its answer: knows whether the body was read and the answer begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, limits: ApiLimits) -> None:
        self._receive = receive
        self._send = send
        self._limits = limits
        self._stalled = False
        headers = dict(scope["headers"])
        self._body_pending = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        self.request_id = new_id("req")
        self._state: MutableMapping[str, Any] = scope.setdefault("state", {})
        self._state["request_id"] = self.request_id

    async def receive(self) -> Message:
        """The next message; a body that stops coming counts as a connection that closed.

        Else a client that vanished without a word would hold its idempotency key, a temporary file and a
        descriptor for as long as the server runs.
        """
        if not self._body_pending:
            return await self._receive()
        try:
            async with asyncio.timeout(
                self._limits.body_idle_s
            ):  # unlike `wait_for`, no task for each message
                message = await self._receive()
        except TimeoutError:
            self._stalled = True
            message = {"type": "http.disconnect"}
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._drain()
            message["headers"] = [
                *message.get("headers", []),
                (b"x-request-id", self.request_id.encode()),
                *self._state.get(RATE_HEADERS, ()),
            ]
            if self._stalled:  # what comes later is the rest of this body, and no new request
                message["headers"].append((b"connection", b"close"))
        await self._send(message)

    async def _drain(self) -> None:
        """Read what the client still sends (CONTRACT rule 10), up to the named limit."""
        drained = 0
        while self._body_pending and drained <= self._limits.drain_bytes_max:
            message = await self.receive()
            drained += len(message.get("body", b""))
