"""Redis streams with `appendfsync always`: one XADD for each event, one pipeline for each acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.peers.peer import Peer, Reader, Writer
from bench.processes import Child, free_port

PAGE = 5000
"""Entries of one XRANGE or XREAD."""
CONFIGURATION = (
    "--appendonly yes --appendfsync always --save '' --auto-aof-rewrite-percentage 0 "
    "--protected-mode yes --bind 127.0.0.1"
)
"""Rewrites of the file are off: they would run while somebody else is measured."""


class RedisAlways(Peer):
    """Redis acknowledges a command after it wrote and fsynced the append-only file of that loop's turn."""

    name = "redis"
    title = "Redis, appendfsync always"
    per_acknowledgement = "one pipeline of XADDs, one round trip; the server fsyncs once for all it has read"
    modules = ("redis", "hiredis")
    programs = {"redis-server": "apt-get install redis-server"}  # noqa: RUF012 # a ClassVar of the base class

    def __init__(self) -> None:
        self._child: Child | None = None
        self._client: Any = None

    def version(self) -> str:
        """Server and client."""
        words = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True)
        server = words.stdout.split("v=")[1].split()[0]
        return f"Redis {server}, redis-py {version('redis')}, hiredis {version('hiredis')}"

    async def start(self, folder: Path) -> None:
        """One server, one client with a pool of connections."""
        import redis.asyncio

        self.folder = folder / "redis"
        self.folder.mkdir()
        port = free_port()
        options = [word.strip("'") for word in CONFIGURATION.split()]
        command = ["redis-server", "--port", str(port), "--dir", str(self.folder), *options]
        self._child = Child(command, folder / "redis.log")
        self._child.wait_for_port(port)
        self._client = redis.asyncio.Redis(host="127.0.0.1", port=port)

    async def stop(self) -> None:
        """Close the pool, end the server."""
        if self._child is not None:
            await self._client.aclose()
            self._child.stop()

    def pids(self) -> list[int]:
        """One process."""
        return [self._child.pid] if self._child else []

    async def writer(self, stream: str) -> Writer:
        """Every command waiting at once has a connection of the pool."""
        return _Writer(self._client, stream)

    async def _pages(self, stream: str) -> AsyncIterator[list[Any]]:
        start = "-"
        while entries := await self._client.xrange(stream, min=start, count=PAGE):
            yield entries
            start = b"(" + entries[-1][0]

    async def replay_bytes(self, stream: str) -> int:
        """XRANGE in pages; the client parses RESP in any case, the texts stay bytes."""
        return sum([len(entries) async for entries in self._pages(stream)])

    async def replay_objects(self, stream: str) -> int:
        """The same, with each entry as an object of type and text."""
        count = 0
        async for entries in self._pages(stream):
            count += len([(fields[b"type"].decode(), fields[b"data"].decode()) for _, fields in entries])
        return count

    async def reader(self, stream: str) -> Reader:
        """XREAD BLOCK on a connection of its own."""
        return _Reader(self._client, stream)


class _Writer:
    def __init__(self, client: Any, stream: str) -> None:
        self._client, self._stream = client, stream

    async def append(self, texts: Sequence[str]) -> None:
        if len(texts) == 1:
            await self._client.xadd(self._stream, {"type": "stdout", "data": texts[0]})
            return
        async with self._client.pipeline(transaction=False) as pipeline:
            for text in texts:
                pipeline.xadd(self._stream, {"type": "stdout", "data": text})
            await pipeline.execute()

    async def close(self) -> None:
        """The pool keeps the connections."""


class _Reader:
    def __init__(self, client: Any, stream: str) -> None:
        self._client, self._stream = client.client(), stream

    async def __aiter__(self) -> AsyncIterator[str]:
        last: bytes | str = "$"
        while True:
            answer = await self._client.xread({self._stream: last}, count=PAGE, block=60_000)
            for _, entries in answer:
                for last, fields in entries:  # noqa: B007 # the next XREAD goes on behind the last one
                    yield fields[b"data"].decode()

    async def close(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._client.aclose()
