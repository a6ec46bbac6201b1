"""The shapes of interactive use: what is asked of a live sandbox beside runs, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runner.files import FileStat
from runner.job import CancelSignal


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


class CommandCancel(CancelSignal, Protocol):
    """Cancels one command: set alone it leaves it a moment after SIGTERM, with `forced` not even that."""

    forced: asyncio.Event
    """Set, also later, when the command shall end at once."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file that was read whole."""

    stat: FileStat
    content: bytes = field(repr=False)
