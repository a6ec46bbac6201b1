"""What does a sealed event cost on the disk, in rows and in packs, and of what is it made?

Everything in the database file counts that a run of so many events adds to an empty one: payloads, salts,
places, subtree roots, checkpoints, entries of the global log, views, and what SQLite spends on all of it.
The file is counted as it is (`file`), and after free pages were given back (`shrunk`): in between, a server
uses them for what comes. A run that is longer than the recorded log repeats it,
which does not help: a pack holds less than that log, and packs know nothing of each other.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path

import zstandard

from bench import results, workload
from bench.common import SHORT, machine, scratch, table
from bench.stores import create_run, now_ms, open_log
from eventstore.log import Append, LogLimits, NewEvent
from eventstore.packing import Pack
from eventstore.sqlite import maintenance
from eventstore.sqlite.log import SqliteLog
from runs.decide import status_event
from runs.limits import RunLimits
from runs.session import load_session

EVENTS = int(os.environ.get("BENCH_DISK_EVENTS", "20000" if SHORT else "100000"))
SIZES = (100,) if SHORT else (100, 1000, 10_000)
"""Runs of these sizes too, as many as make a quarter of `EVENTS`: what a run costs by itself weighs there."""
GAP_MS_MAX = 40
"""Events come at random times this far apart at most, as those of a build do."""
GOAL_BYTES = 75.0


class Ticking:
    """A clock that goes on by itself a little with every look."""

    def __init__(self) -> None:
        self.now_ms, self._chance = now_ms(), random.Random(2)

    def __call__(self) -> int:
        """Later than before."""
        self.now_ms += self._chance.randrange(GAP_MS_MAX)
        return self.now_ms


async def _fill(path: Path, lines: Iterable[str], runs: int, events: int) -> None:
    """So many sealed runs of so many output events, one append each: every event has its own time."""
    log = await open_log(path)
    clock = Ticking()
    source = iter(lines)
    for _ in range(runs):
        run_id = await create_run(log)
        left = events
        while left:
            batch = [NewEvent("stdout", {"data": line}) for line in islice(source, min(left, 256))]
            await asyncio.gather(
                *(log.append(Append(run_id, None, [one], created_at_ms=clock())) for one in batch)
            )
            left -= len(batch)
        await _seal(log, run_id)
    await log.aclose()


async def _seal(log: SqliteLog, run_id: str) -> None:
    session = await load_session(log, run_id, RunLimits(), now_ms)
    await session.append([status_event("collecting", {"durationMs": 1, "exitCode": 0})])
    cleanup = NewEvent("cleanup", {"cleanupStatus": "succeeded", "reason": "finished"})
    await session.finish(failure_reason=None, cleanup=cleanup)


def _count(path: Path) -> dict[str, float]:
    """Bytes of the pages of each kind of table and index, and of parts of the packs."""
    with closing(sqlite3.connect(path)) as database:
        page = database.execute("PRAGMA page_size").fetchone()[0]
        found: dict[str, float] = {"file": page * database.execute("PRAGMA page_count").fetchone()[0]}
        found["free pages"] = page * database.execute("PRAGMA freelist_count").fetchone()[0]
        packs = [Pack(data) for (data,) in database.execute("SELECT pack FROM packs")]
        found["packs"] = database.execute("SELECT coalesce(sum(length(pack)), 0) FROM packs").fetchone()[0]
        found["salts"] = 16 * sum(one.count for one in packs)
        found["payloads"] = sum(
            len(zstandard.ZstdCompressor(level=3, write_checksum=True).compress(one.lines())) for one in packs
        )
        found["index of packs"] = found["packs"] - found["salts"] - found["payloads"] if packs else 0
        found["payload bytes"] = database.execute("SELECT sum(payload_bytes) FROM streams").fetchone()[0]
        found["tree and checkpoints"] = _bytes(database, "subtrees", "root", "last_leaf")
        found["tree and checkpoints"] += _bytes(database, "checkpoints", "note")
        found["global log"] = _bytes(database, "log_entries", "entry") + _bytes(database, "log_heads", "note")
        found["views"] = _bytes(database, "runs", "doc") + _bytes(database, "evidence", "doc")
    return found


def _bytes(database: sqlite3.Connection, name: str, *columns: str) -> float:
    lengths = " + ".join(f"coalesce(length({column}), 0)" for column in columns)
    found: int = database.execute(f"SELECT coalesce(sum({lengths}), 0) FROM {name}").fetchone()[0]
    return found


def measure(path: Path, lines: Iterable[str], runs: int, events: int) -> dict[str, float]:
    """Bytes an event, by what they are."""
    asyncio.run(_fill(path, [], 0, 0))
    empty = path.stat().st_size
    asyncio.run(_fill(path, lines, runs, events))
    total = runs * events
    rows = _count(path)
    began = time.perf_counter()
    done = maintenance.compact(path, LogLimits(), lambda _: None)
    took = time.perf_counter() - began
    packed = _count(path)
    figures = {
        "payload": rows["payload bytes"] / total,
        "rows: file": (rows["file"] - empty) / total,
        "packs: shrunk file": (packed["file"] - empty) / total,
    }
    parts = ("payloads", "salts", "index of packs", "tree and checkpoints", "global log", "views")
    figures |= {name: packed[name] / total for name in parts}
    figures["SQLite's own"] = figures["packs: shrunk file"] - sum(packed[name] for name in parts) / total
    figures["compacted events/s"] = done.events / took
    return figures


def main() -> None:
    """Print the tables; the last one says whether the goal is met by one long run."""
    rows: list[list[object]] = []
    names: list[str] = []
    one_run = 0.0
    for events in (EVENTS, *SIZES):
        results.progress(f"disk: {events:,} events a run")
        with scratch() as folder:
            figures = measure(
                folder / "log.sqlite", cycle(workload.texts()), max(EVENTS // events // 4, 1), events
            )
        names = list(figures)
        rows.append([f"{events:,} a run", *figures.values()])
        one_run = one_run or figures["packs: shrunk file"]
    table(f"bytes a sealed event, proof included ({machine(1)})", ["runs", *names], rows)
    verdict = "met" if one_run <= GOAL_BYTES else "missed"
    table(
        "goal: bytes a sealed event of the workload, proof included",
        ["events", "bytes/event", "goal", ""],
        [[EVENTS, one_run, f"at most {GOAL_BYTES:.0f}", verdict]],
    )


if __name__ == "__main__":
    main()
