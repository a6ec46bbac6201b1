"""Owns the newest commit of each stream that is followed: what its live readers want next, still in memory.

A reader who stands within it is answered without asking the database, all readers with the same bytes.
Whatever is not here is read from the database, so forgetting costs time and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from eventstore.framing import join_frames
from eventstore.log import INTERNAL_TYPES, Chunk, Framing, StoredEvent
from eventstore.recent import Recent


class Tails:
    """Used from one event loop. Holds at most `streams_max` commits of at most `bytes_max` payload bytes."""

    def __init__(self, streams_max: int, bytes_max: int) -> None:
        self._commits: Recent[str, _Commit] = Recent(streams_max)
        self._bytes_max = bytes_max

    def __repr__(self) -> str:
        return f"Tails({self._commits!r})"

    def keep(self, stream: str, events: Sequence[StoredEvent]) -> None:
        """Remember what was just committed, in place of the commit before; nothing of one too large."""
        if sum(event.payload_size for event in events) > self._bytes_max:
            self.forget(stream)
        else:
            self._commits.put(stream, _Commit(events))

    def forget(self, stream: str) -> None:
        """Remember nothing of this stream: something of it was erased (P7)."""
        self._commits.pop(stream)

    def framed(self, stream: str, after_seq: int, framing: Framing) -> Chunk | None:
        """The frames of the public events behind `after_seq`; None where the database must answer."""
        commit = self._commits.get(stream)
        return commit.framed(after_seq, framing) if commit else None


class _Commit:
    """The events of one append, framed once for all who stand at the same place."""

    def __init__(self, events: Sequence[StoredEvent]) -> None:
        self._events = events
        self._framed: tuple[int, Framing, Chunk | None] | None = None

    def framed(self, after_seq: int, framing: Framing) -> Chunk | None:
        events = self._events
        if not events[0].seq - 1 <= after_seq < events[-1].seq:
            return None
        if self._framed is None or self._framed[:2] != (after_seq, framing):
            later = events[after_seq + 1 - events[0].seq :]
            page = [event for event in later if event.type not in INTERNAL_TYPES]
            # A page of internal events alone says nothing of what lies behind it: the database knows.
            chunk = (
                Chunk(join_frames(framing, page), len(page), page[-1].seq, page[-1].type) if page else None
            )
            self._framed = (after_seq, framing, chunk)
        return self._framed[2]
