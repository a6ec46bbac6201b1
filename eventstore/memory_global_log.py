"""Owns the global log of the log in memory: the same port, the same tree, nothing durable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from eventstore.global_log import LogEntry, LogHead, grown
from eventstore.wakeups import Wakeups
from evidence.merkle import CompactRange

_TOPIC = "log"


@dataclass(slots=True)
class LogState:
    """Everything that is kept of the global log."""

    tree: CompactRange = field(default_factory=CompactRange)
    entries: list[LogEntry] = field(default_factory=list[LogEntry])
    roots: list[bytes] = field(default_factory=list[bytes])
    heads: dict[int, LogHead] = field(default_factory=dict[int, LogHead])

    def add(self, entry: LogEntry) -> Callable[[], None]:
        """Add an entry; answers how to take it back."""
        before, roots = self.tree, len(self.roots)
        self.tree, root = grown(before, entry.data)
        self.entries.append(entry)
        self.roots += [root] if root is not None else []

        def undo() -> None:
            self.tree = before
            del self.entries[before.size :], self.roots[roots:]

        return undo


class MemoryGlobalLog:
    """`eventstore.global_log.GlobalLog` in memory.

    `log_grown` and `log_unlogged` add entries for these streams and answer for how many; `sizes` answers
    every stream's size.
    """

    def __init__(
        self,
        state: LogState,
        wakeups: Wakeups,
        log_grown: Callable[[Iterable[str]], int],
        log_unlogged: Callable[[Iterable[str]], int],
        sizes: Callable[[], dict[str, int]],
    ) -> None:
        self._state, self._wakeups = state, wakeups
        self._log_grown, self._log_unlogged, self._sizes = log_grown, log_unlogged, sizes

    def grown(self, size: int) -> None:
        """Tell whoever waits that the log holds so many entries."""
        self._wakeups.grown(_TOPIC, size)

    async def tree(self) -> CompactRange:
        """Where the tree over all entries ends."""
        return self._state.tree

    async def entries(self, start: int, end: int) -> list[bytes]:
        """The texts of entries [start, end)."""
        return [entry.data for entry in self._state.entries[start:end]]

    async def logged(self, start: int, end: int) -> list[LogEntry]:
        """Entries [start, end), each with its stream and when it was added."""
        return self._state.entries[start:end]

    async def growth(self, start: int, bucket_ms: int) -> list[tuple[int, int]]:
        """How many entries from `start` on were added in each span of `bucket_ms` in which any was."""
        spans = (entry.created_at_ms // bucket_ms * bucket_ms for entry in self._state.entries[start:])
        return sorted(Counter(spans).items())

    async def block_roots(self, start: int, end: int) -> list[bytes]:
        """The roots of the full 256-entry subtrees [start, end)."""
        return self._state.roots[start:end]

    async def index_of(self, stream: str, size: int) -> int | None:
        """Where the entry of the stream's checkpoint at this size stands, None if there is none."""
        places = (
            at for at, entry in enumerate(self._state.entries) if (entry.stream, entry.size) == (stream, size)
        )
        return next(places, None)

    async def wait_for_entries(self, after_size: int, timeout_s: float) -> bool:
        """Return once the log may hold more than `after_size` entries; False when the time ran out."""
        return await self._wakeups.wait(_TOPIC, after_size, timeout_s, self._size)

    async def log_organizations(self, quiet_since_ms: int) -> int:
        """Add entries for organisations that grew and have none newer than `quiet_since_ms` (P5.1)."""
        last = {entry.stream: entry for entry in self._state.entries}
        grown = [
            stream
            for stream, size in self._sizes().items()
            if stream.startswith("org_")
            and (entry := last.get(stream))
            and entry.size < size
            and entry.created_at_ms <= quiet_since_ms
        ]
        return self._told(self._log_grown(grown))

    async def log_unlogged(self) -> int:
        """Add entries for streams that have none; answers how many."""
        logged = {entry.stream for entry in self._state.entries}
        return self._told(self._log_unlogged([one for one in self._sizes() if one not in logged]))

    async def put_head(self, head: LogHead) -> LogHead:
        """Write down what is about to be signed; answers what stands at this size."""
        return self._state.heads.setdefault(head.size, head)

    async def publish_head(self, size: int, note: bytes) -> None:
        """Keep the note of a head that was written down: from now on it is what the world sees."""
        self._state.heads[size] = LogHead(size, self._state.heads[size].root, note)

    async def heads(self, limit: int) -> list[LogHead]:
        """The newest published heads, the largest first."""
        published = (head for head in self._state.heads.values() if head.note is not None)
        return sorted(published, key=_size, reverse=True)[:limit]

    async def last_head(self, *, published: bool) -> LogHead | None:
        """The largest head written down, or the largest published one."""
        heads = await self.heads(1) if published else list(self._state.heads.values())
        return max(heads, key=_size, default=None)

    def _told(self, added: int) -> int:
        if added:
            self.grown(self._state.tree.size)
        return added

    async def _size(self, _: str) -> int:
        return self._state.tree.size


def _size(head: LogHead) -> int:
    return head.size
