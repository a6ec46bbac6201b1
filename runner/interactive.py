"""The shapes of interactive use: what is asked of a live sandbox beside runs, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from runner.files import FileStat

CancelMode = Literal["graceful", "force"]


@dataclass(frozen=True, slots=True)
class SandboxCommand:
    """One command in a live sandbox; `command` is a shell line, `cwd` a folder of the workspace."""

    command_id: str
    command: str
    timeout_ms: int
    cwd: str = ""
    env: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    secrets: Sequence[bytes] = field(default=(), repr=False)
    """What must not be seen in the output."""
    output_bytes_max: int | None = None
    """Both streams together; None for the runner's own limit, which holds in any case."""


@dataclass(frozen=True, slots=True)
class CommandEnding:
    """How a command ended: `exit_code`, or one of `timed_out`, `canceled` and `killed`."""

    exit_code: int | None
    timed_out: bool
    canceled: bool
    killed: bool
    """The sandbox was destroyed or expired while the command ran."""
    signal: str | None
    """The last one that was sent to end it: `SIGTERM` or `SIGKILL`."""
    duration_ms: int
    dropped_bytes: Mapping[str, int]
    """Output beyond the limit, by stream."""


class CommandCancel:
    """Cancels one command: `graceful` leaves it a moment after SIGTERM, `force` cuts even that short."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self.forced = asyncio.Event()
        """Set by `force`."""

    def __repr__(self) -> str:
        return f"CommandCancel(mode={self.mode})"

    @property
    def mode(self) -> CancelMode | None:
        """The stronger one that was requested; None while nobody canceled."""
        if self.forced.is_set():
            return "force"
        return "graceful" if self._requested.is_set() else None

    def request(self, mode: CancelMode) -> None:
        """Cancel; a second request may only be stronger."""
        if mode == "force":
            self.forced.set()
        self._requested.set()

    def is_set(self) -> bool:
        """True once canceled."""
        return self._requested.is_set()

    async def wait(self) -> object:
        """Return once canceled."""
        return await self._requested.wait()


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file that was read whole."""

    stat: FileStat
    content: bytes = field(repr=False)
