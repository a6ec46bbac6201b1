"""Owns what is counted and not timed: CPU and memory of processes, bytes on disk, percentiles."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
RECYCLED = ("-wal", "-shm")
"""Endings of SQLite's journals: they are used again, so they do not grow with the log."""
RECYCLED_FOLDERS = frozenset({"pg_wal"})


def tree(roots: Iterable[int]) -> list[int]:
    """These processes and all their descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], list(roots)
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, ()))
    return found


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name: state, parent, …; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def cpu_s(roots: Iterable[int]) -> float:
    """Seconds of CPU (user and system) that these trees have used, children that ended included."""
    ticks = 0
    for pid in tree(roots):
        if fields := _stat(pid):
            ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def rss_bytes(roots: Iterable[int]) -> int:
    """Resident memory of these trees; pages that processes share are counted in each."""
    pages = sum(int(fields[21]) for pid in tree(roots) if (fields := _stat(pid)))
    return pages * os.sysconf("SC_PAGE_SIZE")


def disk_bytes(folder: Path) -> int:
    """Bytes that the files below a folder take on the disk, without journals that are used again."""
    total = 0
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in RECYCLED_FOLDERS]
        for name in files:
            if not name.endswith(RECYCLED):
                total += allocated(Path(where, name))
    return total


def allocated(path: Path) -> int:
    """Bytes that a file takes on the disk, 0 when it is gone."""
    try:
        return path.stat().st_blocks * 512
    except OSError:  # compacted away while we walked
        return 0


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest value that at least `percent` of all do not exceed."""
    if not values:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(int(rank), 1) - 1]
