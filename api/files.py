"""Answers that are files: sent whole, and removed afterwards when they were made for one answer only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send


class WholeFile(FileResponse):
    """A file from its first byte to its last.

    `Range` is ignored, as RFC 9110 §14.2 allows: the framework would refuse a bad one in a shape of its
    own (rule 7), and a part of a file that was made for this answer cannot be continued anyway.
    """

    def __init__(
        self, path: Path, *, media_type: str, headers: Mapping[str, str], remove: bool = False
    ) -> None:
        super().__init__(path, media_type=media_type, headers={**headers, "accept-ranges": "none"})
        self._file = path
        self._remove = remove

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; with `remove` it is gone however the sending ends."""
        plain = [(name, value) for name, value in scope["headers"] if name != b"range"]
        try:
            await super().__call__({**scope, "headers": plain}, receive, send)
        finally:
            if self._remove:
                self._file.unlink(missing_ok=True)
