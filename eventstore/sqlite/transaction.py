"""Owns one append's statements: `eventstore.appending.Transaction` over the writer's connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import lru_cache

from eventstore.appending import StoredClaim
from eventstore.global_log import LogEntry, LogHead, grown
from eventstore.log import INTERNAL_TYPES, Answer, Appended, LogLimits, Record, StoredEvent
from eventstore.recent import Recent
from eventstore.sealing import Sealed, StreamHead
from eventstore.sqlite import stored
from eventstore.sqlite.compaction import Step, park, swap
from eventstore.sqlite.connection import ERASURE
from eventstore.sqlite.queries import GLOBAL, LOG
from eventstore.sqlite.stored import PLACE_BITS
from eventstore.sqlite.views import SqliteViews
from evidence.merkle import CompactRange

ROWS_PER_STATEMENT = (512, 64)
"""Rows that one statement writes, if there are as many: a third faster than one by one, and the interpreter
lock changes hands once instead of for each.
"""
EVENT_COLUMNS = 6
HEAD_COLUMNS = 9
NEVER_MS = (1 << 53) - 1
"""When a record expires that only its end removes."""


class SqliteTransaction:
    """Works inside the transaction that the writer has opened; heads are remembered between appends.

    Events and heads are gathered and written together for the whole group, when it commits or when
    something wants to read them: a statement each would hand the interpreter lock to and fro. Their bytes
    are bound as `bytearray`: for `bytes` the module looks for an adapter first, which takes longer than
    all that is done for an event's row besides.
    """

    def __init__(self, connection: sqlite3.Connection, limits: LogLimits) -> None:
        self.views = SqliteViews(connection, self.flush)
        self._connection = connection
        self._execute = connection.execute
        self._claims_swept = limits.expired_claims_swept
        self._heads: Recent[str, tuple[int, StreamHead]] = Recent(limits.heads_cached_max)
        self._log_tree: CompactRange | None = None
        self._event_columns: list[object] = []
        self._moved_heads: dict[str, tuple[int, StreamHead]] = {}

    @property
    def changes(self) -> int:
        """Grows with every write, gathered ones included."""
        return self._connection.total_changes + len(self._event_columns) + len(self._moved_heads)

    def flush(self) -> None:
        """Write what was gathered: before COMMIT, and before anything that reads events or heads."""
        events, heads = self._event_columns, self._moved_heads
        if events:
            self._event_columns = []
            self._write("insert_events", events, EVENT_COLUMNS)
        if heads:
            self._moved_heads = {}
            columns: list[object] = []
            for stream_no, head in heads.values():
                columns += (stream_no, head.stream, bytearray(head.anchor_note), *_head_columns(head))
            self._write("put_heads", columns, HEAD_COLUMNS)

    def rolled_back(self) -> None:
        """The transaction was undone: remember nothing of it, nor what it was built on."""
        self._heads.clear()
        self._log_tree = None
        self._event_columns, self._moved_heads = [], {}

    def head(self, stream: str) -> StreamHead | None:
        """The stream's end, or None if it is unknown."""
        placed = self._placed(stream)
        return placed[1] if placed else None

    def add(self, sealed: Sealed) -> None:
        """Write the rows, the full blocks and the new head; the first events create the stream."""
        head = sealed.head
        placed = self._placed(head.stream)
        if placed is None:
            columns = (*_head_columns(head), head.anchor_note, head.stream)
            inserted = self._execute(LOG["insert_stream"], columns)
            stream_no = inserted.lastrowid
            assert stream_no is not None, "an INSERT answers its rowid"
            running_bytes = 0
            self._heads.put(head.stream, (stream_no, head))
        else:
            stream_no, before = placed
            running_bytes = before.payload_bytes
            self._move_head(stream_no, head)
        gather, base = self._event_columns.extend, stream_no << PLACE_BITS
        for event in sealed.events:
            running_bytes += event.payload_size
            salt, payload = event.salt, event.payload
            assert salt is not None, "a new event has its salt"
            assert payload is not None, "and its payload"
            place = base | event.seq
            gather(
                (place, event.type, event.created_at_ms, running_bytes, bytearray(salt), bytearray(payload))
            )
        assert running_bytes == head.payload_bytes, "the running total ends where the head says"
        for index, block in sealed.blocks:
            self._execute(LOG["insert_subtree"], (stream_no, index, block.root, block.last_leaf))
        if sealed.events[-1].type in INTERNAL_TYPES:  # the run has ended: its rows can be packed
            self._execute(LOG["put_unpacked"], (stream_no, head.created_at_ms))

    def set_fence(self, head: StreamHead) -> None:
        """Write the head's fence alone."""
        placed = self._placed(head.stream)
        assert placed is not None, "only a known stream has a fence"
        self._move_head(placed[0], head)

    def events_at(self, stream: str, seqs: Sequence[int]) -> dict[int, StoredEvent]:
        """Those of these events that exist, by seq."""
        self.flush()
        placed = self._placed(stream)
        if placed is None:
            return {}
        stream_no, head = placed
        there = [seq for seq in seqs if 0 < seq <= head.size]  # beyond, a position is another stream's
        return stored.events_at(self._execute, stream, stream_no, there)

    def erase(self, stream: str, rows: Sequence[StoredEvent]) -> None:
        """Replace the rows of these events, and note that what they were must be purged (P7)."""
        self.flush()
        placed = self._placed(stream)
        assert placed is not None, "its events were read"
        stored.erase(self._execute, stream, placed[0], rows)
        self._execute(LOG["put_record"], (*ERASURE, NEVER_MS, b""))

    def swap(self, step: Step) -> bool:
        """Put packs in place of the rows that they were made of; False when those are others by now."""
        self.flush()
        return swap(self._execute, step)

    def park(self, stream_no: int) -> None:
        """Let a run whose rows cannot be packed be."""
        park(self._execute, stream_no)

    def log_size(self) -> int:
        """Entries of the global log so far."""
        return (self._log_tree or self._tree()).size  # asked at every append

    def add_log_entry(self, entry: LogEntry) -> None:
        """Add an entry to the global log and grow its tree."""
        index = self._tree().size
        tree, root = grown(self._tree(), entry.data)
        columns = (index, entry.stream, entry.size, entry.created_at_ms, entry.data)
        self._execute(GLOBAL["insert_entry"], columns)
        if root is not None:
            self._execute(GLOBAL["insert_subtree"], (tree.size // 256 - 1, root))
        self._execute(GLOBAL["update_tree"], (tree.size, tree.to_bytes()))
        self._log_tree = tree

    def put_log_head(self, head: LogHead) -> LogHead:
        """Write down a head of the global log; answer what stands at this size."""
        self._execute(GLOBAL["put_head"], (head.size, head.root))
        return LogHead(*self._execute(GLOBAL["head_at"], (head.size,)).fetchone())

    def publish_log_head(self, size: int, note: bytes) -> None:
        """Keep the note of a head that was written down."""
        self._execute(GLOBAL["publish_head"], (note, size))

    def grown_organizations(self, quiet_since_ms: int, limit: int) -> list[str]:
        """Organisations that the log shows smaller than they are, and has not shown lately."""
        self.flush()
        return [row[0] for row in self._execute(GLOBAL["grown_organizations"], (quiet_since_ms, limit))]

    def unlogged(self, limit: int) -> list[str]:
        """Streams without an entry."""
        return [row[0] for row in self._execute(GLOBAL["unlogged"], (limit,))]

    def _tree(self) -> CompactRange:
        if self._log_tree is None:
            self._log_tree = CompactRange.from_bytes(*self._execute(GLOBAL["tree"]).fetchone())
        return self._log_tree

    def claimed(self, key: str) -> StoredClaim | None:
        """What is stored under the idempotency key, expired or not."""
        row = self._execute(LOG["claim"], (key,)).fetchone()
        return stored_claim(row) if row else None

    def put_claim(self, key: str, claim: StoredClaim, now_ms: int) -> None:
        """Store under the key, replacing an expired one; take some other expired ones away."""
        self._execute(LOG["sweep_claims"], (now_ms, self._claims_swept))
        done, answer = claim.outcome, claim.outcome.answer
        assert answer is not None, "a claim is stored with its answer"
        place = (done.stream, done.first_seq, done.last_seq, done.created_at_ms)
        columns = (key, claim.fingerprint, claim.expires_at_ms, *place, answer.status, answer.body)
        self._execute(LOG["put_claim"], columns)

    def put_record(self, record: Record) -> None:
        """Insert or replace a record."""
        columns = (record.kind, record.id, record.expires_at_ms, record.doc)
        self._execute(LOG["put_record"], columns)

    def delete_record(self, kind: str, record_id: str) -> None:
        """Remove a record if it is there."""
        self._execute(LOG["delete_record"], (kind, record_id))

    def put_checkpoint(self, stream: str, size: int, note: bytes) -> None:
        """Keep the signed checkpoint of this size."""
        self._execute(LOG["put_checkpoint"], (stream, size, note))

    def checkpoint(self, stream: str, size: int) -> bytes | None:
        """The signed checkpoint kept for this size."""
        row = self._execute(LOG["checkpoint"], (stream, size)).fetchone()
        return row[0] if row else None

    def _placed(self, stream: str) -> tuple[int, StreamHead] | None:
        placed = self._heads.get(stream) or self._moved_heads.get(stream)
        if placed is None:
            row = self._execute(LOG["head"], (stream,)).fetchone()
            if row is None:
                return None
            placed = (row[0], stream_head(stream, row))
            self._heads.put(stream, placed)
        return placed

    def _move_head(self, stream_no: int, head: StreamHead) -> None:
        placed = (stream_no, head)
        self._moved_heads[head.stream] = placed
        self._heads.put(head.stream, placed)

    def _write(self, name: str, values: list[object], columns: int) -> None:
        """Run the statement over all rows, many at a time; `values` holds row after row."""
        at = 0
        while missing := (len(values) - at) // columns:
            rows = next((most for most in ROWS_PER_STATEMENT if missing >= most), missing)
            self._execute(_statement(name, rows), values[at : at + rows * columns])
            at += rows * columns


def stream_head(stream: str, row: tuple[int, int, int, int, int, bytes, bytes, bytes]) -> StreamHead:
    """The head from the columns that the statement `head` answers."""
    _, size, payload_bytes, created_at_ms, fence, last_leaf, compact_range, anchor_note = row
    tree = CompactRange.from_bytes(size, compact_range)
    return StreamHead(stream, last_leaf, tree, created_at_ms, payload_bytes, anchor_note, fence)


def stored_claim(row: tuple[str, int, str, int, int, int, int, bytes]) -> StoredClaim:
    """The claim from the columns that the statement `claim` answers."""
    fingerprint, expires_at_ms, stream, first_seq, last_seq, created_at_ms, status, body = row
    outcome = Appended(stream, first_seq, last_seq, created_at_ms, Answer(status, body))
    return StoredClaim(fingerprint, expires_at_ms, outcome)


def _head_columns(head: StreamHead) -> tuple[object, ...]:
    tree = head.tree
    hashes = bytearray(head.last_leaf), bytearray(tree.to_bytes())
    return (tree.size, head.payload_bytes, head.created_at_ms, head.fence, *hashes)


@lru_cache(maxsize=256)
def _statement(name: str, rows: int) -> str:
    """The statement with its one row of parameters repeated, and what comes behind it."""
    before, values, behind = LOG[name].partition("VALUES ")
    row, end, after = behind.partition(")")
    return before + values + ", ".join([row + end] * rows) + after
