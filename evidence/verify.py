"""Owns the front of verification: trusted keys and bytes in, a verdict out, never an exception (PROOF P9).

`verify_bundle` reads a bundle file, offline. `StreamVerifier` is the same as a state machine, fed entry
by entry from wherever they are stored; the server's own check uses it too. The rules are in
`evidence.judgement` and what it calls: chain, contents, ending, tlog.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from evidence.bundle import Bundle, Entry
from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.judgement import Judgement
from evidence.policy import parse_policy
from evidence.report import Findings, failed_verdict, unreadable_verdict, verdict_of
from evidence.verdict import Options, Verdict, VerificationError

PROGRESS_EVENTS = 4096
"""Events between two calls of `on_progress`."""

Progress = Callable[[int, int], None]
"""Called with the number of events done and the number that were signed."""


def verify_bundle(
    bundle: BinaryIO | Path,
    policy: bytes,
    *,
    expected_run: str | None = None,
    allow_open: bool = False,
    allow_withheld: bool = False,
    allow_unlogged: bool = True,
    allow_unattested: bool = False,
    strict_time: bool = False,
    pin: Checkpoint | None = None,
    on_progress: Progress | None = None,
) -> Verdict:
    """Verify a proof bundle against a policy file; see `Options` for the rest. Never raises."""
    options = Options(
        expected_run, allow_open, allow_withheld, allow_unlogged, allow_unattested, strict_time, pin
    )
    return _verify(bundle, policy, options, on_progress)


def verify_evidence_json(
    shown: bytes,
    bundle: BinaryIO | Path,
    policy: bytes,
    *,
    expected_run: str | None = None,
    allow_withheld: bool = False,
    allow_unlogged: bool = True,
    allow_unattested: bool = False,
    strict_time: bool = False,
) -> Verdict:
    """Verify a bundle, and that a pretty evidence.json is the one that it seals (P9.2a). Never raises."""
    options = Options(
        expected_run,
        allow_withheld=allow_withheld,
        allow_unlogged=allow_unlogged,
        allow_unattested=allow_unattested,
        strict_time=strict_time,
    )
    return _verify(bundle, policy, options, None, shown)


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
    def progress(self) -> tuple[int, int]:
        """Events accepted so far, and events that the checkpoint covers."""
        if self._judgement is None:
            return 0, 0
        return self._judgement.chain.size, self._judgement.checkpoint.size


def _verify(
    source: BinaryIO | Path,
    policy: bytes,
    options: Options,
    on_progress: Progress | None,
    shown: bytes | None = None,
) -> Verdict:
    """Feed a bundle to the state machine; whatever its container does wrong makes it unreadable."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
            bundle = Bundle(file)
            verdict = _feed(
                bundle, StreamVerifier(policy, options, wanted=bundle.artifact_ids), on_progress, shown
            )
        except (FormatError, OSError) as error:
            return unreadable_verdict(f"The bundle: {error}.")
        if verdict.ok and bundle.damaged:
            return unreadable_verdict(
                f"The bundle: the zip's checksum of {', '.join(bundle.damaged)} is wrong."
            )
        return verdict


def _feed(
    bundle: Bundle, verifier: StreamVerifier, on_progress: Progress | None, shown: bytes | None
) -> Verdict:
    if verifier.begin(bundle.checkpoint, bundle.anchor):
        for number, entry in enumerate(bundle.entries(), 1):
            if not verifier.add(entry):
                break
            if on_progress is not None and number % PROGRESS_EVENTS == 0:
                on_progress(*verifier.progress)
    return verifier.finish(
        bundle.evidence,
        tlog_proof=bundle.tlog_proof,
        attestations=bundle.attestations,
        artifacts=((artifact_id, bundle.artifact(artifact_id)) for artifact_id in bundle.artifact_ids),
        shown=shown,
    )
