"""What a live sandbox does beside workspace runs: commands, files and ports, until it expires.

A run has its sandbox to itself as far as starting and changing things goes: commands that were started before
go on beside it, and files and ports can be looked at, but nothing new is started and no file is changed.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeVar

from runner.collect import collect_from
from runner.command import Ending, RunningCommand
from runner.files import PUBLIC_ROOT, FileRefused, FileStat, parse_stats
from runner.holder_program import memory_file
from runner.interactive import CommandCancel, FileContent, SandboxCommand
from runner.job import Emit, Report, RequestedArtifact, StoreArtifact
from runner.limits import RunnerLimits
from runner.link import SandboxGone, SandboxUnavailable
from runner.masking import Masking
from runner.registry import OnExpired, Registry, SandboxConflict
from runner.sandbox import Sandbox
from runner.templates import Templates
from runner.uninterrupted import uninterrupted

LISTING_BYTES_MAX = 64 * 1024 * 1024
PORTS = range(1, 65_536)
_T = TypeVar("_T")


class TooManyCommands(SandboxConflict):
    """As many commands run in the sandbox as may (`RunnerLimits.sandbox_commands_max`)."""


class Sandboxes:
    """Kept and warm sandboxes in use. Everything here raises `SandboxConflict` for one that is not here.

    So does, while a run uses the sandbox, what would start or change something in it.
    """

    def __init__(self, registry: Registry, templates: Templates, limits: RunnerLimits) -> None:
        self.templates = templates
        self._registry = registry
        self._limits = limits
        self._commands: Counter[str] = Counter()
        self._no_commands = asyncio.Event()
        self._no_commands.set()

    def tell_expired(self, callback: OnExpired) -> None:
        """From now on call back with the id of every sandbox whose time was over, or that ended by itself."""
        self._registry.on_expired = callback

    async def create_sandbox(self, sandbox_id: str, template: str, ttl_ms: int) -> int:
        """Boot a warm sandbox: the time (unix ms) at which it will be ended.

        `template` is a slug or a version id. Raises `UnknownTemplate`, `SandboxUnavailable`.
        """
        sandbox = await self._registry.boot(sandbox_id, self.templates.get(template))
        if sandbox.destroyed:
            raise SandboxUnavailable("The server is being stopped.")
        return self._registry.keep(sandbox_id, ttl_ms)

    def extend_sandbox(self, sandbox_id: str, ttl_ms: int) -> int:
        """Let it be ended so long after now, sooner or later than before: that time (unix ms).

        While a run uses the sandbox its time does not come; it counts again when the run is over.
        """
        return self._registry.extend(sandbox_id, ttl_ms)

    def require_free(self, sandbox_id: str) -> None:
        """Raise what `run_command` would raise at once: `SandboxConflict`, `TooManyCommands`."""
        self._registry.use(sandbox_id, beside_a_run=False)
        if self._commands[sandbox_id] >= self._limits.sandbox_commands_max:
            raise TooManyCommands(
                f"{self._limits.sandbox_commands_max} commands run in sandbox {sandbox_id} already. "
                "Wait for one to end, or cancel one."
            )

    async def run_command(
        self, sandbox_id: str, command: SandboxCommand, emit: Emit, cancel: CommandCancel
    ) -> Ending:
        """Run a command to its end; `emit` gets its output as stdout, stderr and output_truncated reports.

        Commands run beside each other; when one ends, what it left behind is dead. Raises `FileRefused` for a
        bad `cwd`, `TooManyCommands`, `SandboxUnavailable`, ValueError when command and environment are too
        long, and what `emit` raises, after the command was ended.
        """
        self.require_free(sandbox_id)
        sandbox = self._registry.use(sandbox_id, beside_a_run=False)
        limit = self._limits.output_bytes_max
        wanted = limit if command.output_bytes_max is None else min(command.output_bytes_max, limit)
        self._count(sandbox_id, 1)
        try:
            running = RunningCommand(
                sandbox, emit, self._limits, output_bytes_max=wanted, secrets=command.secrets
            )
            try:
                return await running.run(
                    command.command,
                    command.env,
                    command.timeout_ms,
                    cancel,
                    force=cancel.forced,
                    folder=command.cwd,
                )
            finally:
                await uninterrupted(running.close())
        finally:
            self._count(sandbox_id, -1)
            self._registry.gave_up(sandbox_id)

    async def collect_artifact(
        self,
        sandbox_id: str,
        requested: RequestedArtifact,
        store_artifact: StoreArtifact,
        new_id: Callable[[str], str],
        secrets: Sequence[bytes] = (),
    ) -> Report:
        """Keep a file: `artifact_collected`, or `artifact_error` when it cannot be. Also beside a run."""
        sandbox = self._registry.use(sandbox_id, beside_a_run=True)
        inside = replace(requested, path=requested.path.removeprefix(PUBLIC_ROOT + "/"))
        bytes_max = self._limits.artifact_bytes_max
        masked = Masking(secrets).text if secrets else str
        return await _here(collect_from(sandbox, inside, store_artifact, bytes_max, new_id, masked=masked))

    async def list_files(self, sandbox_id: str, path: str = "") -> list[FileStat]:
        """What a folder holds, in order of the names; more than `listing_entries_max` is refused.

        This and every operation on files: paths are relative to the workspace or start with /workspace.
        Raises `FileRefused`, `SandboxUnavailable`.
        """
        async with self._content(b"") as fd:
            fields = (path, str(self._limits.listing_entries_max))
            await self._file(sandbox_id, "list", fields, fd)
            listing = await asyncio.to_thread(os.pread, fd, LISTING_BYTES_MAX, 0)
        return parse_stats(listing.decode().split("\0"))

    async def stat_file(self, sandbox_id: str, path: str) -> FileStat:
        """The facts about a file or folder, which a link may lead to."""
        return await self._stat(sandbox_id, "stat", (path,))

    async def read_file(self, sandbox_id: str, path: str, bytes_max: int | None = None) -> FileContent:
        """A regular file, whole; `file_too_large` when it is longer than `bytes_max`."""
        limit = self._limits.file_bytes_max
        limit = limit if bytes_max is None else min(bytes_max, limit)
        async with self._content(b"") as fd:
            fields = await self._file(sandbox_id, "read", (path, str(limit)), fd)
            content = await asyncio.to_thread(os.pread, fd, limit, 0)
        (stat,) = parse_stats(fields)
        return FileContent(replace(stat, size_bytes=len(content)), content)

    async def write_file(
        self,
        sandbox_id: str,
        path: str,
        content: bytes,
        *,
        create_parents: bool = False,
        overwrite: bool = True,
    ) -> FileStat:
        """Make or replace a regular file: everything of it appears at once. It keeps its permissions."""
        if len(content) > self._limits.file_bytes_max:
            what = f"The content is longer than {self._limits.file_bytes_max} bytes. Split it"
            raise FileRefused("file_too_large", f"{what}, or bring it in an archive.")
        fields = (path, _flag(create_parents), _flag(overwrite))
        return await self._stat(sandbox_id, "write", fields, content)

    async def delete_file(self, sandbox_id: str, path: str) -> None:
        """Remove a file, a link (not what it leads to) or an empty folder."""
        async with self._content(b"") as fd:
            await self._file(sandbox_id, "delete", (path,), fd, changes=True)

    async def make_directory(self, sandbox_id: str, path: str, *, parents: bool = False) -> FileStat:
        """Make a folder; with `parents` also those above it, and one that exists already will do."""
        return await self._stat(sandbox_id, "mkdir", (path, _flag(parents)), b"")

    async def move_file(
        self, sandbox_id: str, source: str, target: str, *, overwrite: bool = False
    ) -> FileStat:
        """Rename a file, a link (itself) or a folder; `target` is its new path, no folder to move into."""
        return await self._stat(sandbox_id, "move", (source, target, _flag(overwrite)), b"")

    async def dial(self, sandbox_id: str, port: int) -> socket.socket:
        """A connected, non-blocking socket to a port of the sandbox's loopback; the caller closes it.

        Also beside a run. Raises `PortClosed`, `SandboxUnavailable`, ValueError for a number that is no port.
        """
        if port not in PORTS:
            raise ValueError(f"{port} is no port: it must be from 1 to 65535.")
        return await _here(self._registry.use(sandbox_id, beside_a_run=True).dial(port))

    async def _stat(
        self, sandbox_id: str, operation: str, fields: tuple[str, ...], content: bytes | None = None
    ) -> FileStat:
        """An operation that answers with the facts about one file; with content it changes something."""
        async with self._content(content or b"") as fd:
            answer = await self._file(sandbox_id, operation, fields, fd, changes=content is not None)
        (stat,) = parse_stats(answer)
        return stat

    async def _file(
        self, sandbox_id: str, operation: str, fields: tuple[str, ...], fd: int, *, changes: bool = False
    ) -> tuple[str, ...]:
        sandbox: Sandbox = self._registry.use(sandbox_id, beside_a_run=not changes)
        return await _here(sandbox.file(operation, fields, fd))

    @asynccontextmanager
    async def _content(self, content: bytes) -> AsyncGenerator[int]:
        """The anonymous file through which content goes in or comes out."""
        fd = await asyncio.to_thread(memory_file, "content", content)
        try:
            yield fd
        finally:
            os.close(fd)

    def _count(self, sandbox_id: str, change: int) -> None:
        self._commands[sandbox_id] += change
        if self._commands[sandbox_id] == 0:
            del self._commands[sandbox_id]
        if self._commands:
            self._no_commands.clear()
        else:
            self._no_commands.set()


async def _here(work: Awaitable[_T]) -> _T:
    """A sandbox that ends meanwhile is one that is not here."""
    try:
        return await work
    except SandboxGone as gone:
        raise SandboxConflict("The sandbox was destroyed or expired meanwhile. Create a new one.") from gone


def _flag(value: bool) -> str:  # noqa: FBT001  # the flag is the whole argument
    return "true" if value else "false"
