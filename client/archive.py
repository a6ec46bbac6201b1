"""An archive file as the upload routes want it: measured once, then sent in chunks of known total size."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from client.errors import ArchiveChanged

CHUNK_BYTES = 64 * 1024

Progress = Callable[[int, int], None]
"""Called with (bytes sent so far, bytes in total)."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A measured archive; `sha256` is lowercase hex over exactly `size_bytes` bytes."""

    path: Path
    size_bytes: int
    sha256: str

    def chunks(self, on_progress: Progress | None = None) -> Iterator[bytes]:
        """Yield the file's bytes, or raise `ArchiveChanged` when they are no longer the measured ones.

        Size alone is checked here: another content of the same size is refused by the server, which
        compares the digest.
        """
        sent = 0
        with self.path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                sent += len(chunk)
                if sent > self.size_bytes:
                    raise ArchiveChanged(str(self.path))
                yield chunk
                if on_progress:
                    on_progress(sent, self.size_bytes)
        if sent != self.size_bytes:
            raise ArchiveChanged(str(self.path))


def measure(path: Path) -> Archive:
    """Read the file once for its size and digest."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            size_bytes += len(chunk)
    return Archive(path, size_bytes, digest.hexdigest())
