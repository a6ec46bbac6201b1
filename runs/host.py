"""The port to whatever holds sandboxes: what the rules ask of it (wired to the runner in `cli`).

Every method raises `Refusal` when it cannot do what was asked, with the contract's code: `sandbox_destroyed`,
`conflict`, `resource_allocation_failed`, or one of the file codes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from eventstore.log import NewEvent

CancelMode = Literal["graceful", "force"]

EmitOutput = Callable[[Sequence[NewEvent]], Awaitable[None]]
"""Takes `stdout`, `stderr` and `output_truncated` of a command, in order."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose it is; what is told about it holds no secret of these names."""

    org_id: str
    project_id: str
    secret_names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CommandJob:
    """A shell line to run in a sandbox. Values of `env` reach the command and nothing else."""

    command_id: str
    sandbox_id: str
    project_id: str
    command: str
    cwd: str
    timeout_ms: int
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    secret_names: Sequence[str] = ()
    """Secrets of the project that it finds in its environment as well."""


class CancelRequest:
    """Set once, with how: `graceful` asks the command to end, `force` ends it."""

    def __init__(self) -> None:
        self.forced = asyncio.Event()
        """Set by `force`, which counts also after `graceful`."""
        self._asked = asyncio.Event()

    def __repr__(self) -> str:
        return f"CancelRequest(asked={self.is_set()}, mode={self.mode!r})"

    @property
    def mode(self) -> CancelMode:
        """How it is asked to end."""
        return "force" if self.forced.is_set() else "graceful"

    def ask(self, mode: CancelMode) -> None:
        """Ask."""
        if mode == "force":
            self.forced.set()
        self._asked.set()

    def is_set(self) -> bool:
        """True once asked."""
        return self._asked.is_set()

    async def wait(self) -> object:
        """Return once asked."""
        return await self._asked.wait()


@dataclass(frozen=True, slots=True)
class CommandEnd:
    """How a command ended: `status` is one of exited, canceled, timed_out, killed, failed."""

    status: Literal["exited", "canceled", "timed_out", "killed", "failed"]
    exit_code: int | None
    duration_ms: int
    signal: str | None = None
    truncated: bool = False
    message: str | None = None


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file or folder of a workspace; `path` is absolute, below `/workspace`."""

    path: str
    name: str
    size_bytes: int
    type: Literal["file", "directory"]
    modified_at_ms: int


class SandboxHost(Protocol):
    """Live sandboxes by id."""

    def facts(self) -> Mapping[str, object]:
        """`provider`, `isolation` and `limits` as events carry them (CONTRACT §6.6)."""
        ...

    async def create(self, sandbox_id: str, template: str, ttl_ms: int) -> int:
        """Start a warm sandbox; the time (unix ms) at which it will be ended."""
        ...

    def extend(self, sandbox_id: str, ttl_ms: int) -> int:
        """Let it end so long from now; the time of it."""
        ...

    async def destroy(self, sandbox_id: str) -> bool:
        """End it for real; False when it is not here."""
        ...

    async def admit(self, job: CommandJob) -> None:
        """Refuse a command that could not start now: no sandbox, a run that uses it, no such folder."""
        ...

    async def run(self, job: CommandJob, emit: EmitOutput, cancel: CancelRequest) -> CommandEnd:
        """Run a command to its end."""
        ...

    def collected(
        self, owner: Owner, sandbox_id: str, path: str, name: str | None
    ) -> AbstractAsyncContextManager[NewEvent]:
        """Keep a file: `artifact_collected`, to be appended inside the block, or `artifact_error`.

        Until the block ends its bytes count as arriving. Refuses with `quota_exceeded`.
        """
        ...

    async def list_files(self, sandbox_id: str, path: str) -> Sequence[FileStat]:
        """A folder's entries by name."""
        ...

    async def stat_file(self, sandbox_id: str, path: str) -> FileStat:
        """What is there."""
        ...

    async def read_file(self, sandbox_id: str, path: str, bytes_max: int) -> bytes:
        """A file's content, at most so much."""
        ...

    async def open_file(self, sandbox_id: str, path: str) -> tuple[int, AsyncIterator[bytes]]:
        """A file's size and its content in pieces."""
        ...

    async def write_file(
        self, sandbox_id: str, path: str, content: bytes, *, create_parents: bool, overwrite: bool
    ) -> FileStat:
        """Write it whole or not at all."""
        ...

    async def delete_file(self, sandbox_id: str, path: str) -> None:
        """Remove a file or an empty folder."""
        ...

    async def make_directory(self, sandbox_id: str, path: str, *, parents: bool) -> FileStat:
        """Make a folder."""
        ...

    async def move_file(self, sandbox_id: str, source: str, target: str, *, overwrite: bool) -> FileStat:
        """Move or rename."""
        ...
