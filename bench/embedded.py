"""A program that appends within its own process: our log, the `eventsourcing` library, or raw group commits.

Called by the questions as `python -m bench.embedded SIDE WRITERS SIZE SECONDS FOLDER`; prints one JSON line.
Each measurement is a process of its own, so that its CPU is counted alone and no side inherits a heap.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench import workload
from bench.load import SPREAD, WARMING, drive, mark
from bench.peers.peer import Sample
from bench.stores import create_run, open_log
from eventstore.log import Append, EventLog, NewEvent
from evidence.canonical import encode

TITLES = {
    "ours": "CrowNest, embedded",
    "eventsourcing": "eventsourcing on SQLite",
    "raw": "raw SQLite group commit",
}
PER_ACKNOWLEDGEMENT = {
    "ours": "one append with proof; appends that wait share a transaction and its fsync",
    "eventsourcing": "one EventStore.put: one transaction, WAL and synchronous=FULL as the library sets them",
    "raw": "one transaction of the payload rows that all writers would have waiting, made beforehand",
}


def missing(side: str) -> str | None:
    """What this side lacks."""
    if side != "eventsourcing":
        return None
    try:
        version("eventsourcing")
    except ModuleNotFoundError:
        return "the Python package eventsourcing: run make bench-setup"
    return None


def about(side: str) -> str:
    """Versions."""
    sqlite = f"SQLite {sqlite3.sqlite_version}"
    return f"eventsourcing {version('eventsourcing')}, {sqlite}" if side == "eventsourcing" else sqlite


def command(side: str, writers: int, size: int, seconds: float, folder: Path) -> list[str]:
    """What measures this side, in a folder that is empty or new."""
    shape = (side, str(writers), str(size), str(seconds), str(folder))
    return [sys.executable, "-m", "bench.embedded", *shape]


def measure(side: str, writers: int, size: int, seconds: float, folder: Path) -> Sample:
    """Run this program."""
    words = command(side, writers, size, seconds, folder)
    return Sample(**json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout))


class _Ours:
    def __init__(self, log: EventLog, run_id: str) -> None:
        self._log, self._run_id = log, run_id

    async def append(self, texts: Sequence[str]) -> None:
        events = [NewEvent("stdout", {"data": text}) for text in texts]
        await self._log.append(Append(self._run_id, None, events))

    async def close(self) -> None:
        """The log is closed for all."""


async def _ours(folder: Path, writers: int, size: int, seconds: float) -> Sample:
    log = await open_log(folder / "log.sqlite")
    try:
        return await drive([_Ours(log, await create_run(log)) for _ in range(writers)], size, [], seconds)
    finally:
        await log.aclose()


def turns(
    appends: Sequence[Callable[[Any], object]], shares: Sequence[Sequence[Any]], texts: Any, seconds: float
) -> Sample:
    """Call synchronous appends in turn: one thread, since more would only wait for SQLite's one writer.

    `shares` holds each writer's batches as it takes them, `texts` the same as lists of texts.
    """
    sizes = [[(len(batch), sum(len(text.encode()) for text in batch)) for batch in share] for share in texts]
    for _ in range(WARMING):
        for append, share in zip(appends, shares, strict=True):
            append(share[0])
    latencies: list[float] = []
    events = text_bytes = turn = 0
    mark()
    cpu, began = time.process_time(), time.perf_counter()
    while time.perf_counter() - began < seconds:
        for append, share, size in zip(appends, shares, sizes, strict=True):
            start = time.perf_counter()
            append(share[turn % len(share)])
            latencies.append(time.perf_counter() - start)
            events += size[turn % len(size)][0]
            text_bytes += size[turn % len(size)][1]
        turn += 1
    mark()
    return Sample(events, text_bytes, time.perf_counter() - began, latencies, 0.0, time.process_time() - cpu)


def _eventsourcing(folder: Path, writers: int, size: int, seconds: float) -> Sample:
    from bench.peers.eventsourcing_sqlite import Library

    library = Library(folder / "events.sqlite")
    shares = [workload.batches(size, number * SPREAD) for number in range(writers)]
    return turns([library.appender() for _ in shares], shares, shares, seconds)


def _raw(folder: Path, writers: int, size: int, seconds: float) -> Sample:
    db = sqlite3.connect(folder / "raw.sqlite", isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, payload BLOB)")
    stamp = {"type": "stdout", "createdAt": "2026-11-22T14:03:00.000Z", "seq": 1}
    batches = workload.batches(size * writers, 0, 20)
    made = [[(encode({**stamp, "data": text}),) for text in batch] for batch in batches]

    def commit(rows: Sequence[tuple[bytes]]) -> None:
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO rows (payload) VALUES (?)", rows)
        db.execute("COMMIT")

    return turns([commit], [made], [batches], seconds)


def main() -> None:
    """Measure one side and print it."""
    side, writers, size, seconds, folder = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    shape = (Path(folder), int(writers), int(size), float(seconds))
    if side == "ours":
        sample = asyncio.run(_ours(*shape))
    else:
        sample = {"eventsourcing": _eventsourcing, "raw": _raw}[side](*shape)
    print(json.dumps(dataclasses.asdict(sample)))


if __name__ == "__main__":
    main()
