"""Owns the embedded log: `EventLog` and `Views` over one SQLite file."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from pathlib import Path

from eventstore.appending import Appender, answered_before, refuse_oversized
from eventstore.log import (
    Answer,
    Append,
    Appended,
    Block,
    Chunk,
    Framing,
    Head,
    LogLimits,
    Projector,
    Record,
    Redaction,
    StorageUnavailable,
    StoredEvent,
)
from eventstore.randomness import Randomness
from eventstore.sqlite import maintenance, migrations
from eventstore.sqlite.compaction import Step, Unpackable, prepare
from eventstore.sqlite.connection import open_reader, open_writer, purge
from eventstore.sqlite.events import EventReader
from eventstore.sqlite.global_log import SqliteGlobalLog
from eventstore.sqlite.maintenance import refold_if_due
from eventstore.sqlite.queries import LOG, VIEW
from eventstore.sqlite.reader import ReaderPool
from eventstore.sqlite.transaction import SqliteTransaction, stored_claim, stream_head
from eventstore.sqlite.views import count_statement, list_statement, view_row
from eventstore.sqlite.writer import CLOSED, GroupWriter
from eventstore.tails import Tails
from eventstore.views import ViewQuery, ViewRow
from eventstore.wakeups import Wakeups
from evidence.note import Signer, is_signed_by

_logger = logging.getLogger(__name__)
_BEYOND_ANY_ID = "\U0010ffff"


class SqliteLog:
    """The log in one file, with one writer thread and a few read-only connections.

    Made by `open`; belongs to the event loop that opened it. The caller holds the data folder's lock.
    """

    def __init__(
        self, path: Path, appender: Appender, writer: GroupWriter, readers: ReaderPool, wakeups: Wakeups
    ) -> None:
        self._path = path
        self._appender = appender
        self._limits = appender.limits
        self._writer = writer
        self._readers = readers
        self._wakeups = wakeups
        self.global_log = SqliteGlobalLog(appender, writer, readers, wakeups)
        self._events = EventReader(readers, appender.limits)
        self._tails = Tails(appender.limits.tails_max, appender.limits.chunk_bytes)
        self._preparing: asyncio.Future[Step | None] | None = None
        self._closing = False
        self._counts = dict.fromkeys(("appends", "events", "replayed", "checkpoints_signed", "packed"), 0)

    def __repr__(self) -> str:
        return f"SqliteLog({str(self._path)!r}, {self._writer!r}, {self._readers!r}, {self._wakeups!r})"

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        signer: Callable[[], Signer],
        projector: Projector,
        clock_ms: Callable[[], int],
        anchor: Callable[[], bytes] = bytes,
        random_bytes: Callable[[int], bytes] = os.urandom,
        limits: LogLimits | None = None,
    ) -> SqliteLog:
        """Open the database, created and migrated as need be.

        `signer` answers the key that signs now (P6), `anchor` the newest published checkpoint of the
        global log (P2.3). Raises `NewerSchema` and `StorageUnavailable`.
        """
        limits = limits or LogLimits()
        appender = Appender(clock_ms, signer, projector, anchor, Randomness(random_bytes), limits)
        connection = await asyncio.to_thread(_open_migrated, path, clock_ms())
        try:
            await asyncio.to_thread(refold_if_due, path, projector)
            readers = await ReaderPool.open(path, limits.readers)
        except BaseException as error:
            connection.close()
            if isinstance(error, sqlite3.Error):
                raise _cannot_be_opened(path, error) from error
            raise
        writer = GroupWriter(connection, limits, projector.forget)
        return cls(path, appender, writer, readers, Wakeups(limits.heads_cached_max))

    async def aclose(self) -> None:
        """Finish what was handed over, wake all waiters, end every thread."""
        self._wakeups.close()
        self._closing = True
        if self._preparing is not None:  # it reads over a connection of its own
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self._readers.aclose()
        await self._writer.aclose()  # last, since the last connection tidies the WAL away

    # Writing

    async def append(self, request: Append) -> Appended:
        """Make the events durable and visible, or refuse with a `LogError` and change nothing."""
        return await self.submit(request)

    def submit(self, request: Append) -> asyncio.Future[Appended]:
        """`append` for who has no task to wait in: done once the events are durable, or refused."""
        refuse_oversized(request, self._limits)
        return self._writer.submit(
            partial(self._appender.append, request=request), partial(self._appended, request)
        )

    async def redact(self, request: Redaction) -> Appended:
        """Erase the payloads and record it in one `redaction` event, or refuse (`RedactionRefused`)."""
        return await self._writer.submit(
            partial(self._appender.redact, request=request), partial(self._appended, request), purge=True
        )

    async def checkpoint(self, stream: str) -> bytes | None:
        """The signed run checkpoint at the present size (P4.3), memoised; None if unknown."""
        kept = await self._readers.row(LOG["checkpoint_now"], {"stream": stream})
        if kept and is_signed_by(kept[0], self._appender.signer()):
            note: bytes = kept[0]
            return note
        if not await self._size(stream):
            return None
        self._counts["checkpoints_signed"] += 1
        return await self._writer.submit(partial(self._appender.checkpoint, stream=stream))

    async def checkpoint_at(self, stream: str, size: int) -> bytes | None:
        """The signed checkpoint of this size if one was made, None otherwise: none is made for it."""
        row = await self._readers.row(LOG["checkpoint"], (stream, size))
        return row[0] if row else None

    async def compact(self, quiet_since_ms: int) -> int:
        """Move a bounded part of an ended run into packs; answers how many events, 0 when nothing is left.

        It is prepared in a thread and swapped by the writer, between the groups of others. A run that
        cannot be packed is logged and left alone.
        """
        while True:
            if self._closing:
                raise StorageUnavailable(CLOSED)
            work = asyncio.to_thread(_prepare, self._path, quiet_since_ms, self._limits)
            self._preparing = asyncio.ensure_future(work)
            try:
                step = await asyncio.shield(self._preparing)
            except Unpackable as error:
                _logger.warning("%s", error)
                parked = partial(SqliteTransaction.park, stream_no=error.stream_no)
                await self._writer.submit(parked, alone=True)
                continue
            if step is None:
                return 0
            if await self._writer.submit(partial(SqliteTransaction.swap, step=step), alone=True):
                self._counts["packed"] += step.events
                return step.events
            # something of it was erased meanwhile: prepare it again

    async def put_record(self, record: Record) -> None:
        """Store or replace a record, durably."""
        await self._writer.submit(partial(SqliteTransaction.put_record, record=record))

    async def delete_record(self, kind: str, record_id: str) -> None:
        """Remove the record if it is there, durably."""
        await self._writer.submit(partial(SqliteTransaction.delete_record, kind=kind, record_id=record_id))

    # Reading the log

    async def stored_answer(self, key: str, fingerprint: str) -> Answer | None:
        """The answer stored under this idempotency key, None if there is none (or it has expired).

        Raises `IdempotencyKeyReused` when the key was used for another request.
        """
        row = await self._readers.row(LOG["claim"], (key,))
        stored = stored_claim(row) if row else None
        earlier = answered_before(stored, fingerprint, self._appender.clock_ms())
        return earlier.answer if earlier else None

    async def head(self, stream: str) -> Head | None:
        """Where the stream stands, or None if it is unknown."""
        row = await self._readers.row(LOG["head"], (stream,))
        return stream_head(stream, row).public() if row else None

    async def size(self, stream: str) -> int:
        """How many events the stream holds, 0 if it is unknown: from memory if it was heard of lately."""
        return await self._wakeups.size(stream, self._size)

    async def read(
        self, stream: str, after_seq: int = 0, limit: int = 100, *, public: bool = True
    ) -> list[StoredEvent]:
        """Up to `limit` events with seq > `after_seq` in order; `public` leaves internal ones out."""
        return await self._events.read(stream, after_seq, limit, public=public)

    async def read_framed(
        self, stream: str, after_seq: int, framing: Framing, limit: int | None = None
    ) -> Chunk | None:
        """The next public events as joined frames (bounded bytes, at most `limit`), None at the end."""
        if limit is None and (live := self._tails.framed(stream, after_seq, framing)) is not None:
            return live
        return await self._events.read_framed(stream, after_seq, framing, limit)

    def entries(
        self, stream: str, after_seq: int = 0, up_to_seq: int | None = None
    ) -> AsyncIterator[StoredEvent]:
        """Every event after `after_seq`, internal ones included, in pages of bounded bytes (for proofs)."""
        return self._events.entries(stream, after_seq, up_to_seq)

    async def blocks(self, stream: str) -> list[Block]:
        """The stream's full 256-leaf subtrees, in order (P2.2)."""
        return [Block(*row) for row in await self._readers.rows(LOG["blocks"], {"stream": stream})]

    async def streams(self, prefix: str, after: str = "", limit: int = 500) -> list[str]:
        """Stream ids that start with `prefix`, in id order, greater than `after`."""
        place = {"after": after, "prefix": prefix, "beyond": prefix + _BEYOND_ANY_ID, "limit": limit}
        return [stream for (stream,) in await self._readers.rows(LOG["streams"], place)]

    async def wait_for_append(self, stream: str, after_seq: int, timeout_s: float) -> bool:
        """Return once the stream may hold more than `after_seq`; False when the time ran out."""
        return await self._wakeups.wait(stream, after_seq, timeout_s, self._size)

    # Records and views

    async def get_record(self, kind: str, record_id: str) -> Record | None:
        """The record, expired or not, or None."""
        row = await self._readers.row(LOG["record"], {"kind": kind, "id": record_id})
        return Record(*row) if row else None

    async def expired_records(self, kind: str, now_ms: int, limit: int = 100) -> list[Record]:
        """Records of this kind whose time is over, oldest first."""
        which = {"kind": kind, "now_ms": now_ms, "limit": limit}
        return [Record(*row) for row in await self._readers.rows(LOG["expired_records"], which)]

    async def get_view(self, view: str, row_id: str) -> ViewRow | None:
        """The row, or None."""
        row = await self._readers.row(VIEW[view]["get"], (row_id,))
        return view_row(row) if row else None

    async def list_view(self, view: str, query: ViewQuery) -> list[ViewRow]:
        """Rows that meet the query, at most `query.limit`."""
        sql, parameters = list_statement(view, query)
        return [view_row(row) for row in await self._readers.rows(sql, parameters)]

    async def count_view(self, view: str, query: ViewQuery) -> int:
        """How many rows meet the query, counted up to `query.limit`."""
        ((count,),) = await self._readers.rows(*count_statement(view, query))
        return int(count)

    async def copy_to(self, target: Path) -> None:
        """A consistent copy of the whole log in a new file, while it goes on working (DESIGN §3)."""
        await asyncio.to_thread(maintenance.copy_to, self._path, target)

    def statistics(self) -> Mapping[str, int]:
        """Counters since opening, and what waits now: appends, events, commits (one fsync each), …."""
        now = {"waiters": self._wakeups.waiters, "reads": self._readers.reads}
        return {**self._counts, **self._writer.statistics(), **now}

    def _appended(self, request: Append | Redaction, done: Appended) -> None:
        """In the loop, once it is durable."""
        self._counts["replayed" if done.replayed else "appends"] += 1
        if done.replayed:
            return
        if isinstance(request, Redaction):
            self._tails.forget(done.stream)
        events = len(done.events)
        if events:
            self._counts["events"] += events
            if self._wakeups.grown(done.stream, done.last_seq):
                self._tails.keep(done.stream, done.events)
        if done.log_size is not None:
            self.global_log.grown(done.log_size)

    async def _size(self, stream: str) -> int:
        row = await self._readers.row(LOG["size"], {"stream": stream})
        return row[0] if row else 0


def _prepare(path: Path, quiet_since_ms: int, limits: LogLimits) -> Step | None:
    """The next step of compaction, read over a connection of its own."""
    try:
        connection = open_reader(path)
        try:
            return prepare(connection.execute, quiet_since_ms, limits)
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StorageUnavailable(f"{path} cannot be read to compact it ({error}): check the disk") from error


def _open_migrated(path: Path, now_ms: int) -> sqlite3.Connection:
    """The writer's connection to a database of the present schema."""
    try:
        connection = open_writer(path)
    except (sqlite3.Error, OSError) as error:
        raise _cannot_be_opened(path, error) from error
    try:
        migrations.apply(connection, path, now_ms)
        if busy := purge(connection):
            raise StorageUnavailable(
                f"{path} still holds bytes that were erased, and cannot be rewritten now ({busy}): "
                "end whatever else reads it, then start again"
            )
    except BaseException as error:
        connection.close()
        if isinstance(error, sqlite3.Error):
            raise _cannot_be_opened(path, error) from error
        raise
    return connection


def _cannot_be_opened(path: Path, error: Exception) -> StorageUnavailable:
    return StorageUnavailable(f"{path} cannot be opened as the log's database ({error}): check path and disk")
