"""What producers outside may do to a recorded run: append batches, follow how it stands, and finish it.

Runs that are recorded at the moment are kept in memory, since reading a run's log for every batch would be
quadratic; past a named limit the one unused for longest is folded from the log again when it goes on.
"""

from __future__ import annotations

import asyncio
import logging

from eventstore.log import Answer, ExpectedHeadMismatch, NewEvent, StorageUnavailable
from eventstore.recent import Recent
from evidence.canonical import decode
from evidence.record import parse_time
from runs import decide
from runs.access import Principal
from runs.dispatch import runs_in
from runs.idempotency import IdempotentRequest
from runs.locks import NamedLocks
from runs.recording import Batch, RecordingSession, run_ended
from runs.refusal import Refusal, not_found
from runs.service import RunService, changed_run, run_answer
from runs.session import load_session

logger = logging.getLogger(__name__)
SCOPE = "workspace_run:append"


class RecordingService:
    """`POST …/events`, its session, and `POST …/finish` (CONTRACT §2.1)."""

    def __init__(self, runs: RunService) -> None:
        self._runs = runs
        self._live: Recent[str, RecordingSession] = Recent(runs.limits.recordings_cached_max)
        self._loading = NamedLocks()
        self._heard_ms: dict[str, int] = {}
        """When each run was heard of last, by this process."""
        self._since_ms = runs.now_ms()
        runs.on_cancel = self.ended

    def __repr__(self) -> str:
        return f"RecordingService(live={len(self._live)})"

    async def session(self, who: Principal, run_id: str) -> RecordingSession:
        """The run as its producers see it; 404 unless the caller sees it, 409 unless it is recorded."""
        who.require(SCOPE)
        live = self._live.get(run_id)
        if live is None:
            return await self._load(who, run_id)
        if not who.sees(live.fold.org_id, live.fold.project_id):
            raise not_found("Workspace run", run_id)
        return live

    async def append(self, who: Principal, run_id: str, batch: Batch) -> bytes:
        """The head behind the batch as JSON, once it is durable."""
        session = await self.session(who, run_id)
        return session.head(await session.record(batch))

    async def finish(
        self, who: Principal, run_id: str, exit_code: int, idempotent: IdempotentRequest | None
    ) -> Answer:
        """Seal the run: 200 `{workspaceRun}`; the same exit code again answers the same."""
        async with self._runs.in_flight.one_at_a_time(idempotent):
            if answer := await self._runs.stored_answer(idempotent):
                return answer
            row = await self._runs.get(who, run_id, SCOPE)
            run = decode(row.doc)
            require_recorded(run)
            if run["status"] in decide.TERMINAL:
                if run.get("exitCode") != exit_code:
                    raise run_ended(run["status"])
                return run_answer(200, row)
            session = await self.session(who, run_id)

            def decision(created_at_ms: int) -> list[NewEvent]:
                if session.fold.status != "running":
                    raise not_begun() if not session.ended else run_ended(session.fold.status)
                return decide.recorded_end(session, {"exitCode": exit_code}, created_at_ms=created_at_ms)

            claim = idempotent.claim(changed_run) if idempotent else None
            try:
                async with session.busy:
                    done = await session.conclude(decision, claim)
            except ExpectedHeadMismatch:
                raise Refusal("conflict", "This run is changing too quickly. Try again.") from None
            if done is not None and done.answer is not None:
                return done.answer
            return run_answer(200, await self._runs.store.get_view("runs", run_id))

    def ended(self, run_id: str) -> None:
        """Somebody else ended the run: whoever has a session of it open is told."""
        live = self._live.get(run_id)
        if live is not None:
            live.ended_early.set()

    async def run_forever(self) -> None:
        """End what nobody will end until canceled; a failing pass is logged and tried again."""
        while True:
            await asyncio.sleep(self._runs.limits.reap_interval_s)
            try:
                await self.end_lost()
            except StorageUnavailable as error:
                logger.warning("recorded runs are not ended yet: %s", error)
            except Exception:
                logger.exception("looking for lost recordings failed")

    async def end_lost(self) -> int:
        """End recorded runs that are over their time, or whose producers were not heard of for too long.

        Silence counts from the start of this process at the earliest: while the server was away nobody could
        be heard.
        """
        ended = 0
        oldest_ms = self._runs.now_ms() - self._runs.limits.recorded_silence_ms_max
        async for run in runs_in(self._runs.store, ["running"]):
            if run["templateSlug"] == decide.EXTERNAL:
                heard_ms = self._heard_ms.get(run["id"], self._since_ms)
                started_ms = parse_time(run["startedAt"])
                late = started_ms + run["timeoutMs"] <= self._runs.now_ms()
                if late or max(heard_ms, started_ms) <= oldest_ms:
                    ended += await self._end(run["id"], late=late)
        for run_id in [run_id for run_id, at_ms in self._heard_ms.items() if at_ms <= oldest_ms]:
            del self._heard_ms[run_id]
        return ended

    async def _end(self, run_id: str, *, late: bool) -> int:
        session = await load_session(self._runs.store, run_id, self._runs.limits, self._runs.now_ms)

        def decision(created_at_ms: int) -> list[NewEvent]:
            if session.fold.status != "running":
                return []
            if late:
                return decide.recorded_end(session, {"timedOut": True}, created_at_ms=created_at_ms)
            return decide.producer_lost(session, created_at_ms=created_at_ms)

        done = await session.conclude(decision)
        self.ended(run_id)
        return int(done is not None)

    async def _load(self, who: Principal, run_id: str) -> RecordingSession:
        row = await self._runs.get(who, run_id, SCOPE)
        run = decode(row.doc)
        require_recorded(run)
        if run["status"] in decide.TERMINAL:
            raise run_ended(run["status"])
        async with self._loading(run_id):
            if live := self._live.get(run_id):
                return live
            runs = self._runs
            session = RecordingSession(runs.store, run_id, runs.limits, runs.now_ms, self._heard_ms)
            await session.catch_up()
            self._live.put(run_id, session)
            return session


def require_recorded(run: dict[str, object]) -> None:
    """Refuse what belongs to recorded runs for one that is executed here."""
    if run["templateSlug"] != decide.EXTERNAL:
        raise Refusal(
            "conflict",
            f"This run is executed here and writes its own events. Create a run with template "
            f"{decide.EXTERNAL} to record what runs elsewhere.",
            {"reason": "not_recorded"},
        )


def not_begun() -> Refusal:
    """A run that nobody began cannot be finished: it has no command that could have ended."""
    return Refusal(
        "conflict",
        "Nothing of this run was recorded. Append to it first; a batch without events begins it.",
        {"reason": "not_begun"},
    )
