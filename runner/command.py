"""Runs one command in a sandbox to its end: exit, timeout, cancel, or a log that is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runner.capture import Capture, OutputPipes
from runner.job import CancelSignal, Emit
from runner.limits import RunnerLimits
from runner.link import HolderTask, SandboxGone
from runner.masking import Masking
from runner.sandbox import Sandbox, exit_code

KILLED_EXIT_CODE = 137


@dataclass(frozen=True, slots=True)
class Ending:
    """How the command ended: exactly one of the first four is meant."""

    exit_code: int | None
    timed_out: bool
    canceled: bool
    killed: bool
    """Somebody destroyed the sandbox, and the command ended with it."""
    signal: str | None
    """The last one that was sent to end it: `SIGTERM` or `SIGKILL`."""
    duration_ms: int
    dropped_bytes: Mapping[str, int]

    def fields(self) -> dict[str, object]:
        """The one of `exitCode`, `timedOut`, `canceled` that the `collecting` event carries."""
        if self.canceled:
            return {"canceled": True}
        return {"timedOut": True} if self.timed_out else {"exitCode": self.exit_code}


class RunningCommand:
    """A command with its output captured; made and awaited in one place, `run_command`."""

    def __init__(
        self,
        sandbox: Sandbox,
        emit: Emit,
        limits: RunnerLimits,
        *,
        output_bytes_max: int | None = None,
        secrets: Sequence[bytes] = (),
    ) -> None:
        self._sandbox = sandbox
        self._limits = limits
        self._pipes = OutputPipes()
        self._capture = Capture(
            self._pipes.read_fds,
            emit,
            output_bytes_max=limits.output_bytes_max if output_bytes_max is None else output_bytes_max,
            chunk_bytes_max=limits.output_chunk_bytes_max,
            window_ms=limits.output_window_ms,
            masking=Masking(secrets) if secrets else None,
        )
        self._tasks: list[asyncio.Task[object]] = []
        self._running: tuple[HolderTask, asyncio.Task[int]] | None = None
        self._signal: str | None = None

    async def run(
        self,
        command: str,
        environment: Mapping[str, str],
        timeout_ms: int,
        cancel: CancelSignal,
        *,
        force: CancelSignal | None = None,
        folder: str = "",
    ) -> Ending:
        """Start it, and wait for its end or make it end; `force` leaves it no time to end by itself.

        Raises what `emit` raises, ValueError when the command and its environment are too long, and
        `FileRefused` (of the folder) or `SandboxUnavailable` when it could not be started.
        """
        began = time.monotonic()
        started = self._sandbox.start(command, environment, *self._pipes.write_fds, folder=folder)
        self._pipes.close_write_ends()
        ended = asyncio.create_task(exit_code(started))
        pump = asyncio.create_task(self._capture.pump())
        canceled = asyncio.create_task(_wait(cancel))
        self._running = (started, ended)
        self._tasks += [ended, pump, canceled]
        await asyncio.wait(
            (ended, pump, canceled), timeout=timeout_ms / 1000, return_when=asyncio.FIRST_COMPLETED
        )
        by_itself, was_canceled = ended.done(), canceled.done()
        if not by_itself:
            await self._stop(started, ended, pump, force)
        code = self._exit_code(ended) if by_itself else None
        if self._sandbox.died:  # without its holder something may still run in it
            await self._sandbox.destroy()
        duration_ms = int((time.monotonic() - began) * 1000)
        self._capture.finish()
        await pump
        return Ending(
            exit_code=code,
            timed_out=not by_itself and not was_canceled,
            canceled=not by_itself and was_canceled,
            killed=by_itself and code is None,
            signal=self._signal,
            duration_ms=duration_ms,
            dropped_bytes=self._capture.dropped_bytes,
        )

    async def close(self) -> None:
        """Leave no command, no task and no descriptor behind, whatever became of `run`."""
        if self._running:
            await self._kill(*self._running)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pipes.close()

    async def _stop(
        self,
        started: HolderTask,
        ended: asyncio.Task[int],
        pump: asyncio.Task[None],
        force: CancelSignal | None,
    ) -> None:
        """SIGTERM, a moment to tidy up, then SIGKILL for everything; at once when output cannot be kept."""
        if not pump.done() and not (force and force.is_set()):
            self._signal = "SIGTERM"
            started.terminate()
            forced = asyncio.create_task(_wait(force)) if force else None
            self._tasks += [forced] if forced else []
            await asyncio.wait(
                (ended, pump, forced) if forced else (ended, pump),
                timeout=self._limits.terminate_grace_ms / 1000,
                return_when=asyncio.FIRST_COMPLETED,
            )
        if not ended.done():
            self._signal = "SIGKILL"
            await self._kill(started, ended)
        if pump.done():
            await pump

    async def _kill(self, started: HolderTask, ended: asyncio.Task[int]) -> None:
        """End the command and all that it started; nothing happens when it has ended."""
        if not ended.done():
            started.kill()
            await asyncio.wait((ended,), timeout=self._limits.stop_timeout_ms / 1000)
        if not ended.done():  # it hangs in the kernel; the sandbox cannot be used again
            await self._sandbox.destroy()

    def _exit_code(self, ended: asyncio.Task[int]) -> int | None:
        """The code, None when the sandbox was destroyed; when it died by itself, that of SIGKILL."""
        try:
            return ended.result()
        except SandboxGone:
            return KILLED_EXIT_CODE if self._sandbox.died else None


async def _wait(cancel: CancelSignal) -> None:
    await cancel.wait()
