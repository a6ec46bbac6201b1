"""How fast are events acknowledged, one and a hundred at a time, by 1, 16 and 64 writers of a run each?

Every side is durable as its name says. Three are bounds: SQLite's group commit of the payload rows alone, and
servers of Python that keep nothing, which no server in one process of Python beats.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from bench import embedded, results
from bench.common import CELL_S, SHORT, machine, table
from bench.counting import percentile
from bench.load import drive
from bench.peers.crownest import CrowNest, CrowNestPost
from bench.peers.nothing import NothingPost, NothingSession
from bench.peers.peer import Peer, Sample
from bench.peers.registry import PEERS, emptied, running, wanted
from bench.rounds import interleaved

SHAPES = [(16, 1), (16, 100)] if SHORT else [(runs, size) for size in (1, 100) for runs in (1, 16, 64)]
"""Runs written at once, and events for each acknowledgement."""
EMBEDDED = ("ours", "eventsourcing", "raw")

Side = Callable[[int, int], Awaitable[Sample]]
_number = itertools.count()


async def _served(peer: Peer, runs: int, size: int) -> Sample:
    turn = next(_number)
    writers = [await peer.writer(f"run-{turn}-{number}") for number in range(runs)]
    try:
        return await drive(writers, size, peer.pids())
    finally:
        for writer in writers:
            await writer.close()
        await peer.renew()


async def _embedded(side: str, folder: Path, runs: int, size: int) -> Sample:
    place = emptied(folder / side)
    return await asyncio.to_thread(embedded.measure, side, runs, size, CELL_S, place)


def _sides(folder: Path, peers: list[Peer], size: int) -> dict[str, Side]:
    sides: dict[str, Side] = {peer.title: partial(_served, peer) for peer in peers if peer.takes(size)}
    for side in EMBEDDED:
        if side == "eventsourcing" and not wanted(side):
            continue
        if (lack := embedded.missing(side)) is not None:
            results.note_missing(embedded.TITLES[side], lack)
            continue
        results.note_version(embedded.TITLES[side], embedded.about(side))
        sides[embedded.TITLES[side]] = partial(_embedded, side, folder)
    return sides


def _row(title: str, samples: list[Sample]) -> list[object]:
    """Medians over the rounds."""

    def median(figure: Callable[[Sample], float]) -> float:
        return results.median([figure(sample) for sample in samples])

    return [
        title,
        median(lambda s: s.events / s.took_s),
        median(lambda s: s.text_bytes / s.took_s / 1e6),
        median(lambda s: percentile(s.latencies_s, 50) * 1e3),
        median(lambda s: percentile(s.latencies_s, 99) * 1e3),
        median(lambda s: s.server_cpu_s / s.events * 1e6),
        median(lambda s: s.client_cpu_s / s.events * 1e6),
    ]


COLUMNS = ["side", "events/s", "MB/s", "p50 ms", "p99 ms", "server CPU us/event", "client CPU us/event"]


def _compare(cell: str, rows: list[list[object]]) -> None:
    """Ours served against servers, ours embedded against what is embedded."""
    rates = {str(row[0]): float(str(row[1])) for row in rows}
    inside = {title: rates.pop(title) for title in embedded.TITLES.values() if title in rates}
    own = inside.pop(embedded.TITLES["ours"])
    results.compare(f"append, {cell}, embedded", own, inside, "events/s")
    served = {title: rates.pop(title) for title in (CrowNest.title, CrowNestPost.title)}
    for title, rate in served.items():
        results.compare(f"append, {cell}, {title.partition(', ')[2]}", rate, rates, "events/s")


async def measure() -> None:
    """Print a table for every shape."""
    async with running((CrowNest, CrowNestPost, NothingPost, NothingSession, *PEERS)) as (folder, peers):
        for runs, size in SHAPES:
            sides = _sides(folder, peers, size)
            samples = await interleaved(
                f"append, {runs} runs x {size}",
                {title: partial(side, runs, size) for title, side in sides.items()},
            )
            rows = [_row(title, taken) for title, taken in samples.items()]
            cell = f"{runs} runs x {size}"
            table(f"append, {cell} events for each acknowledgement ({machine()})", COLUMNS, rows)
            _compare(cell, rows)


def main() -> None:
    """Ask the question."""
    import uvloop

    uvloop.run(measure())


if __name__ == "__main__":
    main()
    results.show_ratios()
