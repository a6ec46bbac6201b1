"""What a sandbox has on this machine, written down before it starts, and the removal of all of it.

The same function removes at the ordinary end and after a crash of the server: processes first, then control
groups, then folders, and the note itself last, so that a crash in between is tidied at the next start.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass, fields
from pathlib import Path

from runner import proctable
from runner.cgroups import Cgroup

MARKER = "CROWNEST_SANDBOX"
"""The variable that every process of a sandbox has unless it took care to lose it; it holds the token."""
SANDBOX_ID = re.compile(r"sbx_[A-Za-z0-9]{1,64}")
_HOLDER_ROUNDS_MAX = 1_000
_PAUSE_S = 0.005
_FOLDER_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Remains:
    """The note about one sandbox; empty text where it has no such thing."""

    sandbox_id: str
    token: str
    """Random: what is named after it on this machine cannot be another server's, whatever its ids."""
    scope: str
    """`namespace`, `user` or `tree`, as for the holder."""
    boot_id: str = ""
    """Of the machine: after a restart of it no process can be left."""
    init_pid: str = ""
    init_ticks: str = ""
    uid: str = ""
    folder: str = ""
    cgroups: str = ""
    """Paths divided by `:`, which no path of ours holds."""


def print_remains(remains: Remains) -> str:
    """One `name value` line a field."""
    return "".join(f"{field.name} {getattr(remains, field.name)}\n" for field in fields(remains))


def parse_remains(text: str) -> Remains:
    """The note that was printed so; KeyError or TypeError for another text."""
    names = {field.name for field in fields(Remains)}
    pairs = (line.partition(" ") for line in text.splitlines())
    return Remains(**{name: value for name, _, value in pairs if name in names})


def new_remains(sandbox_id: str, scope: str, **known: str) -> Remains:
    """The note about a sandbox that is about to be made on the running system."""
    return Remains(sandbox_id=sandbox_id, token=secrets.token_hex(8), scope=scope, boot_id=boot_id(), **known)


class Notes:
    """The folder with one note per sandbox that may exist. One process owns it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder

    def write(self, remains: Remains) -> None:
        """Write or replace the note; after a power cut there is nothing to tidy, so it needs no fsync."""
        path = self._path(remains.sandbox_id)
        path.with_suffix(".new").write_text(print_remains(remains))
        path.with_suffix(".new").replace(path)

    def forget(self, sandbox_id: str) -> None:
        """Remove the note: nothing is left of this sandbox."""
        self._path(sandbox_id).unlink(missing_ok=True)

    def all(self) -> list[Remains]:
        """Every note; one that was not written to its end is of no sandbox that started, and is removed."""
        found: list[Remains] = []
        for path in sorted(self._folder.iterdir()):
            try:
                if not SANDBOX_ID.fullmatch(path.name):
                    raise ValueError(path.name)
                found.append(parse_remains(path.read_text()))
            except (TypeError, ValueError):
                path.unlink()
        return found

    def _path(self, sandbox_id: str) -> Path:
        if not SANDBOX_ID.fullmatch(sandbox_id):
            raise ValueError(f"{sandbox_id!r} is no sandbox id.")
        return self._folder / sandbox_id


def boot_id() -> str:
    """Of the running kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def remove(remains: Remains) -> bool:
    """End and remove everything; False when something withstood, and then the note should stay."""
    ended = _end_processes(remains) if remains.boot_id == boot_id() else True
    group = Cgroup(tuple(Path(path) for path in remains.cgroups.split(":") if path))
    ended = (group.kill() and group.remove()) and ended
    if remains.folder:
        try:
            remove_tree(Path(remains.folder))
        except OSError:
            return False
    return ended


def _end_processes(remains: Remains) -> bool:
    _await_holder(remains)

    def find() -> set[int]:
        found = set(proctable.marked(f"{MARKER}={remains.token}"))
        if remains.scope == "namespace":
            return found.union(_holder(remains))  # the kernel ends the rest with it
        for pid in _holder(remains):
            found.update((pid, *proctable.descendants(pid)))
        if remains.scope == "user":
            found.update(proctable.of_user(int(remains.uid)))
        return found

    return proctable.end(find)


def _await_holder(remains: Remains) -> None:
    """A holder whose server is gone ends its sandbox by itself, and better than anybody from outside."""
    for _ in range(_HOLDER_ROUNDS_MAX):
        if not _holder(remains):
            return
        time.sleep(_PAUSE_S)


def _holder(remains: Remains) -> list[int]:
    pid = int(remains.init_pid or 0)
    alive = pid and str(proctable.start_ticks(pid)) == remains.init_ticks
    return [pid] if alive else []


def remove_tree(top: Path) -> None:
    """Remove a folder that an untrusted command filled; nothing may run in it any more.

    It may be nested deeper than any recursion and hold folders without permissions. So each folder's
    subfolders are first moved up beside it: the depth never grows, and no link is ever followed.
    """
    try:
        top_fd = os.open(top, _FOLDER_FLAGS)
    except FileNotFoundError:
        return
    try:
        waiting = _subfolders(top_fd)
        while waiting:
            name = waiting.pop()
            fd = os.open(name, _FOLDER_FLAGS, dir_fd=top_fd)
            try:
                for inner in _subfolders(fd):
                    moved = f"moved-{secrets.token_hex(8)}"
                    os.rename(inner, moved, src_dir_fd=fd, dst_dir_fd=top_fd)
                    waiting.append(moved)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=top_fd)
    finally:
        os.close(top_fd)
    top.rmdir()


def _subfolders(folder_fd: int) -> list[str]:
    """Remove everything else in the folder; the subfolders are ours to change afterwards."""
    found: list[str] = []
    with os.scandir(folder_fd) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            os.unlink(name, dir_fd=folder_fd)
        except IsADirectoryError:
            os.chmod(name, 0o700, dir_fd=folder_fd)  # the command may have locked it
            found.append(name)
    return found
