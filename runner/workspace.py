"""The files of a workspace: every operation on them, done inside the sandbox and as its user.

A path is followed to where it really leads, and what leads outside is refused. Commands may run meanwhile and
move things about, so the folder that was opened is looked at once more, and the last step goes through its
descriptor. Only regular files are opened: a named pipe makes nobody wait.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import secrets
import stat
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.archive_path import show
from runner.files import DIRECTORY, FILE, PUBLIC_ROOT, FileRefused, FileStat

_COPY_BYTES = 256 * 1024
_FOLDER_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ERRORS: Mapping[int, tuple[str, str]] = {
    errno.ENOENT: ("file_not_found", "There is no such file or folder in the workspace."),
    errno.EEXIST: ("conflict", "Something of this name exists already."),
    errno.ENOTEMPTY: ("conflict", "The folder is not empty. Remove what is in it first."),
    errno.ENOTDIR: ("invalid_request", "A part of the path is not a folder."),
    errno.EISDIR: ("invalid_request", "It is a folder."),
    errno.ELOOP: ("invalid_request", "Symbolic links lead in a circle."),
    errno.ENAMETOOLONG: ("invalid_request", "The path or a name in it is too long."),
    errno.ENOSPC: ("file_too_large", "The workspace is full. Remove something first."),
    errno.EDQUOT: ("file_too_large", "The workspace is full. Remove something first."),
    errno.EFBIG: ("file_too_large", "The file is too long."),
    errno.EINVAL: ("invalid_request", "A folder cannot be moved into itself."),
    errno.EACCES: ("invalid_request", "Its permissions do not allow it. Change them with a command."),
    errno.EPERM: ("invalid_request", "Its permissions do not allow it. Change them with a command."),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """A name in an opened folder of the workspace; the workspace itself is the name `.` in it."""

    folder_fd: int
    name: str
    public_path: str

    def found(self) -> os.stat_result | None:
        """What has the name, a symbolic link itself and not where it leads; None for nothing."""
        try:
            return os.stat(self.name, dir_fd=self.folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def existing(self) -> os.stat_result:
        """What has the name; raises FileNotFoundError."""
        return os.stat(self.name, dir_fd=self.folder_fd, follow_symlinks=False)


class Workspace:
    """One workspace. Paths are absolute below /workspace, or relative to it; every method may block.

    Each raises `FileRefused`, and no OSError that belongs to the path.
    """

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(root)

    def enter(self, path: str) -> None:
        """Make a folder the current one of this process, for a command to start in."""
        with _explained(path):
            place = self._place(path)
            _expect_folder(place.existing(), path)
            os.fchdir(os.open(place.name, _FOLDER_FLAGS, dir_fd=place.folder_fd))

    def stat(self, path: str) -> FileStat:
        """The facts about what the path leads to."""
        with _explained(path):
            place = self._place(path)
            return _facts(place, place.existing())

    def list(self, path: str, entries_max: int) -> list[FileStat]:
        """What a folder holds, in order of the names; links are followed as far as they stay inside."""
        with _explained(path):
            place = self._place(path)
            _expect_folder(place.existing(), path)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            folder_fd = os.open(place.name, flags, dir_fd=place.folder_fd)
            names: list[str] = []
            with os.scandir(folder_fd) as entries:
                for entry in entries:
                    names.append(entry.name)
                    if len(names) > entries_max:
                        what = f"holds more than {entries_max} entries. List it with a command"
                        raise FileRefused("invalid_request", f"{show(path)} {what}.")
            inside = (self._entry(place, folder_fd, name) for name in sorted(names))
            return [facts for facts in inside if facts]

    def read(self, path: str, bytes_max: int, content_fd: int) -> FileStat:
        """Copy a regular file into `content_fd`."""
        with _explained(path):
            place = self._place(path)
            _expect_file(place.existing(), path)
            fd = os.open(place.name, _READ_FLAGS, dir_fd=place.folder_fd)
            found = os.fstat(fd)
            _expect_file(found, path)  # it may have been replaced meanwhile
            if found.st_size > bytes_max or _copy(fd, content_fd, bytes_max + 1) > bytes_max:
                what = f"is longer than {bytes_max} bytes. Collect it as an artifact, or read it in parts"
                raise FileRefused("file_too_large", f"{show(path)} {what}.")
            return _facts(place, found)

    def write(self, path: str, content_fd: int, *, create_parents: bool, overwrite: bool) -> FileStat:
        """Make a file of what `content_fd` holds: all of it appears under its name at once, or nothing.

        The holder that is killed in between leaves a file whose name starts with `.crownest-`.
        """
        with _explained(path):
            place = self._named(path, create_parents=create_parents)
            old = place.found()
            if old and not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            if old:
                _expect_file(old, path)
            temporary = f".crownest-{secrets.token_hex(8)}"
            fd = os.open(temporary, _WRITE_FLAGS, 0o644, dir_fd=place.folder_fd)
            try:
                os.lseek(content_fd, 0, os.SEEK_SET)
                _copy(content_fd, fd, os.fstat(content_fd).st_size)
                if old:
                    os.fchmod(fd, stat.S_IMODE(old.st_mode) & 0o777)
                self._appear(place, temporary, overwrite=overwrite)
            except BaseException:
                os.unlink(temporary, dir_fd=place.folder_fd)
                raise
            return _facts(place, os.fstat(fd))

    def delete(self, path: str) -> None:
        """Remove a file, a link (not what it leads to) or an empty folder."""
        with _explained(path):
            place = self._named(path, follow=False)
            if stat.S_ISDIR(place.existing().st_mode):
                os.rmdir(place.name, dir_fd=place.folder_fd)
            else:
                os.unlink(place.name, dir_fd=place.folder_fd)

    def mkdir(self, path: str, *, parents: bool) -> FileStat:
        """Make a folder; with `parents` what is missing above it too, and one that exists will do."""
        with _explained(path):
            place = self._named(path, create_parents=parents)
            try:
                os.mkdir(place.name, dir_fd=place.folder_fd)
            except FileExistsError:
                if not parents or not stat.S_ISDIR(place.existing().st_mode):
                    raise
            return _facts(place, place.existing())

    def move(self, source: str, target: str, *, overwrite: bool) -> FileStat:
        """Rename a file, a link (itself) or a folder."""
        with _explained(source):
            old = self._named(source, follow=False)
            moved = old.existing()
        with _explained(target):
            new = self._named(target, follow=False)
            there = new.found()
            if there and not overwrite:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            if stat.S_ISDIR(moved.st_mode) or overwrite:
                # A folder that appears in between is replaced only if it is empty, which loses nothing.
                os.rename(old.name, new.name, src_dir_fd=old.folder_fd, dst_dir_fd=new.folder_fd)
            else:
                os.link(
                    old.name,
                    new.name,
                    src_dir_fd=old.folder_fd,
                    dst_dir_fd=new.folder_fd,
                    follow_symlinks=False,
                )
                os.unlink(old.name, dir_fd=old.folder_fd)
            return _facts(new, new.existing())

    def _named(self, path: str, *, follow: bool = True, create_parents: bool = False) -> _Place:
        """A place below the workspace, not the workspace itself."""
        place = self._place(path, follow=follow, create_parents=create_parents)
        if place.name == ".":
            raise FileRefused("invalid_request", f"{show(path)} is the workspace itself. Name a file in it.")
        return place

    def _place(self, path: str, *, follow: bool = True, create_parents: bool = False) -> _Place:
        full = posixpath.join(self._root, _relative(path))
        folder, name = posixpath.split(full.rstrip("/"))
        if follow or name in (".", ".."):
            full = os.path.realpath(full)
        else:
            full = posixpath.join(os.path.realpath(folder), name)
        if full.rstrip("/") == self._root:
            return _Place(os.open(self._root, _FOLDER_FLAGS), ".", PUBLIC_ROOT)
        self._expect_inside(full, path)
        folder, name = posixpath.split(full)
        if create_parents:
            _make_folders(folder)
        folder_fd = os.open(folder, _FOLDER_FLAGS)
        self._expect_inside(str(Path(f"/proc/self/fd/{folder_fd}").readlink()), path)
        return _Place(folder_fd, name, _text(PUBLIC_ROOT + full.removeprefix(self._root)))

    def _expect_inside(self, full: str, path: str) -> None:
        if full != self._root and not full.startswith(self._root + "/"):
            raise _outside(path)

    def _entry(self, folder: _Place, folder_fd: int, name: str) -> FileStat | None:
        """The facts about one name in a listing; None when it is gone again."""
        place = _Place(folder_fd, name, f"{folder.public_path}/{_text(name)}")
        found = place.found()
        if found and stat.S_ISLNK(found.st_mode):
            with contextlib.suppress(OSError, FileRefused):
                target = os.path.realpath(f"/proc/self/fd/{folder_fd}/{name}")
                self._expect_inside(target, name)
                found = Path(target).stat()
        return _facts(place, found) if found else None

    @staticmethod
    def _appear(place: _Place, temporary: str, *, overwrite: bool) -> None:
        """Give a finished file its name; where another has it by now, only with `overwrite`."""
        folder_fd = place.folder_fd
        if overwrite:
            os.rename(temporary, place.name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
        else:
            os.link(temporary, place.name, src_dir_fd=folder_fd, dst_dir_fd=folder_fd)
            os.unlink(temporary, dir_fd=folder_fd)


def _make_folders(folder: str) -> None:
    """Make a folder and those above it; in a loop, for a path may be deeper than the stack of Python."""
    missing: list[str] = []
    while not os.path.lexists(folder):
        missing.append(folder)
        folder = posixpath.dirname(folder)
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # somebody else did, or a file: opening it says so
            os.mkdir(path)  # noqa: PTH102  # a string already


def _relative(path: str) -> str:
    """The path as it continues below the workspace."""
    if path != PUBLIC_ROOT and not path.startswith(PUBLIC_ROOT + "/"):
        if path.startswith("/"):
            raise _outside(path)
        return path
    return path.removeprefix(PUBLIC_ROOT).lstrip("/")


def _outside(path: str) -> FileRefused:
    what = f"leads outside the workspace. Name a path below {PUBLIC_ROOT}"
    return FileRefused("path_outside_workspace", f"{show(path)} {what}.")


def _expect_folder(found: os.stat_result, path: str) -> None:
    if not stat.S_ISDIR(found.st_mode):
        raise FileRefused("invalid_request", f"{show(path)} is not a folder.")


def _expect_file(found: os.stat_result, path: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        what = "is a folder" if stat.S_ISDIR(found.st_mode) else "is not a regular file"
        raise FileRefused("invalid_request", f"{show(path)} {what}.")


def _facts(place: _Place, found: os.stat_result) -> FileStat:
    folder = stat.S_ISDIR(found.st_mode)
    return FileStat(
        path=place.public_path,
        name=posixpath.basename(place.public_path),
        size_bytes=0 if folder else found.st_size,
        type=DIRECTORY if folder else FILE,
        modified_at_ms=found.st_mtime_ns // 1_000_000,
    )


def _text(name: str) -> str:
    """A name as text: bytes that are none are shown as U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


def _copy(source_fd: int, target_fd: int, bytes_max: int) -> int:
    """Copy up to so many bytes; how many there were."""
    copied = 0
    while copied < bytes_max and (data := os.read(source_fd, min(_COPY_BYTES, bytes_max - copied))):
        copied += len(data)
        while data:
            data = data[os.write(target_fd, data) :]
    return copied


@contextlib.contextmanager
def _explained(path: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        code, what = _ERRORS.get(error.errno or 0, ("invalid_request", f"{error.strerror}."))
        raise FileRefused(code, f"{show(path)}: {what}") from error
    except ValueError as error:  # a NUL character
        raise FileRefused("invalid_request", f"{show(path)} is no path: {error}.") from error


def _flag(text: str) -> bool:
    return text == "true"


def _listed(workspace: Workspace, fields: tuple[str, ...], content_fd: int) -> tuple[str, ...]:
    """A listing is longer than a packet: it goes into `content_fd`."""
    texts = [text for facts in workspace.list(fields[0], int(fields[1])) for text in facts.fields()]
    with os.fdopen(os.dup(content_fd), "wb") as listing:
        listing.write("\0".join(texts).encode())
    return ()


def _deleted(workspace: Workspace, fields: tuple[str, ...], _: int) -> tuple[str, ...]:
    workspace.delete(fields[0])
    return ()


_Operation = Callable[[Workspace, tuple[str, ...], int], tuple[str, ...]]
_OPERATIONS: Mapping[str, _Operation] = {
    "list": _listed,
    "stat": lambda workspace, fields, _: workspace.stat(fields[0]).fields(),
    "read": lambda workspace, fields, fd: workspace.read(fields[0], int(fields[1]), fd).fields(),
    "write": lambda workspace, fields, fd: workspace.write(
        fields[0], fd, create_parents=_flag(fields[1]), overwrite=_flag(fields[2])
    ).fields(),
    "delete": _deleted,
    "mkdir": lambda workspace, fields, _: workspace.mkdir(fields[0], parents=_flag(fields[1])).fields(),
    "move": lambda workspace, fields, _: workspace.move(
        fields[0], fields[1], overwrite=_flag(fields[2])
    ).fields(),
}


def perform(root: str, operation: str, fields: tuple[str, ...], content_fd: int) -> tuple[str, ...]:
    """Do what a `file` packet asks for: the fields of the answer; raises `FileRefused`."""
    return _OPERATIONS[operation](Workspace(root), fields, content_fd)
