"""The command timestamp: asks an authority when a run checkpoint was there, and keeps its answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.files import replacing
from cli.lazy import ExampleCommand
from cli.loopback import is_loopback
from cli.options import JSON
from cli.problems import EXIT_USAGE, failure, usage
from evidence.visible import one_line
from verifier.options import TSA_ABSENT, TSA_INSTALL

if TYPE_CHECKING:
    from evidence.checkpoint import Checkpoint

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
ANOTHER = "Check the address of --tsa, try again, or ask another authority."


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest timestamp proof.zip --tsa https://tsa.example/tsr --output run.tsr",
        "crownest verify proof.zip --policy trust.policy --timestamp run.tsr --tsa-roots tsa-root.pem",
    ),
)
@click.argument("file", metavar="PROOF.ZIP|RUN.CHECKPOINT", type=FILE)
@click.option("--tsa", metavar="URL", required=True, help="Where the authority answers (RFC 3161 over HTTP).")
@click.option(
    "--output",
    "target",
    metavar="PATH",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="The file to write: the authority's answer as it came.",
)
@click.option(
    "--tsa-roots", "roots", metavar="FILE", type=FILE,
    help="Its root certificates (PEM): write nothing that does not verify against them.",
)  # fmt: skip
@JSON
def timestamp(*, file: Path, tsa: str, target: Path, roots: Path | None, as_json: bool) -> None:
    """Have a time-stamping authority say when a proof was there.

    The authority is told a hash of the proof's run.checkpoint and nothing else. It depends neither on
    the server nor on its witnesses, so it shows to those who trust neither that the run was final by
    then. Keep the proof and the timestamp together: a proof that is fetched again may carry a newer
    checkpoint, which this timestamp is not of. Needs the extra: pip install 'crownest-server[tsa]'.
    """
    try:
        from verifier.timestamp import ROOTS_BYTES_MAX, judge_timestamp, open_timestamp, read_roots
    except ModuleNotFoundError as error:
        raise failure(TSA_ABSENT, TSA_INSTALL, reason="extra_not_installed", exit_code=EXIT_USAGE) from error
    from evidence.canonical import FormatError
    from evidence.verdict import VerificationError
    from verifier.check import read_within

    note, checkpoint = _read(file)
    try:
        trusted = read_roots(read_within(roots, ROOTS_BYTES_MAX)) if roots else None
    except FormatError as error:
        raise usage(f"{roots}: {error}.", "Take the file that the authority publishes.") from error
    answer, nonce = _ask(tsa, note)
    try:
        info = open_timestamp(answer, note).tst_info
        if trusted is not None:
            judge_timestamp(answer, trusted, note)
    except VerificationError as error:
        raise failure(one_line(error.detail), ANOTHER, reason="bad_timestamp") from error
    if info.nonce != nonce:
        raise failure("The timestamp is the answer to another request.", ANOTHER, reason="bad_timestamp")
    with replacing(target, durable=True) as out:
        out.write(answer)
    clock = f"{info.gen_time:%Y-%m-%dT%H:%M:%SZ}"
    if as_json:
        output.json_data({"checkpoint": checkpoint.origin_line, "path": str(target), "time": clock})
        return
    output.note(f"{checkpoint.origin_line} was there at {clock}: written to {target}; keep it with the proof")
    output.hint(
        f"next: crownest verify {file} --policy trust.policy --timestamp {target} --tsa-roots ROOTS.PEM"
    )


def _read(file: Path) -> tuple[bytes, Checkpoint]:
    """The run checkpoint of a proof, or the file that is one: its bytes, and what they say."""
    from evidence.bundle import Bundle
    from evidence.canonical import FormatError
    from evidence.checkpoint import parse_checkpoint, split_origin
    from evidence.note import NOTE_BYTES_MAX, split_note
    from verifier.check import is_zip, read_within

    try:
        if is_zip(file):
            with file.open("rb") as source:
                note = Bundle(source).checkpoint
        else:
            note = read_within(file, NOTE_BYTES_MAX)
        checkpoint = parse_checkpoint(split_note(note)[0])
        split_origin(checkpoint.origin_line)
    except FormatError as error:
        raise usage(
            f"{file} is neither a proof nor a run.checkpoint: {error}.",
            "crownest workspace-runs proof <workspace-run-id> --output proof.zip fetches a proof.",
        ) from error
    return note, checkpoint


def _ask(url: str, note: bytes) -> tuple[bytes, int | None]:
    """The authority's answer, and the number of the request that it must repeat."""
    import asyncio

    from rfc3161_client import HashAlgorithm, TimestampRequestBuilder

    from client.errors import ClientError
    from client.timestamp import ask_authority

    query = TimestampRequestBuilder(note, HashAlgorithm.SHA256, nonce=True, cert_req=True).build()
    try:
        answer = asyncio.run(ask_authority(url, query.as_bytes(), trust_env=not is_loopback(url)))
    except ClientError as error:
        raise failure(one_line(error.message), ANOTHER, reason=error.code) from error
    return answer, query.nonce
