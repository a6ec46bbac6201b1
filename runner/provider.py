"""The interface of what provides sandboxes: `bubblewrap` and `process` stand behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from runner.interpreters import Interpreter
from runner.job import Limit
from runner.sandbox import Sandbox


class Provider(Protocol):
    """Starts sandboxes, and knows what it promises of them. Every implementation passes one contract test."""

    @property
    def name(self) -> str:
        """`bubblewrap` or `process`."""
        ...

    @property
    def isolation(self) -> str:
        """`namespaces` or `none`."""
        ...

    def limits(self) -> Mapping[str, Limit]:
        """memoryBytes, processes, workspaceBytes, outputBytes, and which of them this machine enforces."""
        ...

    async def boot(self, sandbox_id: str, interpreters: Sequence[Interpreter], search_path: str) -> Sandbox:
        """Start an empty sandbox; raises `SandboxUnavailable` with nothing left behind."""
        ...
