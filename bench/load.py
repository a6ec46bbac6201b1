"""Owns the load: writers that append as fast as they are acknowledged, for as long as a cell lasts."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Sequence

from bench import workload
from bench.common import CELL_S
from bench.counting import cpu_s
from bench.peers.peer import Peer, Sample, Writer

WARMING = 2
"""Appends of each writer before the clock starts: connections, prepared statements, first pages."""
SPREAD = 977
"""How far apart in the log two writers begin."""


def mark() -> None:
    """Leave a sign in a trace of system calls, where a measurement begins and where it ends."""
    with contextlib.suppress(OSError):
        os.write(-1, b"")


async def drive(writers: Sequence[Writer], size: int, pids: Sequence[int], seconds: float = CELL_S) -> Sample:
    """Let all writers append batches of `size` events until the time is over; what is under way counts."""
    shares = [workload.batches(size, number * SPREAD) for number in range(len(writers))]
    lengths = [[sum(len(text.encode()) for text in batch) for batch in share] for share in shares]
    for _ in range(WARMING):
        await asyncio.gather(
            *(writer.append(share[0]) for writer, share in zip(writers, shares, strict=True))
        )
    latencies: list[float] = []
    written = [0, 0]

    async def write(writer: Writer, share: list[list[str]], sizes: list[int], deadline: float) -> None:
        turn, began = 0, time.perf_counter()
        while began < deadline:
            await writer.append(share[turn % len(share)])
            now = time.perf_counter()
            latencies.append(now - began)
            written[0] += size
            written[1] += sizes[turn % len(sizes)]
            turn, began = turn + 1, now

    mark()
    server, client, began = cpu_s(pids), time.process_time(), time.perf_counter()
    await asyncio.gather(
        *(write(*each, began + seconds) for each in zip(writers, shares, lengths, strict=True))
    )
    took = time.perf_counter() - began
    mark()
    return Sample(written[0], written[1], took, latencies, cpu_s(pids) - server, time.process_time() - client)


async def fill(peer: Peer, stream: str, events: int, size: int = 1000) -> int:
    """Append so many events to one stream; answers how many."""
    writer = await peer.writer(stream)
    for start in range(0, events, size):
        await writer.append(workload.take(min(size, events - start), start))
    await writer.close()
    return events
