"""Owns what a verification is asked and what it says: options, codes (PROOF P10), verdict (PROOF P9.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evidence.checkpoint import Checkpoint

COMPLETE = "COMPLETE"
OPEN_PREFIX = "OPEN_PREFIX"
REDACTED = "REDACTED"
WITHHELD = "WITHHELD"
FAILED = "FAILED"

EXIT_ACCEPTED, EXIT_REFUSED, EXIT_UNREADABLE = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Code:
    """A way to fail: the clause that forbids it, and what it means in one sentence."""

    clause: str
    meaning: str


CODES = {
    "E_FORMAT": Code("P9.3", "Something cannot be read, or is not in its one spelling."),
    "E_SIG_INVALID": Code("P4.3", "The checkpoint was changed after it was signed."),
    "E_SIG_UNKNOWN_KEY": Code("P6", "The checkpoint is signed by a key that your policy does not name."),
    "E_KEY_RETIRED": Code("P6", "The signing key had been retired."),
    "E_ORIGIN_MISMATCH": Code("P4.3", "The proof is of another run or another server."),
    "E_RUN_MISMATCH": Code("P2.1a", "An event belongs to another run."),
    "E_SEQ_GAP": Code("P2.1", "An event is missing."),
    "E_SEQ_ORDER": Code("P2.1", "Events stand in another order than they were recorded."),
    "E_SEQ_DUP": Code("P2.1", "An event stands here twice."),
    "E_GENESIS": Code("P2.3", "The first event does not start from this run and this anchor."),
    "E_CHAIN_BROKEN": Code("P2.4", "An event does not continue the one before it: one of them was edited."),
    "E_TIME_ORDER": Code("P2.1", "An event claims to be earlier than the one before it."),
    "E_TRUNCATED": Code("P4.3", "Events are missing at the end."),
    "E_EXTRA_EVENTS": Code("P4.3", "There are more events than were signed."),
    "E_ROOT_MISMATCH": Code("P3.1", "The events are not those whose root was signed."),
    "E_PAYLOAD_MISMATCH": Code("P2", "An event's payload or salt was changed."),
    "E_NONCANONICAL": Code("P1.2", "A payload is not in the one spelling that events have."),
    "E_HEADER_PAYLOAD_DISAGREE": Code("P2.1a", "An event's record and its payload say different things."),
    "E_REDACTION_FORBIDDEN": Code("P7", "An event was redacted that is never redacted."),
    "E_REDACTION_MISMATCH": Code("P7", "Another event is missing its payload than the redaction names."),
    "E_REDACTION_UNRECORDED": Code("P7", "A payload is missing and no redaction says so."),
    "E_EVENT_AFTER_SEAL": Code("P4.1", "Something was appended after the run had ended."),
    "E_NOT_FINAL": Code("P4.2", "The run ended, but this prefix of it does not hold its end."),
    "E_EVIDENCE_DRIFT": Code("P12", "The evidence is not what the events say."),
    "E_STREAM_DIGEST": Code("P1.3", "The output is not what the seal or its own bytes say."),
    "E_ARTIFACT_DIGEST": Code("P8", "An artifact is not the one that was collected."),
    "E_INCLUSION": Code("P5.3", "The global log is not shown to hold this checkpoint."),
    "E_WITNESS_SIG": Code("P9.3", "A cosignature of a witness of your policy does not fit."),
    "E_WITNESS_QUORUM": Code("P6", "Fewer witnesses cosigned than your policy demands."),
    "E_TIMESTAMP": Code("P5.7", "The timestamp does not show when this checkpoint existed."),
    "E_TIME_BEFORE_ANCHOR": Code("P9.2b", "An event claims to be earlier than the run can have begun."),
    "E_TIME_AFTER_WITNESS": Code("P9.2b", "An event claims to be later than it was witnessed."),
    "E_ROLLBACK": Code("P9.1", "The proof is older than the checkpoint that you pinned."),
    "E_FORK": Code("P9.1", "The history differs from the one that you pinned."),
    "E_DSSE_SIG": Code("P11", "An attestation is not signed by a key that your policy trusts for it."),
    "E_ATTESTATION_SUBJECT": Code("P11", "An attestation is about something else than this run."),
    "E_ATTESTATION_RESULT": Code("P11", "An attestation says other things than this run shows."),
    "E_RANGE_PROOF": Code("P3.3", "The window's proof does not lead to the signed root."),
    "E_RUN_MISSING": Code("P5.6", "The log names a run that is not there, or that never ended."),
    "E_DOUBLE_SEAL": Code("P5.6", "A run was sealed a second time."),
    "E_LOG_FORK": Code("P5.6", "The log, or a stream in it, does not continue what it was."),
}
"""Every code, as a bundle is looked at (P9.1); the last ones are of windows and of the log."""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """What a time-stamping authority says of a checkpoint (P5.7): when it had seen it, in unix milliseconds.

    `authority` is the name in its certificate, `not_after_ms` its time with all that it may be off.
    """

    authority: str
    not_after_ms: int


TimestampCheck = Callable[[bytes], Timestamp]
"""Judges a timestamp over the bytes of run.checkpoint; raises `VerificationError` where it does not fit."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the auditor expects and allows (P9.2).

    `expected_run` is the id of the run or organisation that the proof must be of. `allow_unlogged` accepts
    a sealed run without `run.tlog-proof` (P5.3), `allow_unattested` one without attestations, or a policy
    that names no key for them (P11). `pin` is a checkpoint of the same stream that the auditor kept,
    `timestamp` judges the timestamp that lies beside the bundle (P5.7).
    """

    expected_run: str | None = None
    allow_open: bool = False
    allow_withheld: bool = False
    allow_unlogged: bool = False
    allow_unattested: bool = False
    strict_time: bool = False
    pin: Checkpoint | None = None
    timestamp: TimestampCheck | None = None


class VerificationError(Exception):
    """A check failed. `detail` completes the code's meaning; `seq` is the event to look at, if one."""

    def __init__(self, code: str, detail: str, seq: int | None = None) -> None:
        super().__init__(f"{code}: {CODES[code].meaning} {detail}")
        self.code, self.detail, self.seq = code, detail, seq


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer of a verification (P9.2). `root` is base64, times are ISO 8601, `exit_code` is P9.2's."""

    verdict: str
    exit_code: int
    code: str | None = None
    seq: int | None = None
    clause: str | None = None
    message: str = ""
    stream: str | None = None
    size: int | None = None
    root: str | None = None
    not_before: str | None = None
    not_after: str | None = None
    proven: list[str] = field(default_factory=list[str])
    not_proven: list[str] = field(default_factory=list[str])

    @property
    def ok(self) -> bool:
        """Whether the proof was accepted."""
        return self.exit_code == EXIT_ACCEPTED

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of P9.2, every key always present."""
        return {
            "verdict": self.verdict,
            "code": self.code,
            "seq": self.seq,
            "clause": self.clause,
            "message": self.message,
            "stream": self.stream,
            "size": self.size,
            "root": self.root,
            "notBefore": self.not_before,
            "notAfter": self.not_after,
            "proven": self.proven,
            "notProven": self.not_proven,
        }
