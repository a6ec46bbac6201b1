"""Owns the durability and the locking of small files: what was replaced here survives a power cut."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
PUBLIC_FILE = 0o644
LOCK_WAIT_S_MAX = 10.0
LOCK_RETRY_S = 0.005


class Locked(OSError):
    """Another process holds the lock for longer than one waits."""


def make_folder(folder: Path) -> None:
    """Create the folder and what is missing above it, readable by its owner alone, and durably."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make the names in the folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes, *, mode: int = PRIVATE_FILE) -> None:
    """Put `data` in the place of the file, whole or not at all; durable when this returns.

    Only one writer at a time may do this: hold a lock.
    """
    part = path.with_name(f"{path.name}.part")
    # What a crash left under this name is removed, so that the new file has the mode it should have.
    part.unlink(missing_ok=True)
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as out:
        out.write(data)
        out.flush()
        # Crash window: the part holds some of the bytes; the file is still the old one.
        os.fsync(out.fileno())
    # Crash window: the part is whole, the file is still the old one; the next writer removes the part.
    part.replace(path)
    # Crash window: a kill leaves the new file; a power cut may bring back the old one. Nobody was told.
    fsync_folder(path.parent)


@contextmanager
def locked(path: Path, *, wait_s_max: float = LOCK_WAIT_S_MAX) -> Generator[None]:
    """Hold the lock file alone, among threads and processes; the end of a process frees it.

    Raises `Locked` when it is held by another for longer than `wait_s_max`.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        _acquire(fd, path, wait_s_max)
        yield
    finally:
        os.close(fd)


def _acquire(fd: int, path: Path, wait_s_max: float) -> None:
    deadline = time.monotonic() + wait_s_max
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() >= deadline:
                raise Locked(f"{path} is held by another process: look which one, or try again") from error
            time.sleep(LOCK_RETRY_S)
        else:
            return
