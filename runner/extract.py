"""Writes the entries of an untrusted archive below one directory and nowhere else (DESIGN §4).

Every folder on the way is opened by descriptor with O_NOFOLLOW and every file is created with O_EXCL, so no
symbolic link is ever written through, whoever made it. Links come last. Over an older workspace (warm reuse)
the archive wins: files and links in the way are replaced, a folder in the way of a file is an error.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from runner.archive import ArchiveLimits, Entry, Kind, read_entries
from runner.archive_path import ArchiveRefused, Path, invalid, show, too_large

_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Extracted:
    """What was unpacked: members of the archive, and bytes of file content."""

    entries: int
    size_bytes: int


def check_archive(archive: BinaryIO, limits: ArchiveLimits) -> None:
    """Read the whole archive and write nothing; raises what `extract` would raise for the archive's sake.

    A warm workspace is checked first, so that a bad archive leaves the files of earlier runs alone.
    """
    for _, piece in read_entries(archive, limits):
        while piece():
            pass


def extract(archive: BinaryIO, root_fd: int, limits: ArchiveLimits) -> Extracted:
    """Unpack into the directory `root_fd`; raises `ArchiveRefused`, its reason one of CONTRACT §3.4.

    `extraction_failed` is about this machine (a full disk), the two others about the archive. What was
    written before the error stays; the caller throws the workspace away.
    """
    tree = _Tree(root_fd, limits.entries_max)
    links: dict[Path, bytes] = {}
    entries = size_bytes = 0
    try:
        for entry, piece in read_entries(archive, limits):
            entries += 1
            size_bytes += entry.size_bytes
            links.pop(entry.path, None)  # a path that comes twice: the later member wins, as with tar
            with _naming(entry.path):
                if entry.kind is Kind.LINK:
                    links[entry.path] = entry.target
                elif entry.kind is Kind.FOLDER:
                    tree.folder(entry.path)
                else:
                    tree.file(entry, piece)
        for path, target in links.items():
            with _naming(path):
                tree.link(path, target)
    finally:
        tree.close()
    return Extracted(entries, size_bytes)


class _naming:  # noqa: N801  # reads as the statement it is
    """Turns an OSError of the block into a refusal that names the entry."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if not isinstance(error, OSError):
            return
        name = _shown(self._path)
        if error.errno in _FULL:
            raise ArchiveRefused(
                "extraction_failed",
                f"The workspace is full: no space left for {name}. Use a new sandbox, or raise its limit.",
            ) from error
        raise ArchiveRefused(
            "extraction_failed", f"{name} could not be written: {error.strerror}."
        ) from error


def _shown(path: Path) -> str:
    return show(os.fsdecode(b"/".join(path))) or "."


class _Tree:
    """The directory being filled: a stack of open folders that follows the archive's order."""

    def __init__(self, root_fd: int, inodes_max: int) -> None:
        self._fds = [root_fd]
        self._names: list[bytes] = []
        self._inodes_left = inodes_max
        self._inodes_max = inodes_max

    def folder(self, path: Path) -> None:
        """Make the folder and those above it; one that is there already is fine."""
        self._descend(path)

    def file(self, entry: Entry, piece: Callable[[], bytes]) -> None:
        """Write a new file; an older one of this name is replaced, never opened."""
        parent = self._descend(entry.path[:-1])
        self._count(entry.path)
        mode = 0o755 if entry.executable else 0o644
        try:
            fd = os.open(entry.path[-1], _FILE_FLAGS, mode, dir_fd=parent)
        except FileExistsError:
            self._replace(entry.path)
            fd = os.open(entry.path[-1], _FILE_FLAGS, mode, dir_fd=parent)
        try:
            while data := piece():
                _write(fd, data)
            os.utime(fd, (entry.mtime_s, entry.mtime_s))
        finally:
            os.close(fd)

    def link(self, path: Path, target: bytes) -> None:
        """Make a symbolic link; its target was checked when it was read."""
        parent = self._descend(path[:-1])
        self._count(path)
        try:
            os.symlink(target, path[-1], dir_fd=parent)
        except FileExistsError:
            self._replace(path)
            os.symlink(target, path[-1], dir_fd=parent)

    def close(self) -> None:
        """Close every folder but the root, which is the caller's."""
        self._ascend(0)

    def _replace(self, path: Path) -> None:
        """Remove the file or link in the way of a new one."""
        try:
            os.unlink(path[-1], dir_fd=self._fds[-1])
        except IsADirectoryError as folder:
            raise invalid(
                f"{_shown(path)} is a file or link where a folder is. Pack again, or use a new sandbox"
            ) from folder

    def _descend(self, path: Path) -> int:
        """The descriptor of the folder, made as needed."""
        common = 0
        for ours, theirs in zip(self._names, path, strict=False):
            if ours != theirs:
                break
            common += 1
        self._ascend(common)
        for depth in range(common, len(path)):
            self._enter(path[: depth + 1])
        return self._fds[-1]

    def _enter(self, path: Path) -> None:
        """Open one more folder; what is there and no folder gives way to one."""
        parent, name = self._fds[-1], path[-1]
        try:
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=parent)
        except FileNotFoundError:
            fd = self._new_folder(path)
        except NotADirectoryError:
            os.unlink(name, dir_fd=parent)
            fd = self._new_folder(path)
        self._fds.append(fd)
        self._names.append(name)

    def _new_folder(self, path: Path) -> int:
        self._count(path)
        os.mkdir(path[-1], 0o755, dir_fd=self._fds[-1])
        return os.open(path[-1], _FOLDER_FLAGS, dir_fd=self._fds[-1])

    def _ascend(self, depth: int) -> None:
        while len(self._names) > depth:
            os.close(self._fds.pop())
            self._names.pop()

    def _count(self, path: Path) -> None:
        """Count one inode; folders that are only implied by a path take one too."""
        self._inodes_left -= 1
        if self._inodes_left < 0:
            raise too_large(
                f"{_shown(path)} brings it over {self._inodes_max} entries, folders included. "
                "Pack fewer files"
            )


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
