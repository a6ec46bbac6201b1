"""Is a compacted run replayed as fast as one in rows, and what does compaction cost those who append?

Both sides hold the same events and are measured in turns: through `read_framed`, and over HTTP with a server
each. The last table appends one event at a time while the other run of a folder is being compacted, or not.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bench.common import interleaved, machine, scratch, table
from bench.replay import NDJSON, REPLAYED, get, server
from bench.stores import create_run, fill, open_log
from eventstore.compactor import Compactor
from eventstore.log import Append, Framing, LogLimits, NewEvent
from eventstore.sqlite.log import SqliteLog

NEVER_MS = str(10**12)
ALWAYS_MS = 1 << 52
APPENDS = 400
REDACTION = NewEvent("redaction", {"targets": [], "reason": "bench", "actor": "key_bench"})
"""The shortest way to have a run counted as ended."""


@contextmanager
def compacting(folder: Path, quiet_ms: str) -> Iterator[dict[str, Any]]:
    """A bench server with a sealed run, which it compacts at once or never."""
    os.environ |= {"CROWNEST_LOG__COMPACT_QUIET_MS": quiet_ms, "CROWNEST_LOG__COMPACT_IDLE_S": "0.1"}
    with server(folder, REPLAYED, 1) as (about, _):
        with closing(sqlite3.connect(f"file:{folder}/log.sqlite?mode=ro", uri=True)) as database:
            while quiet_ms == "0" and database.execute("SELECT count(*) FROM unpacked").fetchone()[0]:
                time.sleep(0.1)
        yield about


def over_http(about: dict[str, Any], *, stream: bool) -> float:
    """Events a second of a full replay."""
    events = f"/v1/workspace-runs/{about['runs'][0]}/events"
    _, took = get(about, f"{events}?stream=true") if stream else get(about, events, NDJSON)
    return REPLAYED / took


async def _ended_run(log: SqliteLog) -> str:
    run_id = await create_run(log)
    await fill(log, run_id, REPLAYED)
    return run_id


async def _drained(log: SqliteLog, run_id: str, framing: Framing) -> float:
    began, after, count = time.perf_counter(), 0, 0
    while chunk := await log.read_framed(run_id, after, framing):
        after, count = chunk.last_seq, count + chunk.count
    return count / (time.perf_counter() - began)


async def _walked(log: SqliteLog, run_id: str) -> float:
    began, count = time.perf_counter(), 0
    async for _ in log.entries(run_id):
        count += 1
    return count / (time.perf_counter() - began)


async def _page(log: SqliteLog, run_id: str) -> float:
    began = time.perf_counter()
    for after in range(0, REPLAYED, REPLAYED // 100):
        await log.read(run_id, after, 100)
    return (time.perf_counter() - began) / 100 * 1e6


def in_process(folder: Path) -> None:
    """Print the table of reads without HTTP."""
    with asyncio.Runner() as runner:
        log = runner.run(open_log(folder / "log.sqlite"))
        rows, packs = runner.run(_ended_run(log)), runner.run(_ended_run(log))
        runner.run(log.append(Append(packs, None, [REDACTION])))
        while runner.run(log.compact(ALWAYS_MS)):
            pass
        kinds = {
            "NDJSON, events/s": lambda run: _drained(log, run, Framing.NDJSON),
            "SSE, events/s": lambda run: _drained(log, run, Framing.SSE),
            "entries (proofs), events/s": lambda run: _walked(log, run),
            "a page of 100, us": lambda run: _page(log, run),
        }
        table_rows: list[list[object]] = []
        for name, read in kinds.items():
            figures = interleaved(
                {
                    "rows": lambda: runner.run(read(rows)),  # noqa: B023 # called within the round
                    "packs": lambda: runner.run(read(packs)),  # noqa: B023 # the same
                }
            )
            table_rows.append([name, figures["rows"], figures["packs"], figures["packs"] / figures["rows"]])
        runner.run(log.aclose())
    table(f"{REPLAYED:,} events, no HTTP ({machine()})", ["read", "rows", "packs", "packs/rows"], table_rows)


async def _appending(folder: Path, *, compact: bool) -> list[float]:
    """Milliseconds that appends of one event take, with or without compaction beside them."""
    log = await open_log(folder / f"append-{compact}-{time.monotonic_ns()}.sqlite")
    ended, live = await _ended_run(log), await create_run(log)
    await log.append(Append(ended, None, [REDACTION]))

    compactor = Compactor(log, lambda: ALWAYS_MS, LogLimits())
    task = asyncio.create_task(compactor.compact_due()) if compact else None
    took: list[float] = []
    for number in range(APPENDS):
        began = time.perf_counter()
        await log.append(Append(live, None, [NewEvent("stdout", {"data": f"line {number}"})]))
        took.append((time.perf_counter() - began) * 1000)
        if task is not None and task.done():
            break
    if task is not None:
        await task
    await log.aclose()
    return took


def beside_appends(folder: Path) -> None:
    """Print the table of appends."""
    rows: list[list[object]] = []
    for compact in (False, True):
        took = sorted(asyncio.run(_appending(folder, compact=compact)))
        rows.append(
            ["compacting" if compact else "alone", len(took), statistics.median(took),
             took[len(took) * 99 // 100], took[-1]]
        )  # fmt: skip
    table("appends of one event, milliseconds", ["beside", "appends", "median", "99 %", "longest"], rows)


def main() -> None:
    """Print all tables."""
    with scratch() as folder:
        in_process(folder)
        beside_appends(folder)
    with (
        scratch() as one, scratch() as other,
        compacting(one, NEVER_MS) as rows, compacting(other, "0") as packs,
    ):  # fmt: skip
        figures = interleaved(
            {
                f"{name}, {side}": lambda about=about, stream=stream: over_http(about, stream=stream)
                for name, stream in (("NDJSON", False), ("SSE", True))
                for side, about in (("rows", rows), ("packs", packs))
            }
        )
    table(
        f"full replay of {REPLAYED:,} events over HTTP ({machine()})",
        ["framing", "rows, events/s", "packs, events/s", "packs/rows"],
        [
            [name, figures[f"{name}, rows"], figures[f"{name}, packs"],
             figures[f"{name}, packs"] / figures[f"{name}, rows"]]
            for name in ("NDJSON", "SSE")
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
