"""The command record: run a command right here, record what it prints, and exit as it did."""

from __future__ import annotations

import secrets
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.files import replacing
from cli.options import JSON, METADATA, duration_option, session
from cli.problems import Problem, failure, from_client_error
from cli.run_archive import EXIT_NOT_FOUND, summarise
from cli.run_evidence import OUTPUT
from cli.trailing import TrailingCommand
from client.errors import ApiError, ClientError, ConnectionFailed
from evidence.visible import one_line

if TYPE_CHECKING:
    from client.api import CrownestClient
    from client.producer import Producer
    from client.shapes import WorkspaceRun

LIKE = "crownest record -- make test"
FINISH_S_MAX = 60.0
"""How long sealing the run is tried once the command has ended."""
RETRY_S = 1.0


def _finished(client: CrownestClient, run_id: str, exit_code: int) -> WorkspaceRun:
    """Seal the run, trying again while the server is away; raises `ClientError`."""
    until = time.monotonic() + FINISH_S_MAX
    while True:
        try:
            return client.finish_run(run_id, exit_code)
        except (ApiError, ConnectionFailed) as error:
            if not error.retryable or time.monotonic() > until:
                raise
        time.sleep(RETRY_S)


def _require_program(argv: Sequence[str]) -> None:
    """Say that there is no such command before anything is recorded of it."""
    if shutil.which(argv[0]) is None:
        raise failure(
            f"{argv[0]}: no such command here, so nothing was run or recorded.",
            "To use shell syntax, write: -- sh -c 'cd src && make'",
            reason="command_not_found",
            exit_code=EXIT_NOT_FOUND,
        )


@click.command(
    cls=TrailingCommand,
    like=LIKE,
    examples=(
        "crownest record -- make test",
        "crownest record --metadata branch=main --evidence-output evidence.json -- sh -c 'make && ./test'",
    ),
)
@click.option("--project", metavar="PRJ_ID", help="Project to create the run in.")
@duration_option(
    "timeout", "End the run after this time, such as 90m; default 24 hours.", "The same in milliseconds."
)
@METADATA
@click.option(
    "--evidence-output", metavar="PATH", type=OUTPUT, help="Write the Evidence Bundle as pretty JSON."
)
@JSON
def record(
    *, project: str | None, timeout_ms: int | None, metadata: dict[str, str],
    evidence_output: Path | None, as_json: bool, argv: tuple[str, ...],
) -> int:  # fmt: skip
    """Run a command right here and record what it prints.

    Everything after -- is the command. It runs in this folder, with your environment and your input, in
    no sandbox; its output comes out here as it is, and is recorded on the server, which makes the same
    evidence of it as of its own runs. The evidence says that the command ran outside. crownest exits
    with the command's exit code.

    Ctrl-C and SIGTERM reach the command. If somebody cancels the run, the command gets SIGTERM. When the
    server goes away meanwhile, the command goes on: what it prints is kept and sent when the server is
    back. What cannot be stored in the end is told on stderr, and the exit code is still the command's.
    With --json, output is printed on stdout as { "data": … }, one piece a line, and the run last.
    """
    from cli.recorder import run_here

    _require_program(argv)
    with session() as client:
        request = _request(shlex.join(argv), project, timeout_ms, metadata)
        run_id = client.create_run(request)["id"]
        if not as_json:
            output.note(output.paint(one_line(f"run {run_id}"), sys.stderr, dim=True))
        producer = client.producer(run_id, f"record-{secrets.token_hex(4)}")
        code = run_here(producer, argv, as_json=as_json)
        _conclude(client, run_id, code, producer, as_json=as_json, evidence_output=evidence_output)
    return code


def _request(command: str, project: str | None, timeout_ms: int | None, metadata: dict[str, str]) -> Any:
    from client.shapes import RunRequest

    return RunRequest(
        command=command, project_id=project or None, template="external", timeout_ms=timeout_ms,
        metadata=metadata,
    )  # fmt: skip


def _conclude(
    client: CrownestClient, run_id: str, code: int, producer: Producer, *, as_json: bool,
    evidence_output: Path | None,
) -> None:  # fmt: skip
    """Seal the run and say where it is; whatever is wrong with the record is told, and is no failure."""
    try:
        if producer.given_up is not None:
            raise producer.given_up
        run = client.get_run(run_id) if producer.ended else _finished(client, run_id, code)
    except ClientError as error:
        _tell_incomplete(run_id, error, as_json=as_json)
        return
    if as_json:
        output.json_data(run)
    else:
        summarise(run, "", truncated=producer.truncated)
    if producer.ended is not None:
        output.warn(f"the run was ended by somebody else ({run['status']}); its record stops there.")
    if evidence_output is None:
        return
    try:
        with replacing(evidence_output) as out:
            out.write(output.pretty(client.evidence(run_id)).encode())
    except (ClientError, OSError) as error:
        output.warn(f"{evidence_output} was not written: {error}")


def _tell_incomplete(run_id: str, error: ClientError, *, as_json: bool) -> None:
    told = from_client_error(error, run_id=run_id)
    problem = Problem(
        "record_incomplete",
        f"The record of {run_id} is incomplete, and it is not sealed as ended: {told.message}",
        f"See what is recorded: crownest workspace-runs logs {run_id}",
        details={"workspaceRunId": run_id, "reason": told.code},
    )
    output.error(problem, as_json=as_json)
