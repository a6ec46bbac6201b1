"""The command run-archive: create, upload, start and stream in one go, and exit as the command did."""

from __future__ import annotations

import enum
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.event_output import EventWriter
from cli.interruption import Interruption
from cli.options import ARCHIVE, JSON, create_options, measured, run_request, session
from cli.problems import EXIT_ERROR, EXIT_OK, CliError, exit_status_of, from_client_error
from cli.trailing import TrailingCommand
from client.errors import ConnectionFailed, StreamInterrupted
from client.shapes import TERMINAL_STATUSES, WorkspaceRun
from evidence.visible import one_line
from evidence.wording import counted

if TYPE_CHECKING:
    from client.api import CrownestClient
    from client.archive import Archive
    from client.shapes import RunRequest

EXIT_NOT_FOUND = 127
"""What a shell answers when there is no such command."""
LIKE = "crownest workspace-runs run-archive repo.tgz -- pnpm test"


class Stage(enum.Enum):
    """How far a run has come, for the message when the person stops watching."""

    CREATING = "creating"
    UPLOADING = "uploading"
    RUNNING = "running"


class Attempt:
    """One execution of run-archive: what is known when it is interrupted at any point."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.stage = Stage.CREATING
        self.run_id: str | None = None
        self.writer = EventWriter(as_json=as_json)

    def execute(self, client: CrownestClient, request: RunRequest, archive: Archive, key: str | None) -> int:
        """The calls in the order of CONTRACT §4.2; answers the exit status."""
        from cli.progress import upload_progress

        self.run_id = client.create_run(request, idempotency_key=key)["id"]
        self.stage = Stage.UPLOADING
        if not self.as_json:
            output.note(output.paint(one_line(f"run {self.run_id}"), sys.stderr, dim=True))
        with upload_progress(archive.size_bytes) as on_progress:
            client.upload_staged(self.run_id, archive, on_progress=on_progress)
        client.start_run(self.run_id)
        self.stage = Stage.RUNNING
        run = self._watch(client, self.run_id)
        if not self.as_json:
            summarise(run, request.command, truncated=self.writer.truncated)
        return exit_status(run)

    def _watch(self, client: CrownestClient, run_id: str) -> WorkspaceRun:
        """Stream to the end. When the stream ends early, ask once how the run stands (CONTRACT rule 6).

        What was not seen yet is then read on new connections, whether the run has ended or goes on
        (docs/decisions/0102-a-stream-that-ends-early.md).
        """
        try:
            for event in client.stream_events(run_id, reconnect=False):
                self.writer.write(event)
        except StreamInterrupted as early:
            latest = _if_reachable(client, run_id)
            try:
                for event in client.stream_events(run_id, after_seq=early.last_seq, resuming=True):
                    self.writer.write(event)
            except StreamInterrupted:
                # The events cannot be had, but the answer can: the exit status stays true.
                if latest is None or latest["status"] not in TERMINAL_STATUSES:
                    raise
                self.writer.ended = latest
                output.warn(
                    f"The end of the output is missing; the stream broke after event {early.last_seq}."
                )
        finally:
            self.writer.finish()
        assert self.writer.ended is not None, "a stream ends with `terminal` or raises"
        return self.writer.ended

    def interrupted(self) -> Interruption:
        """What Ctrl-C leaves behind, and what can be done about it."""
        run_id, last_seq = self.run_id, self.writer.last_seq
        cancel = f"crownest workspace-runs cancel {run_id}"
        if run_id is None:
            return Interruption("Stopped before the run was created.", {}, {})
        details = {"workspaceRunId": run_id, "lastSeq": last_seq}
        if self.stage is Stage.UPLOADING:
            message = f"Stopped while uploading. {run_id} waits for its archive; nothing runs."
            return Interruption(message, {"cancel": cancel}, details)
        follow = f"crownest workspace-runs logs {run_id} --after-seq {last_seq}"
        message = f"Stopped watching. {run_id} goes on."
        return Interruption(message, {"follow": follow, "cancel": cancel}, details)


def _if_reachable(client: CrownestClient, run_id: str) -> WorkspaceRun | None:
    """The run, or None while the server is away: it may be starting again."""
    try:
        return client.get_run(run_id)
    except ConnectionFailed:
        return None


def exit_status(run: WorkspaceRun) -> int:
    """The command's own exit code if there is one, else 0 for succeeded and 1 otherwise (CONTRACT §3.4)."""
    code = run.get("exitCode")
    if code is None:
        return EXIT_OK if run["status"] == "succeeded" else EXIT_ERROR
    return exit_status_of(code)


def summarise(run: WorkspaceRun, command: str, *, truncated: bool) -> None:
    """One line on stderr: what became of the run; further lines only for what was lost."""
    colour = {"succeeded": "green", "failed": "red"}.get(run["status"], "yellow")
    parts = [f"exit {run['exitCode']}"] if "exitCode" in run else []
    reason = run.get("failureReason")
    if reason and reason != "command_exit":
        parts.append(reason)
    if "durationMs" in run:
        parts.append(f"{run['durationMs'] / 1000:.1f} s")
    if count := len(run.get("artifactIds", [])):
        parts.append(counted(count, "artifact"))
    if "sandboxId" in run and run.get("keepSandbox"):
        parts.append(f"kept {run['sandboxId']}")
    status = output.paint(one_line(run["status"]), sys.stderr, colour=colour, bold=True)
    facts = one_line(f": {', '.join(parts)}") if parts else ""
    run_id = one_line(run["id"])
    evidence = output.paint(f"crownest workspace-runs evidence {run_id}", sys.stderr, dim=True)
    output.note(f"{run_id} {status}{facts}; {evidence}")
    if (message := run.get("failureMessage")) and reason != "command_exit":
        output.warn(message)
    for lost in run.get("artifactErrors", []):
        output.warn(f"artifact not kept: {lost.get('message') or lost.get('path')}")
    if truncated:
        output.warn("the output reached the server's cap; what came after it was not recorded.")
    if run.get("exitCode") == EXIT_NOT_FOUND and command.startswith("'"):
        output.hint("To use shell syntax, write: -- sh -c 'cd src && make'")


@click.command(
    name="run-archive",
    cls=TrailingCommand,
    like=LIKE,
    examples=(
        "crownest workspace-runs run-archive repo.tgz -- python3 -m unittest",
        "crownest workspace-runs run-archive repo.tgz --artifact out.xml=report -- pytest --junitxml=out.xml",
        "crownest workspace-runs run-archive repo.tgz --json -- sh -c 'make && ./test' | jq .data.type",
    ),
)
@ARCHIVE
@create_options
@JSON
def run_archive(
    *, archive_path: Path, as_json: bool, idempotency_key: str | None, argv: tuple[str, ...], **options: Any
) -> int:
    """Upload an archive, run a command in it, stream it.

    Everything after -- becomes the command line; each word stays one word, so write
    sh -c '…' for pipes and variables. The command's stdout and stderr come out here, and crownest
    exits with the command's exit code. Its own words go to stderr: the run's id first, a summary last.
    With --json, each event is printed on stdout as { "data": … }, one a line.

    A warm sandbox that is given with --sandbox goes with the run, unless --keep-sandbox is there too.
    Stopping crownest (Ctrl-C) does not stop the run.
    """
    archive = measured(archive_path)
    attempt = Attempt(as_json=as_json)
    try:
        with session() as client:
            return attempt.execute(client, run_request(shlex.join(argv), options), archive, idempotency_key)
    except KeyboardInterrupt:
        return attempt.interrupted().tell(as_json=as_json)
    except CliError as exc:
        raise _told_with(attempt.run_id, exc) from exc


def _told_with(run_id: str | None, error: CliError) -> CliError:
    """Say again what failed, now that the run's id is known."""
    cause = error.__cause__
    from client.errors import ClientError

    if run_id and isinstance(cause, ClientError):
        return CliError(from_client_error(cause, run_id=run_id))
    return error
