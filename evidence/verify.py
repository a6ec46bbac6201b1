"""Owns the front of verification: trusted keys and bytes in, a verdict out, never an exception (PROOF P9).

`verify_bundle` reads a bundle file, offline. `StreamVerifier` is the same as a state machine, fed entry
by entry from wherever they are stored; the server's own check uses it too. The rules are in
`evidence.judgement` and what it calls: chain, contents, ending, tlog.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import BinaryIO

from evidence.bundle import Bundle, Entry
from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.feed import Each, Feed, blocks_of, here
from evidence.judgement import Judgement
from evidence.policy import parse_policy
from evidence.report import Findings, failed_verdict, unreadable_verdict, verdict_of
from evidence.spans import Span, find_spans
from evidence.verdict import Options, TimestampCheck, Verdict, VerificationError

Progress = Callable[[int, int], None]
"""Called after each block with the number of events done and the number that were signed."""


def verify_bundle(
    bundle: BinaryIO | Path,
    policy: bytes,
    *,
    expected_run: str | None = None,
    allow_open: bool = False,
    allow_withheld: bool = False,
    allow_unlogged: bool = False,
    allow_unattested: bool = False,
    strict_time: bool = False,
    pin: Checkpoint | None = None,
    timestamp: TimestampCheck | None = None,
    shown: bytes | None = None,
    on_progress: Progress | None = None,
    each: Each = here,
) -> Verdict:
    """Verify a proof bundle against a policy file; see `Options` for the rest. Never raises.

    With `shown`, a pretty evidence.json, verify also that it is the one that the bundle seals (P9.2a).
    `each` says where blocks of the log are looked at; it cannot change the verdict.
    """
    options = Options(
        expected_run,
        allow_open,
        allow_withheld,
        allow_unlogged,
        allow_unattested,
        strict_time,
        pin,
        timestamp,
    )
    with ExitStack() as stack:
        try:
            file = stack.enter_context(bundle.open("rb")) if isinstance(bundle, Path) else bundle
            opened = Bundle(file)
            verifier = StreamVerifier(policy, options, wanted=opened.artifact_ids)
            verdict = _feed(opened, verifier, shown, on_progress, each)
        except (FormatError, OSError) as error:
            return unreadable_verdict(f"The bundle: {error}.")
        if verdict.ok and opened.damaged:
            return unreadable_verdict(
                f"The bundle: the zip's checksum of {', '.join(opened.damaged)} is wrong."
            )
        return verdict


class StreamVerifier:
    """A verification in steps: `begin`, `add` for each event, `finish`.

    The first failure is kept and all further input ignored; `begin` and `add` answer whether going on
    makes sense. No input raises.
    """

    def __init__(
        self, policy: bytes, options: Options | None = None, *, wanted: Collection[str] = ()
    ) -> None:
        self._options = options or Options()
        self._wanted = wanted
        self._findings = Findings(self._options)
        self._judgement: Judgement | None = None
        self._verdict: Verdict | None = None
        try:
            self._policy = parse_policy(policy)
        except FormatError as error:
            self._verdict = unreadable_verdict(f"The policy: {error}.")

    def begin(self, checkpoint: bytes, anchor: bytes) -> bool:
        """Judge the signed note of the stream, and take the anchor that its first event commits to."""
        if self._verdict is None:
            try:
                self._judgement = Judgement(self._findings, self._policy, checkpoint, anchor, self._wanted)
            except VerificationError as error:
                self._verdict = failed_verdict(self._findings, error)
        return self._verdict is None

    def add(self, entry: Entry) -> bool:
        """Judge the next event (`split_entry` of its nine lines)."""
        if self._judgement is None or self._verdict is not None:
            return False
        try:
            self._judgement.add(entry)
        except VerificationError as error:
            self._verdict = failed_verdict(self._findings, error)
        return self._verdict is None

    def take(self, span: Span) -> bool:
        """Accept all events of a span at once, or answer that they must be added one by one."""
        return self._judgement is not None and self._verdict is None and self._judgement.take(span)

    def finish(
        self,
        evidence: bytes | None = None,
        *,
        tlog_proof: bytes | None = None,
        attestations: Mapping[str, bytes] | None = None,
        artifacts: Iterable[tuple[str, Iterable[bytes]]] = (),
        shown: bytes | None = None,
    ) -> Verdict:
        """Judge the whole, in the order of P9.1; `shown` is a pretty evidence.json to compare."""
        if self._verdict is None:
            if self._judgement is None:
                return unreadable_verdict("There is no checkpoint.")
            try:
                self._judgement.finish(evidence, tlog_proof, attestations or {}, artifacts, shown)
                self._verdict = verdict_of(
                    self._findings, self._judgement.contents, self._judgement.checkpoint
                )
            except VerificationError as error:
                self._verdict = failed_verdict(self._findings, error)
        return self._verdict

    @property
    def stream(self) -> str:
        """The id of the stream that the checkpoint is of; empty before `begin` accepted one."""
        return self._findings.stream or ""

    @property
    def progress(self) -> tuple[int, int]:
        """Events accepted so far, and events that the checkpoint covers."""
        if self._judgement is None:
            return 0, 0
        return self._judgement.chain.size, self._judgement.checkpoint.size


def _feed(
    bundle: Bundle, verifier: StreamVerifier, shown: bytes | None, on_progress: Progress | None, each: Each
) -> Verdict:
    """Feed a bundle to the state machine."""
    if verifier.begin(bundle.checkpoint, bundle.anchor):
        feed = Feed(verifier)
        for block, spans in each(partial(find_spans, verifier.stream), blocks_of(bundle.log())):
            if not feed.add(block, spans):
                break
            if on_progress is not None:
                on_progress(*verifier.progress)
        feed.finish()
    return verifier.finish(
        bundle.evidence,
        tlog_proof=bundle.tlog_proof,
        attestations=bundle.attestations,
        artifacts=((artifact_id, bundle.artifact(artifact_id)) for artifact_id in bundle.artifact_ids),
        shown=shown,
    )
