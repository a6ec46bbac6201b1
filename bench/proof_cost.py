"""What does the proof cost an append? The same append path with and without it: CPU and bytes an event.

"Without" stores the same payload rows by the same code, with no salt, commitment, record, leaf or tree.
CPU is that of the whole process, so the machine's other load does not count. Wanted: at most 8 µs (goal 4)
and 40 bytes an event.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench import results
from bench.common import SHORT, interleaved, line, machine, scratch, table
from bench.stores import create_run, open_log
from eventstore import appending
from eventstore.log import Append, NewEvent, StoredEvent
from eventstore.sealing import RESERVED_FIELDS, Sealed, StreamHead, seal
from evidence.canonical import encode
from evidence.merkle import CompactRange
from evidence.record import format_time

EVENTS = int(os.environ.get("BENCH_PROOF_EVENTS", "10000" if SHORT else "40000"))
BATCH = 100


def clean(folder: Path) -> None:
    """Every measurement starts with an empty folder."""
    for leftover in folder.glob("*.sqlite*"):
        leftover.unlink()


class Counted(CompactRange):
    """A tree that counts its leaves and hashes nothing; the stored state stays as small as it can be."""

    def copy(self) -> CompactRange:
        """Another one of the same size."""
        return Counted(self.size)

    def to_bytes(self) -> bytes:
        """Nothing."""
        return b""

    def root(self) -> bytes:
        """No root."""
        return bytes(32)


def store_only(
    head: StreamHead, events: Sequence[NewEvent], created_at_ms: int, _salts: bytes, _bytes_max: int
) -> Sealed:
    """`eventstore.sealing.seal` without all that makes proof."""
    created_at, seq, payload_bytes = format_time(created_at_ms), head.size, head.payload_bytes
    rows: list[StoredEvent] = []
    for event in events:
        seq += 1
        assert RESERVED_FIELDS.isdisjoint(event.fields)
        payload = encode({**event.fields, "type": event.type, "seq": seq, "createdAt": created_at})
        payload_bytes += len(payload)
        rows.append(StoredEvent(seq, event.type, created_at_ms, payload, b"", len(payload)))
    after = StreamHead(
        head.stream, bytes(32), Counted(seq), created_at_ms, payload_bytes, head.anchor_note, head.fence
    )
    return Sealed(rows, after, [])


async def measure(folder: Path, *, proof: bool) -> tuple[float, float]:
    """Microseconds of CPU, and bytes of the database, for each event."""
    clean(folder)
    appending.seal = seal  # the run's first events are always proved: they make the stream
    log = await open_log(folder / "log.sqlite")
    run_id = await create_run(log)
    appending.seal = seal if proof else store_only
    batches = [
        [NewEvent("stdout", line(number)) for number in range(start, start + BATCH)]
        for start in range(0, EVENTS, BATCH)
    ]
    began = time.process_time()
    for batch in batches:
        await log.append(Append(run_id, None, batch))
    took = time.process_time() - began
    appending.seal = seal
    await log.aclose()
    return took / EVENTS * 1e6, (folder / "log.sqlite").stat().st_size / EVENTS


def main() -> None:
    """Print the table."""
    sizes: dict[bool, list[float]] = {True: [], False: []}

    def side(*, proof: bool) -> float:
        cpu_us, size_bytes = asyncio.run(measure(folder, proof=proof))
        sizes[proof].append(size_bytes)
        return cpu_us

    results.progress(f"proof_cost: {EVENTS:,} events with proof and without")
    with scratch() as folder:
        cpu = interleaved({"with": lambda: side(proof=True), "without": lambda: side(proof=False)})
    disk = {proof: statistics.median(values) for proof, values in sizes.items()}
    table(
        f"what the proof costs an append of {BATCH} events ({machine()})",
        ["", "with", "without", "cost", "wanted"],
        [
            ["µs CPU/event", cpu["with"], cpu["without"], cpu["with"] - cpu["without"], "at most 8, goal 4"],
            ["bytes/event", disk[True], disk[False], disk[True] - disk[False], "at most 40"],
        ],
    )


if __name__ == "__main__":
    main()
