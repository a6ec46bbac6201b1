"""Executes started runs, a few at once, and ends what a crash or the clock left behind."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from eventstore.log import EventLog, LogError, NewEvent, StorageUnavailable
from eventstore.views import ViewQuery, Views
from evidence.canonical import decode
from runs.decide import EXECUTING, EXTERNAL, NEVER_STARTED
from runs.limits import RunLimits
from runs.refusal import Refusal
from runs.session import RunEnded, RunSession, load_session

logger = logging.getLogger(__name__)

RECOVERED = NewEvent("cleanup", {"cleanupStatus": "succeeded", "reason": "recovered"})
CRASHED = (
    "The server stopped while this run was executing. What was recorded up to then is kept; run it again."
)
PAGE = 500

Emit = Callable[[Sequence[NewEvent]], Awaitable[None]]


class Store(EventLog, Views, Protocol):
    """A log together with the reads of its views."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How an execution ended: `failure_reason` of CONTRACT §3.4 or None."""

    failure_reason: str | None
    failure_message: str | None = None
    canceled: bool = False


class Execute(Protocol):
    """Runs one job to its end, cleanup included (wired to the runner in `cli`)."""

    async def __call__(self, session: RunSession, emit: Emit) -> Ended:
        """`emit` appends reports durably; the answer becomes the outcome."""
        ...


class Dispatcher:
    """The queue of runs in `starting` and the tasks that execute them.

    The log is the truth: the queue is rebuilt from it at start, so a queued run survives a crash.
    """

    def __init__(self, store: Store, execute: Execute, limits: RunLimits, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._execute = execute
        self._limits = limits
        self._now_ms = now_ms
        self._waiting: deque[str] = deque()
        self._sessions: dict[str, RunSession] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._closing = False

    def __repr__(self) -> str:
        return f"Dispatcher(waiting={len(self._waiting)}, executing={len(self._tasks)})"

    def statistics(self) -> dict[str, int]:
        """Counters for metrics and tests."""
        return {"waiting": len(self._waiting), "executing": len(self._tasks)}

    def require_room(self) -> None:
        """Refuse a start that the queue could not take."""
        if len(self._waiting) >= self._limits.starting_max:
            raise Refusal("slow_down", "Too many runs are waiting to start. Try again in a minute.")

    def submit(self, run_id: str) -> None:
        """Execute the run when it is its turn; a run that waits or executes already is left alone."""
        if run_id not in self._tasks and run_id not in self._waiting:
            self._waiting.append(run_id)
        self._fill()

    def cancel(self, run_id: str) -> None:
        """Tell a run's executor that the log holds a cancel request."""
        session = self._sessions.get(run_id)
        if session:
            session.cancel_requested.set()

    async def recover(self) -> dict[str, int]:
        """End runs that were executing when the server stopped; queue those in `starting` again."""
        ended = queued = 0
        async for run in runs_in(self._store, sorted(EXECUTING)):
            if run["templateSlug"] != EXTERNAL:  # its command goes on elsewhere, and so does its producer
                ended += await self._recover_one(run["id"])
        async for run in runs_in(self._store, ["starting"]):
            self._waiting.append(run["id"])
            queued += 1
        self._fill()
        return {"ended": ended, "queued": queued}

    async def _recover_one(self, run_id: str) -> int:
        """End one run; what is wrong with it alone must not keep the server from starting."""
        try:
            session = await load_session(self._store, run_id, self._limits, self._now_ms)
            await session.finish(failure_reason="internal_error", failure_message=CRASHED, cleanup=RECOVERED)
        except LogError:
            raise
        except Exception:
            logger.exception("%s could not be ended; it is left as it stands", run_id)
            return 0
        logger.warning("%s was executing when the server stopped, and ends as failed", run_id)
        return 1

    async def close(self) -> None:
        """Stop executing: what still runs is ended by the next start's recovery, as after a crash."""
        self._closing = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        while self._waiting and len(self._tasks) < self._limits.executing_max and not self._closing:
            run_id = self._waiting.popleft()
            task = asyncio.create_task(self._run(run_id), name=f"run {run_id}")
            self._tasks[run_id] = task
            task.add_done_callback(functools.partial(self._done, run_id))

    def _done(self, run_id: str, _: asyncio.Task[None]) -> None:
        self._tasks.pop(run_id, None)
        self._sessions.pop(run_id, None)
        self._fill()

    async def _run(self, run_id: str) -> None:
        session = await load_session(self._store, run_id, self._limits, self._now_ms)
        if session.fold.status != "starting":
            return
        self._sessions[run_id] = session
        try:
            ended = await self._execute(session, session.append)
        except RunEnded:
            return
        except StorageUnavailable as error:
            ended = Ended("internal_error", f"The server could not store the run's events: {error}")
        except Exception as error:
            logger.exception("executing %s failed", run_id)
            ended = Ended("internal_error", f"The server failed while executing this run: {error!r}")
        if ended.failure_reason == "internal_error":  # ours to repair: the operator finds the run by its id
            logger.error("%s ends as failed: %s", run_id, ended.failure_message)
        await self._finish(session, ended)

    async def _finish(self, session: RunSession, ended: Ended) -> None:
        """Record the end; with a full disk, keep trying until there is room or the server stops."""
        while True:
            try:
                await session.finish(
                    failure_reason=ended.failure_reason,
                    failure_message=ended.failure_message,
                    canceled=ended.canceled,
                    cleanup=NEVER_STARTED if session.fold.status == "starting" else RECOVERED,
                )
            except StorageUnavailable as error:
                logger.warning("the end of %s is not stored yet, trying again: %s", session.run_id, error)
                await asyncio.sleep(self._limits.storage_retry_s)
            except Exception:
                logger.exception(
                    "the end of %s cannot be recorded; the next start tries again", session.run_id
                )
                return
            else:
                return


async def runs_in(store: Store, statuses: Sequence[str]) -> AsyncIterator[dict[str, Any]]:
    """The wire objects of every organisation's runs in these states, newest first."""
    for org_id in await store.streams("org_"):
        query = ViewQuery(org_id=org_id, statuses=statuses, limit=PAGE)
        while rows := await store.list_view("runs", query):
            for row in rows:
                run = decode(row.doc)
                yield run
            last = rows[-1]
            query = ViewQuery(org_id=org_id, statuses=statuses, limit=PAGE, before=(last.sort_key, last.id))
