"""Owns the checking of a stream while it is read, window after window, each proved by itself (PROOF P3.4).

A window of `proof/events` is events and the proof that they stand in the tree whose root is signed. Since
each record names the leaf before it, windows that join are one history; and a pin, the last leaf that was
seen, makes the next reading continue this one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evidence.absent import targets_of
from evidence.bundle import RECORD_LINES
from evidence.canonical import FormatError
from evidence.chain import Header
from evidence.checkpoint import Checkpoint
from evidence.contents import open_payload_line, output_bytes, read_event, refuse_other_text
from evidence.fold import OUTPUT_TYPES
from evidence.judgement import open_run_checkpoint, read_run_checkpoint, refuse_retired
from evidence.merkle import CompactRange
from evidence.note import Verifier
from evidence.pin import Pin
from evidence.policy import Policy
from evidence.proofs import RANGE_HEADER, RangeProof, parse_consistency_proof, parse_range_proof
from evidence.record import Record, encode_base64, leaf_hash, parse_record
from evidence.verdict import VerificationError
from evidence.wording import counted

ENTRY_LINES = RECORD_LINES + 1
ABSENT_MAX = 100_000
"""Events without payload that one reading remembers until their redaction comes."""

Event = dict[str, Any]

Consistency = Callable[[int, int], bytes]
"""Gets the text of the proof that leads from one size of the stream to a larger one (P3.2)."""


class StreamReading:
    """One reading of one stream; every method raises `VerificationError` for what does not hold.

    `seq` and `leaf` are where it stands, `checkpoint` the newest that was seen. It starts at the pin, or,
    without one, wherever the first window begins.
    """

    def __init__(self, stream: str, policy: Policy, pin: Pin | None = None) -> None:
        self.stream, self._policy, self._pin = stream, policy, pin
        self.seq = 0
        self.leaf: bytes | None = None
        self.checkpoint: Checkpoint | None = None
        self.signers: tuple[Verifier, ...] = ()
        self._created_at = ""
        self._note = b""
        self._absent: dict[int, bytes] = {}
        if pin is not None:
            self._accept(pin.note, *self._opened(pin.note))
            self.seq, self.leaf = pin.seq, pin.leaf

    @property
    def caught_up(self) -> bool:
        """Whether everything that the newest checkpoint covers was read."""
        return self.checkpoint is not None and self.seq >= self.checkpoint.size

    def pin(self) -> Pin | None:
        """Where this reading stands, to begin the next one with; the older pin where it got no further."""
        if self.leaf is None or (self._pin is not None and self._pin.seq > self.seq):
            return self._pin
        return Pin(self.seq, self.leaf, self._note)

    def take(self, after_seq: int, data: bytes, consistency: Consistency) -> list[Event]:
        """Check the window after `after_seq`; answers its events, internal ones included.

        An event whose payload is not there is answered as `redacted` with empty `data` (P7). `consistency`
        is asked where the window cannot show itself that its checkpoint continues the newest one seen.
        """
        entries, proof_text = _split_window(data)
        try:
            proof = parse_range_proof(proof_text)
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"The window after {after_seq}: {error}.") from error
        signed, signers = self._see(proof.note)
        if proof.start != after_seq:
            raise VerificationError("E_RANGE_PROOF", f"It begins after {proof.start}, not {after_seq}.")
        joins = after_seq == self.seq
        prev, since = (self.leaf, self._created_at) if joins else (None, "")
        records = [self._record(number, entry) for number, entry in enumerate(entries, after_seq + 1)]
        leaves = [leaf_hash(b"".join(entry[:RECORD_LINES])) for entry in entries]
        self._check_links(records, leaves, prev, since)
        proof.check(leaves, signed)
        events = [
            self._event(record, entry[RECORD_LINES]) for record, entry in zip(records, entries, strict=True)
        ]
        self._check_growth(proof, leaves, signed, consistency)
        if leaves:
            self.seq, self.leaf = after_seq + len(leaves), leaves[-1]
            self._created_at = records[-1].created_at
        self._accept(proof.note, signed, signers)
        return events

    def finish(self) -> None:
        """At the end of a sealed run: was every payload that is not there redacted on the record (P7)?"""
        if self._absent:
            seq = min(self._absent)
            raise VerificationError("E_REDACTION_UNRECORDED", f"Event {seq} has no payload.", seq)

    def _see(self, note: bytes) -> tuple[Checkpoint, tuple[Verifier, ...]]:
        """Judge a checkpoint: signed by a key that counts, of this stream, never older nor another history.

        A pin was judged when it was made, before its key was retired; what a server hands out now was not.
        """
        signed, signers = self._opened(note)
        refuse_retired(self._policy, signers, log_size=None)
        known = self.checkpoint
        if known is not None and signed.size < known.size:
            raise VerificationError(
                "E_ROLLBACK", f"Seen before: {counted(known.size, 'event')}; now: {signed.size}."
            )
        if known is not None and signed.size == known.size and signed.root != known.root:
            raise VerificationError("E_FORK", f"Two roots were signed for {counted(known.size, 'event')}.")
        return signed, signers

    def _check_growth(
        self, proof: RangeProof, leaves: list[bytes], signed: Checkpoint, consistency: Consistency
    ) -> None:
        """Does the tree of this checkpoint begin with the newest one that was seen (P3.5)?

        Also where that one covers events that were not read: they were signed.
        """
        known = self.checkpoint
        if known is None or known.size == signed.size:
            return
        if proof.start <= known.size <= proof.end:
            tree = CompactRange(proof.start, list(proof.left))
            for leaf in leaves[: known.size - proof.start]:
                tree.append(leaf)
            if tree.root() != known.root:
                detail = f"Another root was signed for the first {counted(known.size, 'event')}."
                raise VerificationError("E_FORK", detail)
            return
        try:
            growth = parse_consistency_proof(consistency(known.size, signed.size))
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"The consistency proof: {error}.") from error
        growth.check(known, signed)

    def _accept(self, note: bytes, signed: Checkpoint, signers: tuple[Verifier, ...]) -> None:
        """Only a checkpoint that all else agreed with is remembered, and pinned."""
        self.checkpoint, self.signers, self._note = signed, signers, note

    def _opened(self, note: bytes) -> tuple[Checkpoint, tuple[Verifier, ...]]:
        opened = open_run_checkpoint(note, self._policy)
        checkpoint, origin, stream = read_run_checkpoint(opened)
        if any(key.name != origin for key in opened.verified):
            raise VerificationError("E_ORIGIN_MISMATCH", f"It names {origin}; its key is of another origin.")
        if stream != self.stream:
            raise VerificationError("E_ORIGIN_MISMATCH", f"It is of {stream}; expected was {self.stream}.")
        return checkpoint, opened.verified

    def _record(self, expected: int, entry: list[bytes]) -> Record:
        try:
            record = parse_record(b"".join(entry[:RECORD_LINES]))
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"Record {expected}: {error}.", expected) from error
        if record.stream != self.stream:
            raise VerificationError(
                "E_RUN_MISMATCH", f"Event {expected} is one of {record.stream}.", expected
            )
        if record.seq != expected:
            code = "E_SEQ_GAP" if record.seq > expected else "E_SEQ_ORDER"
            raise VerificationError(code, f"Event {record.seq} stands where {expected} should.", expected)
        return record

    def _check_links(
        self, records: list[Record], leaves: list[bytes], prev: bytes | None, created_at: str
    ) -> None:
        """Each record continues the one before it, the first the leaf that was seen last (P2.4)."""
        for record, leaf in zip(records, leaves, strict=True):
            if prev is not None and record.prev != prev:
                code = "E_FORK" if record is records[0] else "E_CHAIN_BROKEN"
                detail = f"Event {record.seq} does not continue the event {record.seq - 1} that was seen."
                raise VerificationError(code, detail, record.seq)
            if record.created_at < created_at:
                raise VerificationError("E_TIME_ORDER", f"Event {record.seq}.", record.seq)
            if self._pin is not None and record.seq == self._pin.seq and leaf != self._pin.leaf:
                detail = f"Event {record.seq} is another one than the one that you pinned."
                raise VerificationError("E_FORK", detail, record.seq)
            prev, created_at = leaf, record.created_at

    def _event(self, record: Record, line: bytes) -> Event:
        commitment_line = f"{encode_base64(record.commitment)}\n".encode()
        header = Header(record.seq, record.type, record.created_at, record.payload_size, commitment_line)
        try:
            opened = open_payload_line(line)
            if opened is None:
                return self._absent_event(record)
            event = read_event(self.stream, header, *opened)
            if record.type in OUTPUT_TYPES:
                refuse_other_text(event, output_bytes(event))
            elif record.type == "redaction":
                self._note_redaction(event)
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"Event {record.seq}: {error}.", record.seq) from error
        return event

    def _absent_event(self, record: Record) -> Event:
        if record.type not in OUTPUT_TYPES or len(self._absent) >= ABSENT_MAX:
            detail = f"Event {record.seq} is {record.type}, yet its payload is absent."
            raise VerificationError("E_REDACTION_UNRECORDED", detail, record.seq)
        self._absent[record.seq] = record.commitment
        return {
            "type": record.type,
            "seq": record.seq,
            "createdAt": record.created_at,
            "data": "",
            "redacted": True,
        }

    def _note_redaction(self, event: Event) -> None:
        """Excuse the payloads that it names; what was read before it was erased needs no excuse.

        Raises `FormatError` too.
        """
        for seq, commitment in targets_of(event):
            absent = self._absent.pop(seq, None)
            if absent is not None and absent != commitment:
                raise VerificationError("E_REDACTION_MISMATCH", f"It names another event {seq}.", seq)


def _split_window(data: bytes) -> tuple[list[list[bytes]], bytes]:
    """The entries, nine lines each, and the text of the range proof behind the empty line."""
    separator = f"\n{RANGE_HEADER}\n".encode()
    head, found, rest = data.partition(separator)  # no line of an event can be that header
    lines = head.split(b"\n")[:-1] if head else []
    if not found or head[-1:] not in {b"", b"\n"} or len(lines) % ENTRY_LINES:
        raise VerificationError("E_FORMAT", "A window is events of nine lines, an empty line, a range proof.")
    entries = [
        [line + b"\n" for line in lines[at : at + ENTRY_LINES]] for at in range(0, len(lines), ENTRY_LINES)
    ]
    return entries, separator[1:] + rest
