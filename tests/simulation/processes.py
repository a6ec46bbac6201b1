"""Who descends from us, and lives: also when the one in between was killed."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
BY_ITSELF_S_MAX = 3.0
"""How long what a server had started may take to end after a kill -9 of the server alone."""
KILLED_S_MAX = 10.0
POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """A process that cannot be confused with a later one of the same number."""

    pid: int
    start_ticks: str

    def command(self) -> str:
        """Its command line, for people; empty when it is gone."""
        with contextlib.suppress(OSError):
            line = Path(f"/proc/{self.pid}/cmdline").read_bytes()
            return line.replace(bytes(1), b" ").decode(errors="replace").strip()
        return ""


@contextlib.contextmanager
def adopting_orphans() -> Iterator[None]:
    """Orphans of what we start become our children, so that nothing of a killed server gets out of sight."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)
    try:
        yield
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0)


class Watch:
    """What is started below us from now on. Needs `adopting_orphans`."""

    def __init__(self) -> None:
        self._before = descendants(os.getpid())

    def alive(self) -> set[Process]:
        """All of it that lives; the dead that nobody waits for are taken away."""
        found = descendants(os.getpid(), reap=True)
        return found - self._before

    async def until_gone(self) -> tuple[float, set[Process]]:
        """Wait until all of it has ended by itself; the seconds it took, and what lives all the same."""
        begun = time.monotonic()
        while True:
            left, waited_s = self.alive(), time.monotonic() - begun
            if not left or waited_s > BY_ITSELF_S_MAX:
                return waited_s, left
            await asyncio.sleep(POLL_S)

    def kill(self) -> None:
        """End all of it; every one of these processes descends from something that we started."""
        deadline = time.monotonic() + KILLED_S_MAX
        while (left := self.alive()) and time.monotonic() < deadline:
            for one in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(one.pid, signal.SIGKILL)
            time.sleep(POLL_S)


def descendants(pid: int, *, reap: bool = False) -> set[Process]:
    """Everything that lives below the process, down to the last generation.

    With `reap`, dead orphans that were adopted are waited for; a child that a Popen waits for must not be
    dead then.
    """
    children: dict[int, list[Process]] = {}
    for found, parent, ticks, state in _processes():
        if state not in "ZX":
            children.setdefault(parent, []).append(Process(found, ticks))
        elif reap and parent == pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(found, os.WNOHANG)
    below: set[Process] = set()
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), []):
            if child not in below:
                below.add(child)
                waiting.append(child.pid)
    return below


def _processes() -> list[tuple[int, int, str, str]]:
    """(pid, parent, start ticks, state) of every process."""
    found: list[tuple[int, int, str, str]] = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry.name}/stat").read_bytes()
                fields = stat[stat.rindex(b")") + 2 :].split()
                found.append((int(entry.name), int(fields[1]), fields[19].decode(), fields[0].decode()))
    return found
