"""One live sandbox, whatever provides it: archives, commands, files and ports in it, and its end.

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
from runner.files import FileRefused
from runner.holder_program import memory_file
from runner.limits import RunnerLimits
from runner.link import HolderLink, HolderTask, PortClosed, SandboxGone, SandboxUnavailable
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


async def boot_holder(
    spawner: Spawner, launch_with: Callable[[int, int], Launch], limits: RunnerLimits
) -> Booted:
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
        link = HolderLink(ours, limits.tasks_max())
        try:
            async with asyncio.timeout(limits.boot_timeout_ms / 1000):
                workspace_fd = await link.ready()
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
    """A sandbox with its holder inside, which does several things at once; `destroy` ends it in any state."""

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
        self._workspace_fd = booted.workspace_fd
        self._process = booted.process
        self._link = booted.link
        self._init_fd = os.pidfd_open(init_pid)
        self._environment = dict(environment)
        self._limits = limits
        self._remove = remove
        self._end: asyncio.Task[bool] | None = None
        self._file_places = asyncio.Semaphore(limits.file_operations_max)
        self._dial_places = asyncio.Semaphore(limits.dials_max)

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

    @property
    def died(self) -> bool:
        """True once it ended before anybody asked for that: its holder was killed, perhaps by a command."""
        return self._link.died

    def when_it_dies(self, callback: Callable[[], None]) -> None:
        """Call back when that happens: what it had has to be removed."""
        self._link.on_died = callback

    def open_workspace(self) -> int:
        """A descriptor of the workspace that the caller closes; raises `SandboxGone`."""
        if self.destroyed:
            raise SandboxGone("The sandbox was destroyed.")
        return os.dup(self._workspace_fd)

    def unpack(self, archive_fd: int, limits: ArchiveLimits, *, checked: bool) -> HolderTask:
        """Start to unpack into the workspace, inside the sandbox and as its user; see `extracted`.

        With `checked` the whole archive is read once before anything is written, so that a bad one leaves an
        older workspace alone.
        """
        numbers = [str(value) for value in asdict(limits).values()]
        return self._link.begin("extract", ("checked" if checked else "fresh", *numbers), (archive_fd,))

    def start(
        self, command: str, environment: Mapping[str, str], out_fd: int, err_fd: int, *, folder: str = ""
    ) -> HolderTask:
        """Start one shell line in a folder of the workspace; see `exit_code`.

        Raises ValueError when it and its environment are too long, `SandboxUnavailable`.
        """
        variables = {**self._environment, **environment, MARKER: self._environment[MARKER]}
        pairs = (f"{name}={value}" for name, value in variables.items())
        fields = (str(self._limits.processes_max), folder, command, *pairs)
        return self._link.begin("run", fields, (out_fd, err_fd))

    async def file(self, operation: str, fields: tuple[str, ...], content_fd: int) -> tuple[str, ...]:
        """One operation of `runner.workspace`: the fields of its answer.

        Raises `FileRefused`, `SandboxGone`, `SandboxUnavailable`.
        """
        async with self._file_places:
            task = self._begin(operation, fields, content_fd)
            packet, _ = await self._answer(task, self._limits.file_timeout_ms)
        if packet.kind == "done":
            return packet.fields
        raise refusal_of(packet)

    async def dial(self, port: int) -> socket.socket:
        """A connection to a port inside; raises `PortClosed`, `SandboxGone`, `SandboxUnavailable`."""
        async with self._dial_places:
            task = self._link.begin("dial", (str(port),))
            packet, fds = await self._answer(task, self._limits.dial_timeout_ms)
        if packet.kind == "dialed":
            connection = socket.socket(fileno=fds[0])
            connection.setblocking(False)
            return connection
        if packet.fields[0] == "port_closed":
            raise PortClosed(packet.fields[1])
        raise SandboxUnavailable(packet.fields[1])

    def _begin(self, operation: str, fields: tuple[str, ...], content_fd: int) -> HolderTask:
        try:
            return self._link.begin("file", (operation, *fields), (content_fd,))
        except ValueError as error:
            what = "The path is too long, or holds a NUL character."
            raise FileRefused("invalid_request", what) from error

    @staticmethod
    async def _answer(task: HolderTask, timeout_ms: int) -> tuple[Packet, list[int]]:
        try:
            async with asyncio.timeout(timeout_ms / 1000):
                return await task.answer()
        except TimeoutError as late:
            task.abandon()
            what = (
                f"The sandbox did not answer within {timeout_ms} ms. Is everything in it stopped or waiting?"
            )
            raise SandboxUnavailable(what) from late
        except asyncio.CancelledError:
            task.abandon()
            raise

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
        os.close(self._workspace_fd)
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


async def extracted(task: HolderTask) -> Extracted:
    """Wait for the end of unpacking; raises `ArchiveRefused`, `SandboxGone`."""
    packet, _ = await task.answer()
    if packet.kind != "extracted":
        reason, message = packet.fields
        raise ArchiveRefused("extraction_failed" if reason == "sandbox_unavailable" else reason, message)
    entries, size_bytes = map(int, packet.fields)
    return Extracted(entries, size_bytes)


async def exit_code(task: HolderTask) -> int:
    """Wait for the end of a command: its exit code, 128 + n for death by signal n.

    When it returns, everything that the command left behind is dead too. Raises `SandboxGone`, or
    `FileRefused` or `SandboxUnavailable` when the command could not be started.
    """
    packet, _ = await task.answer()
    if packet.kind != "exited":
        raise refusal_of(packet)
    return int(packet.fields[0])


def refusal_of(packet: Packet) -> FileRefused | SandboxUnavailable:
    """The exception that says why the holder refused."""
    code, message = packet.fields
    return SandboxUnavailable(message) if code == "sandbox_unavailable" else FileRefused(code, message)
