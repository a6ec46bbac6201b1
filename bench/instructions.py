"""Counts the instructions that an append takes: the same however busy the machine is.

Called by hand as `python -m bench.instructions SIDE WRITERS SIZE`, to compare two versions of the code; it
needs valgrind. SIDE is `embedded`, or what a server does for a `session` or a `post`. The kernel's are not
counted, nor is what waiting for memory costs: time is to be measured too.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import workload
from bench.common import scratch
from bench.peers.crownest import CrowNest, CrowNestPost
from bench.peers.peer import Writer
from bench.server import serve
from bench.stores import create_run, open_log
from eventstore.log import Append, EventLog, NewEvent
from runner import probe
from runner.templates import Tool

EVENTS = 640
"""That are counted, at least: a few seconds of a processor that valgrind makes fifty times as slow."""
WARMING = 2
"""Appends of each writer that are not counted."""
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
SERVED = {"session": CrowNest, "post": CrowNestPost}
WATCHED = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null")
"""A server starts uncounted: it takes a minute under valgrind as it is."""


async def _write(log: EventLog, run_id: str, batches: list[list[str]]) -> None:
    for batch in batches:
        await log.append(Append(run_id, None, [NewEvent("stdout", {"data": text}) for text in batch]))


async def append(folder: Path, writers: int, size: int, turns: int) -> None:
    """Let each writer append so many batches."""
    log = await open_log(folder / "log.sqlite")
    batches = workload.batches(size, count=turns)
    await asyncio.gather(*[_write(log, await create_run(log), batches) for _ in range(writers)])
    await log.aclose()


def counted(writers: int, size: int, turns: int) -> int:
    """Instructions of a process that does this, its start and end included."""
    with scratch() as folder:
        words = [sys.executable, "-m", "bench.instructions", "embedded", str(writers), str(size)]
        told = subprocess.run(
            [*VALGRIND, *words, str(turns), str(folder)],
            env=os.environ | {"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    found = re.search(r"I\s+refs:\s+([\d,]+)", told)
    assert found, told
    return int(found[1].replace(",", ""))


async def served(side: str, writers: int, size: int, turns: int) -> int:
    """Instructions of a server while so many writers append so many batches each."""
    peer = SERVED[side]({"PYTHONHASHSEED": "0"})
    peer.command = (*WATCHED, sys.executable, "-m", "bench.instructions", "serve")
    batches = workload.batches(size, count=WARMING + turns)
    with scratch() as folder:
        await peer.start(folder)
        try:
            open_ = [await peer.writer(f"run-{number}") for number in range(writers)]
            await _drive(open_, batches[:WARMING])
            await _count(peer, "on")
            await _drive(open_, batches[WARMING:])
            await _count(peer, "off")
            for writer in open_:
                await writer.close()
        finally:
            await peer.stop()
        told = (folder / f"{peer.name}.log").read_text()
    found = re.search(r"Collected\s+:\s+(\d+)", told)
    assert found, told
    return int(found[1])


async def _drive(writers: Sequence[Writer], batches: list[list[str]]) -> None:
    async def write(writer: Writer) -> None:
        for batch in batches:
            await writer.append(batch)

    await asyncio.gather(*map(write, writers))


async def _count(peer: CrowNest, switch: str) -> None:
    control = await asyncio.create_subprocess_exec("callgrind_control", "-i", switch, str(peer.pids()[0]))
    assert await control.wait() == 0, "callgrind_control cannot reach the server"


async def _serve(folder: Path) -> None:
    """The server of the benches, without trying out sandboxes, which valgrind does not let start."""

    async def no_tools(*_: object) -> dict[str, Tool]:
        return {}

    probe._try = no_tools  # noqa: SLF001  # nothing else keeps it from starting one
    await serve(folder)


def main() -> None:
    """Count and print; or be counted: append, if a number of turns and a folder are given too, or serve."""
    if sys.argv[1] == "serve":
        uvloop.run(_serve(Path(sys.argv[2])))
        return
    side, writers, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if rest := sys.argv[4:]:
        asyncio.run(append(Path(rest[1]), writers, size, int(rest[0])))
        return
    turns = -(-EVENTS // (writers * size)) + 1
    if side == "embedded":
        more = counted(writers, size, WARMING + turns) - counted(writers, size, WARMING)
    else:
        more = asyncio.run(served(side, writers, size, turns))
    print(f"{side}, {writers} runs x {size}: {more / (writers * size * turns):,.0f} instructions an event")


if __name__ == "__main__":
    main()
