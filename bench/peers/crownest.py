"""CrowNest over HTTP: append sessions or single requests of producers, replay as NDJSON, tail as SSE."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sqlite3
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from bench.counting import allocated, disk_bytes
from bench.lean import Http, WebSocket
from bench.peers.peer import Peer, Reader, Writer
from bench.processes import Child

EVENTS_MAX = 500
"""In one batch; what is more is sent as several."""
PRODUCER = "bench"
DATABASE = "log.sqlite"
JSON = "content-type: application/json\r\n"
NDJSON = "accept: application/x-ndjson\r\n"


class CrowNest(Peer):
    """A server as `crownest serve` wires it, with proof; it acknowledges what its database has fsynced."""

    name = "crownest"
    title = "CrowNest, append session"
    ours = True
    per_acknowledgement = "one frame of a WebSocket, acknowledged when its transaction is fsynced, with proof"
    command: Sequence[str] = (sys.executable, "-m", "bench.server")
    """What serves a folder, whose path follows."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        """With `settings`, the server's environment differs from the usual by these variables."""
        self._settings = settings or {}
        self._child: Child | None = None
        self._runs: dict[str, str] = {}
        self._port = 0
        self._headers: dict[str, str] = {}

    def version(self) -> str:
        """Ours, and what serves it."""
        return f"this commit, uvicorn {version('uvicorn')}"

    async def start(self, folder: Path) -> None:
        """The bench server: the real application, and a file that it streams beside it."""
        self.folder = folder / self.name
        self.folder.mkdir()
        self._child = Child(
            (*self.command, self.folder), folder / f"{self.name}.log", env=self._settings, piped=True
        )
        assert self._child.process.stdout is not None
        line = await asyncio.to_thread(self._child.process.stdout.readline)
        if not line:
            raise RuntimeError(f"the bench server did not start: {self._child.tail()}")
        about = orjson.loads(line)
        self._port = about["port"]
        self._headers = {"authorization": f"Bearer {about['key']}"}

    async def stop(self) -> None:
        """Its standard input ends, and so does it."""
        if self._child is not None:
            self._child.stop()

    async def disk_bytes(self) -> int:
        """The database's pages as a reader sees them, those that are still in its write-ahead log too."""
        others = disk_bytes(self.folder) - allocated(self.folder / DATABASE)
        uri = f"file:{self.folder / DATABASE}?mode=ro"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as database:
            (pages,) = database.execute("PRAGMA page_count").fetchone()
            (size,) = database.execute("PRAGMA page_size").fetchone()
        return others + int(pages) * int(size)

    def pids(self) -> list[int]:
        """One process."""
        return [self._child.pid] if self._child else []

    async def connect(self) -> Http:
        """A connection of its own."""
        return await Http.connect(self._port, self._headers)

    async def run_of(self, stream: str) -> str:
        """The id of the run that stands for this stream, made when it is new."""
        if stream not in self._runs:
            body = orjson.dumps(
                {"command": "make test", "template": "external", "metadata": {"name": stream}}
            )
            http = await self.connect()
            answer: Any = orjson.loads(await http.request("POST", "/v1/workspace-runs", body, JSON))
            await http.close()
            self._runs[stream] = answer["workspaceRun"]["id"]
        return self._runs[stream]

    async def writer(self, stream: str) -> Writer:
        """A session of its own: batches go up a WebSocket."""
        socket = await self._session(await self.run_of(stream))
        last = orjson.loads(await socket.receive())["lastNumber"]
        return Session(socket, last)

    async def _session(self, run_id: str) -> WebSocket:
        path = f"/v1/workspace-runs/{run_id}/events/session?producerId={PRODUCER}"
        return await WebSocket.connect(self._port, path, self._headers)

    async def as_file(self, stream: str) -> str:
        """The path of the run as a plain file, which now exists and is in the page cache."""
        path = f"/raw/{await self.run_of(stream)}"
        await lines_of(await self.connect(), path)
        return path

    async def replay_bytes(self, stream: str) -> int:
        """NDJSON, lines counted."""
        path = f"/v1/workspace-runs/{await self.run_of(stream)}/events"
        return await lines_of(await self.connect(), path, NDJSON)

    async def replay_objects(self, stream: str) -> int:
        """NDJSON, every line parsed."""
        http, count, held = await self.connect(), 0, b""
        await http.send("GET", f"/v1/workspace-runs/{await self.run_of(stream)}/events", headers=NDJSON)
        async for block in http.blocks():
            *lines, held = (held + block).split(b"\n")
            count += len([each for each in map(orjson.loads, lines) if each["type"] == "stdout"])
        await http.close()
        return count

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    async def stream_request(self, stream: str, after_seq: int = 0) -> bytes:
        """The bytes of a request for Server-Sent Events."""
        path = f"/v1/workspace-runs/{await self.run_of(stream)}/events?stream=true&afterSeq={after_seq}"
        lines = [
            f"GET {path} HTTP/1.1",
            "host: 127.0.0.1",
            f"authorization: {self._headers['authorization']}",
        ]
        return "\r\n".join([*lines, "", ""]).encode()

    async def reader(self, stream: str) -> Reader:
        """Server-Sent Events from the present head on."""
        run_id = await self.run_of(stream)
        socket = await self._session(run_id)
        head = orjson.loads(await socket.receive())["head"]["size"]
        await socket.close()
        http = await self.connect()
        await http.send("GET", f"/v1/workspace-runs/{run_id}/events?stream=true&afterSeq={head}")
        return _Reader(http)


class CrowNestPost(CrowNest):
    """The same server, asked once for each batch."""

    name = "crownest-post"
    title = "CrowNest, single requests"
    per_acknowledgement = (
        "one POST over a kept-alive connection, acknowledged when its transaction is fsynced"
    )

    async def writer(self, stream: str) -> Writer:
        """A kept-alive connection of its own."""
        return Posts(await self.connect(), await self.run_of(stream))


async def lines_of(http: Http, path: str, headers: str = "") -> int:
    """Stream an answer to its end and count its lines of output."""
    count = 0
    await http.send("GET", path, headers=headers)
    async for block in http.blocks():
        count += block.count(b"\n")
    await http.close()
    return count


def _body(number: int, texts: Sequence[str]) -> bytes:
    events = [{"type": "stdout", "data": text} for text in texts]
    return orjson.dumps({"producerId": PRODUCER, "number": number, "events": events})


class Session:
    """Batches of one producer as frames of a WebSocket."""

    def __init__(self, socket: WebSocket, last: int) -> None:
        self._socket = socket
        self._numbers = itertools.count(last + 1)

    async def append(self, texts: Sequence[str]) -> None:
        """Return when they are acknowledged."""
        for start in range(0, len(texts), EVENTS_MAX):
            self._socket.send(_body(next(self._numbers), texts[start : start + EVENTS_MAX]))
            answer = await self._socket.receive()
            if b'"error"' in answer:
                raise RuntimeError(answer.decode())

    async def close(self) -> None:
        """Hang up."""
        await self._socket.close()


class Posts:
    """Batches of one producer as requests."""

    def __init__(self, http: Http, run_id: str) -> None:
        self._http, self._path = http, f"/v1/workspace-runs/{run_id}/events"
        self._numbers = itertools.count(1)

    async def append(self, texts: Sequence[str]) -> None:
        """Return when they are acknowledged."""
        for start in range(0, len(texts), EVENTS_MAX):
            body = _body(next(self._numbers), texts[start : start + EVENTS_MAX])
            await self._http.request("POST", self._path, body, JSON)

    async def close(self) -> None:
        """Hang up."""
        await self._http.close()


class _Reader:
    def __init__(self, http: Http) -> None:
        self._http = http

    async def __aiter__(self) -> AsyncIterator[str]:
        async for frame in self._http.frames():
            if b"\nevent: stdout\n" in frame:
                yield orjson.loads(frame.partition(b"\ndata: ")[2])["data"]

    async def close(self) -> None:
        await self._http.close()
