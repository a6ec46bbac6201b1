"""Redis streams with `appendfsync always`: one XADD for each event, one pipeline for each acknowledgement."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.lean import Resp
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
        self._port = 0

    def version(self) -> str:
        """Server and client."""
        words = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True)
        server = words.stdout.split("v=")[1].split()[0]
        return f"Redis {server}, redis-py {version('redis')}, hiredis {version('hiredis')}"

    async def start(self, folder: Path) -> None:
        """One server, one client with a pool of connections."""
        import redis.asyncio

        self.folder = folder / self.name
        self.folder.mkdir()
        port = self._port = free_port()
        options = [word.strip("'") for word in CONFIGURATION.split()]
        command = ["redis-server", "--port", str(port), "--dir", str(self.folder), *options]
        self._child = Child(command, folder / f"{self.name}.log")
        self._child.wait_for_port(port)
        self._client = redis.asyncio.Redis(
            host="127.0.0.1", port=port, protocol=2, socket_timeout=None, max_connections=4096
        )

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
        return _Reader(self._client, stream, await self._last(stream))

    async def _last(self, stream: str) -> bytes:
        """The id of the last entry: `$` would mean the last one when XREAD arrives."""
        entries = await self._client.xrevrange(stream, count=1)
        return entries[0][0] if entries else b"0-0"


class RedisLean(RedisAlways):
    """The same server, with a client of hiredis alone: what is left when redis-py costs nothing."""

    name = "redis-lean"
    title = "Redis, appendfsync always, hiredis alone"
    per_acknowledgement = "as redis, written and parsed by hiredis without redis-py"

    async def writer(self, stream: str) -> Writer:
        """A connection of its own."""
        return _LeanWriter(await Resp.connect(self._port), stream)

    async def replay_bytes(self, stream: str) -> int:
        """XRANGE in pages, nothing made of the entries."""
        return await self._replay(await Resp.connect(self._port), stream, len)

    async def replay_objects(self, stream: str) -> int:
        """The same, decoded by hiredis, with each entry as an object of type and text."""
        connection = await Resp.connect(self._port, "utf-8")
        return await self._replay(connection, stream, lambda page: len([(at[1], at[3]) for _, at in page]))

    async def _replay(self, connection: Resp, stream: str, take: Callable[[list[Any]], int]) -> int:
        count, start = 0, "-"
        while True:
            [page] = await connection.call([("XRANGE", stream, start, "+", "COUNT", PAGE)])
            if not page:
                break
            count += take(page)
            last = page[-1][0]
            start = "(" + (last if isinstance(last, str) else last.decode())
        await connection.close()
        return count

    async def reader(self, stream: str) -> Reader:
        """XREAD BLOCK on a connection of its own."""
        return _LeanReader(await Resp.connect(self._port), stream, await self._last(stream))


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
    def __init__(self, client: Any, stream: str, last: bytes) -> None:
        self._client, self._stream, self._last = client.client(), stream, last

    async def __aiter__(self) -> AsyncIterator[str]:
        last = self._last
        while True:
            answer = await self._client.xread({self._stream: last}, count=PAGE, block=60_000)
            for _, entries in answer:
                for last, fields in entries:  # noqa: B007 # the next XREAD goes on behind the last one
                    yield fields[b"data"].decode()

    async def close(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await self._client.aclose()


class _LeanWriter:
    def __init__(self, connection: Resp, stream: str) -> None:
        self._connection, self._stream = connection, stream

    async def append(self, texts: Sequence[str]) -> None:
        await self._connection.call(
            [("XADD", self._stream, "*", "type", "stdout", "data", text) for text in texts]
        )

    async def close(self) -> None:
        await self._connection.close()


class _LeanReader:
    def __init__(self, connection: Resp, stream: str, last: bytes) -> None:
        self._connection, self._stream, self._last = connection, stream, last

    async def __aiter__(self) -> AsyncIterator[str]:
        last = self._last
        while True:
            read = ("XREAD", "COUNT", PAGE, "BLOCK", 60_000, "STREAMS", self._stream, last)
            [answer] = await self._connection.call([read])
            for _, entries in answer or ():
                for last, fields in entries:  # noqa: B007 # the next XREAD goes on behind the last one
                    yield fields[3].decode()

    async def close(self) -> None:
        await self._connection.close()
