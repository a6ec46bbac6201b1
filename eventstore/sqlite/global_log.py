"""Owns the global log in SQLite: reads of its entries and tree, and the bookkeeping of its sequencer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from eventstore.appending import Appender
from eventstore.global_log import LogEntry, LogHead
from eventstore.sqlite.queries import GLOBAL
from eventstore.sqlite.reader import ReaderPool
from eventstore.sqlite.transaction import SqliteTransaction
from eventstore.sqlite.writer import GroupWriter
from eventstore.wakeups import Wakeups
from evidence.merkle import CompactRange

ORGANIZATIONS_LOGGED_MAX = 500
"""Organisations that get an entry in one transaction; further ones wait for the next round."""
STREAMS_LOGGED_MAX = 500
"""Streams without entry that get one in one transaction."""
_TOPIC = "log"


class SqliteGlobalLog:
    """`eventstore.global_log.GlobalLog` beside the streams, in the same file and by the same writer."""

    def __init__(
        self, appender: Appender, writer: GroupWriter, readers: ReaderPool, wakeups: Wakeups
    ) -> None:
        self._appender, self._writer, self._readers, self._wakeups = appender, writer, readers, wakeups

    def grown(self, size: int) -> None:
        """Tell whoever waits that the log holds so many entries."""
        self._wakeups.grown(_TOPIC, size)

    async def tree(self) -> CompactRange:
        """Where the tree over all committed entries ends."""
        row = await self._readers.row(GLOBAL["tree"], ())
        assert row is not None, "the schema makes the one row"
        return CompactRange.from_bytes(*row)

    async def entries(self, start: int, end: int) -> list[bytes]:
        """The texts of entries [start, end)."""
        return [entry for (entry,) in await self._readers.rows(GLOBAL["entries"], (start, end))]

    async def logged(self, start: int, end: int) -> list[LogEntry]:
        """Entries [start, end), each with its stream and when it was added."""
        return [LogEntry(*row) for row in await self._readers.rows(GLOBAL["logged"], (start, end))]

    async def growth(self, start: int, bucket_ms: int) -> list[tuple[int, int]]:
        """How many entries from `start` on were added in each span of `bucket_ms` in which any was."""
        rows = await self._readers.rows(GLOBAL["growth"], {"start": start, "bucket_ms": bucket_ms})
        return [(begin, count) for begin, count in rows]

    async def block_roots(self, start: int, end: int) -> list[bytes]:
        """The roots of the full 256-entry subtrees [start, end)."""
        return [root for (root,) in await self._readers.rows(GLOBAL["subtrees"], (start, end))]

    async def index_of(self, stream: str, size: int) -> int | None:
        """Where the entry of the stream's checkpoint at this size stands, None if there is none."""
        row = await self._readers.row(GLOBAL["index_of"], (stream, size))
        return row[0] if row else None

    async def wait_for_entries(self, after_size: int, timeout_s: float) -> bool:
        """Return once the log may hold more than `after_size` entries; False when the time ran out."""
        return await self._wakeups.wait(_TOPIC, after_size, timeout_s, self._size)

    async def log_organizations(self, quiet_since_ms: int) -> int:
        """Add entries for organisations that grew and have none newer than `quiet_since_ms` (P5.1)."""
        grown = partial(
            SqliteTransaction.grown_organizations,
            quiet_since_ms=quiet_since_ms,
            limit=ORGANIZATIONS_LOGGED_MAX,
        )
        return await self._log(grown, self._appender.log_checkpoint)

    async def log_unlogged(self) -> int:
        """Add entries for streams that have none, recorded before there was a log; answers how many."""
        added = 0
        unlogged = partial(SqliteTransaction.unlogged, limit=STREAMS_LOGGED_MAX)
        while count := await self._log(unlogged, self._appender.log_unlogged):
            added += count
        return added

    async def put_head(self, head: LogHead) -> LogHead:
        """Write down what is about to be signed, durably; answers what stands at this size."""
        return await self._writer.submit(partial(SqliteTransaction.put_log_head, head=head))

    async def publish_head(self, size: int, note: bytes) -> None:
        """Keep the note of a head that was written down: from now on it is what the world sees."""
        await self._writer.submit(partial(SqliteTransaction.publish_log_head, size=size, note=note))

    async def heads(self, limit: int) -> list[LogHead]:
        """The newest published heads, the largest first."""
        return [LogHead(*row) for row in await self._readers.rows(GLOBAL["published"], (limit,))]

    async def last_head(self, *, published: bool) -> LogHead | None:
        """The largest head written down, or the largest published one."""
        if published:
            return next(iter(await self.heads(1)), None)
        row = await self._readers.row(GLOBAL["last_head"], ())
        return LogHead(*row) if row else None

    async def _log(self, choose: partial[list[str]], log: Callable[[SqliteTransaction, str], None]) -> int:
        """Have entries added for each stream that `choose` finds inside the transaction."""

        def perform(tx: SqliteTransaction) -> int:
            streams = choose(tx)
            for stream in streams:
                log(tx, stream)
            return len(streams)

        added = await self._writer.submit(perform)
        if added:
            self.grown((await self.tree()).size)
        return added

    async def _size(self, _: str) -> int:
        return (await self.tree()).size
