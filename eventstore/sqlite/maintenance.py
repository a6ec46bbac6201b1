"""Owns work on a database that no server has open: copying, compacting, rebuilding and dumping views.

These functions block. Those that write are for a copy, or for a data folder whose lock the caller holds.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eventstore.durable import fsync_directory, make_file
from eventstore.log import LogLimits, NewEvent, Projector, StorageUnavailable, StoredEvent
from eventstore.sqlite.compaction import NEVER_MS, Unpackable, expand_last, park, prepare, swap
from eventstore.sqlite.connection import empty_wal, open_reader, open_writer, rewrite
from eventstore.sqlite.queries import LOG, VIEW
from eventstore.sqlite.stored import pages
from eventstore.sqlite.views import SqliteViews
from eventstore.views import VIEWS
from evidence.canonical import decode

REBUILD_PAGE_EVENTS = 1000
"""Events handed to the projector at once."""
COMPACT_STEP_BYTES = 1024 * 1024
"""Payload that a transaction of `compact` moves: nobody waits for it, so larger steps than a server's."""
LOOKED_AT = -1
"""A step that moved nothing, but is not the last."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """How much a rebuild has read."""

    streams: int
    events: int


def copy_to(source: Path, target: Path) -> None:
    """A consistent copy in a new, durable file, even while a server writes (`VACUUM INTO`, DESIGN §3).

    Raises FileExistsError when `target` exists and `StorageUnavailable` when the copy does not fit.
    """
    connection = open_reader(source)
    try:
        make_file(target, must_be_new=True)
        connection.execute("PRAGMA query_only = OFF")  # the file stays read-only; INTO counts as a write
        connection.execute("VACUUM INTO ?", (str(target),))
    except FileExistsError:
        raise FileExistsError(f"{target} exists already: name a new file") from None
    except (sqlite3.Error, OSError) as error:
        target.unlink(missing_ok=True)
        raise StorageUnavailable(f"{source} cannot be copied to {target}: {error}") from error
    finally:
        connection.close()
    with target.open("rb") as copy:
        os.fsync(copy.fileno())
    fsync_directory(target.parent)


def clear_views(path: Path) -> None:
    """Empty every view table."""
    with _transaction(path) as connection:
        _clear(connection)


def rebuild(path: Path, projector: Projector) -> Rebuilt:
    """Empty the views and fold them again from the whole log, stream by stream as they were created.

    One transaction: killed in the middle, the views are what they were. A projector that asks for a
    stream's payloads gets them all, later ones than those at hand included.
    """
    with _transaction(path) as connection:
        _clear(connection)
        connection.execute(LOG["refolded"])
        views = SqliteViews(connection)
        streams = [stream for (stream,) in connection.execute(LOG["all_streams"])]
        events = 0
        for stream in streams:
            for page in pages(connection.execute, stream, REBUILD_PAGE_EVENTS):
                projector.apply(views, stream, [_as_appended(event) for event in page])
                events += len(page)
    projector.forget()
    return Rebuilt(len(streams), events)


@dataclass(frozen=True, slots=True)
class Compacted:
    """What `compact` or `expand` did: events moved, packs now, and the file's bytes before and after.

    `left_alone` counts runs that have ended and stay rows; `shrunk` is False where the free pages could
    not be given back: they stay in the file and are used for what comes.
    """

    events: int
    packs: int
    packed_events: int
    left_alone: int
    bytes_before: int
    bytes_after: int
    shrunk: bool


def compact(path: Path, limits: LogLimits, tell: Callable[[int], None]) -> Compacted:
    """Pack every run that has ended, in bounded steps, then give the room back.

    `tell` is told how many events were packed so far. Killed at any moment, what was packed is packed.
    The caller holds the folder's lock.
    """
    limits = replace(limits, compact_step_bytes=max(COMPACT_STEP_BYTES, limits.compact_step_bytes))

    def step(connection: sqlite3.Connection) -> int:
        try:
            prepared = prepare(connection.execute, NEVER_MS - 1, limits)
        except Unpackable as error:
            park(connection.execute, error.stream_no)
            return LOOKED_AT
        assert prepared is None or swap(connection.execute, prepared), "nobody else writes"
        return prepared.events if prepared else 0

    return _in_steps(path, step, tell)


def expand(path: Path, tell: Callable[[int], None]) -> Compacted:
    """Turn all packs back into the rows that they were made of, byte for byte; otherwise like `compact`."""
    return _in_steps(path, lambda connection: expand_last(connection.execute), tell)


def _in_steps(
    path: Path, step: Callable[[sqlite3.Connection], int], tell: Callable[[int], None]
) -> Compacted:
    """Do `step`, each in a transaction, until it answers 0; then rewrite the file if anything is free."""
    before, events = path.stat().st_size, 0
    connection = open_writer(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        while moved := step(connection):
            connection.execute("COMMIT")
            events += max(moved, 0)
            tell(events)
            connection.execute("BEGIN IMMEDIATE")
        connection.execute("COMMIT")
        packs, packed_events = connection.execute(LOG["packed"]).fetchone()
        (left_alone,) = connection.execute(LOG["left_alone"], (NEVER_MS,)).fetchone()
        shrunk = _shrunk(connection)
    except sqlite3.Error as error:
        raise StorageUnavailable(
            f"{path}: {error}; what was moved so far is moved, make room and do it again"
        ) from error
    finally:
        connection.close()
    return Compacted(events, packs, packed_events, left_alone, before, path.stat().st_size, shrunk)


def _shrunk(connection: sqlite3.Connection) -> bool:
    """Give free pages back; False when there is no room for the copy that this takes."""
    if connection.execute("PRAGMA freelist_count").fetchone()[0]:
        try:
            rewrite(connection)
        except sqlite3.Error:
            return False
    return not empty_wal(connection)


def refold_if_due(path: Path, projector: Projector) -> bool:
    """Rebuild the views when a migration added some for older events; tell whether it was due."""
    connection = open_reader(path)
    try:
        due = connection.execute(LOG["refold_due"]).fetchone() is not None
    finally:
        connection.close()
    if due:
        rebuild(path, projector)
    return due


def dump_views(path: Path) -> Iterator[tuple[str, str, tuple[object, ...]]]:
    """Every row of every view table and its labels as (table, row id, columns), always in one order."""
    connection = open_reader(path)
    try:
        for view in VIEWS:
            for row in connection.execute(VIEW[view]["dump"]):
                yield view, row[0], tuple(row)
            for row in connection.execute(VIEW[view]["dump_labels"]):
                yield f"{view}_labels", row[0], tuple(row)
    finally:
        connection.close()


@contextmanager
def _transaction(path: Path) -> Generator[sqlite3.Connection]:
    connection = open_writer(path)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise StorageUnavailable(f"{path}: {error}; nothing was changed") from error
    finally:
        connection.close()  # without COMMIT this rolls back


def _clear(connection: sqlite3.Connection) -> None:
    for view in VIEWS:
        connection.execute(VIEW[view]["clear"])
        connection.execute(VIEW[view]["clear_labels"])


def _as_appended(stored: StoredEvent) -> tuple[NewEvent, StoredEvent]:
    """The event as the projector saw it at append; a redacted one as readers see it (P7)."""
    fields: dict[str, Any] = {"data": "", "redacted": True}
    if stored.payload is not None:
        fields = decode(stored.payload)
        for name in ("type", "seq", "createdAt"):
            del fields[name]
    return NewEvent(stored.type, fields), stored
