"""Owns the order in which a stream is judged, from the signed note to the pin (PROOF P9.1).

A state machine that raises `VerificationError` at the first thing that does not hold: construct it
(note, origin), `add` every event (records), `finish` (everything that needs the whole). What it learns
stands in `Findings`, which outlives a failure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from evidence.attestation import SealedRun
from evidence.bundle import Entry
from evidence.canonical import FormatError
from evidence.chain import Chain
from evidence.checkpoint import Checkpoint, parse_checkpoint, split_origin
from evidence.contents import Contents, Stage
from evidence.ending import (
    judge_artifact,
    judge_attestation,
    judge_attested_members,
    judge_evidence,
    judge_output,
    judge_redactions,
    judge_seal,
    judge_shown_evidence,
)
from evidence.note import (
    BadSignature,
    OpenedNote,
    UnknownKey,
    Verifier,
    in_order,
    open_note,
    split_note,
)
from evidence.policy import Policy
from evidence.record import parse_time
from evidence.report import Findings
from evidence.spans import Span
from evidence.tlog import judge_inclusion, not_after, not_before, open_log_checkpoint, parse_tlog_proof
from evidence.verdict import VerificationError
from evidence.wording import counted

TIME_SKEW_MS_MAX = 5 * 60 * 1000
"""How far an honest server's clock may be off (P9.2b)."""


class Judgement:
    """One stream before the judge. Every method raises `VerificationError`."""

    def __init__(
        self, findings: Findings, policy: Policy, note: bytes, anchor: bytes, wanted: Collection[str] = ()
    ) -> None:
        self._findings, self._policy, self._note, self._anchor = findings, policy, note, anchor
        opened = open_run_checkpoint(note, policy)
        self.checkpoint, self._origin, stream = read_run_checkpoint(opened)
        findings.signers, findings.checkpoint, findings.stream = opened.verified, self.checkpoint, stream
        if any(key.name != self._origin for key in opened.verified):
            raise VerificationError(
                "E_ORIGIN_MISMATCH", f"It names {self._origin}; its key is of another origin."
            )
        expected = findings.options.expected_run
        if expected not in {None, stream}:
            raise VerificationError("E_ORIGIN_MISMATCH", f"It is of {stream}; expected was {expected}.")
        _check_anchor(anchor)
        self.chain = Chain(stream, self.checkpoint, anchor)
        self.contents = Contents(stream, wanted)
        self._root_at_pin: bytes | None = None

    def add(self, entry: Entry) -> None:
        """Judge the next event: its record at once, its payload when the records were judged whole."""
        header = self.chain.add(entry[0])
        if header is None:
            return
        self.contents.add(header, entry[1])
        pin = self._findings.options.pin
        if pin is not None and header.seq == pin.size:
            self._root_at_pin = self.chain.tree.root()

    def take(self, span: Span) -> bool:
        """Accept all events of a span at once, or answer that they must be added one by one."""
        pin, size = self._findings.options.pin, self.chain.size
        if pin is not None and size < pin.size <= size + span.count:
            return False
        if not (self.contents.expects_output and self.chain.continues(span)):
            return False
        self.chain.take(span)
        self.contents.take(span)
        return True

    def finish(
        self,
        evidence: bytes | None,
        tlog_proof: bytes | None,
        attestations: Mapping[str, bytes],
        artifacts: Iterable[tuple[str, Iterable[bytes]]],
        shown: bytes | None,
    ) -> None:
        """Judge what only the whole stream tells, in the order of P9.1."""
        contents = self.contents
        self.chain.finish()
        contents.raise_complaint(Stage.PAYLOAD)
        judge_redactions(contents, allow_withheld=self._findings.options.allow_withheld)
        judge_seal(contents, self.chain.size, evidence)
        if contents.seal is not None and evidence is not None:
            judge_evidence(contents, contents.seal, evidence)
        judge_output(contents, contents.seal)
        for artifact_id, chunks in artifacts:
            judge_artifact(contents, artifact_id, chunks)
            self._findings.artifacts_shown.append(artifact_id)
        if shown is not None:
            judge_shown_evidence(shown, evidence)
        self._judge_log(tlog_proof)
        self._judge_anchor()
        self._judge_timestamp()
        self._judge_time()
        self._judge_pin()
        self._judge_attestations(evidence, tlog_proof, attestations)

    def _judge_log(self, tlog_proof: bytes | None) -> None:
        """Does the global log hold the checkpoint, and do the keys still count there (P5.3, P6)?"""
        findings = self._findings
        log_size = None
        if tlog_proof is not None:
            findings.log = judge_inclusion(tlog_proof, self._policy, self.checkpoint, self._origin)
            findings.witnessed_ms = _ms(not_after(self._policy, findings.log.cosigned))
            log_size = findings.log.checkpoint.size
            refuse_retired(self._policy, findings.log.signers, log_size)
        elif self.contents.seal is not None and not findings.options.allow_unlogged:
            raise VerificationError("E_INCLUSION", "The bundle has no run.tlog-proof (--allow-unlogged).")
        refuse_retired(self._policy, findings.signers, log_size)

    def _judge_anchor(self) -> None:
        """Since when can the run have existed (P2.3)?

        The anchor is of its day: keys and witnesses that the policy no longer names do not count, and are
        no offence, for genesis binds the note as it is.
        """
        if not self._anchor:
            return
        try:
            cosigned = open_log_checkpoint(self._anchor, self._policy).cosigned
        except BadSignature as error:
            raise VerificationError("E_SIG_INVALID", f"anchor.note: {error}.") from error
        except FormatError:
            return
        self._findings.not_before_ms = _ms(not_before(self._policy, cosigned))

    def _judge_timestamp(self) -> None:
        """When did an authority that the auditor trusts see this very checkpoint (P5.7)?"""
        check = self._findings.options.timestamp
        if check is not None:
            self._findings.timestamp = check(self._note)

    def _judge_time(self) -> None:
        """Do the server's times lie between anchor and witness, give or take a clock's error (P9.2b)?"""
        before, after = self._findings.not_before_ms, self._findings.not_after_ms
        first, last = self.chain.first_created_at, self.chain.created_at
        if before is not None and first and parse_time(first) < before - TIME_SKEW_MS_MAX:
            self._object("E_TIME_BEFORE_ANCHOR", f"Event 1 says {first}.", 1)
        if after is not None and last and parse_time(last) > after + TIME_SKEW_MS_MAX:
            self._object("E_TIME_AFTER_WITNESS", f"Event {self.chain.size} says {last}.", self.chain.size)

    def _object(self, code: str, detail: str, seq: int) -> None:
        """An honest server whose clock jumped is not called a forger, unless that was asked for (P9.2b)."""
        if self._findings.options.strict_time:
            raise VerificationError(code, detail, seq)
        self._findings.warnings.append(f"That the server's clock was right ({code}): {detail}")

    def _judge_pin(self) -> None:
        """Does the stream continue the checkpoint that the auditor kept from earlier?"""
        pin = self._findings.options.pin
        if pin is None:
            return
        if pin.origin_line != self.checkpoint.origin_line:
            raise VerificationError("E_ORIGIN_MISMATCH", f"The pin is of {pin.origin_line}.")
        if pin.size > self.checkpoint.size:
            raise VerificationError(
                "E_ROLLBACK", f"Pinned: {counted(pin.size, 'event')}; here: {self.checkpoint.size}."
            )
        if pin.size and self._root_at_pin != pin.root:
            raise VerificationError(
                "E_FORK", f"Not the same as pinned: the first {counted(pin.size, 'event')}."
            )

    def _judge_attestations(
        self, evidence: bytes | None, tlog_proof: bytes | None, found: Mapping[str, bytes]
    ) -> None:
        """Are exactly the attestations here that the run warrants, and do they say what it shows (P11)?"""
        findings, keys, seal = self._findings, self._policy.attestation_keys, self.contents.seal
        if findings.options.allow_unattested and not found:
            return  # the verdict says that nothing is attested
        run = None
        if seal is not None and evidence is not None:
            log_index = None if tlog_proof is None else parse_tlog_proof(tlog_proof).index
            run = SealedRun(evidence, seal, self._note, log_index)
        expected = judge_attested_members(found, run)
        if findings.options.allow_unattested and not keys:
            return
        log_size = findings.log.checkpoint.size if findings.log else None
        for name, statement in expected.items():
            signer = judge_attestation(name, statement, found.get(name), keys)
            refuse_retired(self._policy, [signer], log_size)
            findings.attested[name] = signer


def open_run_checkpoint(note: bytes, policy: Policy) -> OpenedNote:
    """The note with every one of its signatures checked: unknown ones are refused in a bundle (P9.3)."""
    try:
        opened = open_note(note, policy.logs)
    except BadSignature as error:
        raise VerificationError("E_SIG_INVALID", f"run.checkpoint: {error}.") from error
    except UnknownKey as error:
        raise VerificationError("E_SIG_UNKNOWN_KEY", f"run.checkpoint: {error}.") from error
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"run.checkpoint: {error}.") from error
    if opened.unknown:
        raise VerificationError(
            "E_SIG_UNKNOWN_KEY", f"run.checkpoint is also signed by {opened.unknown[0][:80]!a}."
        )
    lines = split_note(note)[1]
    if lines != in_order(lines):
        raise VerificationError("E_FORMAT", "run.checkpoint: its signature lines are not in ascending order.")
    return opened


def read_run_checkpoint(opened: OpenedNote) -> tuple[Checkpoint, str, str]:
    """Checkpoint, origin and stream of a verified note."""
    try:
        checkpoint = parse_checkpoint(opened.text)
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"run.checkpoint: {error}.") from error
    try:
        return checkpoint, *split_origin(checkpoint.origin_line)
    except FormatError as error:
        raise VerificationError("E_ORIGIN_MISMATCH", f"run.checkpoint: {error}.") from error


def refuse_retired(policy: Policy, signers: Collection[Verifier], log_size: int | None) -> None:
    """A retired key counts up to a size of the global log; where no size is shown it never counts (P6.4).

    Raises `VerificationError` when none of the signers counts.
    """
    limits = [policy.until.get(key.key_id) for key in signers]
    if all(limit is not None and (log_size is None or log_size > limit) for limit in limits):
        now = (
            "no size of the global log is shown"
            if log_size is None
            else f"the log has {counted(log_size, 'entry', 'entries')}"
        )
        raise VerificationError("E_KEY_RETIRED", f"It counted until log size {limits[0]}; {now}.")


def _check_anchor(anchor: bytes) -> None:
    """The anchor is empty or a note over a checkpoint; who signed it is judged at the end (P2.3)."""
    if not anchor:
        return
    try:
        parse_checkpoint(split_note(anchor)[0])
    except FormatError as error:
        raise VerificationError("E_FORMAT", f"anchor.note: {error}.") from error


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1000
