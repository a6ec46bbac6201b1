"""Counts the instructions that an append takes in the embedded log: the same however busy the machine is.

Called by hand as `python -m bench.instructions WRITERS SIZE`, to compare two versions of the code; it needs
valgrind. The kernel's are not counted, nor is what waiting for memory costs: time is to be measured too.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from bench import workload
from bench.common import scratch
from bench.stores import create_run, open_log
from eventstore.log import Append, EventLog, NewEvent

EVENTS = 640
"""That are counted, at least: a few seconds of a processor that valgrind makes fifty times as slow."""
WARMING = 2
"""Appends of each writer that are not counted."""
VALGRIND = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


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
        words = [sys.executable, "-m", "bench.instructions", str(writers), str(size), str(turns), str(folder)]
        told = subprocess.run(
            [*VALGRIND, *words],
            env=os.environ | {"PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stderr
    found = re.search(r"I\s+refs:\s+([\d,]+)", told)
    assert found, told
    return int(found[1].replace(",", ""))


def main() -> None:
    """Count and print, or append if a number of turns and a folder are given too."""
    writers, size, *rest = sys.argv[1:]
    if rest:
        asyncio.run(append(Path(rest[1]), int(writers), int(size), int(rest[0])))
        return
    turns = -(-EVENTS // (int(writers) * int(size))) + 1
    more = counted(int(writers), int(size), WARMING + turns) - counted(int(writers), int(size), WARMING)
    per_event = more / (int(writers) * int(size) * turns)
    print(f"{writers} runs x {size}: {per_event:,.0f} instructions an event")


if __name__ == "__main__":
    main()
