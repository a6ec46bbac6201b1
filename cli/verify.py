"""The command verify: checks a proof offline, against a policy file and nothing else."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from cli import output
from cli.lazy import ExampleCommand
from cli.problems import usage
from verifier import options

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def _flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """The flags that both commands have."""
    for name, meaning in reversed(options.FLAGS.items()):
        command = click.option(options.flag(name), is_flag=True, help=meaning)(command)
    return command


@click.command(
    cls=ExampleCommand,
    examples=(
        "crownest verify proof.zip --policy trust.policy --run wsr_abc123",
        "crownest verify evidence.json --bundle proof.zip --policy trust.policy",
        "crownest verify proof.zip --policy trust.policy --json | jq .data.verdict",
    ),
)
@click.argument("file", metavar=options.FILE, type=FILE)
@click.option("--policy", metavar="FILE", type=FILE, required=True, help=options.POLICY)
@click.option("--run", metavar="ID", help=options.RUN)
@click.option("--bundle", metavar="PROOF.ZIP", type=FILE, help=options.BUNDLE)
@click.option("--pin", metavar="FILE", type=FILE, help=options.PIN)
@click.option("--timestamp", metavar="FILE", type=FILE, help=options.TIMESTAMP)
@click.option("--tsa-roots", metavar="FILE", type=FILE, help=options.TSA_ROOTS)
@_flags
@click.option("--jobs", metavar="N", type=click.IntRange(1, options.JOBS_MAX), default=1, help=options.JOBS)
@click.option("--json", "as_json", is_flag=True, help=options.JSON)
def verify(*, as_json: bool, **given: Any) -> int:
    """Check a proof offline, trusting only a policy file.

    Says what the proof shows and what it does not. A proof.zip needs no server, no configuration and
    no network; keys inside it are never used. An evidence.json is checked against the proof of its
    run: name that with --bundle, or it is fetched from the server. The single file crownest-verify
    does the same with nothing but Python and its package cryptography.

    Exits 0 when the proof is accepted, 1 when it is not, 2 when a file cannot be read.
    """
    from verifier.check import CannotCheckError, Request, check
    from verifier.progress import progress

    flags = frozenset(name for name in options.FLAGS if given.pop(name))
    try:
        with progress(sys.stderr, quiet=as_json) as on_progress:
            verdict = check(Request(**given, flags=flags), fetch=_fetched, on_progress=on_progress)
    except CannotCheckError as error:
        raise usage(error.message, error.remedy) from error
    if as_json:
        output.json_data(verdict.to_dict())
    else:
        output.verdict(verdict)
    return verdict.exit_code


@contextmanager
def _fetched(run_id: str) -> Generator[BinaryIO]:
    """The run's proof, from the server."""
    from cli.options import session

    with tempfile.TemporaryFile(prefix="crownest-proof-") as file:
        fetched = cast("BinaryIO", file)
        with session(run_id) as client:
            client.proof_bundle(run_id, fetched)
        fetched.seek(0)
        yield fetched
