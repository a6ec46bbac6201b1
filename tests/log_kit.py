"""What tests of the log share: backends to open, a clock to turn, a projector that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from eventstore.global_log import GlobalLog
from eventstore.log import Append, Block, Claim, EventLog, LogLimits, NewEvent, StoredEvent, ViewWriter
from eventstore.memory import MemoryLog
from eventstore.sqlite.log import SqliteLog
from eventstore.views import ViewRow, Views
from evidence.checkpoint import format_checkpoint
from evidence.merkle import CompactRange
from evidence.note import Ed25519Signer, Verifier, open_note
from evidence.record import commitment, format_time, genesis, leaf_hash, record_bytes

ORIGIN = "crownest.local/0123456789abcdef"
RUN = "wsr_a"
BACKENDS = ("sqlite", "memory")


class Log(EventLog, Views):
    """A log with its views and the global log, as every backend offers them."""

    global_log: GlobalLog


class Explosion(Exception):
    """What a projector raises when an event tells it to."""


@dataclass
class Clock:
    """A wall clock that tests set, also backwards."""

    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class CountingSigner:
    """A real key that counts what it signs."""

    key: Ed25519Signer = field(
        default_factory=lambda: Ed25519Signer(
            ORIGIN, Ed25519PrivateKey.from_private_bytes(sha256(b"log").digest())
        )
    )
    signed: int = 0

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def verifier_key(self) -> str:
        return self.key.verifier_key

    def sign(self, message: bytes) -> bytes:
        self.signed += 1
        return self.key.sign(message)


class ObedientProjector:
    """Keeps one row a stream (how many events, cached between appends) and does what events tell it.

    `put` and `delete` fields name rows of any view; `explode` raises after the rows were written.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.forgotten = 0

    def apply(
        self, views: ViewWriter, stream: str, events: Sequence[tuple[NewEvent, StoredEvent]]
    ) -> ViewRow | None:
        if stream not in self.counts:
            before_seq = events[0][1].seq if events else 2**32
            self.counts[stream] = sum(1 for _ in islice(views.payloads(stream), before_seq - 1))
        self.counts[stream] += len(events)
        row = ViewRow(stream, "org_1", b'{"events":%d}' % self.counts[stream], sort_key=stream)
        views.put("runs", row)
        for new, _ in events:
            for one in new.fields.get("put", ()):  # type: ignore[attr-defined]  # JSON of our own
                views.put(one["view"], view_row(**{k: v for k, v in one.items() if k != "view"}))
            for view, row_id in new.fields.get("delete", ()):  # type: ignore[attr-defined]  # JSON of our own
                views.delete(view, row_id)
            if new.fields.get("explode"):
                raise Explosion(new.type)
        assert views.get("runs", stream) == row
        return row

    def forget(self) -> None:
        self.counts.clear()
        self.forgotten += 1


@dataclass
class World:
    """A log under test with everything that it was given; `open` opens the same data once more."""

    log: Log
    clock: Clock
    signer: CountingSigner
    projector: ObedientProjector
    path: Path | None = None

    async def create(self, stream: str = RUN) -> None:
        """A stream of one event."""
        await self.log.append(Append(stream, 0, [event()]))

    async def add(self, count: int, stream: str = RUN, **fields: Any) -> None:
        """Append so many events in batches that the log accepts."""
        for start in range(0, count, 1000):
            batch = [event(n=number, **fields) for number in range(start, min(start + 1000, count))]
            await self.log.append(Append(stream, None, batch))


@contextlib.asynccontextmanager
async def opened(
    backend: str,
    folder: Path,
    *,
    limits: LogLimits | None = None,
    anchor: Callable[[], bytes] = bytes,
    projector: Any = None,
) -> AsyncGenerator[World]:
    """A fresh (memory) or newly opened (sqlite) log, closed at the end."""
    clock, signer = Clock(), CountingSigner()
    projector = projector or ObedientProjector()
    given: dict[str, Any] = {
        "signer": lambda: signer, "projector": projector, "clock_ms": clock, "anchor": anchor,
        "limits": limits,
    }  # fmt: skip
    path = folder / "log.sqlite"
    log: Any = MemoryLog(**given) if backend == "memory" else await SqliteLog.open(path, **given)
    try:
        yield World(log, clock, signer, projector, path if backend == "sqlite" else None)
    finally:
        await log.aclose()


def event(type_: str = "stdout", **fields: Any) -> NewEvent:
    """A new event; its fields are whatever the test needs."""
    return NewEvent(type_, fields)


def view_row(**fields: Any) -> ViewRow:
    """A view row from JSON fields; only `id` is needed."""
    return ViewRow(**{"org_id": "org_1", **fields, "doc": fields.get("doc", "{}").encode()})


def putting(*rows: dict[str, Any]) -> NewEvent:
    """An event that makes the projector write these rows."""
    return event(put=list(rows))


def claim(world: World, key: str = "k1", fingerprint: str = "f1", answer: Any = None) -> Claim:
    """A claim that expires a minute from now; it answers the row's doc unless told otherwise."""
    from eventstore.log import Answer

    def from_row(row: ViewRow | None) -> Answer:
        return Answer(200, row.doc if row else b"no row")

    return Claim(key, fingerprint, world.clock() + 60_000, answer or from_row)


async def waiters(world: World, count: int) -> None:
    """Let the loop turn until so many readers wait."""
    while world.log.statistics()["waiters"] < count:  # noqa: ASYNC110  # the log tells it by a number only
        await asyncio.sleep(0)


async def all_events(log: Log, stream: str = RUN) -> list[StoredEvent]:
    """Everything, internal events included."""
    return [one async for one in log.entries(stream)]


async def verify_by_recomputing(world: World, stream: str = RUN) -> int:
    """Recompute chain, tree, kept subtree roots and checkpoint from the stored bytes; answer the size."""
    head = await world.log.head(stream)
    assert head is not None
    prev, tree, blocks, last_ms = genesis(stream, head.anchor_note), CompactRange(), [], 0
    for number, stored in enumerate(await all_events(world.log, stream), 1):
        assert stored.seq == number
        assert stored.created_at_ms >= last_ms
        last_ms = stored.created_at_ms
        assert stored.payload is not None
        assert stored.salt is not None
        assert len(stored.salt) == 16
        assert stored.payload_size == len(stored.payload)
        record = record_bytes(
            stream, number, stored.type, format_time(last_ms), stored.payload_size,
            commitment(stored.salt, stored.payload), prev,
        )  # fmt: skip
        prev = leaf_hash(record)
        root = tree.append(prev)
        blocks += [Block(root, prev)] if root else []
    assert (head.size, head.last_leaf, head.root) == (tree.size, prev, tree.root())
    assert head.created_at_ms == last_ms
    assert await world.log.blocks(stream) == blocks
    note = await world.log.checkpoint(stream)
    assert note is not None
    text = open_note(note, [Verifier.parse(world.signer.verifier_key)]).text
    assert text == format_checkpoint(ORIGIN, stream, tree.size, tree.root())
    return tree.size
