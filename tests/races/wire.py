"""Raw connections, so that racers' bytes leave at the same moment and nothing repeats a request for them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from api.operations import BY_ID
from tests.isolation.calls import Call

ANSWER_S_MAX = 60.0
CONNECTED_AT_ONCE_MAX = 64


@dataclass(frozen=True)
class Answer:
    """Status and body; status 0 is a connection that broke before there was an answer."""

    status: int
    body: bytes


BROKEN = Answer(0, b"")


def request_bytes(call: Call, key: str, idempotency_key: str) -> bytes:
    """The whole request, as it goes over the wire."""
    body = call.content if call.content is not None else b""
    headers = {"host": "127.0.0.1", "authorization": f"Bearer {key}", **call.headers}
    if idempotency_key:
        headers["idempotency-key"] = idempotency_key
    if call.json is not None:
        body, headers["content-type"] = json.dumps(call.json).encode(), "application/json"
    headers["content-length"] = str(len(body))
    target = call.path + (f"?{urlencode(call.query)}" if call.query else "")
    lines = [f"{BY_ID[call.operation].method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
    return "\r\n".join((*lines, "", "")).encode() + body


@dataclass
class Connections:
    """Connections to one server that are kept for the next race."""

    url: str
    _idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def race(self, requests: Sequence[bytes]) -> list[Answer]:
        """Send all of them at the same moment, each on a connection of its own; their answers, in order."""
        gate = asyncio.Semaphore(CONNECTED_AT_ONCE_MAX)
        pairs = await asyncio.gather(*(self._connected(gate) for _ in requests))
        for (_, writer), request in zip(pairs, requests, strict=True):
            writer.write(request)
        return list(await asyncio.gather(*(self._answer(pair) for pair in pairs)))

    async def _connected(self, gate: asyncio.Semaphore) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        async with gate:
            at = urlsplit(self.url)
            return await asyncio.open_connection(at.hostname, at.port)

    async def _answer(self, pair: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> Answer:
        reader, writer = pair
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                status, length = int(head.split(" ", 2)[1]), 0
                for line in head.split("\r\n"):
                    if line.startswith("content-length:"):
                        length = int(line.partition(":")[2])
                body = await reader.readexactly(length)
        except (OSError, EOFError):
            writer.close()
            return BROKEN
        if "\r\nconnection: close" in head:
            writer.close()
        else:
            self._idle.append(pair)
        return Answer(status, body)

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop()[1].close()
