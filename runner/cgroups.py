"""Control groups of either version, where this machine lets us make them: memory, processes, kill."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runner import proctable

_REMOVE_ROUNDS_MAX = 500
_PAUSE_S = 0.002
_CONTROLLERS = ("memory", "pids")
_SERVER_LEAF = "crownest-server"
_ROOT = "/"


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The groups of one sandbox, one folder per hierarchy."""

    folders: tuple[Path, ...]

    def add(self, pid: int) -> None:
        """Put a process in; what it starts later is in as well."""
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def kill(self) -> bool:
        """End every process in the groups; False when one will not die."""
        for folder in self.folders:
            with contextlib.suppress(OSError):  # version 1 and old kernels have no such file
                (folder / "cgroup.kill").write_text("1")
        return proctable.end(self.pids)

    def pids(self) -> set[int]:
        """The processes in any of the groups."""
        found: set[int] = set()
        for folder in self.folders:
            with contextlib.suppress(OSError):
                found.update(map(int, (folder / "cgroup.procs").read_text().split()))
        return found

    def remove(self) -> bool:
        """Remove the groups; False when processes that are still dying hold one for too long."""
        return all([_remove(folder) for folder in self.folders])  # noqa: C419  # try each of them


def _remove(folder: Path) -> bool:
    for _ in range(_REMOVE_ROUNDS_MAX):
        try:
            folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            time.sleep(_PAUSE_S)
        else:
            return True
    return False


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Where groups can be made, per controller; empty when nowhere."""

    memory: Path | None = None
    pids: Path | None = None
    kill: Path | None = None
    """A version 2 hierarchy, which ends a group in one step; perhaps without any controller."""

    def folders(self, name: str) -> tuple[Path, ...]:
        """The folders that a group of this name has, or would have."""
        parents = dict.fromkeys(path for path in (self.memory, self.pids, self.kill) if path)
        return tuple(parent / name for parent in parents)

    def create(self, name: str, *, memory_bytes: int, processes: int) -> Cgroup | None:
        """Groups with these limits for one sandbox, None where the machine has none for us.

        Raises OSError when a group that was possible at start is not any more.
        """
        group = Cgroup(self.folders(name))
        if not group.folders:
            return None
        try:
            for folder in group.folders:
                folder.mkdir()
            if self.memory:
                self._limit_memory(self.memory / name, memory_bytes)
            if self.pids:
                (self.pids / name / "pids.max").write_text(str(processes))
        except OSError:
            group.remove()
            raise
        return group

    @staticmethod
    def _limit_memory(folder: Path, memory_bytes: int) -> None:
        """Without swap: a sandbox that swaps slows everybody down instead of ending."""
        if (folder / "memory.max").exists():
            (folder / "memory.max").write_text(str(memory_bytes))
            with contextlib.suppress(OSError):
                (folder / "memory.swap.max").write_text("0")
        else:
            (folder / "memory.limit_in_bytes").write_text(str(memory_bytes))
            with contextlib.suppress(OSError):
                (folder / "memory.memsw.limit_in_bytes").write_text(str(memory_bytes))


def detect_cgroups(*, proc: Path = Path("/proc/self")) -> Cgroups:
    """Find the hierarchies, make one trial group with limits, and keep only what worked."""
    try:
        own, mounts = (proc / "cgroup").read_text(), (proc / "mountinfo").read_text()
    except OSError:
        return Cgroups()
    parents = _parents(own, mounts)
    unified = parents.get("")
    if unified:
        unified, offered = _unified(unified, parents[_ROOT])
        parents = {**dict.fromkeys(offered, unified), **parents}
    return Cgroups(
        memory=_tried(lambda path: Cgroups(memory=path), parents.get("memory")),
        pids=_tried(lambda path: Cgroups(pids=path), parents.get("pids")),
        kill=_tried(lambda path: Cgroups(kill=path), unified),
    )


def _tried(make: Callable[[Path], Cgroups], parent: Path | None) -> Path | None:
    if parent is None:
        return None
    try:
        group = make(parent).create(f"crownest-trial-{os.getpid()}", memory_bytes=1 << 30, processes=64)
    except OSError:
        return None
    return parent if group is not None and group.remove() else None


def _parents(own: str, mounts: str) -> dict[str, Path]:
    """Our own group's folder per controller; the empty name stands for version 2, and `/` for its top."""
    roots: dict[str, tuple[str, str]] = {}
    for line in mounts.splitlines():
        left, _, right = line.partition(" - ")
        root, mount_point = left.split()[3:5]
        kind, _, options = right.split(maxsplit=2)
        names = [""] if kind == "cgroup2" else options.split(",") if kind == "cgroup" else []
        for name in names:
            roots.setdefault(name, (root, mount_point))
    parents: dict[str, Path] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in roots and name in ("", *_CONTROLLERS):
                root, mount_point = roots[name]
                inside = path.removeprefix(root.rstrip("/")).lstrip("/")
                parents[name] = Path(mount_point) / inside
    if "" in roots:
        parents[_ROOT] = Path(roots[""][1])
    return parents


def _unified(own: Path, root: Path) -> tuple[Path, list[str]]:
    """Where to make groups of version 2, and the controllers that they have there.

    Below our own group, as delegation wants it; where that is not ours to arrange (a login session, say),
    root may use the top of the hierarchy. A process is in one group of version 2 only: one place for all.
    """
    if own.name == _SERVER_LEAF:  # another runner of this process moved us there
        own = own.parent
    offered = _delegated(own)
    if offered or own == root or not os.access(root / "cgroup.procs", os.W_OK):
        return own, offered
    offered = _listed(root / "cgroup.subtree_control")
    return (root, offered) if offered else (own, [])


def _listed(controllers: Path) -> list[str]:
    try:
        return [name for name in _CONTROLLERS if name in controllers.read_text().split()]
    except OSError:
        return []


def _delegated(own: Path) -> list[str]:
    """The controllers that groups below our own get; turns them on where that is ours to do.

    Version 2 has no processes beside groups with controllers, so we may have to move into a leaf first. Where
    others share our group, that does not help: everything is put back, and no limit is claimed.
    """
    wanted, present = _listed(own / "cgroup.controllers"), _listed(own / "cgroup.subtree_control")
    missing = [name for name in wanted if name not in present]
    if not missing or _turn_on(own, missing):
        return wanted
    leaf = own / _SERVER_LEAF
    try:
        leaf.mkdir(exist_ok=True)
        (leaf / "cgroup.procs").write_text(str(os.getpid()))
    except OSError:
        return present
    if _turn_on(own, missing):
        return wanted
    with contextlib.suppress(OSError):
        (own / "cgroup.procs").write_text(str(os.getpid()))
        leaf.rmdir()
    return present


def _turn_on(own: Path, names: list[str]) -> bool:
    try:
        (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in names))
    except OSError:
        return False
    return True
