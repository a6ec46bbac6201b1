"""Owns the second pass of judgement over a stream: what each payload says (PROOF P9.1, P9.4).

It runs beside the chain, so that a stream is read once; but what it finds is told only after the chain
was judged whole. Hence it keeps the first complaint of each stage, and `raise_complaint` tells them in
the order of P9.1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import Any

from evidence.absent import AbsentPayloads
from evidence.canonical import FormatError, ProfileError, decode
from evidence.chain import Header
from evidence.fold import OUTPUT_EVENT_BYTES_MAX, OUTPUT_TYPES, RunFold, StreamDigests, raw_bytes
from evidence.record import SALT_BYTES, commitment, decode_base64, encode_base64
from evidence.spans import Span
from evidence.verdict import VerificationError

RUN_PREFIX = "wsr_"
KEPT_BYTES_MAX = 16 * 1024 * 1024
"""Payload bytes of all artifact events together: what must be remembered of a stream."""


class Stage(IntEnum):
    """The order in which complaints about payloads are told (P9.1)."""

    PAYLOAD = 1
    REDACTION = 2
    SEAL = 3
    OUTPUT = 4


class Contents:
    """Checks payloads one after the other and remembers what the end of the stream is judged by.

    `wanted` are the ids of the artifacts whose content will be compared.
    """

    def __init__(self, stream: str, wanted: Collection[str] = ()) -> None:
        self.is_run = stream.startswith(RUN_PREFIX)
        self.fold = RunFold()
        self.digests = StreamDigests()
        self.absent = AbsentPayloads()
        self.seal: dict[str, Any] | None = None
        self.seal_seq: int | None = None
        self.terminal: dict[str, Any] | None = None
        self.terminal_seq: int | None = None
        self.artifacts: dict[str, tuple[Any, Any]] = {}
        """Recorded sha256 and size of the wanted artifacts."""
        self._stream = stream
        self._wanted = frozenset(wanted)
        self._outcome_seq: int | None = None
        self._kept_bytes = 0
        self._complaints: dict[Stage, VerificationError] = {}

    def add(self, header: Header, last_line: bytes) -> None:
        """Take the ninth line of a record that the chain accepted.

        Raises `VerificationError` when the line itself cannot be read; all else is kept for later.
        """
        try:
            opened = open_payload_line(last_line)
        except FormatError as error:
            raise VerificationError(
                "E_FORMAT", f"Event {header.seq}, line 9: {error}.", header.seq
            ) from error
        self._note_place(header)
        if opened is None:
            self.absent.add(header)
        elif Stage.PAYLOAD not in self._complaints:
            # After a payload that cannot be believed only records go on being checked.
            try:
                event = read_event(self._stream, header, *opened)
                self._take(header, event)
            except FormatError as error:
                self._complain(Stage.PAYLOAD, "E_FORMAT", f"Event {header.seq}: {error}.", header.seq)
            except VerificationError as error:
                self._complaints.setdefault(Stage.PAYLOAD, error)

    @property
    def expects_output(self) -> bool:
        """Whether output is what may come now: the run goes on, and nothing is wrong so far."""
        ended = self._outcome_seq or self.terminal_seq or self.seal_seq
        return self.is_run and not ended and not self._complaints

    def take(self, span: Span) -> None:
        """Do what `add` does for each event of a span, when output is expected."""
        self.digests.feed("stdout", span.stdout)
        self.digests.feed("stderr", span.stderr)
        last_seq = span.first_seq + span.count - 1
        self.fold.apply_output(len(span.stdout), len(span.stderr), last_seq, span.last_created_at)

    def raise_complaint(self, stage: Stage) -> None:
        """Tell what was found in this stage, if anything was."""
        if stage in self._complaints:
            raise self._complaints[stage]

    def _note_place(self, header: Header) -> None:
        """What the types alone say: `outcome`, `terminal` and `seal` end a run; only redactions follow."""
        seq, kind = header.seq, header.type
        if kind == "redaction" or not self.is_run:
            return
        if kind == "seal" and self.seal_seq is None:
            self.seal_seq = seq
            if self.terminal_seq != seq - 1:
                detail = f"Event {seq - 1}, directly before the seal, is not terminal."
                self._complain(Stage.SEAL, "E_NOT_FINAL", detail, seq)
        elif self.terminal_seq is not None:
            self._complain(Stage.SEAL, "E_EVENT_AFTER_SEAL", f"Event {seq} is {kind}.", seq)
        elif kind == "terminal":
            self.terminal_seq = seq
            if self._outcome_seq != seq - 1:
                detail = f"Event {seq - 1}, directly before terminal, is not outcome."
                self._complain(Stage.SEAL, "E_NOT_FINAL", detail, seq)
        elif self._outcome_seq is not None:
            self._complain(Stage.SEAL, "E_EVENT_AFTER_SEAL", f"Event {seq} is {kind}.", seq)
        elif kind == "outcome":
            self._outcome_seq = seq

    def _take(self, header: Header, event: dict[str, Any]) -> None:
        """Fold the event and remember what it says about the end."""
        kind = header.type
        if self.is_run:
            if kind in OUTPUT_TYPES:
                self._take_output(header, event)
            self.fold.apply(event)
        if kind == "redaction":
            try:
                self.absent.record(event)
            except VerificationError as error:
                self._complaints.setdefault(Stage.REDACTION, error)
        elif kind == "seal":
            self._take_seal(event)
        elif kind == "terminal":
            self.terminal = event
        elif kind in {"artifact_collected", "artifact_error"}:
            self._take_artifact(header, event)

    def _take_output(self, header: Header, event: Mapping[str, Any]) -> None:
        raw = output_bytes(event)
        self.digests.feed(header.type, raw)
        try:
            refuse_other_text(event, raw)
        except VerificationError as error:
            self._complaints.setdefault(Stage.OUTPUT, error)

    def _take_seal(self, event: dict[str, Any]) -> None:
        if not self.is_run:
            raise FormatError("the stream of an organisation has no seal")
        missing = {"evidenceSha256", "projection", "lastPublicSeq", *self.digests.fields()} - event.keys()
        if missing:
            raise FormatError(f"the seal lacks {', '.join(sorted(missing))}")
        if not is_integer(event["lastPublicSeq"], event["seq"] - 1):
            detail = f"Event {event['seq']}: a seal's seq is lastPublicSeq + 1."
            raise VerificationError("E_HEADER_PAYLOAD_DISAGREE", detail, event["seq"])
        self.seal = event

    def _take_artifact(self, header: Header, event: Mapping[str, Any]) -> None:
        self._kept_bytes += header.payload_size
        if self._kept_bytes > KEPT_BYTES_MAX:
            raise FormatError(f"its artifact events hold more than {KEPT_BYTES_MAX} bytes")
        artifact_id = event.get("artifactId")
        if isinstance(artifact_id, str) and artifact_id in self._wanted:
            if artifact_id in self.artifacts:
                raise FormatError("an artifact of this id was collected before")
            self.artifacts[artifact_id] = (event.get("sha256"), event.get("sizeBytes"))

    def _complain(self, stage: Stage, code: str, detail: str, seq: int) -> None:
        self._complaints.setdefault(stage, VerificationError(code, detail, seq))


def read_event(stream: str, header: Header, salt: bytes, payload: bytes) -> dict[str, Any]:
    """The payload as an event, after its bytes, its spelling and its own header were checked (P2.1a).

    Raises `VerificationError`, and `FormatError` where it is no JSON object.
    """
    seq, is_run = header.seq, stream.startswith(RUN_PREFIX)
    if encode_base64(commitment(salt, payload)).encode() != header.commitment_line[:-1]:
        raise VerificationError("E_PAYLOAD_MISMATCH", f"Look at event {seq}.", seq)
    try:
        event = decode(payload)
    except ProfileError as error:
        raise VerificationError("E_NONCANONICAL", f"Event {seq}: {error}.", seq) from error
    if (
        event.get("type") != header.type
        or not is_integer(event.get("seq"), seq)
        or event.get("createdAt") != header.created_at
        or len(payload) != header.payload_size
    ):
        detail = f"Event {seq}: its type, seq, createdAt or size is not that of its record."
        raise VerificationError("E_HEADER_PAYLOAD_DISAGREE", detail, seq)
    if seq == 1 and event.get("runId" if is_run else "orgId") != stream:
        detail = "Event 1 names another run or organisation than its record."
        raise VerificationError("E_HEADER_PAYLOAD_DISAGREE", detail, seq)
    if seq > 1 and is_run and event.get("status") == "awaiting_archive":
        # The fold would take over the run that it names, and show that one's evidence under our id.
        raise VerificationError("E_RUN_MISMATCH", f"Event {seq} begins a run, as event 1 did.", seq)
    return event


def open_payload_line(line: bytes) -> tuple[bytes, bytes] | None:
    """Salt and payload of a ninth line, None for an absent payload. Raises `FormatError`."""
    if line == b"-\n":
        return None
    plus, _, rest = line.partition(b" ")
    salt_text, _, payload = rest.partition(b" ")
    if plus != b"+" or payload[-1:] != b"\n" or not salt_text.isascii():
        raise FormatError("it is neither '-' nor '+ <base64 salt> <payload>', or is too long")
    salt = decode_base64(salt_text.decode("ascii"))
    if len(salt) != SALT_BYTES:
        raise FormatError(f"a salt has {SALT_BYTES} bytes")
    return salt, payload[:-1]


def output_bytes(event: Mapping[str, Any]) -> bytes:
    """The raw bytes of an output event, which are bounded (P1.3). Raises `FormatError`."""
    raw = raw_bytes(event)
    if len(raw) > OUTPUT_EVENT_BYTES_MAX:
        raise FormatError(f"an output event holds at most {OUTPUT_EVENT_BYTES_MAX} bytes")
    return raw


def refuse_other_text(event: Mapping[str, Any], raw: bytes) -> None:
    """Raise `VerificationError` (E_STREAM_DIGEST) unless the event's `data` shows its raw bytes (P1.3)."""
    if "dataBase64" in event and not _is_shown_rightly(raw, event["data"]):
        seq = event["seq"]
        detail = f"Event {seq}: its data is not the text of its dataBase64."
        raise VerificationError("E_STREAM_DIGEST", detail, seq)


def is_integer(value: object, expected: int) -> bool:
    """Whether a value of JSON is this number: to Python `true == 1` holds too."""
    return type(value) is int and value == expected


def _is_shown_rightly(raw: bytes, data: str) -> bool:
    """Whether bytes that are not UTF-8 are shown as what Python makes of them (P1.3)."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "replace") == data
    return False
