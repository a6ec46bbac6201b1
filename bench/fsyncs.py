"""How many syncs does an acknowledgement cost, counted by the kernel's own calls and not taken on trust?

A short run of each side under strace, never timed. Counted are fsync, fdatasync, sync_file_range, msync and
syncfs, and writes to files that were opened with O_SYNC or O_DSYNC: each such write is a sync too.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from bench import embedded, results
from bench.common import SHORT, table
from bench.counting import tree
from bench.load import WARMING, drive
from bench.peers.crownest import CrowNest, CrowNestPost
from bench.peers.peer import Peer
from bench.peers.registry import PEERS, emptied, running

SHAPES = [(16, 1)] if SHORT else [(1, 1), (16, 1), (16, 100)]
SECONDS = 0.2 if SHORT else 1.0
SYNCS = ("fsync", "fdatasync", "sync_file_range", "msync", "syncfs", "sync")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2")
SYNC_FLAGS = os.O_SYNC | os.O_DSYNC
STRACE = ["strace", "-f", "-qq", "-s", "0", "-e", "signal=none", "-e", f"trace={','.join(SYNCS + WRITES)}"]
CALL = re.compile(r"^(\d+)\s+(\w+)\((\d+)?")
ATTACH_S_MAX = 10.0
MARK = re.compile(r"^.*write\((?:-1|4294967295), .*$", re.MULTILINE)
"""What `bench.load.mark` looks like."""
_number = itertools.count()

Counted = tuple[Counter[str], int]
"""Syncs by call, and how many acknowledgements they were for."""


def synced_files(pids: Iterable[int]) -> set[tuple[int, int]]:
    """Process and descriptor of every file that is open with O_SYNC or O_DSYNC."""
    found: set[tuple[int, int]] = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for info in Path(f"/proc/{pid}/fdinfo").iterdir():
                with contextlib.suppress(OSError):
                    flags = re.search(r"^flags:\s*([0-7]+)", info.read_text(), re.MULTILINE)
                    if flags and int(flags[1], 8) & SYNC_FLAGS:
                        found.add((pid, int(info.name)))
    return found


def process_of(thread: int) -> int:
    """The process that this thread belongs to; itself when it is gone."""
    try:
        status = Path(f"/proc/{thread}/status").read_text()
    except OSError:
        return thread
    return int(status.partition("\nTgid:")[2].split()[0])


def counted(trace: str, synced: set[tuple[int, int]]) -> Counter[str]:
    """Syncs by call; writes count as `O_SYNC write` where they go to a synced file."""
    counts: Counter[str] = Counter()
    processes: dict[int, int] = {}
    for line in trace.splitlines():
        if (match := CALL.match(line)) is None:
            continue
        thread, call, descriptor = int(match[1]), match[2], match[3]
        if call in SYNCS:
            counts[call] += 1
        elif descriptor is not None and synced:
            pid = processes.setdefault(thread, process_of(thread))
            if (pid, int(descriptor)) in synced:
                counts["O_SYNC write"] += 1
    return counts


@asynccontextmanager
async def traced(pids: list[int], out: Path) -> AsyncIterator[None]:
    """Trace these process trees; raises RuntimeError when that is not allowed."""
    attach = [word for pid in tree(pids) for word in ("-p", str(pid))]
    process = await asyncio.create_subprocess_exec(
        *STRACE, "-o", str(out), *attach, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        for _ in range(int(ATTACH_S_MAX / 0.05)):
            await asyncio.sleep(0.05)
            if process.returncode is not None or all(map(_is_traced, pids)):
                break
        if process.returncode is not None:
            assert process.stderr is not None
            raise RuntimeError((await process.stderr.read()).decode().strip())
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


def _is_traced(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return "\nTracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text()
    return False


async def _served(peer: Peer, folder: Path, runs: int, size: int) -> Counted:
    turn = next(_number)
    writers = [await peer.writer(f"counted-{turn}-{number}") for number in range(runs)]
    out = folder / "trace"
    try:
        async with traced(peer.pids(), out):
            sample = await drive(writers, size, peer.pids(), SECONDS)
            synced = synced_files(tree(peer.pids()))
    finally:
        for writer in writers:
            await writer.close()
    return counted(out.read_text(errors="replace"), synced), sample.events // size + WARMING * runs


async def _inside(side: str, folder: Path, runs: int, size: int) -> Counted:
    place, out = emptied(folder / side), folder / "trace"
    command = [*STRACE, "-o", str(out), *embedded.command(side, runs, size, SECONDS, place)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    answer, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"strace ended with {process.returncode}")
    events: int = json.loads(answer)["events"]
    return counted(MARK.split(out.read_text(errors="replace"))[1], set()), events // size


async def _row(title: str, count: Awaitable[Counted], runs: int, size: int) -> list[object]:
    try:
        syncs, acknowledgements = await count
    except RuntimeError as error:
        return [title, f"{runs} x {size}", None, None, None, f"not counted: {error}"]
    calls = ", ".join(f"{call} {number}" for call, number in syncs.most_common()) or "none"
    total = sum(syncs.values())
    each = total / acknowledgements
    return [title, f"{runs} x {size}", acknowledgements, each, each / size, calls]


async def measure() -> None:
    """Print the table."""
    if shutil.which("strace") is None:
        results.note_missing("syncs for each acknowledgement", "strace: apt-get install strace")
        return
    rows: list[list[object]] = []
    async with running((CrowNest, CrowNestPost, *PEERS)) as (folder, peers):
        for runs, size in SHAPES:
            results.progress(f"counting syncs, {runs} runs x {size}")
            sides: dict[str, Awaitable[Counted]] = {
                peer.title: _served(peer, folder, runs, size) for peer in peers if peer.takes(size)
            }
            for side, title in embedded.TITLES.items():
                if embedded.missing(side) is None:
                    sides[title] = _inside(side, folder, runs, size)
            rows += [await _row(title, count, runs, size) for title, count in sides.items()]
    columns = ["side", "runs x events", "acknowledgements", "syncs/acknowledgement", "syncs/event", "calls"]
    table("syncs for each acknowledgement, counted under strace", columns, rows)


def main() -> None:
    """Ask the question."""
    import uvloop

    uvloop.run(measure())


if __name__ == "__main__":
    main()
