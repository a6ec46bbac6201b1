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
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import closing
from functools import partial
from pathlib import Path

from bench import results
from bench.common import ROUNDS, SHORT, interleaved, machine, scratch, table
from bench.load import fill as fill_over_http
from bench.peers.crownest import DATABASE, JSON, CrowNest, lines_of
from bench.peers.registry import emptied
from bench.rounds import interleaved as in_rounds
from bench.stores import create_run, fill, open_log
from eventstore.compactor import Compactor
from eventstore.log import Append, Framing, LogLimits, NewEvent
from eventstore.sqlite.log import SqliteLog

REPLAYED = int(os.environ.get("BENCH_PACKS_EVENTS", "20000" if SHORT else "100000"))
STREAM = "replayed"
NEVER = {"CROWNEST_LOG__COMPACT_QUIET_MS": str(10**12)}
AT_ONCE = {"CROWNEST_LOG__COMPACT_QUIET_MS": "0", "CROWNEST_LOG__COMPACT_IDLE_S": "0.1"}
SSE_LINES = 4
"""Of one event: id, event, data, and an empty one."""
COMPACT_S_MAX = 120.0
ALWAYS_MS = 1 << 52
APPENDS = 400
REDACTION = NewEvent("redaction", {"targets": [], "reason": "bench", "actor": "key_bench"})
"""The shortest way to have a run counted as ended."""


class Sealed:
    """A server with one sealed run, which stays in rows or becomes packs."""

    def __init__(self, settings: dict[str, str]) -> None:
        self.server = CrowNest(settings)

    async def start(self, folder: Path) -> None:
        """Append, seal, and wait for what the settings want."""
        await self.server.start(emptied(folder))
        await fill_over_http(self.server, STREAM, REPLAYED)
        run = f"/v1/workspace-runs/{await self.server.run_of(STREAM)}"
        http = await self.server.connect()
        await http.request("POST", f"{run}/finish", b'{"exitCode":0}', JSON)
        await http.close()

    def wait_until_packed(self) -> None:
        """Return once all of the run lies in packs."""
        uri = f"file:{self.server.folder / DATABASE}?mode=ro"
        left = "SELECT (SELECT count(*) FROM unpacked) + NOT EXISTS (SELECT * FROM packs)"
        deadline = time.monotonic() + COMPACT_S_MAX
        with closing(sqlite3.connect(uri, uri=True)) as database:
            while database.execute(left).fetchone()[0]:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"the run is not packed after {COMPACT_S_MAX:.0f} s")
                time.sleep(0.1)

    async def replay(self, *, stream: bool) -> float:
        """Events a second of a full replay, as Server-Sent Events or as NDJSON."""
        began = time.perf_counter()
        lines = REPLAYED
        if stream:
            lines *= SSE_LINES
            path = f"/v1/workspace-runs/{await self.server.run_of(STREAM)}/events?stream=true"
            count = await lines_of(await self.server.connect(), path)
        else:
            count = await self.server.replay_bytes(STREAM)
        assert count >= lines, f"{count} of {lines} lines came back"
        return REPLAYED / (time.perf_counter() - began)


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
        kinds: dict[str, Callable[[str], Coroutine[None, None, float]]] = {
            "NDJSON, events/s": partial(_drained, log, framing=Framing.NDJSON),
            "SSE, events/s": partial(_drained, log, framing=Framing.SSE),
            "entries (proofs), events/s": partial(_walked, log),
            "a page of 100, us": partial(_page, log),
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


async def over_http(folder: Path) -> None:
    """Print the table of full replays."""
    sides = {"rows": Sealed(NEVER), "packs": Sealed(AT_ONCE)}
    try:
        for name, side in sides.items():
            results.progress(f"packs: writing {REPLAYED:,} events: {name}")
            await side.start(folder / name)
        await asyncio.to_thread(sides["packs"].wait_until_packed)
        replays: dict[str, Callable[[], Awaitable[float]]] = {
            f"{framing}, {name}": partial(side.replay, stream=framing == "SSE")
            for framing in ("NDJSON", "SSE")
            for name, side in sides.items()
        }
        found = await in_rounds(f"replay of {REPLAYED:,} events, rows and packs", replays)
    finally:
        for side in sides.values():
            await side.server.stop()
    rows: list[list[object]] = []
    for framing in ("NDJSON", "SSE"):
        in_rows, in_packs = (results.median(found[f"{framing}, {name}"]) for name in sides)
        rows.append([framing, in_rows, in_packs, in_packs / in_rows])
    columns = ["framing", "rows, events/s", "packs, events/s", "packs/rows"]
    table(f"full replay of {REPLAYED:,} events over HTTP ({machine(ROUNDS)})", columns, rows)


def main() -> None:
    """Print all tables."""
    import uvloop

    with scratch() as folder:
        results.progress("packs: without HTTP")
        in_process(folder)
        results.progress("packs: appends beside compaction")
        beside_appends(folder)
        uvloop.run(over_http(folder.resolve()))


if __name__ == "__main__":
    main()
