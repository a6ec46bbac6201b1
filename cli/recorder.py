"""Runs a command right here for `crownest record`: its output goes to the person and to the server."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, BinaryIO

from cli import output
from cli.run_archive import EXIT_NOT_FOUND
from client.errors import ClientError

if TYPE_CHECKING:
    from client.producer import Producer
    from runner.here import CommandHere
    from runner.job import Report

EXIT_NOT_EXECUTABLE = 126
DRAINED_S_MAX = 60.0
"""How long what is left is tried to be stored once the command has ended."""
PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
FROM_TERMINAL = frozenset({signal.SIGINT, signal.SIGQUIT})


def run_here(producer: Producer, argv: Sequence[str], *, as_json: bool) -> int:
    """Run the command to its end and record it. Answers its exit code; see `Recording.run`."""
    return asyncio.run(Recording(producer, as_json=as_json).run(argv))


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
            async with asyncio.timeout(DRAINED_S_MAX):
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
