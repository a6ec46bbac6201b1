"""Owns moving the events of ended runs from rows into packs and back (docs/storage.md).

A step is prepared beside the writer: rows are read, packed, and the pack is opened again and compared with
them. The swap is one transaction of the writer: it sees that the rows are still those, writes the packs and
deletes the rows. Crash window: none, a run has either these rows or these packs. What changed meanwhile (a
redaction) makes the swap refuse, and the step is prepared anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eventstore.log import DamagedLog, LogError, LogLimits
from eventstore.packing import DamagedPack, pack
from eventstore.sqlite.queries import LOG
from eventstore.sqlite.stored import PLACE_BITS, SEQ_MASK, Execute, all_of, open_pack, stored_event

NEVER_MS = (1 << 53) - 1
"""Since when a run is quiet whose rows cannot be packed: it is not tried again."""

_SEQ, _TYPE, _TIME, _RUNNING, _SALT, _COMMITMENT, _SIZE, _PAYLOAD = range(8)


class Unpackable(LogError):
    """These rows cannot be packed and stay rows; the message says why. `stream_no` names their run."""

    def __init__(self, stream: str, stream_no: int, why: Exception | str) -> None:
        super().__init__(f"{stream} is not compacted and stays as it is: {why}")
        self.stream_no = stream_no


@dataclass(frozen=True, slots=True)
class Packed:
    """A pack as it is stored: where its last event lies, how many, the running total there, its bytes."""

    position: int
    events: int
    running_bytes: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Step:
    """Rows that follow each other, all of them with the columns that they have, and the packs for them."""

    stream_no: int
    after: int
    """The place before the first row."""
    rows: list[tuple[Any, ...]]
    packs: list[Packed]

    @property
    def events(self) -> int:
        """How many events it moves."""
        return len(self.rows)

    @property
    def last(self) -> int:
        """The place of the last row."""
        position: int = self.rows[-1][_SEQ]
        return position


def prepare(execute: Execute, quiet_since_ms: int, limits: LogLimits) -> Step | None:
    """The next step for the run that has been quiet longest, None when there is none.

    Blocks and computes: it belongs in a thread with a connection of its own. Raises `Unpackable`.
    """
    due = execute(LOG["next_unpacked"], {"quiet_since_ms": quiet_since_ms}).fetchone()
    if due is None:
        return None
    stream_no, stream, size, after = due
    last = stream_no << PLACE_BITS | size
    before = execute(LOG["running_at"], (after,)).fetchone()
    running_bytes: int = before[0] if before else 0
    place = {"after": after, "last": last, "running_bytes": running_bytes + limits.compact_step_bytes}
    rows = execute(LOG["whole_page"], place).fetchall()
    if not rows or rows[0][_SEQ] != after + 1:
        raise Unpackable(stream, stream_no, f"its rows behind event {after & SEQ_MASK} are missing")
    parts = list(_parts(rows, limits.pack_bytes))
    if len(parts) > 1 and rows[-1][_SEQ] != last:
        parts.pop()  # it would be a small one, and more follows
    packs: list[Packed] = []
    for part in parts:
        packs.append(_packed(stream, stream_no, part, running_bytes))
        running_bytes = packs[-1].running_bytes
    return Step(stream_no, after, rows[: sum(one.events for one in packs)], packs)


def swap(execute: Execute, step: Step) -> bool:
    """In the writer's transaction: the packs in place of the rows; False when the rows are others by now."""
    place = {"after": step.after, "last": step.last}
    if execute(LOG["whole_rows"], place).fetchall() != step.rows:
        return False
    if step.after & SEQ_MASK and not execute(LOG["running_at"], (step.after,)).fetchone():
        return False  # what lies before it is no pack any more
    for one in step.packs:
        execute(LOG["insert_pack"], (one.position, one.events, one.running_bytes, one.data))
    execute(LOG["delete_rows"], (step.after, step.last))
    execute(LOG["delete_unpacked"], (step.stream_no, step.last & SEQ_MASK))
    return True


def park(execute: Execute, stream_no: int) -> None:
    """Do not try this run again until something is added to it."""
    execute(LOG["put_unpacked"], (stream_no, NEVER_MS))


def expand_last(execute: Execute) -> int:
    """Turn the last pack of all back into the rows that it was made of; answers how many, 0 without packs.

    From the end, so that what is left are packs at the beginning of a run and rows behind them.
    """
    row = execute(LOG["last_pack"]).fetchone()
    if row is None:
        return 0
    position, count, running_bytes, data = row
    stream_no = position >> PLACE_BITS
    (stream,) = execute(LOG["stream_of"], (stream_no,)).fetchone()
    events = all_of(stream, open_pack(stream, position & SEQ_MASK, count, data))
    running_bytes -= sum(event.payload_size for event in events)
    for event in events:
        running_bytes += event.payload_size
        size = event.payload_size if event.payload is None else None
        place = (stream_no << PLACE_BITS | event.seq, event.type, event.created_at_ms, running_bytes)
        execute(LOG["insert_whole_row"], (*place, event.salt, event.commitment, size, event.payload))
    execute(LOG["delete_pack"], (position,))
    execute(LOG["unpack_again"], (stream_no,))
    return len(events)


def _parts(rows: Sequence[tuple[Any, ...]], pack_bytes: int) -> list[list[tuple[Any, ...]]]:
    """The rows cut where their payload lines come to so many bytes; each part has at least one."""
    parts: list[list[tuple[Any, ...]]] = []
    left = 0
    for row in rows:
        # An erased event counts as before, so that the events of a pack are bounded too.
        line_bytes = (len(row[_PAYLOAD]) if row[_PAYLOAD] is not None else row[_SIZE]) + 1
        if not parts or line_bytes > left:
            parts.append([])
            left = pack_bytes
        parts[-1].append(row)
        left -= line_bytes
    return parts


def _packed(stream: str, stream_no: int, rows: list[tuple[Any, ...]], running_bytes: int) -> Packed:
    """The pack of these rows, opened again and found to hold them. Raises `Unpackable`."""
    events = [
        stored_event((row[_SEQ] & SEQ_MASK, row[_TYPE], row[_TIME], row[_PAYLOAD], row[_SALT], row[_SIZE],
                      row[_COMMITMENT]))
        for row in rows
    ]  # fmt: skip
    try:
        data = pack(events)
        last_seq = events[-1].seq
        if all_of(stream, open_pack(stream, last_seq, len(events), data)) != events:
            raise DamagedPack("it does not hold what was packed")
    except (ValueError, DamagedLog) as error:
        raise Unpackable(stream, stream_no, error) from error
    for row, event in zip(rows, events, strict=True):
        running_bytes += event.payload_size
        if row[_RUNNING] != running_bytes:
            raise Unpackable(stream, stream_no, f"the running total of event {event.seq} is wrong")
    return Packed(rows[-1][_SEQ], len(events), running_bytes, data)
