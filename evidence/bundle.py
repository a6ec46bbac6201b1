"""Owns the members of a proof bundle and the nine lines that an event has in `events.log` (PROOF P8).

The server writes a bundle as a stream (`BundleWriter`); the verifier reads it as one (`Bundle`), and
`split_entry` gives both the same view of an event: eight record lines and one payload line.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO, Protocol

from evidence.canonical import FormatError
from evidence.container import Container, ContainerWriter
from evidence.dsse import ENVELOPE_BYTES_MAX
from evidence.note import NOTE_BYTES_MAX
from evidence.record import commitment, encode_base64, format_time, genesis, leaf_hash, record_bytes

EVIDENCE = "evidence.json"
EVENTS = "events.log"
CHECKPOINT = "run.checkpoint"
ANCHOR = "anchor.note"
TLOG_PROOF = "run.tlog-proof"
ARTIFACTS = "artifacts/"
TEST_RESULT = "attestations/test-result.dsse.json"
PROVENANCE = "attestations/provenance.dsse.json"
RUN_EVIDENCE = "attestations/run-evidence.dsse.json"
ATTESTATIONS = (TEST_RESULT, PROVENANCE, RUN_EVIDENCE)
"""In the order in which they are written."""

EVIDENCE_BYTES_MAX = 4 * 1024 * 1024
TLOG_PROOF_BYTES_MAX = NOTE_BYTES_MAX + 4096
RECORD_LINE_BYTES_MAX = 128
"""A line of a record; the longest holds a stream id or a hash."""
PAYLOAD_LINE_BYTES_MAX = 1024 * 1024
"""The ninth line: a payload is at most half of this."""
RECORD_LINES = 8

_ARTIFACT = re.compile(r"artifacts/([A-Za-z0-9][A-Za-z0-9_-]{0,127})", re.ASCII)
_REQUIRED = (EVENTS, CHECKPOINT, ANCHOR)
_ORDER = (EVIDENCE, CHECKPOINT, ANCHOR, EVENTS, TLOG_PROOF, *ATTESTATIONS)

Entry = tuple[list[bytes], bytes]
"""One event of `events.log`: its eight record lines, each with its LF, and the ninth line with its LF."""


class Row(Protocol):
    """One event as the log stores it; once redacted it has a commitment in place of payload and salt."""

    @property
    def seq(self) -> int:
        """Its number, from 1."""
        ...

    @property
    def type(self) -> str:
        """Its type."""
        ...

    @property
    def created_at_ms(self) -> int:
        """Unix milliseconds."""
        ...

    @property
    def payload(self) -> bytes | None:
        """The exact bytes that clients receive."""
        ...

    @property
    def salt(self) -> bytes | None:
        """16 random bytes."""
        ...

    @property
    def payload_size(self) -> int:
        """Bytes of the payload, kept after redaction."""
        ...

    @property
    def commitment(self) -> bytes | None:
        """Set only on a redacted row; else it follows from salt and payload."""
        ...


class EntryChain:
    """Turns stored rows into entries one by one; `prev` is the leaf of the last one (or the genesis)."""

    def __init__(self, stream: str, prev: bytes) -> None:
        self.stream, self.prev = stream, prev

    def add(self, row: Row, *, withhold: bool = False) -> bytes:
        """The nine lines of the next event; `withhold` leaves its payload out (P7).

        Raises ValueError for a row that has neither payload and salt nor a commitment.
        """
        if row.payload is not None and row.salt is not None:
            bound = commitment(row.salt, row.payload)
            last = b"+ " + encode_base64(row.salt).encode() + b" " + row.payload + b"\n"
        elif row.commitment is not None:
            bound, last = row.commitment, b"-\n"
        else:
            raise ValueError(
                f"event {row.seq} of {self.stream} has neither payload nor commitment: the row is damaged"
            )
        created_at = format_time(row.created_at_ms)
        record = record_bytes(self.stream, row.seq, row.type, created_at, row.payload_size, bound, self.prev)
        self.prev = leaf_hash(record)
        return record + (b"-\n" if withhold else last)


def event_entry(stream: str, row: Row, prev: bytes) -> bytes:
    """The nine lines that one stored event has in `events.log` (P8); `prev` is the leaf before it."""
    return EntryChain(stream, prev).add(row)


def place_of(name: str) -> tuple[int, str]:
    """Where a member stands among the others of its bundle, whose order is one; artifacts last, by id (P9.3).

    Raises `FormatError` for a name that no bundle has.
    """
    if name in _ORDER:
        return _ORDER.index(name), ""
    if not _ARTIFACT.fullmatch(name):
        raise FormatError(f"{name} is no member of a proof bundle that this verifier knows")
    return len(_ORDER), name


def split_entry(entry: bytes) -> Entry:
    """The pair of `event_entry`: lines of one entry. Raises `FormatError` when there are not nine."""
    *lines, last = entry.split(b"\n", RECORD_LINES)
    if last[-1:] != b"\n" or last.count(b"\n") != 1:  # with fewer lines the last one has no LF at all
        raise FormatError("an event has nine lines, each ended by LF")
    return [line + b"\n" for line in lines], last


def read_entry(log: io.BufferedIOBase) -> Entry:
    """The next nine lines of a log, each as long as it may be; at its end they are empty or cut."""
    lines = [log.readline(RECORD_LINE_BYTES_MAX) for _ in range(RECORD_LINES)]
    return lines, log.readline(PAYLOAD_LINE_BYTES_MAX)


class BundleWriter:
    """Writes a bundle into a seekable file, member after member, holding no member in memory.

    Call `event` for each entry in order; then `tlog_proof` and `attestations` where there are any, and
    `artifact` for each in the order of their ids; then `close`. The same inputs give the same bytes.
    Raises ValueError for a member out of that order.
    """

    def __init__(self, out: BinaryIO, *, checkpoint: bytes, anchor: bytes, evidence: bytes | None) -> None:
        self._zip = ContainerWriter(out)
        if evidence is not None:
            self._zip.add(EVIDENCE, evidence)
        self._zip.add(CHECKPOINT, checkpoint)
        self._zip.add(ANCHOR, anchor)
        self._open_member = self._zip.member(EVENTS)
        self._events = self._open_member.__enter__()
        self._last = EVENTS

    def event(self, entry: bytes) -> None:
        """Append one entry (the nine lines of `EntryChain.add`), or several joined, to `events.log`."""
        self._events.write(entry)

    def artifact(self, artifact_id: str, chunks: Iterable[bytes]) -> None:
        """Add the content of an artifact; nothing but further artifacts can follow."""
        with self._zip.member(self._next(ARTIFACTS + artifact_id)) as body:
            for chunk in chunks:
                body.write(chunk)

    def tlog_proof(self, proof: bytes) -> None:
        """Add the proof that the global log holds the run's checkpoint; no event can follow."""
        self._zip.add(self._next(TLOG_PROOF), proof)

    def attestations(self, envelopes: Mapping[str, bytes]) -> None:
        """Add the signed statements of `evidence.attestation.attest`; no event can follow.

        Raises ValueError for one that no bundle has.
        """
        if not envelopes.keys() <= set(ATTESTATIONS):
            raise ValueError(f"attestations of a bundle are {', '.join(ATTESTATIONS)}")
        for name in ATTESTATIONS:
            if name in envelopes:
                self._zip.add(self._next(name), envelopes[name])

    def close(self) -> None:
        """Finish the zip; the file itself stays open."""
        self._end_events()
        self._zip.close()

    def _next(self, name: str) -> str:
        """The name of the next member, after whatever was written last."""
        if place_of(name) <= place_of(self._last):
            raise ValueError(f"{name} stands before {self._last} in a bundle")
        self._end_events()
        self._last = name
        return name

    def _end_events(self) -> None:
        if self._last == EVENTS:
            self._open_member.__exit__(None, None, None)


def write_bundle(
    out: BinaryIO,
    *,
    stream: str,
    rows: Iterable[Row],
    checkpoint: bytes,
    anchor: bytes,
    evidence: bytes | None = None,
    without: frozenset[str] = frozenset(),
    tlog_proof: bytes | None = None,
    attestations: Mapping[str, bytes] | None = None,
    artifacts: Iterable[tuple[str, Iterable[bytes]]] = (),
) -> None:
    """Write a whole bundle from rows that are at hand; types in `without` keep their payloads back (P8)."""
    writer = BundleWriter(out, checkpoint=checkpoint, anchor=anchor, evidence=evidence)
    chain = EntryChain(stream, genesis(stream, anchor))
    for row in rows:
        writer.event(chain.add(row, withhold=row.type in without))
    if tlog_proof is not None:
        writer.tlog_proof(tlog_proof)
    writer.attestations(attestations or {})
    for artifact_id, chunks in artifacts:
        writer.artifact(artifact_id, chunks)
    writer.close()


class Bundle:
    """A bundle open for reading: small members whole, the rest as streams.

    Raises `FormatError` from all methods for a file that is not a bundle.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = Container(file)
        names = list(self._zip.members)
        if names != sorted(names, key=place_of):
            raise FormatError(f"the members stand in another order than {', '.join(_ORDER)}, artifacts")
        for name in _REQUIRED:
            if name not in names:
                raise FormatError(f"the bundle lacks {name}")
        self.checkpoint = self._zip.read(CHECKPOINT, NOTE_BYTES_MAX)
        self.anchor = self._zip.read(ANCHOR, NOTE_BYTES_MAX)
        self.evidence = self._zip.read(EVIDENCE, EVIDENCE_BYTES_MAX) if EVIDENCE in names else None
        self.tlog_proof = self._zip.read(TLOG_PROOF, TLOG_PROOF_BYTES_MAX) if TLOG_PROOF in names else None
        self.attestations = {
            name: self._zip.read(name, ENVELOPE_BYTES_MAX) for name in ATTESTATIONS if name in names
        }
        self.artifact_ids = [match[1] for name in names if (match := _ARTIFACT.fullmatch(name))]

    @property
    def damaged(self) -> list[str]:
        """Members read to their end whose bytes do not fit the zip's own checksum."""
        return self._zip.damaged

    def log(self) -> io.BufferedReader:
        """The events: `events.log` as a stream."""
        return self._zip.open(EVENTS)

    def artifact(self, artifact_id: str) -> Iterator[bytes]:
        """An artifact's content in chunks."""
        content = self._zip.open(ARTIFACTS + artifact_id)
        while chunk := content.read1():
            yield chunk
