"""The runner's port: what it is told to do, and what it reports while it does it.

The runner knows no log. It calls `emit` with reports, awaits that they are durable, and ends with a
`Result`. Report types and fields are the events of CONTRACT §6.6 from `extracting` to `cleanup`,
without `seq` and `createdAt`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True, slots=True)
class Report:
    """One thing the runner saw: becomes one event."""

    type: str
    fields: Mapping[str, object]


Emit = Callable[[Sequence[Report]], Awaitable[None]]
"""Appends the reports in order; returns when they are durable. Backpressure is its waiting."""


@dataclass(frozen=True, slots=True)
class RequestedArtifact:
    """A file to keep: `path` is literal and relative to the workspace; `name` defaults to the path."""

    path: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """A durable blob: lowercase hex digest and size."""

    sha256: str
    size_bytes: int


class ArtifactRefused(Exception):
    """The file may not be stored; the text says why and what to do, and is told behind its path."""


StoreArtifact = Callable[[BinaryIO, int], StoredBlob]
"""Copies an open regular file (and the byte limit) into the blob store, fsynced, before it returns.

Raises `ValueError` when the file is longer than the limit, and `ArtifactRefused`. Called in a worker thread.
"""


@dataclass(frozen=True, slots=True)
class Job:
    """One run to execute. `archive` is None when a later command of a kept sandbox brings no files.

    `reuse` is true when `sandbox_id` names a live sandbox of this runner (warm reuse by `--sandbox`).
    """

    run_id: str
    command_id: str
    sandbox_id: str
    archive: Path | None
    archive_sha256: str
    command: str
    template: str
    timeout_ms: int
    keep_sandbox: bool
    reuse: bool
    artifacts: Sequence[RequestedArtifact]
    env: Mapping[str, str] = field(repr=False)
    secrets: Sequence[bytes] = field(default=(), repr=False)
    """What is masked in the output; the command finds it in `env`."""


@dataclass(frozen=True, slots=True)
class Result:
    """How the job ended: `failure_reason` is one of CONTRACT §3.4, or None when nothing went wrong.

    `command_exit` and `timeout` are ordinary outcomes, `canceled` is true when the cancel came first.
    """

    failure_reason: str | None
    failure_message: str | None = None
    canceled: bool = False
    cleanup_status: str = "succeeded"


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit and whether this machine really enforces it."""

    value: int
    enforced: bool


class Runner(Protocol):
    """Executes jobs. One per process."""

    @property
    def provider(self) -> str:
        """`bubblewrap` or `process`."""
        ...

    async def execute(
        self,
        job: Job,
        emit: Emit,
        store_artifact: StoreArtifact,
        new_id: Callable[[str], str],
        cancel: CancelSignal,
    ) -> Result:
        """Run the job to its end, cleanup included; never leaves a process behind."""
        ...

    async def destroy_sandbox(self, sandbox_id: str) -> bool:
        """End a kept sandbox and remove its workspace; False when it is not (or no longer) here."""
        ...

    async def close(self) -> None:
        """End everything that still runs, kept sandboxes included."""
        ...


class CancelSignal(Protocol):
    """Set once, when somebody cancels the run (an `asyncio.Event` will do)."""

    def is_set(self) -> bool:
        """True once canceled."""
        ...

    async def wait(self) -> object:
        """Return once canceled."""
        ...
