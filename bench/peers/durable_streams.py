"""The Durable Streams server for Node.js with a data directory: a POST of a JSON array an acknowledgement."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import orjson

from bench.lean import Http
from bench.peers.peer import Peer, Reader, Writer
from bench.processes import Child, free_port

PACKAGE = Path(__file__).parent / "durable-streams"
JSON = "content-type: application/json\r\n"


class DurableStreams(Peer):
    """It acknowledges after an fdatasync of the stream's file, which appends of one stream share."""

    name = "durable-streams"
    title = "Durable Streams for Node.js, data directory"
    per_acknowledgement = "one POST of a JSON array, one message each, over a kept-alive connection"

    def __init__(self) -> None:
        self._child: Child | None = None
        self._port = self._starts = 0

    def missing(self) -> str | None:
        """Node.js, and the packages beside this module."""
        if shutil.which("node") is None:
            return "node: apt-get install nodejs npm"
        if not (PACKAGE / "node_modules").is_dir():
            return f"its npm packages: run make bench-setup, or npm ci --prefix {PACKAGE.name}"
        return None

    def version(self) -> str:
        """Server and Node.js."""
        words = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        about = orjson.loads((PACKAGE / "node_modules/@durable-streams/server/package.json").read_bytes())
        return f"@durable-streams/server {about['version']}, Node.js {words.stdout.strip().lstrip('v')}"

    async def start(self, folder: Path) -> None:
        """One process."""
        self._starts += 1
        self.folder = folder / f"{self.name}-{self._starts}"
        self.folder.mkdir()
        self._port = free_port()
        command: list[str | Path] = ["node", PACKAGE / "server.mjs", str(self._port), self.folder]
        self._child = Child(command, folder / f"{self.name}.log")
        self._child.wait_for_port(self._port)

    async def stop(self) -> None:
        """End the process."""
        if self._child is not None:
            self._child.stop()

    async def renew(self) -> None:
        """Start again with nothing: it keeps 100 files open, and refuses appends to those that it closes."""
        await self.stop()
        await self.start(self.folder.parent)

    def pids(self) -> list[int]:
        """One process."""
        return [self._child.pid] if self._child else []

    async def writer(self, stream: str) -> Writer:
        """A stream of JSON messages and a connection."""
        http = await Http.connect(self._port, {})
        await http.request("PUT", f"/runs/{stream}", headers=JSON)
        return _Writer(http, stream)

    async def _answers(self, stream: str) -> AsyncIterator[bytes]:
        """Bodies until the server says that this is all."""
        http = await Http.connect(self._port, {})
        offset = b"-1"
        while True:
            yield await http.request("GET", f"/runs/{stream}?offset={offset.decode()}")
            offset = http.answered[b"stream-next-offset"]
            if http.answered.get(b"stream-up-to-date") == b"true":
                break
        await http.close()

    async def replay_bytes(self, stream: str) -> int:
        """Every message is an object, and no text holds its beginning."""
        return sum([body.count(b'{"type":"stdout"') async for body in self._answers(stream)])

    async def replay_objects(self, stream: str) -> int:
        """Parsed."""
        return sum([len(orjson.loads(body)) async for body in self._answers(stream)])

    async def reader(self, stream: str) -> Reader:
        """Server-Sent Events from the tail on."""
        http = await Http.connect(self._port, {})
        await http.send("GET", f"/runs/{stream}?offset=now&live=sse")
        return _Reader(http)


class _Writer:
    def __init__(self, http: Http, stream: str) -> None:
        self._http, self._path = http, f"/runs/{stream}"

    async def append(self, texts: Sequence[str]) -> None:
        body = orjson.dumps([{"type": "stdout", "data": text} for text in texts])
        await self._http.request("POST", self._path, body, JSON)

    async def close(self) -> None:
        await self._http.close()


class _Reader:
    def __init__(self, http: Http) -> None:
        self._http = http

    async def __aiter__(self) -> AsyncIterator[str]:
        async for frame in self._http.frames():
            if frame.startswith(b"event: data"):
                text = frame.partition(b"\n")[2].replace(b"\ndata:", b"").removeprefix(b"data:")
                yield orjson.loads(text)[0]["data"]

    async def close(self) -> None:
        await self._http.close()
