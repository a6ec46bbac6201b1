"""Servers of Python that keep nothing: how often can one answer at all, to the clients that measure ours?

No append over HTTP is acknowledged more often by one process of Python. The first is uvicorn, which
`crownest serve` runs on, with an application that reads a body and answers; the second answers each frame
from the socket.
Started as `python -m bench.peers.nothing HOW`; prints its port, and stops when its standard input ends.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from bench.lean import Http, WebSocket
from bench.peers.crownest import Posts, Session
from bench.peers.peer import Peer, Writer
from bench.processes import Child

ANSWER = (
    b'{"firstSeq":1000001,"lastSeq":1000001,"number":1000001,"head":{"size":1000001},'
    b'"createdAt":"2026-11-26T00:00:00.000Z","replayed":false}'
)
"""About as long as what ours answers."""
KEY = {"authorization": "Bearer cnk_" + 60 * "x"}


class NothingPost(Peer):
    """One answer for each POST, by the HTTP server that ours runs on."""

    name = "nothing-post"
    title = "uvicorn, an application that keeps nothing"
    per_acknowledgement = "one POST over a kept-alive connection; nothing is looked at, nothing kept"
    singles_only = True
    how = "post"

    def __init__(self) -> None:
        self._child: Child | None = None
        self._port = 0

    def version(self) -> str:
        """What ours runs on too."""
        return f"uvicorn {version('uvicorn')}, uvloop {version('uvloop')}"

    async def start(self, folder: Path) -> None:
        """A process of its own."""
        self.folder = folder
        command = (sys.executable, "-m", "bench.peers.nothing", self.how)
        self._child = Child(command, folder / f"{self.name}.log", piped=True)
        assert self._child.process.stdout is not None
        line = await asyncio.to_thread(self._child.process.stdout.readline)
        if not line:
            raise RuntimeError(f"it did not start: {self._child.tail()}")
        self._port = int(line)

    async def stop(self) -> None:
        """Its standard input ends, and so does it."""
        if self._child is not None:
            self._child.stop()

    def pids(self) -> list[int]:
        """One process."""
        return [self._child.pid] if self._child else []

    async def writer(self, stream: str) -> Writer:
        """As for ours."""
        return Posts(await Http.connect(self._port, KEY), stream)


class NothingSession(NothingPost):
    """One answer for each frame, from the socket: not even the frame's mask is undone."""

    name = "nothing-session"
    title = "a socket of Python that answers each frame"
    per_acknowledgement = "one frame; nothing is looked at, nothing kept"
    how = "session"

    def version(self) -> str:
        """What ours runs on too."""
        return f"uvloop {version('uvloop')}"

    async def writer(self, stream: str) -> Writer:
        """As for ours, without the handshake's check."""
        http = await Http.connect(self._port, KEY)
        await http.send("GET", f"/{stream}")
        return Session(WebSocket(http), 0)


async def _keeps_nothing(
    scope: dict[str, Any], receive: Callable[[], Any], send: Callable[[Any], Any]
) -> None:
    assert scope["type"] == "http", "nothing else is asked for"
    while (await receive()).get("more_body"):
        pass
    length = (b"content-length", str(len(ANSWER)).encode())
    headers = [(b"content-type", b"application/json"), length]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": ANSWER})


class _Frames(asyncio.Protocol):
    """After a request's head, one text frame for each frame that is complete."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write: Callable[[bytes], None] = cast(
            "asyncio.Transport", transport
        ).write  # uvloop's is no subclass
        self._held, self._upgraded = b"", False

    def data_received(self, data: bytes) -> None:
        held = self._held + data
        if not self._upgraded:
            _, self._upgraded, held = _parted(held)
            if self._upgraded:
                self._write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        while self._upgraded and len(held) >= 8:
            size, head = held[1] & 127, 6
            if size == 126:
                size, head = int.from_bytes(held[2:4], "big"), 8
            if len(held) < head + size:
                break
            held = held[head + size :]
            self._write(b"\x81\x7e" + len(ANSWER).to_bytes(2, "big") + ANSWER)
        self._held = held


def _parted(held: bytes) -> tuple[bytes, bool, bytes]:
    head, end, rest = held.partition(b"\r\n\r\n")
    return head, bool(end), rest if end else held


async def _serve(how: str) -> None:
    import uvicorn

    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        if how == "session":
            await loop.create_server(_Frames, sock=listener)
            await ended
            return
        server = uvicorn.Server(
            uvicorn.Config(
                _keeps_nothing, log_level="warning", access_log=False, lifespan="off", server_header=False
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))
        await ended
        server.should_exit = True
        await task


if __name__ == "__main__":
    import uvloop

    uvloop.run(_serve(sys.argv[1]))
