"""The command exec: runs a command in a sandbox, streams it, and exits as it did."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

import click

from cli import output
from cli.event_output import CommandWriter
from cli.interruption import Interruption
from cli.options import JSON, Id, duration_option, idempotency_key_option, session
from cli.problems import (
    EXIT_ERROR,
    EXIT_OK,
    CliError,
    Problem,
    exit_status_of,
    from_client_error,
)
from cli.trailing import TrailingCommand
from client.errors import ClientError, StreamInterrupted
from client.shapes import CommandRequest
from evidence.visible import one_line

if TYPE_CHECKING:
    from client.api import CrownestClient
    from client.shapes import Command

REMEDIES = {
    "not_found": "Check the id, and that the key belongs to the same organisation. "
    "Your sandboxes: crownest sandboxes list",
    "sandbox_destroyed": "Make another one: crownest sandboxes create",
}


def _parse_env(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`NAME=VALUE`, or `NAME` alone for what crownest's own environment holds."""
    env: dict[str, str] = {}
    for value in values:
        name, equals, content = value.partition("=")
        if not name or (not equals and name not in os.environ):
            raise click.BadParameter(
                f"{value!r} is neither NAME=VALUE nor the name of a set variable.", ctx, param
            )
        env[name] = content if equals else os.environ[name]
    return env


@click.command(
    "exec",
    cls=TrailingCommand,
    like="crownest sandboxes exec sbx_abc123 -- ls -l",
    examples=(
        "crownest sandboxes exec sbx_abc123 -- python3 -m unittest",
        "crownest sandboxes exec sbx_abc123 --cwd src --env TOKEN -- sh -c 'make | tee log'",
        "crownest sandboxes exec sbx_abc123 --detach -- python3 -m http.server 8000",
    ),
)
@click.argument("sandbox_id", metavar="SANDBOX-ID", type=Id("sbx", "a sandbox's id"))
@click.option("--cwd", metavar="PATH", help="Folder to run it in.  [default: the workspace]")
@click.option(
    "--env",
    metavar="NAME[=VALUE]",
    multiple=True,
    callback=_parse_env,
    help="Set a variable; without a value, to what it is here. Repeatable.",
)
@duration_option(
    "timeout",
    "Time limit, such as 90s or 30m.  [default: as long as the sandbox lives]",
    "The same in milliseconds.",
)
@click.option("--detach", is_flag=True, help="Print the command's id alone and do not wait.")
@idempotency_key_option("one command")
@JSON
def exec_(
    *,
    sandbox_id: str,
    cwd: str | None,
    env: dict[str, str],
    timeout_ms: int | None,
    detach: bool,
    idempotency_key: str | None,
    as_json: bool,
    argv: tuple[str, ...],
) -> int:
    """Run a command in a sandbox and stream its output.

    Everything after -- becomes the command line; each word stays one word, so write sh -c '…' for pipes
    and variables. Its stdout and stderr come out here, and crownest exits with its exit code. Ctrl-C
    cancels it; to let it go on by itself, use --detach. It gets no standard input.
    """
    request = CommandRequest(shlex.join(argv), cwd=cwd or None, env=env, timeout_ms=timeout_ms)
    with session(remedies=REMEDIES) as client:
        command = client.run_command(sandbox_id, request, background=True, idempotency_key=idempotency_key)
        if detach:
            _tell_id(command, as_json=as_json)
            return EXIT_OK
        try:
            ended = watch(client, command["id"], as_json=as_json)
        except KeyboardInterrupt:
            return _canceled(client, command["id"], as_json=as_json)
    return _exit_status(ended, as_json=as_json)


def _tell_id(command: Command, *, as_json: bool) -> None:
    """The id alone on stdout, so that `id=$(…)` takes it."""
    if as_json:
        output.json_data(command)
        return
    output.write_out(one_line(command["id"]) + "\n")
    output.hint(f"next: crownest commands logs {command['id']}")


def watch(client: CrownestClient, command_id: str, *, as_json: bool, after_seq: int = 0) -> Command:
    """Write the command's output to its end; answers the command. A broken stream says how to go on."""
    writer = CommandWriter(as_json=as_json)
    try:
        for event in client.stream_command(command_id, after_seq=after_seq):
            writer.write(event)
    except StreamInterrupted as exc:
        raise CliError(_lost(exc, command_id)) from exc
    finally:
        writer.finish()
    assert writer.ended is not None, "a stream ends with `terminal` or raises"
    return writer.ended


def _lost(error: StreamInterrupted, command_id: str) -> Problem:
    problem = from_client_error(error)
    again = f"crownest commands logs {command_id} --after-seq {error.last_seq}"
    return Problem(
        problem.code,
        f"The output ended before the command did, after line {error.last_seq}.",
        f"When the server answers again: {again}",
        details={**(problem.details or {}), "commandId": command_id},
        retryable=True,
    )


def _canceled(client: CrownestClient, command_id: str, *, as_json: bool) -> int:
    """Ctrl-C stops the command as well (decision 0861); whoever presses it twice leaves it alone."""
    details = {"commandId": command_id}
    ways_on = {
        "see": f"crownest commands logs {command_id}",
        "kill": f"crownest commands cancel {command_id} --force",
    }
    try:
        status = client.cancel_command(command_id)["status"]
    except (KeyboardInterrupt, ClientError):
        return Interruption(f"Stopped watching. {command_id} may go on.", ways_on, details).tell(
            as_json=as_json
        )
    if status == "running":
        return Interruption(f"{command_id} was asked to end.", ways_on, details).tell(as_json=as_json)
    return Interruption(f"Stopped. {command_id} is {status}.", {}, details).tell(as_json=as_json)


def _exit_status(command: Command, *, as_json: bool) -> int:
    """The command's exit code; without one it did not end by itself, and that is said."""
    if (code := command.get("exitCode")) is not None:
        return exit_status_of(code)
    if not as_json:
        output.warn(f"{command['id']} ended without an exit code: {command['status']}.")
    return EXIT_ERROR
