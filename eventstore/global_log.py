"""The port of the global log: its entries, its tree, and the heads that were signed (PROOF P5).

Entries get in through `EventLog.append`, in the transaction of the event that they show; who signs and
publishes the tree is `eventstore.sequencer`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from evidence.merkle import CompactRange
from evidence.record import leaf_hash


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One entry: the checkpoint text of `stream` at `size`, or (stream None, size 0) a change of key."""

    stream: str | None
    size: int
    created_at_ms: int
    data: bytes


@dataclass(frozen=True, slots=True)
class LogHead:
    """A size and root of the log. `note` is the published checkpoint; None while only written down."""

    size: int
    root: bytes
    note: bytes | None = None


class GlobalLog(Protocol):
    """Reads of the global log, and the bookkeeping of its one sequencer."""

    async def tree(self) -> CompactRange:
        """Where the tree over all committed entries ends."""
        ...

    async def entries(self, start: int, end: int) -> list[bytes]:
        """The texts of entries [start, end)."""
        ...

    async def logged(self, start: int, end: int) -> list[LogEntry]:
        """Entries [start, end), each with its stream and when it was added."""
        ...

    async def growth(self, start: int, bucket_ms: int) -> list[tuple[int, int]]:
        """How many entries from `start` on were added in each span of `bucket_ms` in which any was.

        Answers (when the span begins, in unix milliseconds, and a number of entries), oldest first.
        """
        ...

    async def block_roots(self, start: int, end: int) -> list[bytes]:
        """The roots of the full 256-entry subtrees [start, end)."""
        ...

    async def index_of(self, stream: str, size: int) -> int | None:
        """Where the entry of the stream's checkpoint at this size stands, None if there is none."""
        ...

    async def wait_for_entries(self, after_size: int, timeout_s: float) -> bool:
        """Return once the log may hold more than `after_size` entries; False when the time ran out."""
        ...

    async def log_organizations(self, quiet_since_ms: int) -> int:
        """Add entries for organisations that grew and have none newer than `quiet_since_ms` (P5.1)."""
        ...

    async def log_unlogged(self) -> int:
        """Add entries for streams that have none, recorded before there was a log; answers how many."""
        ...

    async def put_head(self, head: LogHead) -> LogHead:
        """Write down what is about to be signed, durably; answers what stands at this size."""
        ...

    async def publish_head(self, size: int, note: bytes) -> None:
        """Keep the note of a head that was written down: from now on it is what the world sees."""
        ...

    async def heads(self, limit: int) -> list[LogHead]:
        """The newest published heads, the largest first."""
        ...

    async def last_head(self, *, published: bool) -> LogHead | None:
        """The largest head written down, or the largest published one."""
        ...


def grown(tree: CompactRange, entry: bytes) -> tuple[CompactRange, bytes | None]:
    """The tree after one more entry, and the root of the 256-entry subtree that it completed, if it did."""
    after = tree.copy()
    return after, after.append(leaf_hash(entry))
