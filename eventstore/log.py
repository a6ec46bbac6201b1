"""The log's port: what append, read, head and tail mean, whatever stores the events.

Every backend passes `tests/contract/test_log.py`. A stream is a run (`wsr_…`) or an organisation
(`org_…`); its events are numbered 1, 2, 3 … without gaps (PROOF P2.1). Acknowledged means fsynced.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from eventstore.views import ViewReader, ViewRow

INTERNAL_TYPES = frozenset({"seal", "redaction"})
"""Events that only `proof/*` shows (CONTRACT §6.2); on a run they come after `terminal` alone."""


@dataclass(slots=True)
class NewEvent:
    """An event before it has a place: the log adds `type`, `seq` and `createdAt` to `fields`.

    Treat it as read-only; like `StoredEvent` it is not frozen only because so many are made.
    """

    type: str
    fields: Mapping[str, object]


@dataclass(slots=True)
class StoredEvent:
    """One row of the log, its bytes as they were made at append (PROOF P1.1).

    `payload` and `salt` are None once redacted; `commitment` is set only then (else it is recomputed),
    and `payload_size` stays what it was. Treat it as read-only: it is not frozen only because one is made
    for every event appended or read, and freezing makes that four times as slow.
    """

    seq: int
    type: str
    created_at_ms: int
    payload: bytes | None
    salt: bytes | None
    payload_size: int
    commitment: bytes | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """Where a stream stands. `size` counts leaves, internal ones included; `root` is the RFC 6962 root."""

    stream: str
    size: int
    last_leaf: bytes
    root: bytes
    created_at_ms: int
    anchor_note: bytes
    fence: int


@dataclass(frozen=True, slots=True)
class Block:
    """A full 256-leaf subtree of a stream: its root, and its last leaf: there the chain goes on (P2.2)."""

    root: bytes
    last_leaf: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A stored HTTP answer: what a retry with the same idempotency key gets (CONTRACT §5)."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Claim:
    """An idempotency key, claimed in the append transaction.

    `key` names organisation, credential, method, route and the caller's key; `fingerprint` names the
    request. `answer` is called inside the transaction with the stream's main view row as it stands
    after the append (None when the stream has none) and must be pure and quick.
    """

    key: str
    fingerprint: str
    expires_at_ms: int
    answer: Callable[[ViewRow | None], Answer]


@dataclass(frozen=True, slots=True)
class Record:
    """A small document beside the log that is not a view: transfer, key hash, lease (DESIGN §2)."""

    kind: str
    id: str
    doc: bytes
    expires_at_ms: int | None = None


@dataclass(slots=True)
class Append:
    """One atomic request to the log. Treat it as read-only, like `StoredEvent`.

    `expected_head` is the size the caller decided on (0 creates the stream; None accepts any existing
    stream). `created_at_ms` is used when the caller had to know the time beforehand (the end of a run);
    None takes the log's clock. Either way it never lies before the stream's last event. `fence` is a
    fencing token: lower than the highest seen is refused. `events` may be empty, to store an
    idempotent answer or records alone.
    """

    stream: str
    expected_head: int | None
    events: Sequence[NewEvent]
    fence: int | None = None
    created_at_ms: int | None = None
    claim: Claim | None = None
    records: Sequence[Record] = ()
    key_change: str | None = None
    """A verifier key that signs from now on: it becomes an entry of the global log (P5.1)."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """One atomic erasure of the payloads of `targets`, `stdout` and `stderr` events of a sealed run (P7)."""

    stream: str
    targets: Sequence[int]
    reason: str
    actor: str
    claim: Claim | None = None
    expected_head: int | None = None


@dataclass(slots=True)
class Appended:
    """What became durable: the events' seqs are `first_seq..last_seq` (empty append: last_seq < first_seq).

    `replayed` is true when the claim's key had been stored already: nothing was appended now; `answer`,
    the stream, the seqs and the time are those of the append that stored it. `log_size` counts the
    entries of the global log when this append added one, else it is None. `events` are the events as they
    are stored, none when `replayed`.
    """

    stream: str
    first_seq: int
    last_seq: int
    created_at_ms: int
    answer: Answer | None = None
    replayed: bool = False
    log_size: int | None = None
    events: Sequence[StoredEvent] = field(default=(), repr=False, compare=False)


class Framing(enum.Enum):
    """How `read_framed` joins stored payloads; the payload bytes are the same in each."""

    NDJSON = "ndjson"
    SSE = "sse"


@dataclass(frozen=True, slots=True)
class Chunk:
    """Joined frames of consecutive public events: `count` of them, the last being `last_seq`."""

    data: bytes
    count: int
    last_seq: int
    last_type: str


class LogError(Exception):
    """Base of what the log refuses."""


class ExpectedHeadMismatch(LogError):
    """Somebody appended first: load the stream again and decide again. `actual` is the size found."""

    def __init__(self, stream: str, expected: int | None, actual: int) -> None:
        super().__init__(f"{stream}: expected head {expected}, found {actual}")
        self.stream, self.expected, self.actual = stream, expected, actual


class UnknownStream(LogError):
    """No event was ever appended to this stream."""


class StaleFence(LogError):
    """A newer holder of the lease has written: stop working on this stream."""


class IdempotencyKeyReused(LogError):
    """The same key came with another request (CONTRACT §5)."""


class RedactionRefused(LogError):
    """These events cannot be redacted: the message says which and why. Nothing was changed."""


class DamagedLog(LogError):
    """Rows that were acknowledged are gone: somebody changed the database. Restore it from a backup."""


class StorageUnavailable(LogError):
    """The write did not become durable (disk full, I/O error): nothing of the append is visible."""


class NewerSchema(LogError):
    """The data folder was written by a newer version: upgrade, this version will not open it."""


class Projector(Protocol):
    """Advances the synchronous views inside the append transaction (implemented in `projections`)."""

    def apply(
        self, views: ViewWriter, stream: str, events: Sequence[tuple[NewEvent, StoredEvent]]
    ) -> ViewRow | None:
        """Fold the events just appended into the views; answer the stream's main row as it stands now."""
        ...

    def forget(self) -> None:
        """Drop every cached fold: the transaction that it belonged to was rolled back."""
        ...


class ViewWriter(ViewReader, Protocol):
    """The views as the append transaction sees them, its own writes included."""

    def put(self, view: str, row: ViewRow) -> None:
        """Insert or replace the row with this id."""
        ...

    def delete(self, view: str, row_id: str) -> None:
        """Remove the row if it is there."""
        ...

    def payloads(self, stream: str) -> Iterator[bytes | None]:
        """Iterate over the stream's payloads from seq 1, those of this transaction included."""
        ...


class EventLog(Protocol):
    """The log. All methods may be called from one event loop; see the module text for the promises."""

    async def append(self, request: Append) -> Appended:
        """Make the events durable and visible, or refuse with a `LogError` and change nothing."""
        ...

    def submit(self, request: Append) -> asyncio.Future[Appended]:
        """`append` for who has no task to wait in: done once the events are durable, or refused."""
        ...

    async def redact(self, request: Redaction) -> Appended:
        """Erase the payloads and record it in one `redaction` event, or refuse (`RedactionRefused`).

        When it returns nothing that this log holds contains the erased bytes (P7).
        """
        ...

    async def stored_answer(self, key: str, fingerprint: str) -> Answer | None:
        """The answer stored under this idempotency key, None if there is none (or it has expired).

        Raises `IdempotencyKeyReused` when the key was used for another request.
        """
        ...

    async def head(self, stream: str) -> Head | None:
        """Where the stream stands, or None if it is unknown."""
        ...

    async def size(self, stream: str) -> int:
        """How many events the stream holds, 0 if it is unknown: cheap enough to ask at every request."""
        ...

    async def read(
        self, stream: str, after_seq: int = 0, limit: int = 100, *, public: bool = True
    ) -> list[StoredEvent]:
        """Up to `limit` events with seq > `after_seq` in order; `public` leaves internal ones out."""
        ...

    async def read_framed(
        self, stream: str, after_seq: int, framing: Framing, limit: int | None = None
    ) -> Chunk | None:
        """The next public events as joined frames (bounded bytes, at most `limit`), None at the end."""
        ...

    async def wait_for_append(self, stream: str, after_seq: int, timeout_s: float) -> bool:
        """Return once the stream may hold more than `after_seq`; False when the time ran out.

        A wake-up is only a hint: read again after your own seq (DESIGN §2.6).
        """
        ...

    def entries(
        self, stream: str, after_seq: int = 0, up_to_seq: int | None = None
    ) -> AsyncIterator[StoredEvent]:
        """Every event after `after_seq`, internal ones included, in pages of bounded bytes (for proofs)."""
        ...

    async def blocks(self, stream: str) -> list[Block]:
        """The stream's full 256-leaf subtrees, in order (P2.2)."""
        ...

    async def checkpoint(self, stream: str) -> bytes | None:
        """The signed run checkpoint at the present size (P4.3), memoised; None if unknown."""
        ...

    async def checkpoint_at(self, stream: str, size: int) -> bytes | None:
        """The signed checkpoint of this size if one was made, None otherwise: none is made for it."""
        ...

    async def streams(self, prefix: str, after: str = "", limit: int = 500) -> list[str]:
        """Stream ids that start with `prefix`, in id order, greater than `after`."""
        ...

    async def compact(self, quiet_since_ms: int) -> int:
        """Store a bounded part of a run more densely; answers how many events, 0 when nothing is left to do.

        Only runs that have ended and to which nothing was added after `quiet_since_ms`. No read, proof or
        later redaction sees a difference. A log that has no denser form answers 0.
        """
        ...

    async def put_record(self, record: Record) -> None:
        """Store or replace a record, durably."""
        ...

    async def get_record(self, kind: str, record_id: str) -> Record | None:
        """The record, or None."""
        ...

    async def delete_record(self, kind: str, record_id: str) -> None:
        """Remove the record if it is there, durably."""
        ...

    async def expired_records(self, kind: str, now_ms: int, limit: int = 100) -> list[Record]:
        """Records of this kind whose time is over, oldest first."""
        ...

    def statistics(self) -> Mapping[str, int]:
        """Counters for metrics and tests: appends, commits, events, rollbacks, waiters, …."""
        ...

    async def aclose(self) -> None:
        """Finish what was handed over, then let go of files and threads; later calls are refused."""
        ...


@dataclass(frozen=True, slots=True)
class LogLimits:
    """Named limits of the log (DESIGN §5)."""

    group_commit_appends_max: int = 256
    """Appends that share one transaction and one fsync at most."""
    append_queue_max: int = 4096
    """Appends waiting for the writer; further callers wait their turn."""
    append_events_max: int = 1000
    """Events in one append."""
    chunk_bytes: int = 256 * 1024
    """Aim for the size of a framed chunk; a chunk never exceeds four times this plus one event."""
    payload_bytes_max: int = 512 * 1024
    """One event's payload."""
    readers: int = 2
    """Read connections."""
    heads_cached_max: int = 4096
    """Streams whose head the writer keeps in memory, and whose size the tail does."""
    tails_max: int = 32
    """Followed streams whose newest commit stays in memory, each of at most `chunk_bytes`."""
    expired_claims_swept: int = 4
    """Expired idempotency records that each new claim takes away."""
    pack_bytes: int = 64 * 1024
    """Payload lines of one compressed pack; a longer line has one of its own."""
    compact_step_bytes: int = 64 * 1024
    """Payload that one transaction of compaction moves; appends wait meanwhile, a few milliseconds."""
    compact_rest: int = 3
    """How many times as long as a step took compaction rests after it, so that others get on."""
    compact_quiet_ms: int = 60_000
    """How long after its last event an ended run is compacted; a century of it turns compaction off."""
    compact_idle_s: float = 5.0
    """How often runs to compact are looked for."""
