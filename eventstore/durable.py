"""Owns the durability of names: a new file or folder survives a power cut once its parent is fsynced."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE_DIRECTORY = 0o700
PRIVATE_FILE = 0o600


def fsync_directory(directory: Path) -> None:
    """Make the names in `directory` durable (20 of 20 files were lost without it, DESIGN §3)."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_directory(directory: Path) -> None:
    """Create `directory` and what is missing above it, readable by its owner alone, and durably.

    A folder that is already there is left as it is.
    """
    if directory.is_dir():
        return
    make_directory(directory.parent)
    directory.mkdir(mode=PRIVATE_DIRECTORY, exist_ok=True)
    # Also when another thread was faster: its fsync may not have happened yet.
    fsync_directory(directory.parent)


def make_file(path: Path, *, must_be_new: bool = False) -> None:
    """Create an empty file that its owner alone can read, and durably; one that is there stays as it is.

    Raises FileExistsError when it is there and `must_be_new`.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if must_be_new else 0)
    os.close(os.open(path, flags, PRIVATE_FILE))
    fsync_directory(path.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Give a file of mode 0600 this content, all of it or none, and durably: fsync, rename, fsync above."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)
