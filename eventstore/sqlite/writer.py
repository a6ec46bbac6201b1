"""Owns the one writer: a thread that commits whatever was handed over meanwhile as one group.

Everyone who waits shares one transaction and one fsync. A refusal comes before the first write and so
leaves the others alone. Work that fails after a write, which is a mistake of the program, undoes the
group, and each of it is done again by itself. Only the disk can fail a whole group.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from eventstore.log import LogLimits, StorageUnavailable
from eventstore.sqlite.connection import is_storage_error, purge
from eventstore.sqlite.transaction import SqliteTransaction

T = TypeVar("T")

CLOSED = "the log is closed: nothing was written; ask again once the server is up"


@dataclass(slots=True)
class Work(Generic[T]):
    """One thing to do in a transaction, who waits for it, and what to do once it is durable.

    `outcome` is the result or the exception; it is told only after the group's COMMIT has returned.
    `purge`: it erased bytes, which must have left the files before anybody is told (P7). `alone`: it has
    a transaction of its own, and waits until a group of others was committed.
    """

    perform: Callable[[SqliteTransaction], T]
    done: asyncio.Future[T]
    committed: Callable[[T], None] | None
    purge: bool = False
    alone: bool = False
    outcome: T | Exception | None = None


class GroupWriter:
    """Takes work from one event loop, performs it in order on its own thread, acknowledges after COMMIT."""

    def __init__(self, connection: sqlite3.Connection, limits: LogLimits, forget: Callable[[], None]) -> None:
        self._connection = connection
        self._tx = SqliteTransaction(connection, limits)
        self._group_max = limits.group_commit_appends_max
        self._forget = forget
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[list[Work[Any]] | None] = queue.SimpleQueue()
        self._queue_max = self._places = limits.append_queue_max
        self._submitted: list[Work[Any]] = []
        """What has a place and is not handed over yet."""
        self._beyond: deque[Work[Any]] = deque()
        """What waits for a place; a caller who gives up here has done nothing."""
        self._taken: deque[Work[Any]] = deque()
        """Of the thread, like those below: what it took and is not in a group yet."""
        self._aside: deque[Work[Any]] = deque()
        self._performed = 0
        self._counts: Counter[str] = Counter()
        self._closing = False
        self._stopped: asyncio.Future[None] = self._loop.create_future()
        # A daemon: a process that forgets to close still ends, and loses nothing acknowledged.
        self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        state = "closing" if self._closing else "open"
        return f"GroupWriter({state}, places={self._places}, commits={self._counts['commits']})"

    def submit(
        self,
        perform: Callable[[SqliteTransaction], T],
        committed: Callable[[T], None] | None = None,
        *,
        purge: bool = False,
        alone: bool = False,
    ) -> asyncio.Future[T]:
        """Perform it in a transaction; the future has its result once that is durable.

        With `purge` also once neither the file nor its log holds what it overwrote. Work `alone` lets a
        group of others go first, and shares its transaction with none. `committed` is called in the loop
        after the commit, also when the caller was cancelled meanwhile: work once handed over is done to
        its end. The future raises what `perform` raises, and `StorageUnavailable`.
        """
        work: Work[T] = Work(perform, self._loop.create_future(), committed, purge, alone)
        if self._closing:
            work.done.set_exception(StorageUnavailable(CLOSED))
        elif self._places:
            self._take_place(work)
        else:
            self._beyond.append(work)
        return work.done

    def _take_place(self, work: Work[Any]) -> None:
        self._places -= 1
        if not self._submitted:
            self._loop.call_soon(self._hand_over)
        self._submitted.append(work)

    def _hand_over(self) -> None:
        """In the loop: hand over what was submitted in one turn of it, so that it is one group and one fsync.

        Handed over one by one the first would wake the thread, which then commits the first few alone.
        """
        if self._submitted:
            self._queue.put(self._submitted)
            self._submitted = []

    async def aclose(self) -> None:
        """Finish what was handed over, then stop the thread and close the connection."""
        if not self._closing:
            self._closing = True
            self._hand_over()
            self._queue.put(None)
            self._refuse_those_beyond()
        await asyncio.shield(self._stopped)
        self._thread.join()

    def statistics(self) -> Mapping[str, int]:
        """Counters; `commits` are those that wrote, one fsync each, `rollbacks` the groups undone."""
        names = ("groups", "group_size_max", "commits", "rollbacks", "refused")
        return {name: self._counts[name] for name in names} | {
            "queued": self._queue_max - self._places - self._performed
        }

    def _run(self) -> None:
        """The thread: collect a group, commit it, tell the loop; until the end was queued."""
        group: list[Work[Any]] = []
        try:
            ending = False
            while self._aside or not ending:
                if not ending:
                    group, ending = self._next_group()
                    self._finish(group)
                if self._aside:
                    group = [self._aside.popleft()]
                    self._finish(group)
        finally:
            with contextlib.suppress(sqlite3.Error):  # a broken disk; what was committed is in the WAL
                self._connection.close()
            self._tell(self._ended, group)

    def _finish(self, group: list[Work[Any]]) -> None:
        """Commit the group, if it is one, and tell those who wait."""
        if group:
            self._performed = len(group)
            self._commit(group)
            if any(work.purge and not isinstance(work.outcome, Exception) for work in group):
                self._purge(group)
            self._performed = 0
            # Crash window: durable, but nobody knows. A retry meets the stored answer.
            self._tell(self._acknowledge, group)

    def _tell(self, callback: Callable[[list[Work[Any]]], None], group: list[Work[Any]]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to be told
            self._loop.call_soon_threadsafe(callback, group)

    def _next_group(self) -> tuple[list[Work[Any]], bool]:
        """Wait for the first piece of work, then take what else is there; True when the end was reached.

        What wants to be alone is put aside; while something is there, nothing is waited for.
        """
        group: list[Work[Any]] = []
        while True:
            while self._taken and len(group) < self._group_max:
                work = self._taken.popleft()
                (self._aside if work.alone else group).append(work)
            if len(group) == self._group_max:
                return group, False
            try:
                works = self._queue.get(block=not (group or self._aside))
            except queue.Empty:
                return group, False
            if works is None:
                return group, True
            self._taken.extend(works)

    def _commit(self, group: list[Work[Any]]) -> None:
        """One transaction for the group. Every outcome is set, and durable, when this returns."""
        counts, connection = self._counts, self._connection
        counts["groups"] += 1
        counts["group_size_max"] = max(counts["group_size_max"], len(group))
        changes_before = connection.total_changes
        try:
            connection.execute("BEGIN IMMEDIATE")
            for work in group:
                self._perform(work)
            self._tx.flush()
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001  # whatever it is belongs to those who wait
            self._roll_back()
            self._settle_failed(group, error)
            return
        counts["commits"] += connection.total_changes != changes_before

    def _purge(self, group: list[Work[Any]]) -> None:
        """Rewrite the file and empty the write-ahead log, which still hold what was erased.

        Crash window: committed, not purged. The next start does it before it serves anybody.
        """
        try:
            busy = purge(self._connection)
        except sqlite3.Error as error:
            busy = str(error)
        if busy:
            for work in group:
                if work.purge and not isinstance(work.outcome, Exception):
                    work.outcome = StorageUnavailable(
                        f"the erasure is recorded, but erased bytes may still be in the database ({busy}): "
                        "make room if the disk is full, and restart the server, which rewrites it"
                    )

    def _perform(self, work: Work[Any]) -> None:
        """Set the outcome; raise only what the work cannot fail with alone, having written already."""
        changes_before = self._tx.changes
        try:
            work.outcome = work.perform(self._tx)
        except Exception as error:
            if is_storage_error(error) or self._tx.changes != changes_before:
                raise
            work.outcome = error

    def _settle_failed(self, group: list[Work[Any]], error: Exception) -> None:
        """Everything of the group is undone, refusals included: they were decided beside the rest."""
        if is_storage_error(error):
            for work in group:
                work.outcome = _unavailable(error)
        elif len(group) == 1:
            group[0].outcome = error
        else:  # a mistake of the program in one of them: it must not harm the others
            for work in group:
                self._commit([work])

    def _roll_back(self) -> None:
        """Undo everything of the group; SQLite may have done so itself when the disk was full."""
        with contextlib.suppress(sqlite3.Error):  # then the next BEGIN says so
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        self._counts["rollbacks"] += 1
        self._tx.rolled_back()
        self._forget()  # the projector has seen events that are gone again

    def _acknowledge(self, group: list[Work[Any]]) -> None:
        """In the loop: wake the readers, then tell those who wait."""
        self._places += len(group)
        while self._beyond and self._places:
            work = self._beyond.popleft()
            if not work.done.done():
                self._take_place(work)
        for work in group:
            outcome, done = work.outcome, work.done
            if isinstance(outcome, Exception):
                self._counts["refused"] += 1
                if not done.done():
                    done.set_exception(outcome)
                continue
            if work.committed is not None:
                work.committed(outcome)
            if not done.done():
                done.set_result(outcome)

    def _ended(self, last_group: list[Work[Any]]) -> None:
        """In the loop: whoever is still waiting, because the thread broke down, waits no longer."""
        self._closing = True
        self._hand_over()
        left = [work for work in (*last_group, *self._aside, *self._taken) if not work.done.done()]
        while not self._queue.empty():
            left += self._queue.get_nowait() or ()
        self._refuse_those_beyond()
        for work in left:
            work.outcome = StorageUnavailable(CLOSED)
        self._acknowledge(left)
        if not self._stopped.done():
            self._stopped.set_result(None)

    def _refuse_those_beyond(self) -> None:
        for work in self._beyond:
            if not work.done.done():
                work.done.set_exception(StorageUnavailable(CLOSED))
        self._beyond.clear()


def _unavailable(error: Exception) -> StorageUnavailable:
    """One for each caller, since each raises its own."""
    refusal = StorageUnavailable(
        f"the log cannot write ({error}): nothing of this append is visible; free space and try again, "
        "and check the disk if that does not help"
    )
    refusal.__cause__ = error
    return refusal
