"""Owns what the command does with its files: reads them within limits, and has the proof verified."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from evidence.canonical import FormatError
from evidence.checkpoint import Checkpoint
from evidence.feed import Each, here
from evidence.pin import PIN_BYTES_MAX, PinError, read_pin
from evidence.policy import POLICY_BYTES_MAX, parse_policy
from evidence.report import unreadable_verdict
from evidence.verdict import TimestampCheck, Verdict
from evidence.verify import Progress, verify_bundle
from verifier import options

ZIP_MAGIC = b"PK"
EVIDENCE_BYTES_MAX = 16 * 1024 * 1024
"""A pretty evidence.json; the canonical one in a bundle has its own, smaller limit."""

Fetch = Callable[[str], AbstractContextManager[BinaryIO]]
"""Gets the bundle of a run from its server, as a file that lasts as long as the block."""


class CannotCheckError(Exception):
    """The files named do not make a question; `remedy` says what to do."""

    def __init__(self, message: str, remedy: str | None = None) -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked on the command line; `flags` are those of `verifier.options.FLAGS` that were set."""

    file: Path
    policy: Path
    run: str | None = None
    bundle: Path | None = None
    pin: Path | None = None
    timestamp: Path | None = None
    tsa_roots: Path | None = None
    jobs: int = 1
    flags: frozenset[str] = field(default_factory=frozenset[str])


def check(request: Request, *, fetch: Fetch | None = None, on_progress: Progress | None = None) -> Verdict:
    """Verify what was asked. Raises `CannotCheckError`, and OSError for a file that cannot be read."""
    policy = read_within(request.policy, POLICY_BYTES_MAX)
    with ExitStack() as stack:
        proof, shown = _proof_of(request, fetch, stack)
        try:
            pin = _pin(request.pin, policy)
        except PinError as error:
            return unreadable_verdict(f"The pin: {error}.")
        try:
            timestamp = _timestamp(request)
        except FormatError as error:
            return unreadable_verdict(f"The TSA's roots: {error}.")
        return verify_bundle(
            proof,
            policy,
            expected_run=request.run,
            pin=pin,
            timestamp=timestamp,
            shown=shown,
            on_progress=on_progress,
            each=_each(request.jobs, stack),
            **dict.fromkeys(request.flags, True),  # the defaults of all others are the verifier's own
        )


def _each(jobs: int, stack: ExitStack) -> Each:
    """Where blocks of the log are looked at."""
    if jobs == 1:
        return here
    from verifier.pool import looking  # imports much that one job does not need

    return stack.enter_context(looking(jobs))


def _pin(path: Path | None, policy: bytes) -> Checkpoint | None:
    if path is None:
        return None
    try:
        trusted = parse_policy(policy)
    except FormatError:
        return None  # there will be a verdict about the policy itself
    return read_pin(read_within(path, PIN_BYTES_MAX), trusted)


def _timestamp(request: Request) -> TimestampCheck | None:
    """What judges the timestamp. Raises `FormatError` for a file that holds no roots."""
    if request.timestamp is None and request.tsa_roots is None:
        return None
    if request.timestamp is None or request.tsa_roots is None:
        raise CannotCheckError(
            "--timestamp and --tsa-roots go together: a timestamp counts for its authority."
        )
    try:
        from verifier.timestamp import ROOTS_BYTES_MAX, TIMESTAMP_BYTES_MAX, judge_timestamp, read_roots
    except ModuleNotFoundError as error:
        raise CannotCheckError(options.TSA_ABSENT, options.TSA_INSTALL) from error
    roots = read_roots(read_within(request.tsa_roots, ROOTS_BYTES_MAX))
    return partial(judge_timestamp, read_within(request.timestamp, TIMESTAMP_BYTES_MAX), roots)


def _proof_of(
    request: Request, fetch: Fetch | None, stack: ExitStack
) -> tuple[Path | BinaryIO, bytes | None]:
    """The bundle to verify, and the pretty evidence to compare with it (PROOF P9.2a)."""
    if is_zip(request.file):
        if request.bundle is not None:
            raise CannotCheckError("--bundle goes with an evidence.json; a proof.zip is checked alone.")
        return request.file, None
    if "allow_open" in request.flags:
        raise CannotCheckError(
            "--allow-open goes with a proof.zip: evidence exists only once a run has ended."
        )
    shown = read_within(request.file, EVIDENCE_BYTES_MAX)
    if len(shown) > EVIDENCE_BYTES_MAX:
        raise CannotCheckError(
            f"{request.file} is larger than {EVIDENCE_BYTES_MAX} bytes: it is no evidence.json.",
            "Name a proof.zip, or the file that crownest workspace-runs evidence wrote.",
        )
    if request.bundle is not None:
        return request.bundle, shown
    run_id = request.run or _run_of(shown)
    if run_id is None or fetch is None:
        what = (
            "has no proof beside it"
            if run_id
            else "is neither a proof bundle nor evidence that names its run"
        )
        raise CannotCheckError(f"{request.file} {what}.", "Name the proof with --bundle proof.zip.")
    return stack.enter_context(fetch(run_id)), shown


def _run_of(shown: bytes) -> str | None:
    """The run that the evidence says it is of; only used to ask the server for that run's proof."""
    try:
        parsed: object = json.loads(shown)
    except (ValueError, RecursionError):
        return None
    run_id = cast("dict[str, Any]", parsed).get("workspaceRunId") if isinstance(parsed, dict) else None
    return run_id if isinstance(run_id, str) else None


def is_zip(file: Path) -> bool:
    """Judged by content, so that a renamed file is not mistaken; an empty one counts as a broken bundle."""
    with file.open("rb") as source:
        magic = source.read(len(ZIP_MAGIC))
    return magic == ZIP_MAGIC or file.suffix == ".zip" or not magic


def read_within(file: Path, bytes_max: int) -> bytes:
    """The file, or one byte more of it than it may have: who reads those bytes refuses them."""
    with file.open("rb") as source:
        return source.read(bytes_max + 1)
