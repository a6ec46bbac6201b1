"""Owns the reads of committed data: a few read-only connections, one whole page of rows at a time.

Every read is one statement fetched to its end, so no read transaction outlives it: a slow client
cannot make the WAL grow (DESIGN §3).
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from eventstore.log import StorageUnavailable
from eventstore.sqlite.connection import READER_PRAGMAS, STATEMENTS_CACHED, is_storage_error, read_only_uri
from eventstore.sqlite.writer import CLOSED

Parameters = Mapping[str, object] | Sequence[object]


class ReaderPool:
    """Read-only connections, each serving one read at a time; further reads wait their turn."""

    def __init__(self, connections: Iterable[aiosqlite.Connection]) -> None:
        self._connections = list(connections)
        self._idle: asyncio.LifoQueue[aiosqlite.Connection] = asyncio.LifoQueue()
        for connection in self._connections:
            self._idle.put_nowait(connection)
        self._closed = False
        self.reads = 0

    def __repr__(self) -> str:
        return f"ReaderPool(connections={len(self._connections)}, idle={self._idle.qsize()})"

    @classmethod
    async def open(cls, path: Path, readers: int) -> ReaderPool:
        """Connections to a database that the writer has opened before."""
        connections: list[aiosqlite.Connection] = []
        try:
            for _ in range(readers):
                connection = await aiosqlite.connect(
                    read_only_uri(path), uri=True, isolation_level=None, cached_statements=STATEMENTS_CACHED
                )
                connections.append(connection)
                for pragma in READER_PRAGMAS:
                    await connection.execute_fetchall(f"PRAGMA {pragma}")
        except BaseException:
            for connection in connections:
                await connection.close()
            raise
        return cls(connections)

    async def rows(self, sql: str, parameters: Parameters) -> list[Any]:
        """All rows of one statement. Raises `StorageUnavailable`."""
        if self._closed:
            raise StorageUnavailable(CLOSED)
        connection = await self._idle.get()
        try:
            self.reads += 1
            return list(await connection.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            if not is_storage_error(error):
                raise
            raise StorageUnavailable(f"the log cannot be read ({error}): check the disk") from error
        finally:
            self._idle.put_nowait(connection)

    async def row(self, sql: str, parameters: Parameters) -> Any | None:
        """The first row of one statement, or None."""
        rows = await self.rows(sql, parameters)
        return rows[0] if rows else None

    async def aclose(self) -> None:
        """Close every connection and end its thread."""
        if not self._closed:
            self._closed = True
            for connection in self._connections:
                await connection.close()
