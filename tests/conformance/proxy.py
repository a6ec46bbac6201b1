"""A reverse proxy over real sockets that passes everything through, or changes what a mutation says."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import urlsplit

from tests.conformance.wire import BODILESS, Answer, Headers

HEAD_BYTES_MAX = 256 * 1024
PIECE_BYTES = 64 * 1024
REASON = {200: "OK", 201: "Created", 204: "No Content", 307: "Temporary Redirect"}


@dataclass(frozen=True)
class Request:
    """A request on its way up; header names in lower case."""

    method: str
    path: str
    headers: Headers
    body: bytes = b""

    def header(self, name: str) -> str:
        """The first header of this name, or nothing."""
        return next((value for found, value in self.headers if found == name), "")


Pieces = AsyncIterator[bytes]
Changed = TypeVar("Changed", bound="Request | Answer | None")


@dataclass(frozen=True)
class Mutation:
    """What the proxy does differently. A hook that answers None changes nothing."""

    early: Callable[[Request], Answer | None] = lambda _: None
    """Answers before the body was read, and closes."""
    request: Callable[[Request], Request | Answer | None] = lambda _: None
    """Another request, or an answer in the server's place."""
    answer: Callable[[Request, Answer], Answer | None] = lambda *_: None
    """Another answer; of a streamed one only the head counts."""
    stream: Callable[[Request, Pieces], Pieces] | None = None
    """Another event stream."""


class Proxy:
    """Serves in front of a server; `applied` counts what the mutation changed."""

    def __init__(self, upstream: str, mutation: Mutation) -> None:
        where = urlsplit(upstream)
        self._upstream = (str(where.hostname), where.port or 80)
        self._mutation = mutation
        self._serving: set[asyncio.Task[None]] = set()
        self.applied = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until either side closes it."""
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError, asyncio.LimitOverrunError):
            pass
        finally:
            self._serving.discard(task)
            writer.close()

    async def stop(self) -> None:
        """End what is still open."""
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        request = _parse_request(head)
        if request is None:
            await self._tunnel(head, reader, writer)
            return False
        if early := self._counted(self._mutation.early(request)):
            writer.write(_answer_bytes(early, request.method))
            await writer.drain()
            return False
        request = replace(request, body=await _body(reader, request.headers))
        changed = self._counted(self._mutation.request(request))
        if isinstance(changed, Answer):
            writer.write(_answer_bytes(changed, request.method))
            await writer.drain()
            return True
        up, down = await asyncio.open_connection(*self._upstream, limit=HEAD_BYTES_MAX)
        try:
            down.write(_request_bytes(changed or request))
            await down.drain()
            return await self._relay(request, up, writer)
        finally:
            down.close()

    def _counted(self, changed: Changed) -> Changed:
        self.applied += changed is not None
        return changed

    async def _relay(self, request: Request, up: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = _parse_head(await up.readuntil(b"\r\n\r\n"))
        bodiless = request.method == "HEAD" or head.status in BODILESS
        if not bodiless and head.header("content-length") is None:
            answer = self._counted(self._mutation.answer(request, head)) or head
            await self._pass_on(request, answer, _pieces(up, head), writer)
            return head.header("transfer-encoding") is not None
        body = b"" if bodiless else await up.readexactly(int(head.header("content-length") or 0))
        whole = replace(head, body=body)
        answer = self._counted(self._mutation.answer(request, whole)) or whole
        writer.write(_answer_bytes(answer, request.method))
        await writer.drain()
        return "close" not in (request.header("connection"), answer.header("connection"))

    async def _pass_on(
        self, request: Request, head: Answer, pieces: Pieces, writer: asyncio.StreamWriter
    ) -> None:
        """Hand a streamed body on as it comes."""
        if self._mutation.stream and (head.header("content-type") or "").startswith("text/event-stream"):
            self.applied += 1
            pieces = self._mutation.stream(request, pieces)
        named = (("transfer-encoding", "chunked"), *_without(head.headers, "transfer-encoding"))
        writer.write(_head_bytes(head.status, named))
        async for piece in pieces:
            if piece:
                writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    async def _tunnel(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """What is no plain HTTP request passes as bytes, both ways."""
        up, down = await asyncio.open_connection(*self._upstream)
        down.write(head)
        upward = asyncio.create_task(_pump(reader, down))
        try:
            await _pump(up, writer)
        finally:
            upward.cancel()
            down.close()


@contextlib.contextmanager
def proxying(upstream: str, mutation: Mutation) -> Iterator[tuple[str, Proxy]]:
    """Serve in front of `upstream` while the block runs: the proxy's address, and the proxy."""
    proxy = Proxy(upstream, mutation)
    ready, port = threading.Event(), 0
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        nonlocal port
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        port = server.sockets[0].getsockname()[1]
        stop = loop.create_future()
        loop.stop_proxy = lambda: stop.done() or stop.set_result(None)  # type: ignore[attr-defined] # ours
        ready.set()
        await stop
        server.close()
        await proxy.stop()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="mutating proxy")
    thread.start()
    try:
        ready.wait()
        yield f"http://127.0.0.1:{port}", proxy
    finally:
        loop.call_soon_threadsafe(loop.stop_proxy)  # type: ignore[attr-defined] # ours
        thread.join()
        loop.close()


def _parse_request(head: bytes) -> Request | None:
    """The request, or None for what only the server itself can refuse or upgrade."""
    first, *lines = head.decode("latin-1").split("\r\n")
    parts = first.split(" ")
    headers = _headers(lines)
    request = Request(parts[0], parts[1] if len(parts) == 3 else "", headers)
    lengths = [value for name, value in headers if name == "content-length"]
    plain = len(parts) == 3 and first.isascii() and parts[0].isalpha() and parts[2] == "HTTP/1.1"
    odd = len(lengths) > 1 or (lengths and (not lengths[0].isdigit() or request.header("transfer-encoding")))
    return None if not plain or odd or request.header("upgrade") else request


def _headers(lines: list[str]) -> Headers:
    pairs = (line.partition(":") for line in lines if line)
    return tuple((name.strip().lower(), value.strip()) for name, _, value in pairs)


def _parse_head(head: bytes) -> Answer:
    first, *lines = head.decode("latin-1").split("\r\n")
    return Answer(int(first.split(" ")[1]), _headers(lines))


async def _body(reader: asyncio.StreamReader, headers: Headers) -> bytes:
    named = dict(headers)
    if named.get("transfer-encoding"):
        return b"".join([piece async for piece in _chunks(reader)])
    return await reader.readexactly(int(named.get("content-length", "0")))


async def _chunks(reader: asyncio.StreamReader) -> Pieces:
    while size := int((await reader.readline()).split(b";")[0], 16):
        yield await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)


async def _pieces(reader: asyncio.StreamReader, head: Answer) -> Pieces:
    if head.header("transfer-encoding"):
        async for piece in _chunks(reader):
            yield piece
        return
    while piece := await reader.read(PIECE_BYTES):
        yield piece


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(PIECE_BYTES):
        writer.write(data)
        await writer.drain()


def _without(headers: Headers, *names: str) -> Headers:
    return tuple((name, value) for name, value in headers if name not in names)


def _request_bytes(request: Request) -> bytes:
    if request.header("transfer-encoding"):
        framed = b"%x\r\n%b\r\n" % (len(request.body), request.body) if request.body else b""
        body, headers = framed + b"0\r\n\r\n", request.headers
    else:
        body = request.body
        length = (("content-length", str(len(body))),) if body or request.header("content-length") else ()
        headers = (*_without(request.headers, "content-length"), *length)
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def _head_bytes(status: int, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASON.get(status, 'Answer')}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _answer_bytes(answer: Answer, method: str) -> bytes:
    if answer.status in BODILESS or method == "HEAD":
        return _head_bytes(
            answer.status, _without(answer.headers, *(("content-length",) * (method != "HEAD")))
        )
    headers = (*_without(answer.headers, "content-length"), ("content-length", str(len(answer.body))))
    return _head_bytes(answer.status, headers) + answer.body
