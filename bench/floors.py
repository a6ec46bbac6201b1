"""What can this disk do at best: how often a second does it sync a few bytes appended to a file?

No log that fsyncs before it acknowledges is faster than this for each group that it commits. The other floors
stand beside what they bound: raw group commits with the appends, a file from the same server with replay.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench import results, workload
from bench.common import CELL_S, ROUNDS, interleaved, machine, scratch, table
from bench.counting import percentile

SIZES = (200, 20_000, 200_000)
"""Bytes for each sync: an event, a hundred, a thousand."""


def syncs(folder: Path, size: int) -> tuple[float, list[float]]:
    """Syncs per second of one file that grows, and how long each took."""
    text = "".join(workload.texts()).encode()
    data = (text * (size // len(text) + 1))[:size]
    took: list[float] = []
    path = folder / "floor"
    with path.open("wb", buffering=0) as out:
        began = time.perf_counter()
        while (start := time.perf_counter()) < began + CELL_S:
            out.write(data)
            os.fdatasync(out.fileno())
            took.append(time.perf_counter() - start)
    path.unlink()
    return len(took) / sum(took), took


def main() -> None:
    """Print the table."""
    latencies: dict[int, list[float]] = {size: [] for size in SIZES}

    def side(folder: Path, size: int) -> float:
        rate, took = syncs(folder, size)
        latencies[size].extend(took)
        return rate

    with scratch() as folder:
        results.progress("floors: fdatasync")
        rates = interleaved(
            {str(size): (lambda size=size: side(folder, size)) for size in SIZES},  # type: ignore[misc] # a default binds it
            ROUNDS,
        )
    rows = [
        [f"{size:,} bytes", rates[str(size)], percentile(took, 50) * 1e3, percentile(took, 99) * 1e3]
        for size, took in latencies.items()
    ]
    table(
        f"floor: write and fdatasync of a growing file ({machine()})",
        ["each", "syncs/s", "p50 ms", "p99 ms"],
        rows,
    )


if __name__ == "__main__":
    main()
