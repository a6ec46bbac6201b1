"""How long from an append to a live reader, of 1, 100 and 1,000, and does a stalled one slow the others?

An event is appended, durable as its side's name says; its time runs from before the append until a reader
has its text. One event at a time, so that this is latency and not throughput.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from bench import results
from bench.common import SHORT, machine, table
from bench.counting import percentile, rss_bytes
from bench.load import fill
from bench.peers.crownest import CrowNest
from bench.peers.durable_streams import DurableStreams
from bench.peers.nats_jetstream import NatsDefault
from bench.peers.peer import Peer
from bench.peers.redis_always import RedisAlways, RedisLean
from bench.peers.registry import running
from bench.rounds import attempt, interleaved

PEERS: tuple[type[Peer], ...] = (CrowNest, RedisAlways, RedisLean, NatsDefault, DurableStreams)
EVENTS = int(os.environ.get("BENCH_TAIL_EVENTS", "30" if SHORT else "100"))
MANY = 100 if SHORT else 1000
PAUSE_S = 0.01
"""Between two events; more with more readers, so that the readers' own work has time to end."""
READERS_A_PAUSE = 25
ARRIVE_S_MAX = 10.0 if SHORT else 30.0
BACKLOG = 5_000 if SHORT else 30_000
"""Events already there, more than fits in a socket's buffers: who does not read them stalls."""
BURST = 5_000 if SHORT else 50_000
"""Events appended while a reader stalls, to see what it costs in memory."""

Figures = tuple[float, float]
"""p50 and p99 in milliseconds over all readers."""
_number = itertools.count()


async def _follow(
    texts: AsyncIterator[str], sent: dict[str, float], delays: list[float], ready: asyncio.Event
) -> None:
    """Note when each numbered text came; the one before them says that this reader is at its place."""
    missing = EVENTS
    async for text in texts:
        if text == "ready":
            ready.set()
        elif (began := sent.get(text)) is not None:
            delays.append(time.perf_counter() - began)
            missing -= 1
            if not missing:
                return


async def _latency(peer: Peer, stream: str, count: int) -> Figures:
    """Let `count` readers follow while events are appended one by one."""
    writer = await peer.writer(stream)
    readers = [await peer.reader(stream) for _ in range(count)]
    sent: dict[str, float] = {}
    delays: list[float] = []
    ready = [asyncio.Event() for _ in readers]
    pause_s = PAUSE_S * max(1.0, count / READERS_A_PAUSE)
    try:
        async with asyncio.timeout(ARRIVE_S_MAX + EVENTS * pause_s * 2), asyncio.TaskGroup() as following:
            for reader, event in zip(readers, ready, strict=True):
                following.create_task(_follow(aiter(reader), sent, delays, event))
            await writer.append(["ready"])
            for event in ready:
                await event.wait()
            for _ in range(EVENTS):
                text = f"tail {next(_number)}"
                sent[text] = time.perf_counter()
                await writer.append([text])
                await asyncio.sleep(pause_s)
    finally:
        for reader in readers:
            await reader.close()
        await writer.close()
    return percentile(delays, 50) * 1e3, percentile(delays, 99) * 1e3


@asynccontextmanager
async def _stalled(ours: CrowNest, stream: str) -> AsyncIterator[None]:
    """A reader from the beginning who takes the head of the answer and then nothing more."""
    request = await ours.stream_request(stream)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", ours.port))
        await loop.sock_sendall(connection, request)
        assert (await loop.sock_recv(connection, 64)).startswith(b"HTTP/1.1 200")
        yield


async def _beside_stalled(ours: CrowNest, stream: str, count: int) -> Figures:
    async with _stalled(ours, stream):
        return await _latency(ours, stream, count)


async def _memory(ours: CrowNest, stream: str) -> None:
    """What a stalled reader costs the server while a run goes on."""
    before = rss_bytes(ours.pids())
    await fill(ours, stream, BURST)
    without = rss_bytes(ours.pids())
    async with _stalled(ours, stream):
        await fill(ours, stream, BURST)
        stalled = rss_bytes(ours.pids())
    rows = [
        [f"before {BURST:,} events", before / 2**20],
        [f"after {BURST:,} events, nobody stalled", without / 2**20],
        [f"after {BURST:,} more, one reader stalled", stalled / 2**20],
    ]
    table("memory of our server", ["when", "RSS MiB"], rows)


def _sides(peers: list[Peer], stream: str) -> dict[str, Callable[[], Awaitable[Figures]]]:
    sides: dict[str, Callable[[], Awaitable[Figures]]] = {}
    for count in (1, 100):
        for peer in peers:
            sides[f"{peer.title}, {count} reading"] = partial(_latency, peer, stream, count)
    for ours in peers:
        if isinstance(ours, CrowNest):
            sides[f"{ours.title}, 100 reading and 1 stalled"] = partial(_beside_stalled, ours, stream, 100)
            sides[f"{ours.title}, {MANY} reading, for all"] = partial(_latency, ours, stream, MANY)
    return sides


def _compare(figures: dict[str, Figures]) -> None:
    """The first of ours against everybody's, then ours against itself."""
    own = f"{CrowNest.title}, "
    if own + "1 reading" not in figures:
        return
    for count in ("1 reading", "100 reading"):
        others = {t: f[0] for t, f in figures.items() if t.endswith(f", {count}") and not t.startswith(own)}
        results.compare(f"tail p50, {count}", figures[own + count][0], others, "ms", "less")
    calm = figures[own + "100 reading"]
    results.compare("tail p99, 100 reading", calm[1], {"its own p50": calm[0]}, "ms", "less")
    stalled = figures[own + "100 reading and 1 stalled"]
    results.compare(
        "tail p99, 100 reading and 1 stalled", stalled[1], {"none stalled": calm[1]}, "ms", "less"
    )


async def measure() -> None:
    """Print the tables."""
    async with running(PEERS) as (_, peers):
        stream = "followed"
        for peer in list(peers):
            results.progress(f"tail: writing {BACKLOG:,} events before: {peer.title}")
            if not await attempt("tail, writing before", peer.title, partial(fill, peer, stream, BACKLOG)):
                peers.remove(peer)
        sides = _sides(peers, stream)
        found = await interleaved("tail", sides)
        medians: dict[str, Figures] = {
            title: (results.median([f[0] for f in taken]), results.median([f[1] for f in taken]))
            for title, taken in found.items()
        }
        rows = [[title, *figures] for title, figures in medians.items()]
        table(
            f"tail latency, append to arrival, {EVENTS} events ({machine()})",
            ["side", "p50 ms", "p99 ms"],
            rows,
        )
        _compare(medians)
        for peer in peers:
            if isinstance(peer, CrowNest):
                await _memory(peer, stream)


def main() -> None:
    """Ask the question."""
    import uvloop

    uvloop.run(measure())


if __name__ == "__main__":
    main()
    results.show_ratios()
