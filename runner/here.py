"""Runs a command right here, as the person who asked would: their folder, their environment, their input.

It is no sandbox and limits nothing. Only the two output streams are taken, so that they can be recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import Process
from collections.abc import Mapping, Sequence

from runner.capture import Capture, OutputPipes
from runner.job import Emit
from runner.limits import RunnerLimits

SIGNAL_EXIT_CODE = 128
"""What shells add to the number of the signal that ended a command (CONTRACT §3.4)."""
UNLIMITED_BYTES = 2**62
"""The person sees all of the output, however much of it is kept elsewhere."""


class CommandHere:
    """One command; start it, wait for its end, and close it whatever happens."""

    def __init__(self, emit: Emit, limits: RunnerLimits) -> None:
        """`emit` is given the output in order; while it waits, so does the command."""
        self._limits = limits
        self._pipes = OutputPipes()
        self._capture = Capture(
            self._pipes.read_fds,
            emit,
            output_bytes_max=UNLIMITED_BYTES,
            chunk_bytes_max=limits.output_chunk_bytes_max,
            window_ms=limits.output_window_ms,
        )
        self._process: Process | None = None

    def __repr__(self) -> str:
        return f"CommandHere(pid={self._process.pid if self._process else None})"

    async def start(self, argv: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it; OSError when it cannot be."""
        out_fd, err_fd = self._pipes.write_fds
        self._process = await asyncio.create_subprocess_exec(
            *argv, stdin=None, stdout=out_fd, stderr=err_fd, env=environment
        )
        self._pipes.close_write_ends()

    async def wait(self) -> int:
        """Its exit code once its output was taken, 128 + n when signal n ended it.

        What it left running in the background is not waited for, and is not recorded further.
        """
        assert self._process is not None, "a command is started before it is waited for"
        pump = asyncio.create_task(self._capture.pump())
        try:
            code = await self._process.wait()
            self._capture.finish()
            await pump
        finally:
            pump.cancel()
            await asyncio.gather(pump, return_exceptions=True)
        return code if code >= 0 else SIGNAL_EXIT_CODE - code

    def signal(self, number: int) -> None:
        """Pass a signal on; nothing happens once it has ended."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL when that did not help within the grace that runs have."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.terminate_grace_ms / 1000):
                    await process.wait()
            if process.returncode is None:
                process.kill()

    def close(self) -> None:
        """Close the pipes."""
        self._pipes.close()
