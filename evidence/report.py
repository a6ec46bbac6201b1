"""Owns the sentences of a verdict: what was proved, and plainly what was not (PROOF P0, P9.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from evidence.checkpoint import Checkpoint
from evidence.contents import Contents
from evidence.dsse import key_id
from evidence.note import Verifier
from evidence.record import encode_base64, format_time
from evidence.tlog import LogCheckpoint
from evidence.verdict import (
    CODES,
    COMPLETE,
    EXIT_ACCEPTED,
    EXIT_REFUSED,
    EXIT_UNREADABLE,
    FAILED,
    OPEN_PREFIX,
    REDACTED,
    WITHHELD,
    Options,
    Timestamp,
    Verdict,
    VerificationError,
)
from evidence.wording import counted

SEQS_NAMED_MAX = 10
"""Events that a sentence lists by number."""

TRUTH = (
    "That the command told the truth, or that nothing ran unrecorded: this shows what the server recorded."
)
REWRITE = (
    "That the server did not rewrite everything and sign it again: without a witness, a pin or a monitor "
    "this says 'signed by that key' and no more."
)
SECOND_HISTORY = (
    "That the server signed no other history of it: a timestamp shows that this one was there at that time, "
    "and only a witness, a pin or a monitor that there is no second one."
)
OTHER_ENDING = (
    "That no other history of this stream was signed too: the log shows each of them, but only to who reads "
    "all of it (crownest monitor)."
)


@dataclass(slots=True)
class Findings:
    """What a verification has learned so far."""

    options: Options
    stream: str | None = None
    checkpoint: Checkpoint | None = None
    signers: tuple[Verifier, ...] = ()
    contents: Contents | None = None
    artifacts_shown: list[str] = field(default_factory=list[str])
    log: LogCheckpoint | None = None
    attested: dict[str, Verifier] = field(default_factory=dict[str, Verifier])
    """Members that hold an attestation of this run, and the key that signed each."""
    not_before_ms: int | None = None
    witnessed_ms: int | None = None
    timestamp: Timestamp | None = None
    warnings: list[str] = field(default_factory=list[str])

    @property
    def not_after_ms(self) -> int | None:
        """The earlier of what witnesses and a time-stamping authority say (P9.2b)."""
        times = [self.witnessed_ms, self.timestamp.not_after_ms if self.timestamp else None]
        return min((time for time in times if time is not None), default=None)


def unreadable_verdict(reason: str) -> Verdict:
    """The bundle or the policy itself cannot be read: nothing was judged (exit code 2)."""
    code = CODES["E_FORMAT"]
    return Verdict(
        FAILED,
        EXIT_UNREADABLE,
        code="E_FORMAT",
        clause=code.clause,
        message=f"{code.meaning} {reason}",
        not_proven=["Anything: there was nothing to judge.", TRUTH, REWRITE],
    )


def failed_verdict(findings: Findings, error: VerificationError) -> Verdict:
    """The proof does not hold."""
    return _verdict(
        findings,
        FAILED,
        EXIT_REFUSED,
        error=error,
        proven=[],
        not_proven=["Anything about this run: the proof does not hold.", TRUTH, REWRITE],
    )


def verdict_of(findings: Findings, contents: Contents, checkpoint: Checkpoint) -> Verdict:
    """The proof holds: say how much it covers."""
    redacted, withheld = contents.absent.redacted(), contents.absent.unrecorded()
    kind, message = COMPLETE, f"All {checkpoint.size:,} events of the sealed run are here and unchanged."
    accepted = True
    if contents.seal is None:
        first = "event is" if checkpoint.size == 1 else f"{checkpoint.size:,} events are"
        kind, message = OPEN_PREFIX, f"The first {first} here and unchanged; more may follow."
        accepted = findings.options.allow_open
    elif withheld:
        kind, message = (
            WITHHELD,
            f"The run is whole, but the output of {counted(len(withheld), 'event')} was kept back.",
        )
    elif redacted:
        kind, message = (
            REDACTED,
            f"The run is whole, but the output of {counted(len(redacted), 'event')} was erased.",
        )
    return _verdict(
        findings,
        kind,
        EXIT_ACCEPTED if accepted else EXIT_REFUSED,
        message=message,
        seq=next(iter(withheld or redacted), None),
        proven=_proven(findings, contents, checkpoint),
        not_proven=_not_proven(findings, contents, checkpoint, redacted, withheld),
    )


def _verdict(
    findings: Findings,
    kind: str,
    exit_code: int,
    *,
    proven: list[str],
    not_proven: list[str],
    message: str = "",
    seq: int | None = None,
    error: VerificationError | None = None,
) -> Verdict:
    checkpoint = findings.checkpoint
    code = CODES[error.code] if error else None
    return Verdict(
        kind,
        exit_code,
        code=error.code if error else None,
        seq=error.seq if error else seq,
        clause=code.clause if code else None,
        message=f"{code.meaning} {error.detail}" if code and error else message,
        stream=findings.stream,
        size=checkpoint.size if checkpoint else None,
        root=encode_base64(checkpoint.root) if checkpoint else None,
        not_before=_time(findings.not_before_ms),
        not_after=_time(findings.not_after_ms),
        proven=proven,
        not_proven=not_proven,
    )


def _proven(findings: Findings, contents: Contents, checkpoint: Checkpoint) -> list[str]:
    signers = " and ".join(f"{key.name}+{key.key_id.hex()}" for key in findings.signers)
    covered = "The event" if checkpoint.size == 1 else f"All {checkpoint.size:,} events"
    are = "is" if checkpoint.size == 1 else "are"
    sentences = [
        f"The checkpoint of {findings.stream} is signed by {signers}, which your policy trusts.",
        f"{covered} that it covers {are} here, unchanged and in the recorded order.",
    ]
    if contents.seal is not None:
        sentences += [
            f"The run is complete: event {contents.seal_seq} seals it; only redactions can follow.",
            "evidence.json, and the final state that the terminal event shows, are what the events say.",
        ]
        streams = [kind for kind in ("stdout", "stderr") if kind not in contents.absent.types]
        if streams:
            sentences.append(
                f"The output on {' and '.join(streams)} is, byte for byte, the one that was sealed."
            )
    if findings.artifacts_shown:
        sentences.append(f"The content of {', '.join(findings.artifacts_shown)} is what was collected.")
    if findings.attested:
        names = ", ".join(name.removeprefix("attestations/") for name in findings.attested)
        keys = sorted({key_id(key) for key in findings.attested.values()})
        sentences.append(
            f"The attestations {names} say what this run shows; "
            f"they are signed by {' and '.join(keys)}, which your policy trusts for that."
        )
    if findings.log is not None:
        head = findings.log.checkpoint
        entries = counted(head.size, "entry", "entries")
        sentences.append(f"The global log {head.origin_line} of {entries} holds this checkpoint.")
    if findings.witnessed_ms is not None:
        sentences.append(f"Witnesses of your policy saw it no later than {_time(findings.witnessed_ms)}.")
    if findings.timestamp is not None:
        stamp = findings.timestamp
        sentences.append(
            f"The time-stamping authority {stamp.authority}, whom your roots vouch for, "
            f"saw it no later than {_time(stamp.not_after_ms)}."
        )
    if findings.not_before_ms is not None:
        sentences.append(f"It began no earlier than {_time(findings.not_before_ms)}.")
    if findings.options.pin is not None:
        sentences.append(
            f"It continues the checkpoint of {counted(findings.options.pin.size, 'event')} that you pinned."
        )
    return sentences


def _rewritable(findings: Findings, checkpoint: Checkpoint) -> list[str]:
    """What a server that keeps its key may have signed otherwise before, or beside this (P0)."""
    pin = findings.options.pin
    if pin is not None and pin.size == checkpoint.size:
        return []
    if findings.witnessed_ms is not None:
        return [OTHER_ENDING]
    if pin is None or not pin.size:
        return [REWRITE if findings.timestamp is None else SECOND_HISTORY]
    return [f"That the server did not rewrite what follows event {pin.size}, the last that you pinned."]


def _not_proven(
    findings: Findings,
    contents: Contents,
    checkpoint: Checkpoint,
    redacted: Sequence[int],
    withheld: Sequence[int],
) -> list[str]:
    sentences = [TRUTH, *_rewritable(findings, checkpoint)]
    if findings.not_after_ms is None:
        sentences.append(
            "When it happened (notAfter: none): no witness saw it, the times are the server's own."
        )
    if findings.log is None:
        sentences.append(
            "That the server's global log holds this checkpoint: there is no run.tlog-proof here."
        )
    if contents.seal is not None and not findings.attested:
        sentences.append(
            "Any attestation: this bundle has none, or your policy names no '#crownest attestation' key."
        )
    if findings.options.expected_run is None:
        sentences.append("That this is the run you meant: you named none (--run).")
    if contents.seal is None:
        sentences.append("That this is all: the stream is not sealed, and later events may exist.")
    if redacted:
        sentences.append(
            f"What the erased output was: {_events(redacted)}; sums over it are the server's word."
        )
    if withheld:
        sentences.append(
            f"What the withheld output is: {_events(withheld)}; sums over it are the server's word."
        )
    unseen = len(contents.fold.artifacts) - len(findings.artifacts_shown)
    if contents.is_run and unseen > 0:
        sentences.append(f"The content of {counted(unseen, 'artifact')}: only digests are in this bundle.")
    return sentences + findings.warnings


def _events(seqs: Sequence[int]) -> str:
    named = ", ".join(map(str, seqs[:SEQS_NAMED_MAX]))
    more = f" and {len(seqs) - SEQS_NAMED_MAX} more" if len(seqs) > SEQS_NAMED_MAX else ""
    return f"{'event' if len(seqs) == 1 else 'events'} {named}{more}"


def _time(ms: int | None) -> str | None:
    return None if ms is None else format_time(ms)
