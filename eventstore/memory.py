"""Owns the log in memory: the public fake, with the same append path and the same promises but durability.

It belongs to one event loop, and an append is one synchronous step in it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from eventstore.appending import Appender, StoredClaim, answered_before, refuse_oversized
from eventstore.framing import join_frames, shown_payload
from eventstore.global_log import LogEntry
from eventstore.log import (
    INTERNAL_TYPES,
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
from eventstore.memory_global_log import LogState, MemoryGlobalLog
from eventstore.memory_views import chosen
from eventstore.sealing import Sealed, StreamHead
from eventstore.views import VIEWS, ViewQuery, ViewRow
from eventstore.wakeups import Wakeups
from evidence.note import Signer

T = TypeVar("T")


@dataclass(slots=True)
class _Stream:
    """One stream as it is kept: all rows, all full blocks, the checkpoints by size."""

    head: StreamHead
    events: list[StoredEvent] = field(default_factory=list[StoredEvent])
    blocks: list[Block] = field(default_factory=list[Block])
    checkpoints: dict[int, bytes] = field(default_factory=dict[int, bytes])

    def cut(self, events: int, blocks: int) -> None:
        """Back to so many rows and blocks."""
        del self.events[events:]
        del self.blocks[blocks:]


@dataclass(slots=True)
class _State:
    """Everything that a transaction can change."""

    streams: dict[str, _Stream] = field(default_factory=dict[str, _Stream])
    claims: dict[str, StoredClaim] = field(default_factory=dict[str, StoredClaim])
    records: dict[tuple[str, str], Record] = field(default_factory=dict[tuple[str, str], Record])
    views: dict[str, dict[str, ViewRow]] = field(
        default_factory=lambda: {view: dict[str, ViewRow]() for view in VIEWS}
    )
    log: LogState = field(default_factory=LogState)


class _Transaction:
    """`eventstore.appending.Transaction` that changes the state at once and can undo every change."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._undo: list[Callable[[], object]] = []
        self.views = _Views(state, self)

    def undo(self) -> bool:
        """Take every change back, the last one first; tell whether there was any."""
        changed = bool(self._undo)
        while self._undo:
            self._undo.pop()()
        return changed

    def set(self, mapping: MutableMapping[Any, Any], key: object, value: object) -> None:
        """Set, or with None remove, one entry."""
        before = mapping.get(key)
        _set(mapping, key, value)
        self._undo.append(lambda: _set(mapping, key, before))

    def head(self, stream: str) -> StreamHead | None:
        """The stream's end, or None if it is unknown."""
        found = self._state.streams.get(stream)
        return found.head if found else None

    def add(self, sealed: Sealed) -> None:
        """Add the rows, the full blocks and the new head; the first events create the stream."""
        name = sealed.head.stream
        found = self._state.streams.get(name)
        if found is None:
            found = _Stream(sealed.head)
            self.set(self._state.streams, name, found)
        events, blocks = len(found.events), len(found.blocks)
        self._undo.append(partial(found.cut, events, blocks))
        found.events += sealed.events
        found.blocks += [block for _, block in sealed.blocks]
        self.set_fence(sealed.head)

    def events_at(self, stream: str, seqs: Sequence[int]) -> dict[int, StoredEvent]:
        """Those of these events that exist, by seq."""
        events = self._state.streams[stream].events
        return {seq: events[seq - 1] for seq in seqs if 0 < seq <= len(events)}

    def erase(self, stream: str, rows: Sequence[StoredEvent]) -> None:
        """Replace the rows of these events."""
        events = self._state.streams[stream].events
        for row in rows:
            self._undo.append(partial(events.__setitem__, row.seq - 1, events[row.seq - 1]))
            events[row.seq - 1] = row

    def log_size(self) -> int:
        """Entries of the global log so far."""
        return self._state.log.tree.size

    def add_log_entry(self, entry: LogEntry) -> None:
        """Add an entry to the global log and grow its tree."""
        self._undo.append(self._state.log.add(entry))

    def set_fence(self, head: StreamHead) -> None:
        """Replace the head."""
        found = self._state.streams[head.stream]
        before = found.head
        self._undo.append(lambda: setattr(found, "head", before))
        found.head = head

    def claimed(self, key: str) -> StoredClaim | None:
        """What is stored under the idempotency key, expired or not."""
        return self._state.claims.get(key)

    def put_claim(self, key: str, claim: StoredClaim, now_ms: int) -> None:
        """Store under the key, replacing an expired one; take all other expired ones away."""
        for other, stored in list(self._state.claims.items()):
            if stored.expires_at_ms <= now_ms:
                self.set(self._state.claims, other, None)
        self.set(self._state.claims, key, claim)

    def put_record(self, record: Record) -> None:
        """Insert or replace a record."""
        self.set(self._state.records, (record.kind, record.id), record)

    def put_checkpoint(self, stream: str, size: int, note: bytes) -> None:
        """Keep the signed checkpoint of this size."""
        self.set(self._state.streams[stream].checkpoints, size, note)

    def checkpoint(self, stream: str, size: int) -> bytes | None:
        """The signed checkpoint kept for this size."""
        return self._state.streams[stream].checkpoints.get(size)


class _Views:
    """`eventstore.log.ViewWriter` inside a transaction."""

    def __init__(self, state: _State, tx: _Transaction) -> None:
        self._state = state
        self._tx = tx

    def get(self, view: str, row_id: str) -> ViewRow | None:
        """The row, or None."""
        return self._state.views[view].get(row_id)

    def put(self, view: str, row: ViewRow) -> None:
        """Insert or replace the row with this id."""
        self._tx.set(self._state.views[view], row.id, row)

    def delete(self, view: str, row_id: str) -> None:
        """Remove the row if it is there."""
        self._tx.set(self._state.views[view], row_id, None)

    def payloads(self, stream: str) -> Iterator[bytes | None]:
        """The stream's payloads from seq 1, those of this transaction included."""
        found = self._state.streams.get(stream)
        return (event.payload for event in (found.events if found else ()))


class MemoryLog:
    """`EventLog` and `Views` in memory, for tests and trials: gone when the process ends."""

    def __init__(
        self,
        *,
        signer: Callable[[], Signer],
        projector: Projector,
        clock_ms: Callable[[], int],
        anchor: Callable[[], bytes] = bytes,
        random_bytes: Callable[[int], bytes] = os.urandom,
        limits: LogLimits | None = None,
    ) -> None:
        self._limits = limits or LogLimits()
        self._appender = Appender(clock_ms, signer, projector, anchor, random_bytes, self._limits)
        self._state = _State()
        self._wakeups = Wakeups(self._limits.heads_cached_max)
        self._counts = dict.fromkeys(("appends", "events", "commits", "rollbacks", "refused", "replayed"), 0)
        grown = partial(self._log_streams, Appender.log_checkpoint)
        unlogged = partial(self._log_streams, Appender.log_unlogged)
        self.global_log = MemoryGlobalLog(self._state.log, self._wakeups, grown, unlogged, self._sizes)
        self._closed = False

    def __repr__(self) -> str:
        return f"MemoryLog(streams={len(self._state.streams)}, {self._wakeups!r})"

    async def aclose(self) -> None:
        """Wake all waiters and refuse what comes later."""
        self._closed = True
        self._wakeups.close()

    async def append(self, request: Append) -> Appended:
        """Add the events and make them visible, or refuse with a `LogError` and change nothing."""
        return await self.submit(request)

    def submit(self, request: Append) -> asyncio.Future[Appended]:
        """`append` for who has no task to wait in: done once the events are visible, or refused."""
        refuse_oversized(request, self._limits)
        done: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        try:
            added = self._atomically(partial(self._appender.append, request=request))
            done.set_result(self._appended(added, len(request.events)))
        except Exception as error:  # noqa: BLE001  # told where it is waited for
            done.set_exception(error)
        return done

    async def redact(self, request: Redaction) -> Appended:
        """Erase the payloads and record it in one `redaction` event, or refuse (`RedactionRefused`)."""
        return self._appended(self._atomically(lambda tx: self._appender.redact(tx, request)), 1)

    async def stored_answer(self, key: str, fingerprint: str) -> Answer | None:
        """The answer stored under this idempotency key, None if there is none (or it has expired)."""
        stored = self._open_state().claims.get(key)
        earlier = answered_before(stored, fingerprint, self._appender.clock_ms())
        return earlier.answer if earlier else None

    async def head(self, stream: str) -> Head | None:
        """Where the stream stands, or None if it is unknown."""
        found = self._open_state().streams.get(stream)
        return found.head.public() if found else None

    async def size(self, stream: str) -> int:
        """How many events the stream holds, 0 if it is unknown."""
        return await self._wakeups.size(stream, self._size)

    async def read(
        self, stream: str, after_seq: int = 0, limit: int = 100, *, public: bool = True
    ) -> list[StoredEvent]:
        """Up to `limit` events with seq > `after_seq` in order; `public` leaves internal ones out."""
        events = self._events(stream)[max(after_seq, 0) :]
        return [event for event in events if not (public and event.type in INTERNAL_TYPES)][:limit]

    async def read_framed(
        self, stream: str, after_seq: int, framing: Framing, limit: int | None = None
    ) -> Chunk | None:
        """The next public events as joined frames (bounded bytes, at most `limit`), None at the end."""
        page: list[StoredEvent] = []
        size_bytes = 0
        for event in self._events(stream)[max(after_seq, 0) :]:
            if event.type in INTERNAL_TYPES:
                continue
            size_bytes += len(shown_payload(event))
            if page and (size_bytes > self._limits.chunk_bytes or len(page) == limit):
                break
            page.append(event)
        if not page:
            return None
        return Chunk(join_frames(framing, page), len(page), page[-1].seq, page[-1].type)

    async def entries(
        self, stream: str, after_seq: int = 0, up_to_seq: int | None = None
    ) -> AsyncIterator[StoredEvent]:
        """Every event after `after_seq`, internal ones included."""
        for event in self._events(stream)[max(after_seq, 0) : up_to_seq]:
            yield event

    async def blocks(self, stream: str) -> list[Block]:
        """The stream's full 256-leaf subtrees, in order (P2.2)."""
        found = self._open_state().streams.get(stream)
        return list(found.blocks) if found else []

    async def checkpoint(self, stream: str) -> bytes | None:
        """The signed run checkpoint at the present size (P4.3), memoised; None if unknown."""
        return self._atomically(lambda tx: self._appender.checkpoint(tx, stream))

    async def streams(self, prefix: str, after: str = "", limit: int = 500) -> list[str]:
        """Stream ids that start with `prefix`, in id order, greater than `after`."""
        found = [name for name in self._open_state().streams if name.startswith(prefix) and name > after]
        return sorted(found)[:limit]

    async def wait_for_append(self, stream: str, after_seq: int, timeout_s: float) -> bool:
        """Return once the stream may hold more than `after_seq`; False when the time ran out."""
        return await self._wakeups.wait(stream, after_seq, timeout_s, self._size)

    async def checkpoint_at(self, stream: str, size: int) -> bytes | None:
        """The signed checkpoint of this size if one was made, None otherwise: none is made for it."""
        found = self._open_state().streams.get(stream)
        return found.checkpoints.get(size) if found else None

    async def compact(self, quiet_since_ms: int) -> int:  # noqa: ARG002  # the port's signature
        """Nothing: events in memory have one form."""
        self._open_state()
        return 0

    async def put_record(self, record: Record) -> None:
        """Store or replace a record."""
        self._atomically(lambda tx: tx.put_record(record))

    async def delete_record(self, kind: str, record_id: str) -> None:
        """Remove the record if it is there."""
        self._open_state().records.pop((kind, record_id), None)

    async def get_record(self, kind: str, record_id: str) -> Record | None:
        """The record, expired or not, or None."""
        return self._open_state().records.get((kind, record_id))

    async def expired_records(self, kind: str, now_ms: int, limit: int = 100) -> list[Record]:
        """Records of this kind whose time is over, oldest first."""
        expired = [
            (record.expires_at_ms, record.id, record)
            for record in self._open_state().records.values()
            if record.kind == kind and record.expires_at_ms is not None and record.expires_at_ms <= now_ms
        ]
        return [record for _, _, record in sorted(expired, key=lambda one: one[:2])][:limit]

    async def get_view(self, view: str, row_id: str) -> ViewRow | None:
        """The row, or None."""
        return self._open_state().views[view].get(row_id)

    async def list_view(self, view: str, query: ViewQuery) -> list[ViewRow]:
        """Rows that meet the query, at most `query.limit`."""
        return chosen(self._open_state().views[view].values(), query)

    async def count_view(self, view: str, query: ViewQuery) -> int:
        """How many rows meet the query, counted up to `query.limit`."""
        return len(chosen(self._open_state().views[view].values(), query))

    def statistics(self) -> Mapping[str, int]:
        """Counters since the start, and what waits now."""
        return {**self._counts, "waiters": self._wakeups.waiters}

    def _appended(self, done: Appended, events: int) -> Appended:
        """Count it and wake whoever waits."""
        self._counts["replayed" if done.replayed else "appends"] += 1
        if events and not done.replayed:
            self._counts["events"] += events
            self._wakeups.grown(done.stream, done.last_seq)
        if done.log_size is not None:
            self.global_log.grown(done.log_size)
        return done

    def _log_streams(self, log: Callable[[Appender, _Transaction, str], None], streams: Iterable[str]) -> int:
        """Have entries of the global log added for these streams; answers for how many."""
        named = list(streams)

        def perform(tx: _Transaction) -> int:
            for stream in named:
                log(self._appender, tx, stream)
            return len(named)

        return self._atomically(perform)

    def _sizes(self) -> dict[str, int]:
        return {name: len(stream.events) for name, stream in self._open_state().streams.items()}

    def _atomically(self, perform: Callable[[_Transaction], T]) -> T:
        tx = _Transaction(self._open_state())
        try:
            result = perform(tx)
        except BaseException:
            self._counts["refused"] += 1
            if tx.undo():
                self._appender.projector.forget()
            raise
        self._counts["commits"] += 1
        return result

    def _open_state(self) -> _State:
        if self._closed:
            raise StorageUnavailable("the log is closed: open a new one")
        return self._state

    def _events(self, stream: str) -> Sequence[StoredEvent]:
        found = self._open_state().streams.get(stream)
        return found.events if found else ()

    async def _size(self, stream: str) -> int:
        return len(self._events(stream))


def _set(mapping: MutableMapping[Any, Any], key: object, value: object) -> None:
    mapping[key] = value
    if value is None:
        del mapping[key]
