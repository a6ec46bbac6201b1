"""Owns the lock of a data folder: one process works on it, a second one is refused (DESIGN §2)."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from eventstore.durable import make_directory
from eventstore.log import LogError

LOCK_FILE = "lock"
SIGNS = ("log.sqlite", "keys/origin")
"""One of these is in every data folder: a server made it at its first start, or a back-up brought it."""
BEFORE_THE_SIGNS = frozenset({LOCK_FILE, "keys", "blobs", "lost+found"})
"""What a first start that was cut off may leave, and what a new disk has in it."""
_PID_DIGITS_MAX = 20


class DataFolderInUse(LogError):
    """Another process owns the data folder: stop it, or use the running server."""


class ForeignFolder(LogError):
    """The folder holds something else: name an empty one, or the data folder that was meant."""


class DataFolder:
    """The right to work on a data folder, held from `__enter__` to `__exit__`.

    It is an advisory `flock`, so the kernel lets go of it however the process ends. The file stays, with
    the last owner's pid in it: removing it would let two processes lock two files of one name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd: int | None = None

    def __repr__(self) -> str:
        return f"DataFolder({str(self.path)!r}, {'locked' if self._fd is not None else 'not locked'})"

    def __enter__(self) -> Self:
        self._open_directory()
        fd = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(fd, _PID_DIGITS_MAX, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(fd)
            raise DataFolderInUse(
                f"{self.path} is in use by the process with pid {owner}: "
                "stop that one first, or give this one another data folder"
            ) from None
        except OSError:
            os.close(fd)
            raise
        os.ftruncate(fd, 0)
        os.pwrite(fd, b"%d\n" % os.getpid(), 0)
        self._fd = fd
        return self

    def _open_directory(self) -> None:
        """Make the folder, or see that it is empty or ours.

        A server empties `tmp/` of its data folder at every start: in a home, or in `/`,
        that would be files of others.
        """
        try:
            make_directory(self.path)
            others = {one.name for one in self.path.iterdir()} - BEFORE_THE_SIGNS
        except OSError as error:
            raise ForeignFolder(
                f"{self.path} cannot be used as the data folder ({error.strerror}): "
                "name a folder that this user may read and write"
            ) from error
        if others and not any((self.path / sign).exists() for sign in SIGNS):
            raise ForeignFolder(
                f"{self.path} is no data folder and holds other files ({min(others)!r} for one): "
                "name an empty folder, or one that does not exist yet"
            )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
