"""The outermost ASGI layer: request ids, draining of unread bodies, and the last resort for exceptions."""

from __future__ import annotations

import logging

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import envelope, refusal_of
from runs.ids import new_id
from runs.refusal import Refusal

logger = logging.getLogger(__name__)


class Edge:
    """Wraps the application; plain ASGI, because streaming answers must not be buffered."""

    def __init__(self, app: ASGIApp, *, drain_bytes_max: int) -> None:
        self._app = app
        self._drain_bytes_max = drain_bytes_max

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, self._drain_bytes_max)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception as error:
            if exchange.started:
                raise
            refusal = refusal_of(error)
            if refusal is None:
                logger.exception("request %s failed", exchange.request_id)
                message = f"The server failed. Report request {exchange.request_id} to its operator."
                refusal = Refusal("internal_error", message)
            await exchange.refuse(refusal)


class _Exchange:
    """One request and its answer: knows whether the body was read and the answer begun."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, drain_bytes_max: int) -> None:
        self._receive = receive
        self._send = send
        self._drain_bytes_max = drain_bytes_max
        headers = dict(scope["headers"])
        self._body_pending = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        self.request_id = new_id("req")
        scope.setdefault("state", {})["request_id"] = self.request_id
        self.started = False

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._drain()
            self.started = True
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self.request_id.encode())]
        await self._send(message)

    async def refuse(self, refusal: Refusal) -> None:
        status, headers, body = envelope(refusal, self.request_id)
        raw = [(name.encode(), value.encode()) for name, value in headers.items()]
        raw.append((b"content-length", str(len(body)).encode()))
        await self.send({"type": "http.response.start", "status": status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body})

    async def _drain(self) -> None:
        """Read what the client still sends (CONTRACT rule 10), up to the named limit."""
        drained = 0
        while self._body_pending and drained <= self._drain_bytes_max:
            message = await self.receive()
            drained += len(message.get("body", b""))
