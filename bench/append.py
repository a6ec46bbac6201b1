"""What does the proof cost? Appends with proof against raw `sqlite3` group commits of the payload rows alone.

Both sides are durable (WAL, synchronous=FULL). The raw side writes, in one transaction and one fsync, what
as many writers would have waiting: its rows hold the payload and nothing else, and it is made beforehand.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path

from bench.common import interleaved, line, machine, scratch, table
from bench.stores import create_run, open_log
from eventstore.log import Append, NewEvent
from evidence.canonical import encode

COMMITS_MAX = 300
ROWS = 40_000
"""Rows a measurement at most, and commits: a second or two on a disk that syncs in a millisecond."""
SHAPES = [(writers, batch) for batch in (1, 100) for writers in (1, 16, 64)]


def clean(folder: Path) -> None:
    """Every measurement starts with an empty folder."""
    for leftover in folder.glob("*.sqlite*"):
        leftover.unlink()


def raw(folder: Path, writers: int, batch: int, commits: int) -> float:
    """Rows per second of one thread that commits `writers * batch` payload rows at a time."""
    file = folder / "raw.sqlite"
    clean(folder)
    db = sqlite3.connect(file, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, payload BLOB)")
    rows = writers * batch
    stamp = {"type": "stdout", "createdAt": "2026-11-22T14:03:00.000Z"}
    payloads = [(encode({**line(number), **stamp, "seq": number}),) for number in range(rows)]
    began = time.perf_counter()
    for _ in range(commits):
        db.execute("BEGIN IMMEDIATE")
        db.executemany("INSERT INTO rows (payload) VALUES (?)", payloads)
        db.execute("COMMIT")
    took = time.perf_counter() - began
    db.close()
    return commits * rows / took


async def ours(folder: Path, writers: int, batch: int, commits: int) -> float:
    """Events per second of as many tasks that append a batch and wait, each to a run of its own."""
    clean(folder)
    log = await open_log(folder / "log.sqlite")
    runs = [await create_run(log) for _ in range(writers)]

    events = [NewEvent("stdout", line(number)) for number in range(batch)]

    async def write(run_id: str) -> None:
        for _ in range(commits):
            await log.append(Append(run_id, None, events))

    began = time.perf_counter()
    await asyncio.gather(*(write(run_id) for run_id in runs))
    took = time.perf_counter() - began
    await log.aclose()
    return commits * writers * batch / took


def main() -> None:
    """Print the table."""
    rows: list[list[object]] = []
    with scratch() as folder:
        for writers, batch in SHAPES:
            commits = max(10, min(COMMITS_MAX, ROWS // (writers * batch)))
            figures = interleaved(
                {
                    "raw": lambda: raw(folder, writers, batch, commits),  # noqa: B023 # called within the round
                    "ours": lambda: asyncio.run(ours(folder, writers, batch, commits)),  # noqa: B023 # the same
                }
            )
            rows.append([writers, batch, figures["raw"], figures["ours"], figures["raw"] / figures["ours"]])
    table(
        f"append with proof against raw group commit ({machine()})",
        ["writers", "events/append", "raw rows/s", "ours events/s", "raw/ours"],
        rows,
    )


if __name__ == "__main__":
    main()
