"""Finds processes in /proc, by descent, user or a marker in their environment, and ends them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

_PROC = Path("/proc")
_PAUSE_S = 0.002
_DEAD = ("Z", "X")
END_ROUNDS_MAX = 2_500
"""After about five seconds of rounds a process that does not die hangs in the kernel: report it instead."""


def end(find: Callable[[], Iterable[int]]) -> bool:
    """Kill what `find` gives until it gives nothing more; False when something will not die.

    A process that forks faster than we look cannot get away: all are stopped first, until a look finds no
    new one, and only then killed.
    """
    for _ in range(END_ROUNDS_MAX):
        if not kill(find):
            return True
        time.sleep(_PAUSE_S)
    return False


def kill(find: Callable[[], Iterable[int]]) -> int:
    """One round of `end`: how many were sent SIGKILL."""
    stopped: set[int] = set()
    while fresh := set(find()) - stopped:
        for pid in fresh:
            _signal(pid, signal.SIGSTOP)
        stopped |= fresh
    for pid in stopped:
        _signal(pid, signal.SIGKILL)
    return len(stopped)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def start_ticks(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names a process for good.

    None for one that is not there, or dead and only waits for its parent.
    """
    fields = _stat_fields(pid)
    return int(fields[19]) if fields and fields[0] not in _DEAD else None


def descendants(pid: int, *, without: Collection[int] = ()) -> list[int]:
    """Children, grandchildren and so on that live right now (zombies left out), parents first.

    Neither the processes of `without` nor what descends from them.
    """
    children: defaultdict[int, list[int]] = defaultdict(list)
    for other in _pids():
        fields = _stat_fields(other)
        if fields and fields[0] not in _DEAD and other not in without:
            children[int(fields[1])].append(other)
    found = list(children[pid])
    for parent in found:  # grows while it is walked: breadth first
        found.extend(children[parent])
    return found


def marked(marker: str) -> list[int]:
    """Processes of ours whose environment at exec time had `marker` (`NAME=value`); zombies have none."""
    wanted = marker.encode()
    return [pid for pid in _pids() if wanted in _environment(pid)]


def of_user(uid: int) -> list[int]:
    """Processes that run as this user; zombies, which only wait for their parent, left out."""
    return [pid for pid in _pids() if _owner(pid) == uid and (_stat_fields(pid) or _DEAD)[0] not in _DEAD]


def tasks_of_user(uid: int) -> int:
    """Processes and threads of a user, as RLIMIT_NPROC counts them."""
    count = 0
    for pid in _pids():
        if _owner(pid) == uid:
            with contextlib.suppress(OSError):  # it ended meanwhile
                count += sum(1 for _ in (_PROC / str(pid) / "task").iterdir())
    return count


def _pids() -> list[int]:
    return [int(path.name) for path in _PROC.iterdir() if path.name.isdecimal()]


def _owner(pid: int) -> int | None:
    """The real user id, also of a process that hides its files (it is not dumpable)."""
    try:
        for line in (_PROC / str(pid) / "status").read_text(errors="replace").splitlines():
            if line.startswith("Uid:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # it ended, or belongs to somebody else
        return []


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of stat after the name, which may hold blanks and brackets: state, parent and so on."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
