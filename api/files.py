"""Answers that are files: whole ones made for one answer, and stored ones that are read in ranges too."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from runs.refusal import Refusal

_ONE_RANGE = re.compile(rb"bytes=(\d{1,15})-(\d{0,15})|bytes=-(\d{1,15})")


class WholeFile(FileResponse):
    """A file from its first byte to its last.

    `Range` is ignored, as RFC 9110 §14.2 allows: a part of a file that was made for this answer cannot be
    continued by another.
    """

    def __init__(
        self, path: Path, *, media_type: str, headers: Mapping[str, str], remove: bool = False
    ) -> None:
        super().__init__(path, media_type=media_type, headers={**headers, "accept-ranges": "none"})
        self._file = path
        self._remove = remove

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; with `remove` it is gone however the sending ends."""
        try:
            await super().__call__(_without(scope, b"range"), receive, send)
        finally:
            if self._remove:
                self._file.unlink(missing_ok=True)


class StoredFile(FileResponse):
    """A file that stays as it is: answers one range (RFC 9110 §14), and `If-Range` by its `ETag`.

    Several ranges or a malformed one are ignored as the RFC allows, since the framework would refuse them in
    a shape of its own (rule 7); one that lies behind the end is `range_not_satisfiable`.
    """

    def __init__(self, path: Path, *, media_type: str, headers: Mapping[str, str]) -> None:
        super().__init__(path, media_type=media_type, headers=headers)
        self._size_bytes = path.stat().st_size

    def check_range(self, header: str | None) -> None:
        """Raise `Refusal` for a range of which nothing is there."""
        match = _ONE_RANGE.fullmatch((header or "").encode("latin-1", "replace"))
        if match is None:
            return
        first, last, suffix = match.groups()
        beyond = int(first) >= self._size_bytes if first is not None else int(suffix) == 0
        if beyond and not (first is not None and last and int(last) < int(first)):
            raise Refusal(
                "range_not_satisfiable",
                f"The artifact has {self._size_bytes} bytes. Ask for a part of them.",
                {"sizeBytes": self._size_bytes},
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, or the one range of it."""
        ranges = [value for name, value in scope["headers"] if name == b"range"]
        if len(ranges) != 1 or not _is_one_range(ranges[0]):
            scope = _without(scope, b"range")
        await super().__call__(scope, receive, send)


def _is_one_range(value: bytes) -> bool:
    match = _ONE_RANGE.fullmatch(value)
    if match is None:
        return False
    first, last, _ = match.groups()
    return not (first and last) or int(first) <= int(last)


def _without(scope: Scope, header: bytes) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if name != header]
    return {**scope, "headers": headers}
