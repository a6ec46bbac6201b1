"""The command verify: checks a proof offline, against a policy file and nothing else."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.problems import usage

if TYPE_CHECKING:
    from evidence.verdict import Verdict

ZIP_MAGIC = b"PK"
POLICY_BYTES_MAX = 1024 * 1024
EVIDENCE_BYTES_MAX = 16 * 1024 * 1024
"""A pretty evidence.json; the canonical one in a bundle has its own, smaller limit."""

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest verify proof.zip --policy trust.policy --run wsr_abc123",
        "crownest verify evidence.json --bundle proof.zip --policy trust.policy",
        "crownest verify proof.zip --policy trust.policy --json | jq .data.verdict",
    ),
)
@click.argument("file", metavar="PROOF.ZIP|EVIDENCE.JSON", type=FILE)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=FILE,
    required=True,
    help="Whose signatures you trust: the file of crownest policy, kept apart from proofs.",
)
@click.option("--run", "expected", metavar="ID", help="The run that the proof must be of.")
@click.option(
    "--bundle", metavar="PROOF.ZIP", type=FILE, help="The proof that an evidence.json is checked against."
)
@click.option("--allow-open", is_flag=True, help="Accept the proof of a run that has not ended.")
@click.option(
    "--allow-withheld", is_flag=True, help="Accept output that was withheld when the proof was shared."
)
@click.option("--strict-time", is_flag=True, help="Fail, not only warn, on times outside the proven window.")
@click.option("--json", "as_json", is_flag=True, help='Print { "data": verdict }.')
def verify(
    *,
    file: Path,
    policy_file: Path,
    expected: str | None,
    bundle: Path | None,
    as_json: bool,
    **allowed: bool,
) -> int:
    """Check a proof offline, trusting only a policy file.

    Says what the proof shows and what it does not. A proof.zip needs no server, no configuration and
    no network; keys inside it are never used. An evidence.json is checked against the proof of its
    run: name that with --bundle, or it is fetched from the server.

    Exits 0 when the proof is accepted, 1 when it is not, 2 when a file cannot be read.
    """
    policy = _read(policy_file, POLICY_BYTES_MAX)
    is_bundle = _is_zip(file)
    if is_bundle and bundle is not None:
        raise usage("--bundle goes with an evidence.json; a proof.zip is checked alone.")
    options = _given(expected, allowed)
    if is_bundle:
        from evidence.verify import verify_bundle

        with _progress(quiet=as_json) as on_progress:
            verdict = verify_bundle(file, policy, on_progress=on_progress, **options)
    else:
        verdict = _verify_evidence(file, bundle, policy, options)
    if as_json:
        output.json_data(verdict.to_dict())
    else:
        from cli.verdict_text import show

        show(verdict, sys.stdout)
    return verdict.exit_code


def _given(expected: str | None, allowed: dict[str, bool]) -> dict[str, Any]:
    """The flags that were set; for the others the verifier's own defaults hold."""
    return {"expected_run": expected, **{name: True for name, is_set in allowed.items() if is_set}}


def _verify_evidence(file: Path, bundle: Path | None, policy: bytes, options: dict[str, Any]) -> Verdict:
    """Check a pretty evidence.json (PROOF P9.2a). It is of an ended run, so --allow-open has no meaning."""
    from evidence.verify import verify_bundle

    if options.pop("allow_open", False):
        raise usage("--allow-open goes with a proof.zip: evidence exists only once a run has ended.")
    shown = _read(file, EVIDENCE_BYTES_MAX)
    if bundle is not None:
        return verify_bundle(bundle, policy, shown=shown, **options)
    run_id = options["expected_run"] or _run_of(shown, file)
    from cli.options import session

    with tempfile.TemporaryFile(prefix="crownest-proof-") as fetched:
        with session(run_id) as client:
            client.proof_bundle(run_id, cast("Any", fetched))
        fetched.seek(0)
        return verify_bundle(cast("Any", fetched), policy, shown=shown, **options)


def _run_of(shown: bytes, file: Path) -> str:
    """The run that the evidence says it is of; only used to ask the server for that run's proof."""
    try:
        parsed: object = json.loads(shown)
    except (ValueError, RecursionError):
        parsed = None
    run_id = cast("dict[str, Any]", parsed).get("workspaceRunId") if isinstance(parsed, dict) else None
    if not isinstance(run_id, str):
        raise usage(
            f"{file} is neither a proof bundle nor evidence that names its run.",
            "Name the proof with --bundle proof.zip.",
        )
    return run_id


def _is_zip(file: Path) -> bool:
    """Judged by content, so that a renamed file is not mistaken; an empty one counts as a broken bundle."""
    with file.open("rb") as source:
        magic = source.read(len(ZIP_MAGIC))
    return magic == ZIP_MAGIC or file.suffix == ".zip" or not magic


def _read(file: Path, bytes_max: int) -> bytes:
    with file.open("rb") as source:
        data = source.read(bytes_max + 1)
    if len(data) > bytes_max:
        raise usage(f"{file} is larger than {bytes_max} bytes: that is not the kind of file meant here.")
    return data


@contextmanager
def _progress(*, quiet: bool) -> Generator[Any]:
    """A counter on stderr for proofs that take a while, wiped when done; None where nobody watches."""
    if quiet or not output.is_terminal(sys.stderr):
        yield None
        return

    def on_progress(done: int, signed: int) -> None:
        sys.stderr.write(f"\rverifying event {done:,} of {signed:,}")
        sys.stderr.flush()

    try:
        yield on_progress
    finally:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
