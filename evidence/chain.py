"""Owns the first pass of judgement over a stream: records, their order, their chain, count and root (P9.1).

Whatever breaks here is blamed on the first bad record; nothing after it can be trusted (P9.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from evidence.bundle import RECORD_LINES
from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.fold import OUTPUT_TYPES
from evidence.merkle import CompactRange
from evidence.record import (
    SCHEMA,
    TYPE,
    encode_base64,
    genesis,
    parse_decimal,
    parse_hash,
    parse_record,
    parse_time,
)
from evidence.spans import Span
from evidence.verdict import VerificationError

TYPES_KNOWN_MAX = 256
"""Type names remembered as well-formed, so that the pattern is matched once for each."""


@dataclass(slots=True)
class Header:
    """What the record of an event says of its payload; `commitment_line` is base64 with its LF."""

    seq: int
    type: str
    created_at: str
    payload_size: int
    commitment_line: bytes

    @property
    def commitment(self) -> bytes:
        """The commitment, decoded."""
        return parse_hash(self.commitment_line[:-1].decode("ascii"))


class Chain:
    """Checks records one after the other against a checkpoint that was verified before.

    `add` answers each record's header, or None while it waits for the next record to tell a gap from a
    swap. Both `add` and `finish` raise `VerificationError`.
    """

    def __init__(self, stream: str, checkpoint: Checkpoint, anchor: bytes) -> None:
        self.tree = CompactRange()
        self._stream = stream
        self._checkpoint = checkpoint
        self._fixed_lines = [f"{SCHEMA}\n".encode(), f"{stream}\n".encode()]
        self._prev_line = _hash_line(genesis(stream, anchor))
        self.first_created_at = self.created_at = ""
        self._types = {f"{kind}\n".encode(): kind for kind in OUTPUT_TYPES}
        self._skipped_to: int | None = None

    @property
    def size(self) -> int:
        """Records accepted so far."""
        return self.tree.size

    def add(self, lines: list[bytes]) -> Header | None:
        """Check the eight lines of the next record."""
        seq = self.tree.size + 1
        if lines[:2] != self._fixed_lines or lines[2] != b"%d\n" % seq or self._skipped_to:
            self._blame(lines, seq)
            return None
        if lines[7] != self._prev_line:
            self._blame_link(lines, seq)
        try:
            header = self._header(lines, seq)
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"Event {seq}: {error}.", seq) from error
        if header.created_at < self.created_at:
            raise VerificationError(
                "E_TIME_ORDER", f"Event {seq} says {header.created_at}, after {self.created_at}.", seq
            )
        if seq > self._checkpoint.size:
            raise VerificationError(
                "E_EXTRA_EVENTS", f"{self._checkpoint.size} were signed; event {seq} was not.", seq
            )
        leaf = sha256(b"\x00" + b"".join(lines)).digest()
        self.tree.append(leaf)
        self._prev_line = _hash_line(leaf)
        self.first_created_at = self.first_created_at or header.created_at
        self.created_at = header.created_at
        return header

    def continues(self, span: Span) -> bool:
        """Whether the span stands in its place: then `add` would accept each of its records."""
        return (
            not self._skipped_to
            and span.first_seq == self.size + 1 > 1  # event 1 has a form of its own
            and span.prev_line == self._prev_line
            and span.first_created_at >= self.created_at
            and self.size + span.count <= self._checkpoint.size
        )

    def take(self, span: Span) -> None:
        """Do what `add` does for each of its records."""
        for level, root in span.subtrees:
            self.tree.push_subtree(level, root)
        self._prev_line = _hash_line(span.last_leaf)
        self.created_at = span.last_created_at

    def finish(self) -> None:
        """Compare the number of records and their root with what was signed."""
        if self._skipped_to:
            raise self._gap(self._skipped_to)
        signed = self._checkpoint
        if self.size < signed.size:
            raise VerificationError(
                "E_TRUNCATED", f"{signed.size} were signed, {self.size} are here.", self.size + 1
            )
        if self.tree.root() != signed.root:
            raise VerificationError(
                "E_ROOT_MISMATCH",
                f"Signed: {encode_base64(signed.root)}; computed: {encode_base64(self.tree.root())}.",
            )

    def _header(self, lines: list[bytes], seq: int) -> Header:
        """The lines of a record that its place does not determine."""
        type_line, time_line, size_line, commitment_line = lines[3:7]
        type_ = self._types.get(type_line)
        if type_ is None:
            type_ = _line(type_line)
            if not TYPE.fullmatch(type_) or len(self._types) >= TYPES_KNOWN_MAX:
                raise FormatError("its type is not 1 to 32 of a-z and _")
            self._types[type_line] = type_
        created_at = _line(time_line)
        parse_time(created_at)
        parse_hash(_line(commitment_line))
        return Header(seq, type_, created_at, parse_decimal(_line(size_line)), commitment_line)

    def _blame(self, lines: list[bytes], expected: int) -> None:
        """Name what is wrong with the place of a record (P9.6)."""
        try:
            record = parse_record(b"".join(lines[:RECORD_LINES]))
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"Record {expected}: {error}.", expected) from error
        if record.stream != self._stream:
            raise VerificationError(
                "E_RUN_MISMATCH", f"Where event {expected} should be stands one of {record.stream}.", expected
            )
        if self._skipped_to:
            if record.seq == expected:
                raise VerificationError(
                    "E_SEQ_ORDER", f"Event {self._skipped_to} stands before event {expected}.", expected
                )
            raise self._gap(self._skipped_to)
        if record.seq == expected - 1 and record.seq > 0:
            raise VerificationError("E_SEQ_DUP", f"Event {record.seq} stands here twice.", record.seq)
        if record.seq < expected:
            raise VerificationError(
                "E_SEQ_ORDER", f"Event {record.seq} stands where event {expected} should.", expected
            )
        self._skipped_to = record.seq

    def _blame_link(self, lines: list[bytes], seq: int) -> None:
        try:
            parse_hash(_line(lines[7]))
        except FormatError as error:
            raise VerificationError("E_FORMAT", f"Event {seq}, line 8: {error}.", seq) from error
        if seq == 1:
            raise VerificationError("E_GENESIS", "Its run id or anchor was exchanged.", seq)
        raise VerificationError("E_CHAIN_BROKEN", f"Event {seq} was made after another event {seq - 1}.", seq)

    def _gap(self, found: int) -> VerificationError:
        missing = self.size + 1
        return VerificationError("E_SEQ_GAP", f"Event {found} follows event {missing - 1}.", missing)


def _hash_line(digest: bytes) -> bytes:
    return f"{encode_base64(digest)}\n".encode()


def _line(line: bytes) -> str:
    if line[-1:] != b"\n" or not line.isascii():
        raise FormatError("a line is not ASCII that ends with LF, or is too long")
    return line[:-1].decode("ascii")
