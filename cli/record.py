"""The command record: run a command right here, record what it prints, and exit as it did."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cli import output
from cli.files import replacing
from cli.options import JSON, METADATA, WholeNumber, session
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
    from runner.here import CommandHere
    from runner.job import Report

LIKE = "crownest record -- make test"
EXIT_NOT_EXECUTABLE = 126
FINISH_S_MAX = 60.0
"""How long what is left is tried to be stored once the command has ended."""
RETRY_S = 1.0
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})


class Recording:
    """One execution of record: the command, its output on the way to the person and to the server."""

    def __init__(self, producer: Producer, *, as_json: bool) -> None:
        self.producer = producer
        self._as_json = as_json
        self._shown: dict[str, BinaryIO | None] = {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
        self._ended = False

    async def run(self, argv: Sequence[str]) -> int:
        """Begin the recording, run the command to its end, and store what is left. Answers its exit code.

        Raises `ClientError` while nothing has run yet; from then on whatever happens to the recording, the
        command does not notice.
        """
        from runner.here import CommandHere
        from runner.limits import RunnerLimits

        await self.producer.open()
        command = CommandHere(self._emit, RunnerLimits())
        watch = asyncio.create_task(self._stop_when_over(command))
        try:
            with self._signals(command):
                code = await self._executed(command, argv)
                self._ended = True
                await self._drain()
            return code
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)
            command.close()
            await self.producer.close()

    async def _executed(self, command: CommandHere, argv: Sequence[str]) -> int:
        try:
            await command.start(argv, os.environ)
        except OSError as error:
            text = f"crownest: {argv[0]}: {error.strerror}\n"
            await self.producer.put([{"type": "stderr", "data": text}])
            await self._show("stderr", text.encode())
            return EXIT_NOT_FOUND if isinstance(error, FileNotFoundError) else EXIT_NOT_EXECUTABLE
        return await command.wait()

    async def _emit(self, reports: Sequence[Report]) -> None:
        """Show the output, then record it."""
        for report in reports:
            encoded = report.fields.get("dataBase64")
            data = base64.b64decode(str(encoded)) if encoded else str(report.fields["data"]).encode()
            if self._as_json:
                output.json_data({"type": report.type, **report.fields})
            else:
                await self._show(report.type, data)
        await self.producer.put([_event(report) for report in reports])

    async def _show(self, stream: str, data: bytes) -> None:
        """Pass bytes on as they are: it is the person's own command on their own terminal."""
        shown = self._shown[stream]
        if shown is None:
            return
        try:
            await asyncio.to_thread(_write, shown, data)
        except OSError:
            self._shown[stream] = None  # nobody reads any more; it is recorded all the same

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(FINISH_S_MAX):
                await self.producer.drained()
        except TimeoutError:
            why = (
                "The command has ended, and the server did not come back in time for the rest of its output."
            )
            self.producer.give_up(ClientError("server_away", why))

    async def _stop_when_over(self, command: CommandHere) -> None:
        """Somebody ended the run (canceled it, say): so ends the command, as in a sandbox."""
        await self.producer.over.wait()
        if self.producer.ended is not None:
            await command.stop()

    def _signals(self, command: CommandHere) -> _Signals:
        def passed_on(number: int) -> None:
            if self._ended:
                self.producer.give_up(ClientError("interrupted", "Stopped while the rest was being stored."))
            elif not (number in FROM_TERMINAL and _in_foreground()):
                command.signal(number)  # else the terminal has sent it to both of us

        return _Signals(passed_on)


class _Signals:
    """While it is entered, signals end nothing here: they are passed on."""

    def __init__(self, handle: Callable[[int], None]) -> None:
        self._handle = handle

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        for number in PASSED_ON:
            loop.add_signal_handler(number, self._handle, number)

    def __exit__(self, *_: object) -> None:
        loop = asyncio.get_running_loop()
        for number in PASSED_ON:
            loop.remove_signal_handler(number)


def _in_foreground() -> bool:
    """Whether a terminal sends its signals to us, and so to the command as well."""
    try:
        return os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp()
    except (OSError, ValueError):
        return False


def _write(stream: BinaryIO, data: bytes) -> None:
    stream.write(data)
    stream.flush()


def _event(report: Report) -> Mapping[str, object]:
    encoded = report.fields.get("dataBase64")
    content = {"data": report.fields["data"]} if encoded is None else {"dataBase64": encoded}
    return {"type": report.type, **content}


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
@click.option(
    "--timeout-ms", metavar="MS", type=WholeNumber(1), help="End the run after this time; default 24 hours."
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
    _require_program(argv)
    with session() as client:
        request = _request(shlex.join(argv), project, timeout_ms, metadata)
        run_id = client.create_run(request)["id"]
        if not as_json:
            output.note(output.paint(one_line(f"run {run_id}"), sys.stderr, dim=True))
        recording = Recording(client.producer(run_id, f"record-{secrets.token_hex(4)}"), as_json=as_json)
        code = asyncio.run(recording.run(argv))
        _conclude(client, run_id, code, recording.producer, as_json=as_json, evidence_output=evidence_output)
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
