"""How fast is a whole run read again, as bytes and as parsed objects, and what does a page near the end cost?

The floor is the same bytes as a plain file, streamed by the same HTTP server in the same run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from bench import results, workload
from bench.common import ROUNDS, SHORT, machine, table
from bench.counting import cpu_s
from bench.load import fill
from bench.peers.crownest import CrowNest, lines_of
from bench.peers.durable_streams import DurableStreams
from bench.peers.nats_jetstream import NatsDefault
from bench.peers.peer import Peer
from bench.peers.postgres import Postgres
from bench.peers.redis_always import RedisAlways, RedisLean
from bench.peers.registry import running
from bench.rounds import attempt, interleaved

PEERS: tuple[type[Peer], ...] = (CrowNest, RedisAlways, RedisLean, Postgres, NatsDefault, DurableStreams)
EVENTS = int(os.environ.get("BENCH_REPLAYED", "20000" if SHORT else "100000"))
LONG = int(os.environ.get("BENCH_LONG", "1000000"))
"""Left out in a short run."""
PAGES = 200
FLOOR = "the same bytes from a file, by our server"

Read = Callable[[], Awaitable[int]]


async def _timed(read: Read, events: int, pids: list[int]) -> tuple[float, float, float]:
    """Events per second, and microseconds of CPU an event of the server and of the client."""
    server, client, began = cpu_s(pids), time.process_time(), time.perf_counter()
    count = await read()
    took = time.perf_counter() - began
    assert count >= events, f"{count} of {events} events came back"
    return events / took, (cpu_s(pids) - server) / events * 1e6, (time.process_time() - client) / events * 1e6


async def _rounds(
    sides: Mapping[str, tuple[Read, list[int]]], events: int, what: str
) -> dict[str, list[float]]:
    """Medians of what `_timed` answers."""
    found = await interleaved(
        f"replay of {events:,} events, {what}",
        {title: partial(_timed, read, events, pids) for title, (read, pids) in sides.items()},
    )
    return {
        title: [results.median(each) for each in zip(*taken, strict=True)] for title, taken in found.items()
    }


def _table(what: str, figures: dict[str, list[float]], text_bytes: float) -> None:
    columns = ["side", "events/s", "MB/s of texts", "server CPU us/event", "client CPU us/event"]
    rows = [
        [title, rate, rate * text_bytes / 1e6, server, client]
        for title, (rate, server, client) in figures.items()
    ]
    table(f"full replay, {what} ({machine()})", columns, rows)
    if CrowNest.title in figures:
        others = {title: figure[0] for title, figure in figures.items() if title != CrowNest.title}
        results.compare(f"replay, {what}", figures[CrowNest.title][0], others, "events/s")


async def _replays(peers: list[Peer], stream: str, events: int) -> None:
    """Both tables for one size of run."""
    bytes_of = {peer.title: (partial(peer.replay_bytes, stream), peer.pids()) for peer in peers}
    ours = next((peer for peer in peers if isinstance(peer, CrowNest)), None)
    if ours is not None:
        path = await ours.as_file(stream)
        bytes_of[FLOOR] = (partial(_file, ours, path), ours.pids())
    text_bytes = workload.mean_bytes()
    _table(f"{events:,} events, bytes", await _rounds(bytes_of, events, "bytes"), text_bytes)
    objects = {peer.title: (partial(peer.replay_objects, stream), peer.pids()) for peer in peers}
    _table(f"{events:,} events, parsed objects", await _rounds(objects, events, "objects"), text_bytes)


async def _file(ours: CrowNest, path: str) -> int:
    return await lines_of(await ours.connect(), path)


async def _fill(peers: list[Peer], stream: str, events: int) -> list[Peer]:
    """Fill a stream of each peer, print what each keeps on disk for an event; answers who managed."""
    rows: list[list[object]] = []
    filled: list[Peer] = []
    for peer in peers:
        question = f"writing {events:,} events"
        results.progress(f"{question}: {peer.title}")
        await peer.flush()
        before = await peer.disk_bytes()
        if not await attempt(question, peer.title, partial(fill, peer, stream, events)):
            continue
        filled.append(peer)
        await peer.flush()
        rows.append([peer.title, (await peer.disk_bytes() - before) / events])
    text_bytes = workload.mean_bytes()
    table(
        f"bytes on disk an event of {text_bytes:.0f} bytes, {events:,} events", ["side", "bytes/event"], rows
    )
    return filled


async def _pages(ours: CrowNest, stream: str, after: int) -> float:
    """Microseconds a page of 100 events behind `after`, over one connection."""
    http = await ours.connect()
    path = f"/v1/workspace-runs/{await ours.run_of(stream)}/events?afterSeq={after}&limit=100"
    began = time.perf_counter()
    for _ in range(PAGES):
        await http.request("GET", path)
    took = time.perf_counter() - began
    await http.close()
    return took / PAGES * 1e6


async def _late_pages(ours: CrowNest, stream: str, events: int) -> None:
    """Does a late `after_seq` cost more than an early one?"""
    found: dict[str, list[float]] = {"at the start": [], "near the end": []}
    for _ in range(max(ROUNDS, 3)):
        found["at the start"].append(await _pages(ours, stream, 0))
        found["near the end"].append(await _pages(ours, stream, events - 100))
    start = results.median(found["at the start"])
    rows = [[where, results.median(taken), results.median(taken) / start] for where, taken in found.items()]
    table(f"a page of 100 events of a run of {events:,}", ["after_seq", "us/page", "of the start"], rows)


async def measure() -> None:
    """Fill, then read, a run of each size."""
    async with running(PEERS) as (_, peers):
        sizes = [("replayed", EVENTS)] if SHORT else [("replayed", EVENTS), ("long", LONG)]
        for stream, events in sizes:
            await _replays(await _fill(peers, stream, events), stream, events)
        for peer in peers:
            if isinstance(peer, CrowNest):
                await _late_pages(peer, *sizes[-1])


def main() -> None:
    """Ask the question."""
    import uvloop

    uvloop.run(measure())


if __name__ == "__main__":
    main()
    results.show_ratios()
