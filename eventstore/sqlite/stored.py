"""Owns a stream's events as they are stored: the first ones in packs, the rest in rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from eventstore.log import DamagedLog, StoredEvent
from eventstore.packing import DamagedPack, Pack, pack
from eventstore.sqlite.queries import LOG, READ

PLACE_BITS = 32
SEQ_MASK = 0xFFFFFFFF
PACKS_READ_MAX = 4
"""Packs that one read answers: 256 KiB of payload lines, or as many events of half a MiB."""

Execute = Callable[..., Any]
"""`sqlite3.Connection.execute`."""


def stored_event(row: Any) -> StoredEvent:
    """The event from the columns that the reading statements answer."""
    seq, type_, created_at_ms, payload, salt, payload_size, commitment = row
    size = len(payload) if payload is not None else payload_size
    return StoredEvent(seq, type_, created_at_ms, payload, salt, size, commitment)


def open_pack(stream: str, last_seq: int, events: int, data: bytes) -> Pack:
    """The pack that the database holds at this place. Raises `DamagedLog`."""
    try:
        opened = Pack(data)
        if (opened.last_seq, opened.count) != (last_seq, events):
            raise DamagedPack(f"it holds {opened!r}")
    except DamagedPack as error:
        raise damaged(stream, last_seq, error) from error
    return opened


def damaged(stream: str, last_seq: int, error: Exception) -> DamagedLog:
    """What readers of a damaged pack are told."""
    return DamagedLog(
        f"{stream}: the pack that ends with event {last_seq} is damaged ({error}): "
        "restore the database from a backup"
    )


def events_in(
    stream: str, rows: Sequence[Any], after_seq: int, last_seq: int | None = None
) -> list[StoredEvent]:
    """The events after `after_seq` that a reading statement answered: in its packs, or its rows."""
    if not rows or rows[0][1] is not None:
        return [stored_event(row) for row in rows]
    found: list[StoredEvent] = []
    for seq, _, _, data, _, count, _ in rows:
        one = open_pack(stream, seq, count, data)
        refuse_gap(stream, one, after_seq + len(found))
        try:
            found += one.events(after_seq, last_seq)
        except DamagedPack as error:
            raise damaged(stream, seq, error) from error
    return found


def refuse_gap(stream: str, one: Pack, behind_seq: int) -> None:
    """Raise `DamagedLog` when a pack that must hold the event behind this one begins later."""
    if one.first_seq > behind_seq + 1:
        raise DamagedLog(
            f"{stream} lacks events from {behind_seq + 1} on: restore the database from a backup"
        )


def pages(execute: Execute, stream: str, limit: int) -> Iterator[list[StoredEvent]]:
    """All events of the stream in pages, for who holds a connection."""
    after_seq = 0
    while True:
        place: Mapping[str, object] = {
            "stream": stream, "after_seq": after_seq, "last_seq": after_seq + limit, "limit": limit,
            "packs_max": PACKS_READ_MAX,
        }  # fmt: skip
        page = events_in(stream, execute(READ, place).fetchall(), after_seq, after_seq + limit)
        if not page:
            return
        yield page
        after_seq = page[-1].seq


def events_at(execute: Execute, stream: str, stream_no: int, seqs: Sequence[int]) -> dict[int, StoredEvent]:
    """These events, which must exist, by seq."""
    found: dict[int, StoredEvent] = {}
    packed: dict[int, StoredEvent] = {}  # of the pack that was opened last: the next one is often in it too
    for seq in sorted(seqs):
        if seq not in packed:
            position = stream_no << PLACE_BITS | seq
            row = execute(LOG["event_at"], (position,)).fetchone()
            if row is not None:
                found[seq] = stored_event(row)
                continue
            packed = {event.seq: event for event in all_of(stream, _pack_with(execute, stream, position)[1])}
        found[seq] = packed[seq]
    return found


def erase(execute: Execute, stream: str, stream_no: int, rows: Sequence[StoredEvent]) -> None:
    """Replace these events, in rows or in packs, by what is left of them (P7)."""
    left = {row.seq: row for row in sorted(rows, key=lambda row: row.seq)}
    while left:
        seq, row = next(iter(left.items()))
        position = stream_no << PLACE_BITS | seq
        if execute(LOG["erase_event"], (row.commitment, row.payload_size, position)).rowcount:
            del left[seq]
            continue
        end, one = _pack_with(execute, stream, position)
        events = [left.pop(event.seq, event) for event in all_of(stream, one)]
        execute(LOG["repack"], (pack(events), end))


def _pack_with(execute: Execute, stream: str, position: int) -> tuple[int, Pack]:
    """The pack that holds the event there, and its own place. Raises `DamagedLog`."""
    row = execute(LOG["pack_with"], (position, position)).fetchone()
    seq = position & SEQ_MASK
    if row is None:
        raise DamagedLog(f"{stream} lacks event {seq}: restore the database from a backup")
    end, count, data = row
    one = open_pack(stream, end & SEQ_MASK, count, data)
    refuse_gap(stream, one, seq - 1)
    return end, one


def all_of(stream: str, one: Pack) -> list[StoredEvent]:
    """All events of a pack. Raises `DamagedLog`."""
    try:
        return one.events()
    except DamagedPack as error:
        raise damaged(stream, one.last_seq, error) from error
