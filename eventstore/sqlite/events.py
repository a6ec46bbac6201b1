"""Owns the reads of a stream's events: one answer, whether they lie in rows or in packs.

Every read is one statement, hence one snapshot: compaction moves events from rows into packs while others
read, and two statements could miss what moved between them. Packs are unpacked in a thread of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import Any

from eventstore.framing import join_frames
from eventstore.log import INTERNAL_TYPES, Chunk, Framing, LogLimits, StoredEvent
from eventstore.packing import DamagedPack
from eventstore.sealing import SEQ_MAX
from eventstore.sqlite.queries import FRAME_NDJSON, FRAME_SSE, READ, READ_PAGE, READ_PUBLIC
from eventstore.sqlite.reader import ReaderPool
from eventstore.sqlite.stored import PACKS_READ_MAX, damaged, events_in, open_pack, refuse_gap

PAYLOAD_BYTES_MIN = 32
"""No payload is shorter: it has its time, its seq and its type."""

_FRAMES = {Framing.NDJSON: FRAME_NDJSON, Framing.SSE: FRAME_SSE}


class EventReader:
    """Reads events of committed streams; the methods are those of `eventstore.log.EventLog`."""

    def __init__(self, readers: ReaderPool, limits: LogLimits) -> None:
        self._readers = readers
        self._bytes_max = limits.chunk_bytes
        self._reading: dict[tuple[str, int, Framing, int | None], asyncio.Future[Chunk | None]] = {}

    def __repr__(self) -> str:
        return f"EventReader({self._readers!r}, reading={len(self._reading)})"

    async def read(
        self, stream: str, after_seq: int = 0, limit: int = 100, *, public: bool = True
    ) -> list[StoredEvent]:
        """Up to `limit` events with seq > `after_seq` in order; `public` leaves internal ones out."""
        found: list[StoredEvent] = []
        after_seq = _seq(after_seq)
        while len(found) < limit:
            wanted = limit - len(found)
            place = {**self._place(stream, after_seq, after_seq + wanted), "limit": wanted}
            rows = await self._readers.rows(READ_PUBLIC if public else READ, place)
            if not _are_packs(rows):
                return found + events_in(stream, rows, after_seq)
            page = await asyncio.to_thread(events_in, stream, rows, after_seq, place["last_seq"])
            after_seq = page[-1].seq
            found += _public(page) if public else page
        return found

    async def entries(
        self, stream: str, after_seq: int = 0, up_to_seq: int | None = None
    ) -> AsyncIterator[StoredEvent]:
        """Every event after `after_seq`, internal ones included, in pages of bounded bytes (for proofs)."""
        after_seq, last_seq = _seq(after_seq), SEQ_MAX if up_to_seq is None else min(up_to_seq, SEQ_MAX)
        while after_seq < last_seq:
            rows = await self._readers.rows(READ_PAGE, self._place(stream, after_seq, last_seq))
            if not rows:
                return
            unpack = partial(events_in, stream, rows, after_seq, last_seq)
            page = await asyncio.to_thread(unpack) if _are_packs(rows) else unpack()
            for event in page:
                yield event
            after_seq = page[-1].seq

    async def read_framed(
        self, stream: str, after_seq: int, framing: Framing, limit: int | None = None
    ) -> Chunk | None:
        """The next public events as joined frames (bounded bytes, at most `limit`), None at the end.

        Followers of one run wake up together and ask for the same: those that ask at once share one
        read. One that was woken by a commit may share a read from before it and get None; its next
        `wait_for_append` then returns at once.
        """
        question = (stream, after_seq, framing, limit)
        answer = self._reading.get(question)
        if answer is None:
            answer = asyncio.ensure_future(self._read_framed(*question))
            self._reading[question] = answer
            answer.add_done_callback(lambda _: self._reading.pop(question, None))
        return await asyncio.shield(answer)

    async def _read_framed(
        self, stream: str, after_seq: int, framing: Framing, limit: int | None
    ) -> Chunk | None:
        after_seq = _seq(after_seq)
        while True:
            place = self._place(stream, after_seq, SEQ_MAX if limit is None else after_seq + limit)
            joined, *packs = await self._readers.rows(_FRAMES[framing], place)
            if packs:
                chunk, after_seq = await asyncio.to_thread(_frame_packs, place, packs, framing)
                if chunk is not None:
                    return chunk
                continue
            data, count, intact, last_seq, last_type, through_seq, size = joined
            if count and intact < count:  # redacted events have no payload to join: placeholders instead
                page = await self._readers.rows(READ_PAGE, {**place, "last_seq": last_seq})
                data = join_frames(framing, _public(events_in(stream, page, after_seq)))
            if count:
                return Chunk(data, count, last_seq, last_type)
            if size is None or through_seq >= size:
                return None
            assert through_seq > after_seq, "a page holds at least one event"
            after_seq = through_seq  # internal events only: go on behind them

    def _place(self, stream: str, after_seq: int, last_seq: int) -> dict[str, Any]:
        events_max = min(last_seq - after_seq, self._bytes_max // PAYLOAD_BYTES_MIN)
        return {
            "stream": stream,
            "after_seq": after_seq,
            "last_seq": min(last_seq, SEQ_MAX),
            "bytes_max": self._bytes_max,
            "step": 1 << max(events_max, 0).bit_length(),
            "packs_max": PACKS_READ_MAX,
        }


def _public(events: Sequence[StoredEvent]) -> list[StoredEvent]:
    return [event for event in events if event.type not in INTERNAL_TYPES]


def _are_packs(rows: Sequence[Any]) -> bool:
    return bool(rows) and rows[0][1] is None


def _frame_packs(place: Mapping[str, Any], rows: Sequence[Any], framing: Framing) -> tuple[Chunk | None, int]:
    """The frames of what these packs hold of the page that was asked for; and how far that reaches.

    A pack that is shown whole costs no Python for each of its events.
    """
    frames: list[bytes] = []
    stream, last_seq = place["stream"], place["last_seq"]
    left, count, shown_seq, shown_type, through_seq = place["bytes_max"], 0, 0, "", place["after_seq"]
    for data, events, _, end_seq, *_ in rows:
        one = open_pack(stream, end_seq, events, data)
        refuse_gap(stream, one, through_seq)
        try:
            fits = one.line_bytes <= left
            if fits and one.first_seq == through_seq + 1 and end_seq <= last_seq and one.is_plain():
                frames.append(one.framed(framing))
                count, left = count + one.count, left - one.line_bytes
                shown_seq, shown_type, through_seq = end_seq, one.last_type, end_seq
                continue
            if count and not fits:
                break  # the next read begins with it
            page, through_seq = _shown(one.events(through_seq, last_seq), left, at_least_one=not count)
        except DamagedPack as error:
            raise damaged(stream, end_seq, error) from error
        if page:
            frames.append(join_frames(framing, page))
            count, left = count + len(page), left - sum(event.payload_size for event in page)
            shown_seq, shown_type = page[-1].seq, page[-1].type
        if through_seq < end_seq:
            break
    return (Chunk(b"".join(frames), count, shown_seq, shown_type) if count else None), through_seq


def _shown(
    events: Sequence[StoredEvent], bytes_max: int, *, at_least_one: bool
) -> tuple[list[StoredEvent], int]:
    """The first public ones within so many bytes; and the seq up to which that is all there is."""
    page: list[StoredEvent] = []
    through_seq = events[0].seq - 1
    for event in events:
        if event.type not in INTERNAL_TYPES:
            bytes_max -= event.payload_size
            if bytes_max < 0 and (page or not at_least_one):
                break
            page.append(event)
        through_seq = event.seq
    return page, through_seq


def _seq(after_seq: int) -> int:
    """Clamped to what a stream can hold: beyond, a position would belong to the next stream."""
    return min(max(after_seq, 0), SEQ_MAX)
