"""PostgreSQL with a table and a function like message-db's: a call of it for each event, or one for a batch.

message-db's `write_message` takes a single message, and so does the function here. The side that hands over
all rows of a batch in one call has more than message-db offers, and a name of its own.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson

from bench.peers.peer import Peer, Writer
from bench.processes import Child, free_port

CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "wal_sync_method": "fdatasync",
}
"""Durable, with room enough that no checkpoint is forced within a measurement."""
PAGE = 5000
INSERT = "SELECT write_message($1, $2, $3)"
INSERT_BATCH = "SELECT write_messages($1, $2, $3)"
SELECT = 'SELECT {} FROM messages WHERE stream_name = $1 AND "position" > $2 ORDER BY "position" LIMIT $3'


def _programs() -> Path | None:
    """The folder of the newest server that Debian installed, or of the one on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: float(path.parts[4]))
    on_path = shutil.which("postgres")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgres(Peer):
    """PostgreSQL acknowledges a commit after the fdatasync of its write-ahead log."""

    name = "postgres"
    title = "PostgreSQL, message-db-like function"
    per_acknowledgement = "one call of the function for each event, all sent at once, one commit"
    modules = ("asyncpg",)

    def __init__(self) -> None:
        self._child: Child | None = None
        self._pool: Any = None
        self._port = 0

    def missing(self) -> str | None:
        """It refuses to run as root: then the user `postgres` of the package runs it."""
        if _programs() is None:
            return "the programs initdb and postgres: apt-get install postgresql"
        return super().missing()

    def version(self) -> str:
        """Server and client."""
        folder = _programs()
        assert folder is not None
        words = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
        return f"PostgreSQL {words.stdout.split()[2]}, asyncpg {version('asyncpg')}"

    async def start(self, folder: Path) -> None:
        """A cluster of its own, far from any that runs here."""
        programs = _programs()
        assert programs is not None
        user = "postgres" if os.geteuid() == 0 else None
        name = user or pwd.getpwuid(os.geteuid()).pw_name
        self.folder = folder / self.name
        self.folder.mkdir()
        if user:
            shutil.chown(self.folder, user)
        command = [
            programs / "initdb",
            "-D",
            self.folder,
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "-U",
            name,
        ]
        quiet = {"user": user, "cwd": "/", "check": True, "stdout": subprocess.DEVNULL}
        await asyncio.to_thread(partial(subprocess.run, command, **quiet))
        self._port = free_port()
        options = [f"-c{key}={value}" for key, value in CONFIGURATION.items()]
        self._child = Child(
            [programs / "postgres", "-D", self.folder, "-p", str(self._port), *options],
            folder / f"{self.name}.log",
            user=user,
            stop_signal=signal.SIGINT,  # "fast": it does not wait for clients
        )
        self._child.wait_for_port(self._port)
        self._name = name
        connection = await self._connect()
        await connection.execute(Path(__file__).with_suffix(".sql").read_text(encoding="utf-8"))
        self._connection = connection

    async def _connect(self) -> Any:
        import asyncpg

        for _ in range(100):
            try:
                return await asyncpg.connect(
                    host="127.0.0.1", port=self._port, user=self._name, database="postgres"
                )
            except asyncpg.CannotConnectNowError:
                await asyncio.sleep(0.05)
        raise RuntimeError("PostgreSQL went on starting up")

    async def stop(self) -> None:
        """A fast shutdown."""
        if self._child is not None:
            await self._connection.close()
            self._child.stop()

    def pids(self) -> list[int]:
        """The postmaster; its backends are its children."""
        return [self._child.pid] if self._child else []

    async def flush(self) -> None:
        """Write all pages."""
        await self._connection.execute("CHECKPOINT")

    async def writer(self, stream: str) -> Writer:
        """A connection of its own, with the statement prepared."""
        connection = await self._connect()
        return _Writer(connection, await connection.prepare(INSERT), stream)

    async def _pages(self, stream: str, columns: str) -> AsyncIterator[list[Any]]:
        statement = await self._connection.prepare(SELECT.format(columns))
        after = -1
        while rows := await statement.fetch(stream, after, PAGE):
            yield rows
            after = rows[-1][0]

    async def replay_bytes(self, stream: str) -> int:
        """Pages of rows, the documents as the text that the server sends."""
        return sum([len(rows) async for rows in self._pages(stream, '"position", data')])

    async def replay_objects(self, stream: str) -> int:
        """Documents parsed."""
        count = 0
        async for rows in self._pages(stream, '"position", type, data'):
            count += len([(row[1], orjson.loads(row[2])["data"]) for row in rows])
        return count


class PostgresBatch(Postgres):
    """The same server, with a function that inserts all rows of a batch in one statement."""

    name = "postgres-batch"
    title = "PostgreSQL, one call for all rows of a batch: more than message-db offers"
    per_acknowledgement = "one call of a function that inserts all rows, one round trip, one commit"
    batches_only = True

    async def writer(self, stream: str) -> Writer:
        """A connection of its own, with the statement prepared."""
        connection = await self._connect()
        return _BatchWriter(connection, await connection.prepare(INSERT_BATCH), stream)


class _Writer:
    def __init__(self, connection: Any, statement: Any, stream: str) -> None:
        self._connection, self._statement, self._stream = connection, statement, stream

    async def append(self, texts: Sequence[str]) -> None:
        if len(texts) == 1:
            await self._statement.fetchval(self._stream, "stdout", _document(texts[0]))
            return
        # In one implicit transaction; all calls are sent before the first answer is waited for.
        await self._statement.executemany([(self._stream, "stdout", _document(text)) for text in texts])

    async def close(self) -> None:
        await self._connection.close()


class _BatchWriter(_Writer):
    async def append(self, texts: Sequence[str]) -> None:
        documents = list(map(_document, texts))
        await self._statement.fetchval(self._stream, ["stdout"] * len(texts), documents)


def _document(text: str) -> str:
    return orjson.dumps({"data": text}).decode()
