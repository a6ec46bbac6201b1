"""What tests of compaction share: runs of every kind, and all that a reader can see of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from eventstore.log import Append, Block, Framing, Head, NewEvent, Redaction, StoredEvent
from tests.log_kit import RUN, Log, World, all_events, event

ALWAYS_MS = (1 << 53) - 2
"""Every run that has ended was quiet before this."""
LIMITS = (1, 2, 3, 7, 100, 1000)


@dataclass(frozen=True)
class Seen:
    """Everything that readers get of one run."""

    head: Head | None
    events: list[StoredEvent]
    blocks: list[Block]
    checkpoint: bytes | None
    pages: dict[tuple[int, int, bool], list[StoredEvent]]
    framed: dict[tuple[int, int | None, Framing], list[bytes]]
    parts: dict[tuple[int, int | None], list[StoredEvent]]


async def compact(log: Log, quiet_since_ms: int = ALWAYS_MS) -> int:
    """Compact until nothing is left to do; answers how many events."""
    total = 0
    while events := await log.compact(quiet_since_ms):
        total += events
    return total


async def end(world: World, stream: str = RUN) -> None:
    """Seal the run."""
    await world.log.append(Append(stream, None, [event("outcome"), event("terminal"), event("seal")]))


async def fill(world: World, events: Sequence[NewEvent], stream: str = RUN) -> int:
    """A run of a `status` and these events in uneven batches at several times, sealed; answers its size."""
    await world.log.append(Append(stream, 0, [event("status")]))
    at, size = 0, 1
    while at < len(events):
        world.clock.now_ms += size % 3
        await world.log.append(Append(stream, None, events[at : at + size]))
        at, size = at + size, size % 97 + 5
    await end(world, stream)
    return len(events) + 4


async def redact(world: World, seqs: Sequence[int], stream: str = RUN) -> None:
    """Erase these events."""
    await world.log.redact(Redaction(stream, tuple(seqs), "leaked", "key_1"))


async def framed(
    log: Log, after_seq: int, limit: int | None, framing: Framing, stream: str = RUN
) -> list[bytes]:
    """The frames of what comes after a seq, one by one, from as many reads as it takes."""
    data, seq = b"", after_seq
    while chunk := await log.read_framed(stream, seq, framing, limit):
        assert 1 <= chunk.count <= (limit or chunk.count)
        assert chunk.last_seq > seq
        end = b"\n" if framing is Framing.NDJSON else b"\n\n"
        assert chunk.data.count(end) == chunk.count
        assert chunk.last_type.encode() in chunk.data.removesuffix(end).rpartition(end)[2]
        data, seq = data + chunk.data, chunk.last_seq
    return data.splitlines(keepends=True)


async def seen(log: Log, places: Sequence[int], limits: Sequence[int] = LIMITS, stream: str = RUN) -> Seen:
    """All that can be read of a run, from each of these seqs on."""
    return Seen(
        await log.head(stream),
        await all_events(log, stream),
        await log.blocks(stream),
        await log.checkpoint(stream),
        {
            (after, limit, public): await log.read(stream, after, limit, public=public)
            for after in places
            for limit in limits
            for public in (True, False)
        },
        {
            (after, limit, framing): await framed(log, after, limit, framing, stream)
            for after in places
            for limit in (*limits[-2:], None)
            for framing in Framing
        },
        {
            (after, up_to): [one async for one in log.entries(stream, after, up_to)]
            for after in places
            for up_to in (after, after + 1, after + 256, None)
        },
    )
