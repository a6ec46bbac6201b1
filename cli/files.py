"""Writing result files: whole or not at all."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

STDOUT = Path("-")
DEVICES = {("/", "dev"), ("/", "proc")}
"""Where names stand for streams that somebody else has opened: replacing would cut them off."""


@contextmanager
def replacing(target: Path, *, durable: bool = False) -> Generator[BinaryIO]:
    """A file to write that takes `target`'s place when the block succeeds, and vanishes when it fails.

    `-` is stdout. What is no file of its own (`/dev/stdout`, a named pipe) is written to directly.
    A reader never sees half a file, and an old file survives a failed download. `durable` is for what
    cannot be had a second time: it survives a power cut once this has returned.
    """
    if target == STDOUT:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if target.parts[:2] in DEVICES or (target.exists() and not target.is_file()):
        with target.open("ab") as out:
            yield out
        return
    final = target.resolve()  # through a symlink, which stays
    part = final.with_name(f".{final.name}.{secrets.token_hex(6)}.part")
    try:
        with part.open("xb") as out:
            yield out
            if durable:
                out.flush()
                os.fsync(out.fileno())
        part.replace(final)
        if durable:
            from eventstore.durable import fsync_directory

            fsync_directory(final.parent)
    except BaseException as error:
        part.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename in {part, str(part)}:
            error.filename = str(target)  # the one that the caller knows
        raise
