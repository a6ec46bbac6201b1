"""One live sandbox, whatever provides it: unpack into it, run commands in it, end it.

The provider starts the holder and says how to remove what is left afterwards; everything between is here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

from runner.archive import ArchiveLimits
from runner.archive_path import ArchiveRefused
from runner.extract import Extracted
from runner.holder_program import memory_file
from runner.limits import RunnerLimits
from runner.link import HolderLink, SandboxGone, SandboxUnavailable
from runner.remains import MARKER
from runner.spawner import Launch, Spawner
from runner.wire import Packet

_STDERR_CHARS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Booted:
    """A holder that said it is ready: the process we started, the link to it, and its workspace folder."""

    process: subprocess.Popen[bytes]
    link: HolderLink
    workspace_fd: int


async def boot_holder(spawner: Spawner, launch_with: Callable[[int, int], Launch], timeout_ms: int) -> Booted:
    """Start a holder and wait until it serves.

    `launch_with(control_fd, stderr_fd)` says how to start it. Raises `SandboxUnavailable` with what the
    started program wrote to stderr; nothing is left then.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stderr_fd = memory_file("stderr", b"")
    try:
        try:
            process = await spawner.start(launch_with(theirs.fileno(), stderr_fd))
        except (OSError, subprocess.SubprocessError) as error:
            ours.close()
            raise SandboxUnavailable(f"The sandbox could not be started: {error}.") from error
        finally:
            theirs.close()
        link = HolderLink(ours)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                _, (workspace_fd,) = await link.receive()
        except (SandboxGone, TimeoutError) as silence:
            link.close()
            process.kill()
            await asyncio.to_thread(process.wait)
            raise SandboxUnavailable(_why(stderr_fd, silence)) from silence
        except BaseException:
            link.close()
            process.kill()
            process.wait()
            raise
        return Booted(process, link, workspace_fd)
    finally:
        os.close(stderr_fd)


def _why(stderr_fd: int, silence: Exception) -> str:
    said = os.pread(stderr_fd, _STDERR_CHARS_MAX, 0).decode("utf-8", "replace").strip()
    late = "it did not answer in time" if isinstance(silence, TimeoutError) else "it ended at once"
    return f"The sandbox could not be started: {said or late}."


class Sandbox:
    """A sandbox with its holder inside. One task at a time; `destroy` ends it in any state."""

    def __init__(
        self,
        sandbox_id: str,
        booted: Booted,
        *,
        init_pid: int,
        environment: Mapping[str, str],
        limits: RunnerLimits,
        remove: Callable[[], bool],
    ) -> None:
        self.id = sandbox_id
        self.workspace_fd = booted.workspace_fd
        self._process = booted.process
        self._link = booted.link
        self._init_fd = os.pidfd_open(init_pid)
        self._environment = dict(environment)
        self._limits = limits
        self._remove = remove
        self._end: asyncio.Task[bool] | None = None

    def __repr__(self) -> str:
        return f"Sandbox({self.id}, gone={self.gone})"

    @property
    def gone(self) -> bool:
        """True once nothing can run in it any more."""
        return self._link.gone

    @property
    def destroyed(self) -> bool:
        """True once somebody asked for its end."""
        return self._end is not None

    async def extract(self, archive_fd: int, limits: ArchiveLimits, *, checked: bool) -> Extracted:
        """Unpack into the workspace, inside the sandbox and as its user.

        With `checked` the whole archive is read once before anything is written, so that a bad one leaves an
        older workspace alone. Raises `ArchiveRefused`, `SandboxGone`.
        """
        numbers = [str(value) for value in asdict(limits).values()]
        how = "checked" if checked else "fresh"
        answer = await self._link.request(Packet("extract", (how, *numbers)), (archive_fd,))
        if answer.kind != "extracted":
            raise ArchiveRefused(answer.fields[0], answer.fields[1])
        entries, size_bytes = map(int, answer.fields)
        return Extracted(entries, size_bytes)

    def start(self, command: str, environment: Mapping[str, str], out_fd: int, err_fd: int) -> None:
        """Start one shell line in the workspace; ValueError when it and its environment are too long."""
        variables = {**self._environment, **environment, MARKER: self._environment[MARKER]}
        pairs = (f"{name}={value}" for name, value in variables.items())
        fields = (str(self._limits.processes_max), command, *pairs)
        self._link.tell(Packet("run", fields), (out_fd, err_fd))

    async def ended(self) -> int:
        """The exit code of the started command, 128 + n for death by signal n.

        When it returns, everything that the command left behind is dead too. Raises `SandboxGone`, or
        `SandboxUnavailable` when the command could not be started.
        """
        answer, _ = await self._link.receive()
        if answer.kind != "exited":
            raise SandboxUnavailable(answer.fields[1])
        return int(answer.fields[0])

    def terminate(self) -> None:
        """Ask the running command to end: SIGTERM to its process group."""
        self._link.tell(Packet("terminate"))

    def kill(self) -> None:
        """End the running task and everything it started; the holder answers as for an ordinary end."""
        self._link.tell(Packet("kill"))

    async def destroy(self) -> bool:
        """End everything in it and remove its workspace; False when something could not be removed."""
        if self._end is None:
            self._end = asyncio.create_task(self._destroy(), name=f"destroy {self.id}")
        return await asyncio.shield(self._end)

    async def _destroy(self) -> bool:
        self._link.close()
        ended = await self._init_ended(self._limits.stop_timeout_ms)
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._init_fd, signal.SIGKILL)
            ended = await self._init_ended(self._limits.stop_timeout_ms)
        self._process.kill()  # bubblewrap's outer process, which would end by itself a moment later
        await asyncio.to_thread(self._process.wait)
        os.close(self._init_fd)
        os.close(self.workspace_fd)
        removed = await asyncio.to_thread(self._remove)
        return ended and removed

    async def _init_ended(self, timeout_ms: int) -> bool:
        """True when the sandbox's first process has ended; of a process namespace it is the last to do so."""
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._init_fd, ended.set)
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._init_fd)
        return True
