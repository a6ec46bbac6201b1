"""The one lasting thread from which sandboxes are started.

A sandbox dies with the *thread* that started it (the parent-death signal follows it), so that thread must
live as long as the runner. It may also have a mount namespace of its own, in which root makes interpreters
of a private home reachable for the unprivileged user that a sandbox drops to; the server's own view of the
file system stays as it is.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

_CLONE_NEWNS = 0x0002_0000
_MS_NOSUID, _MS_NODEV, _MS_BIND, _MS_REC, _MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
_PRIVATE_MOUNT_POINTS = ("/mnt", "/media", "/srv", "/opt")
"""Folders that every Linux has; in our namespace one of them holds the interpreters."""


@dataclass(frozen=True, slots=True)
class Launch:
    """A process to start: with nothing of the server's environment, and only the named descriptors."""

    arguments: Sequence[str]
    fds: Sequence[int]
    stderr_fd: int
    uid: int | None = None
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


class Spawner:
    """Starts processes from one thread that ends in `close` only."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="crownest-spawner")
        self._base: Path | None = None
        self._reachable: dict[Path, Path] = {}

    async def start(self, launch: Launch) -> subprocess.Popen[bytes]:
        """Start the process; OSError when it cannot be."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, _start, launch)

    async def reachable(self, folder: Path) -> Path:
        """A path to the folder that any user can walk, valid for processes started here; OSError if none.

        Only root asks for it, and only bubblewrap's own view has it: what a sandbox sees is bound from it.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._bind, folder)

    def close(self) -> None:
        """End the thread, and with it whatever was started and still runs."""
        self._thread.shutdown()

    def _bind(self, folder: Path) -> Path:
        if folder not in self._reachable:
            if self._base is None:
                self._base = _private_mounts()
            place = self._base / str(len(self._reachable))
            place.mkdir()
            _mount(str(folder), str(place), None, _MS_BIND | _MS_REC)
            self._reachable[folder] = place
        return self._reachable[folder]


def _start(launch: Launch) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603  # the arguments are ours
        list(launch.arguments),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=launch.stderr_fd,
        pass_fds=tuple(launch.fds),
        env=dict(launch.environment),
        cwd="/",
        start_new_session=True,
        user=launch.uid,
        group=launch.uid,
        extra_groups=None if launch.uid is None else [],
        umask=0o022,
    )


def _private_mounts() -> Path:
    """Give this thread a mount namespace, and an empty folder in it that only its children see."""
    base = next((place for place in map(Path, _PRIVATE_MOUNT_POINTS) if place.is_dir()), None)
    if base is None:
        raise FileNotFoundError(
            f"None of {', '.join(_PRIVATE_MOUNT_POINTS)} exists to mount interpreters on."
        )
    _checked(ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNS), "unshare")
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("crownest", str(base), "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=0755,size=64k")
    return base


def _mount(source: str, target: str, kind: str | None, flags: int, options: str | None = None) -> None:
    encoded = [part.encode() if part is not None else None for part in (source, target, kind, options)]
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), target)


def _checked(answer: int, what: str) -> None:
    if answer != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{os.strerror(number)} ({what})")
