"""Writing result files: whole or not at all."""

from __future__ import annotations

import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replacing(target: Path) -> Generator[BinaryIO]:
    """A file to write that takes `target`'s place when the block succeeds, and vanishes when it fails.

    What is no regular file (`/dev/stdout`, a named pipe) is written to directly. A reader never sees
    half a file, and an old file survives a failed download.
    """
    if target.exists() and not target.is_file():
        with target.open("wb") as out:
            yield out
        return
    final = target.resolve()  # through a symlink, which stays
    part = final.with_name(f".{final.name}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as out:
            yield out
        part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
