"""Does anything become slower as the log grows? Ten million events against ten thousand, side by side.

Both are data folders of a real server in this process: events are appended through the log, a listing is
asked for over HTTP. BENCH_GROWTH says how many events the large one holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn

from bench import results
from bench.common import ROUNDS, SHORT, line, machine, scratch, table
from bench.stores import TEMPLATE, create_run
from cli.listening import listen
from cli.settings import Settings
from cli.wiring import Server, open_server
from eventstore.log import Append, EventLog, NewEvent
from runs.decide import created
from runs.ids import new_id

GROWN = int(os.environ.get("BENCH_GROWTH", "200000" if SHORT else "10000000"))
SMALL = 10_000
EVENTS_A_RUN = 50_000
LONG = max(min(100_000, GROWN), GROWN // 10)
"""Events of the one long run in the grown log."""
LISTED = int(os.environ.get("BENCH_GROWTH_RUNS", "2000" if SHORT else "10000"))
BATCH = 1_000
WRITERS = 16
COMMITS = 640
"""Appends of one measurement, of all writers together."""
READS = 300
READ_EVENTS = 100
PAGE_RUNS = 100
PAGES = 10
"""Pages at either end of the listing."""
WALKS = 5
STOP_S_MAX = 10.0
GOAL = 1.2


class Cost(NamedTuple):
    """Microseconds of one thing, on the wall and of the CPU; the latter waver less on a busy machine."""

    wall: float
    cpu: float


class Watch:
    """Measures from when it is made, this process with its threads."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def cost(self, things: int) -> Cost:
        """Of one of so many things since then."""
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Cost(wall / things * 1e6, cpu / things * 1e6)


@dataclass(frozen=True, slots=True)
class Folder:
    """An open data folder, the runs that are written to, and a long one to read."""

    server: Server
    writing: Sequence[str]
    long: str = ""

    @property
    def log(self) -> EventLog:
        """Where its events are."""
        return self.server.services.store


def events(first: int, count: int) -> list[NewEvent]:
    """Output of a run: `count` events from number `first`."""
    return [NewEvent("stdout", line(number)) for number in range(first, first + count)]


async def grow(log: EventLog, run_id: str, count: int) -> None:
    """Append `count` events in large batches."""
    for start in range(0, count, BATCH):
        await log.append(Append(run_id, None, events(start, min(BATCH, count - start))))


async def opened(stack: contextlib.AsyncExitStack, path: Path, total: int, long: int) -> Folder:
    """A new folder that holds `total` events, `long` of them in one run, and fresh runs to write to."""
    settings = Settings(data_dir=path, provider="process", preview_port=0, rate_limit_per_minute=0)
    server = await stack.enter_async_context(open_server(settings))
    assert server.first is not None
    log, places = server.services.store, (server.first.org_id, server.first.project_id)
    long_run = await create_run(log, *places) if long else ""
    if long:
        await grow(log, long_run, long)
    for start in range(0, total - long, EVENTS_A_RUN):
        await grow(log, await create_run(log, *places), min(EVENTS_A_RUN, total - long - start))
    return Folder(server, [await create_run(log, *places) for _ in range(WRITERS)], long_run)


async def append_cost(folder: Folder, batch: int, writers: int) -> Cost:
    """Of an event, written by so many at once."""
    made = events(0, batch)

    async def write(run_id: str) -> None:
        for _ in range(COMMITS // writers):
            await folder.log.append(Append(run_id, None, made))

    watch = Watch()
    await asyncio.gather(*map(write, folder.writing[:writers]))
    return watch.cost(COMMITS * batch)


async def read_cost(folder: Folder, after_seq: int) -> Cost:
    """Of a page of events behind `after_seq` of the long run."""
    watch = Watch()
    for offset in range(READS):
        read = await folder.log.read(folder.long, after_seq + offset, READ_EVENTS)
        assert len(read) == READ_EVENTS
    return watch.cost(READS)


async def list_runs(folder: Folder, count: int) -> None:
    """Runs that wait for their archive."""
    assert folder.server.first is not None
    org_id, project_id = folder.server.first.org_id, folder.server.first.project_id
    request = {"command": "true", "projectId": project_id, "template": "base", "timeoutMs": 600_000}
    request |= {"keepSandbox": False, "metadata": {}, "sourceMetadata": {}, "artifacts": []}

    async def create() -> None:
        run_id = new_id("wsr")
        event = created(run_id=run_id, org_id=org_id, actor="key_bench", request=request, template=TEMPLATE)
        await folder.log.append(Append(run_id, 0, [event]))

    for start in range(0, count, READS):
        await asyncio.gather(*(create() for _ in range(min(READS, count - start))))


class Pages:
    """The listing over one connection."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)
        self._headers = {"authorization": f"Bearer {key}"}

    def get(self, cursor: str | None) -> dict[str, Any]:
        """One page."""
        after = f"&cursor={cursor}" if cursor else ""
        self._connection.request("GET", f"/v1/workspace-runs?limit={PAGE_RUNS}{after}", headers=self._headers)
        answer = self._connection.getresponse()
        page: dict[str, Any] = json.loads(answer.read())
        assert answer.status == http.client.OK, page
        return page

    def cursors(self) -> Iterator[str | None]:
        """Where each full page begins."""
        cursor: str | None = None
        while True:
            page = self.get(cursor)
            if len(page["data"]) == PAGE_RUNS:
                yield cursor
            if (cursor := page.get("nextCursor")) is None:
                return

    def cost(self, cursors: Sequence[str | None]) -> Cost:
        """Of a page."""
        watch = Watch()
        for _ in range(WALKS):
            for cursor in cursors:
                self.get(cursor)
        return watch.cost(WALKS * len(cursors))


@contextlib.asynccontextmanager
async def serving(server: Server) -> AsyncGenerator[int]:
    """Its port, while the block runs."""
    with listen("127.0.0.1", 0) as listener:
        config = uvicorn.Config(server.app, log_level="error", lifespan="off", access_log=False)
        web = uvicorn.Server(config)
        task = asyncio.create_task(web.serve(sockets=[listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.services.closing.set()
            web.should_exit = True
            await asyncio.wait_for(task, STOP_S_MAX)


def medians(sides: Mapping[str, Callable[[], Cost]]) -> dict[str, Cost]:
    """The median of either figure over interleaved rounds; the first round is dropped."""
    seen: dict[str, list[Cost]] = {name: [] for name in sides}
    for number in range(ROUNDS + 1):
        for name, measure in sides.items():
            cost = measure()
            if number:
                seen[name].append(cost)
    return {name: Cost(*map(statistics.median, zip(*costs, strict=True))) for name, costs in seen.items()}


def ratio_table(title: str, unit: str, rows: Sequence[tuple[str, Mapping[str, Cost]]]) -> None:
    """Two sides a row, the second as a multiple of the first."""
    shown: list[list[object]] = []
    for name, sides in rows:
        first, second = sides.values()
        figures = (f"{side}: {cost.wall:,.1f}" for side, cost in sides.items())
        shown.append([name, *figures, second.wall / first.wall, second.cpu / first.cpu])
    table(f"{title} ({machine()}, goal {GOAL})", ["what", unit, f"{unit} ", "ratio", "ratio of CPU"], shown)


def measured(runner: asyncio.Runner, small: Folder, big: Folder) -> None:
    """The tables of appends and reads."""
    rows: list[tuple[str, Mapping[str, Cost]]] = []
    for writers, batch in ((1, 1), (16, 1), (1, 100), (16, 100)):
        sides = {
            f"{count:,}": lambda folder=folder, batch=batch, writers=writers: runner.run(
                append_cost(folder, batch, writers)
            )
            for count, folder in ((SMALL, small), (GROWN, big))
        }
        rows.append((f"append of {batch}, {writers} at once", medians(sides)))
    ratio_table("append to a log that holds so many events", "us/event", rows)
    reads = {
        f"{name}": lambda after=after: runner.run(read_cost(big, after))
        for name, after in (("at the start", 0), ("at the end", LONG - READS - READ_EVENTS))
    }
    read = medians(reads)
    ratio_table(f"a page of {READ_EVENTS} events of a run of {LONG:,}", "us/page", [("after_seq", read)])


def listed(runner: asyncio.Runner, pages: Pages) -> None:
    """The table of the listing."""
    cursors = runner.run(asyncio.to_thread(lambda: list(pages.cursors())))
    ends = {"the first": cursors[:PAGES], "the last": cursors[-PAGES:]}
    sides = {
        name: lambda part=part: runner.run(asyncio.to_thread(pages.cost, part)) for name, part in ends.items()
    }
    title = f"GET /v1/workspace-runs, {PAGE_RUNS} of {LISTED:,} runs a page, {len(cursors)} pages"
    ratio_table(title, "us/page", [(f"{PAGES} pages", medians(sides))])


def main() -> None:
    """Grow, and print the tables."""
    with scratch() as path, asyncio.Runner() as runner, _stack(runner) as stack:
        results.progress(f"growth: writing {SMALL:,} and {GROWN:,} events")
        small = runner.run(opened(stack, path / "small", SMALL, 0))
        began = time.perf_counter()
        big = runner.run(opened(stack, path / "big", GROWN, LONG))
        took_s = time.perf_counter() - began
        size_mib = (path / "big" / "log.sqlite").stat().st_size / 1024 / 1024
        growth = [[GROWN, GROWN / took_s, size_mib, size_mib * 1024 * 1024 / GROWN]]
        table("growing", ["events", "events/s", "MiB", "bytes/event"], growth)
        results.progress("growth: appends and reads")
        measured(runner, small, big)
        results.progress(f"growth: listing {LISTED:,} runs")
        runner.run(list_runs(big, LISTED))
        assert big.server.first is not None
        port = runner.run(stack.enter_async_context(serving(big.server)))
        listed(runner, Pages(port, big.server.first.secret))


@contextlib.contextmanager
def _stack(runner: asyncio.Runner) -> Generator[contextlib.AsyncExitStack]:
    """A stack that is unwound within the runner's loop."""
    stack = contextlib.AsyncExitStack()
    try:
        yield stack
    finally:
        runner.run(stack.aclose())


if __name__ == "__main__":
    main()
