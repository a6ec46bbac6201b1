"""What is said about a file of a workspace, on both sides of the sandbox's wall: its facts, and refusals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PUBLIC_ROOT = "/workspace"
"""How the workspace is called towards clients, wherever a provider keeps it."""
FILE, DIRECTORY = "file", "directory"
_FIELDS = 5
MODIFIED_AT_MS = range(-62_135_596_800_000, 253_402_300_800_000)
"""Years 1 to 9999, which a time on the wire can name. A file system in memory keeps any other, too."""


class FileRefused(Exception):
    """The operation cannot be done; `message` is for whoever asked for it.

    `code` is `path_outside_workspace`, `file_not_found`, `conflict`, `file_too_large` or `invalid_request`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class FileStat:
    """A file or folder, by its public path. What is neither (a named pipe, a lost link) counts as a file."""

    path: str
    name: str
    size_bytes: int
    """0 for a folder."""
    type: str
    """`file` or `directory`."""
    modified_at_ms: int

    def fields(self) -> tuple[str, ...]:
        """As text, without NUL."""
        return (self.path, self.name, str(self.size_bytes), self.type, str(self.modified_at_ms))


def parse_stats(fields: Sequence[str]) -> list[FileStat]:
    """The facts that `FileStat.fields` made these texts from, one after the other."""
    starts = range(0, len(fields) - _FIELDS + 1, _FIELDS)
    rows = (fields[start : start + _FIELDS] for start in starts)
    return [
        FileStat(path, name, int(size_bytes), kind, _nameable(int(modified_at_ms)))
        for path, name, size_bytes, kind, modified_at_ms in rows
    ]


def _nameable(time_ms: int) -> int:
    """The nearest time that can be written down."""
    return min(max(time_ms, MODIFIED_AT_MS[0]), MODIFIED_AT_MS[-1])
