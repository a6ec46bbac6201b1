"""Owns the append path: the one way by which anything gets into the log, whatever stores it.

A backend brings a `Transaction`, calls `Appender.append` inside it, and commits. Every refusal is raised
before the first write, so a refused append has nothing to undo. What can go wrong around the commit:

- **killed before the commit**: nothing is stored, nobody was told anything;
- **killed after the commit, before the caller hears of it**: stored but unacknowledged. That is normal:
  a retry with the same claim gets the stored answer, one without meets `ExpectedHeadMismatch`;
- **the commit itself fails** (disk full, I/O error): the caller gets `StorageUnavailable` and nothing is
  visible, though after a power cut the bytes may turn out to have reached the disk; then as above.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from eventstore.global_log import LogEntry
from eventstore.log import (
    INTERNAL_TYPES,
    Append,
    Appended,
    ExpectedHeadMismatch,
    IdempotencyKeyReused,
    LogLimits,
    NewEvent,
    Projector,
    Record,
    Redaction,
    StaleFence,
    StoredEvent,
    UnknownStream,
    ViewWriter,
)
from eventstore.redacting import check_targets, erased, redaction_event
from eventstore.sealing import Sealed, StreamHead, new_head, seal
from eventstore.views import ViewRow
from evidence.checkpoint import format_checkpoint
from evidence.logentry import KeyChange
from evidence.note import Signer, Verifier, is_signed_by, sign_note, split_note
from evidence.record import SALT_BYTES


@dataclass(frozen=True, slots=True)
class StoredClaim:
    """What is kept under an idempotency key: the request's fingerprint and what became of it."""

    fingerprint: str
    expires_at_ms: int
    outcome: Appended


class Transaction(Protocol):
    """What a backend offers inside one atomic transaction; it sees its own writes."""

    @property
    def views(self) -> ViewWriter:
        """The synchronous views."""
        ...

    def head(self, stream: str) -> StreamHead | None:
        """The stream's end, or None if it is unknown."""
        ...

    def claimed(self, key: str) -> StoredClaim | None:
        """What is stored under the idempotency key, expired or not."""
        ...

    def add(self, sealed: Sealed) -> None:
        """Write the rows, the full blocks and the new head; the first events create the stream."""
        ...

    def events_at(self, stream: str, seqs: Sequence[int]) -> dict[int, StoredEvent]:
        """Those of these events that exist, by seq."""
        ...

    def erase(self, stream: str, rows: Sequence[StoredEvent]) -> None:
        """Replace the rows of these events: payload and salt are gone (P7)."""
        ...

    def log_size(self) -> int:
        """Entries of the global log so far."""
        ...

    def add_log_entry(self, entry: LogEntry) -> None:
        """Add an entry to the global log and grow its tree."""
        ...

    def set_fence(self, head: StreamHead) -> None:
        """Write the head's fence alone."""
        ...

    def put_claim(self, key: str, claim: StoredClaim, now_ms: int) -> None:
        """Store under the key, replacing an expired one; take some other expired ones away."""
        ...

    def put_record(self, record: Record) -> None:
        """Insert or replace a record."""
        ...

    def put_checkpoint(self, stream: str, size: int, note: bytes) -> None:
        """Keep the signed checkpoint of this size."""
        ...

    def checkpoint(self, stream: str, size: int) -> bytes | None:
        """The signed checkpoint kept for this size."""
        ...


@dataclass(frozen=True, slots=True)
class Appender:
    """The append path with all that it needs from outside.

    `anchor` answers the newest published checkpoint of the global log (P2.3), empty before the first.
    `signer` answers the key that signs now, whose name is the server's origin (P4.3): keys are rotated
    while the server runs.
    """

    clock_ms: Callable[[], int]
    signer: Callable[[], Signer]
    projector: Projector
    anchor: Callable[[], bytes]
    random_bytes: Callable[[int], bytes]
    limits: LogLimits

    def append(self, tx: Transaction, request: Append) -> Appended:
        """Do the whole append in the open transaction, or raise.

        After a refusal (`LogError`) nothing was written; after a mistake of the program a part may have
        been, which the backend rolls back.
        """
        now_ms = self.clock_ms()
        claim = request.claim
        if claim and (earlier := answered_before(tx.claimed(claim.key), claim.fingerprint, now_ms)):
            return replace(earlier, replayed=True)
        head = tx.head(request.stream)
        _admit(request, head)
        created_at_ms = _time_of(request, head, now_ms)
        row: ViewRow | None = None
        log_size = tx.log_size()
        stored: Sequence[StoredEvent] = ()
        if request.events:
            head, row, stored = self._add(tx, request, head or self._found(request.stream), created_at_ms)
        elif head is not None:
            head = self._note_fence(tx, head, request.fence)
            row = self.projector.apply(tx.views, request.stream, ()) if claim else None
        for record in request.records:
            tx.put_record(record)
        if request.key_change is not None:
            self._log_key_change(tx, request.key_change, created_at_ms)
        last_seq = head.size if head else 0
        first_seq = last_seq - len(request.events) + 1
        outcome = Appended(request.stream, first_seq, last_seq, created_at_ms, events=stored)
        if claim:
            outcome = replace(outcome, answer=claim.answer(row))
            tx.put_claim(claim.key, StoredClaim(claim.fingerprint, claim.expires_at_ms, outcome), now_ms)
        return replace(outcome, log_size=tx.log_size()) if tx.log_size() > log_size else outcome

    def redact(self, tx: Transaction, request: Redaction) -> Appended:
        """Erase the targets' payloads and append the event that says so, or raise (P7).

        Crash window: none inside, it is one transaction. The bytes leave the write-ahead log when it is
        next emptied, which the backend does before it acknowledges, and again when it opens.
        """
        now_ms, claim = self.clock_ms(), request.claim
        if claim and (earlier := answered_before(tx.claimed(claim.key), claim.fingerprint, now_ms)):
            return replace(earlier, replayed=True)
        check_targets(request)
        append = Append(request.stream, request.expected_head, [], claim=claim)
        _admit(append, tx.head(request.stream))
        rows = erased(request, tx.events_at(request.stream, request.targets))
        tx.erase(request.stream, rows)
        return self.append(tx, replace(append, events=[redaction_event(request, rows)]))

    def checkpoint(self, tx: Transaction, stream: str) -> bytes | None:
        """The signed checkpoint at the stream's present size, made now unless it is kept (P4.3)."""
        head = tx.head(stream)
        if head is None:
            return None
        kept = tx.checkpoint(stream, head.size)
        return kept if kept and is_signed_by(kept, self.signer()) else self._sign(tx, head)

    def log_checkpoint(self, tx: Transaction, stream: str) -> None:
        """Add the stream as it stands to the global log: one that grew outside the rules of `append`."""
        head = tx.head(stream)
        assert head is not None, "only known streams are asked for"
        self._log(tx, head, self.clock_ms())

    def log_unlogged(self, tx: Transaction, stream: str) -> None:
        """Add a stream from before there was a log as if there had been one: as it began, and its end.

        A run that goes on gets its second entry with its seal, like any other.
        """
        head, first = tx.head(stream), tx.checkpoint(stream, 1)
        assert head is not None, "only known streams are asked for"
        if first is not None and head.size > 1:
            text, now_ms = split_note(first)[0], self.clock_ms()
            tx.add_log_entry(LogEntry(stream, 1, now_ms, text.encode()))
            is_run = stream.startswith("wsr_")
            if is_run and tx.events_at(stream, [head.size])[head.size].type not in INTERNAL_TYPES:
                return
        self._log(tx, head, self.clock_ms())

    def _found(self, stream: str) -> StreamHead:
        """Start a stream: its genesis commits to the newest global checkpoint known now (P2.3)."""
        return new_head(stream, self.anchor())

    def _add(
        self, tx: Transaction, request: Append, head: StreamHead, created_at_ms: int
    ) -> tuple[StreamHead, ViewRow | None, Sequence[StoredEvent]]:
        """Seal and write the events, advance the views, sign where P4.3 wants it signed."""
        events = request.events
        salts = self.random_bytes(SALT_BYTES * len(events))
        if request.fence is not None:
            head = replace(head, fence=request.fence)
        sealed = seal(head, events, created_at_ms, salts, self.limits.payload_bytes_max)
        tx.add(sealed)
        row = self.projector.apply(tx.views, request.stream, tuple(zip(events, sealed.events, strict=True)))
        if head.size == 0 or _ends_a_run(events):
            # The note exists before the commit, but nobody can have seen it if the commit fails.
            self._sign(tx, sealed.head)
            self._log(tx, sealed.head, created_at_ms)
        return sealed.head, row, sealed.events

    def _note_fence(self, tx: Transaction, head: StreamHead, fence: int | None) -> StreamHead:
        if fence is None or fence == head.fence:
            return head
        head = replace(head, fence=fence)
        tx.set_fence(head)
        return head

    def _sign(self, tx: Transaction, head: StreamHead) -> bytes:
        signer = self.signer()
        note = sign_note(self._text(signer, head), signer)
        tx.put_checkpoint(head.stream, head.size, note)
        return note

    def _log(self, tx: Transaction, head: StreamHead, created_at_ms: int) -> None:
        """The entry lies in the transaction of the event that it shows: neither is there alone (P5.1)."""
        text = self._text(self.signer(), head)
        tx.add_log_entry(LogEntry(head.stream, head.size, created_at_ms, text.encode()))

    def _log_key_change(self, tx: Transaction, verifier_key: str, created_at_ms: int) -> None:
        """The new key counts from the size on at which the log holds this entry (P6)."""
        change = KeyChange(self.signer().name, Verifier.parse(verifier_key), tx.log_size() + 1)
        tx.add_log_entry(LogEntry(None, 0, created_at_ms, str(change).encode()))

    def _text(self, signer: Signer, head: StreamHead) -> str:
        return format_checkpoint(signer.name, head.stream, head.size, head.tree.root())


def refuse_oversized(request: Append, limits: LogLimits) -> None:
    """Raise ValueError, before anything is queued, for an append with too many events."""
    if len(request.events) > limits.append_events_max:
        raise ValueError(
            f"{request.stream}: {len(request.events)} events in one append; "
            f"split them, at most {limits.append_events_max} go together"
        )


def answered_before(stored: StoredClaim | None, fingerprint: str, now_ms: int) -> Appended | None:
    """What became of the claim, None if nothing is stored or its time is over (CONTRACT §5).

    Raises `IdempotencyKeyReused` when it was stored for another request.
    """
    if stored is None or stored.expires_at_ms <= now_ms:
        return None
    if stored.fingerprint != fingerprint:
        raise IdempotencyKeyReused("this idempotency key came with another request: use a new key")
    return stored.outcome


def _admit(request: Append, head: StreamHead | None) -> None:
    """Raise the refusal that `request` deserves at this head, if it deserves one."""
    stream, expected, fence = request.stream, request.expected_head, request.fence
    if head is None:
        if expected is None:
            raise UnknownStream(f"{stream}: no such stream; create it with expected_head 0")
        if expected != 0:
            raise ExpectedHeadMismatch(stream, expected, 0)
        return
    if fence is not None and fence < head.fence:
        raise StaleFence(f"{stream}: fence {fence} is behind {head.fence}; stop working on this stream")
    if expected is not None and expected != head.size:
        raise ExpectedHeadMismatch(stream, expected, head.size)


def _time_of(request: Append, head: StreamHead | None, now_ms: int) -> int:
    """One time for the whole append, never before the stream's last one, whatever the clock does (P2.1)."""
    wanted_ms = now_ms if request.created_at_ms is None else request.created_at_ms
    return wanted_ms if head is None else max(wanted_ms, head.created_at_ms)


def _ends_a_run(events: Sequence[NewEvent]) -> bool:
    """Internal events stand at the end of a run alone (P4.1), and each wants a signed checkpoint."""
    return events[-1].type in INTERNAL_TYPES
