"""A run as the one who executes it sees it: every event goes through here, from extraction to seal.

The happy path and the recovery after a crash run the same functions (DESIGN §2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from eventstore.log import Append, Appended, Claim, EventLog, ExpectedHeadMismatch, NewEvent
from evidence.canonical import decode
from evidence.fold import RunFold, StreamDigests
from evidence.record import format_time, parse_time
from runs.decide import NEVER_STARTED, TERMINAL, ending, outcome
from runs.limits import RunLimits

READ_PAGE = 500
"""Events per page while a session catches up with the log."""


class RunEnded(Exception):
    """The run reached its end through somebody else: stop working on it."""


class RunSession:
    """The fold and the output digests of one run at its stream's head, and the right to append to it.

    Heads are exact: an append that lost a race catches up with what was appended meanwhile (a cancel,
    say) and tries again. `cancel_requested` is set when the log holds a cancel.
    """

    def __init__(self, log: EventLog, run_id: str, limits: RunLimits, now_ms: Callable[[], int]) -> None:
        self._log = log
        self._limits = limits
        self._now_ms = now_ms
        self.run_id = run_id
        self.fold = RunFold()
        self.digests = StreamDigests()
        self.last_seq = 0
        self.cancel_requested = asyncio.Event()

    def __repr__(self) -> str:
        return f"RunSession({self.run_id}, status={self.fold.status!r}, last_seq={self.last_seq})"

    async def catch_up(self) -> None:
        """Fold what the log holds after our last seq."""
        while events := await self._log.read(self.run_id, self.last_seq, READ_PAGE, public=False):
            for stored in events:
                self.last_seq = stored.seq
                if stored.payload is not None:
                    self._take(decode(stored.payload))

    @property
    def ended(self) -> bool:
        """Whether the run has an outcome: nothing may be appended by an executor any more."""
        return self.fold.status in TERMINAL

    async def append(self, events: Sequence[NewEvent]) -> None:
        """Append exactly behind what we know; raises `RunEnded` if the run has ended meanwhile."""
        for _ in range(self._limits.append_attempts_max):
            if self.ended:
                raise RunEnded(self.run_id)
            try:
                done = await self._log.append(Append(self.run_id, self.last_seq, events))
            except ExpectedHeadMismatch:
                await self.catch_up()
                continue
            created_at = format_time(done.created_at_ms)
            for seq, event in enumerate(events, done.first_seq):
                self._take({**event.fields, "type": event.type, "seq": seq, "createdAt": created_at})
            self.last_seq = done.last_seq
            return
        raise ExpectedHeadMismatch(self.run_id, self.last_seq, -1)

    async def finish(
        self, *, failure_reason: str | None, failure_message: str | None = None, canceled: bool = False,
        cleanup: NewEvent = NEVER_STARTED,
    ) -> None:  # fmt: skip
        """Append the end: `cleanup` unless the run has one already, outcome, terminal and seal at once.

        Crash window: before this append the run is executing and recovery will end it; after it the run
        is sealed. There is nothing in between.
        """

        def decision(created_at_ms: int) -> list[NewEvent]:
            if self.ended:
                return []
            before = [] if self.fold.cleanup_status else [cleanup]
            status = self.fold.cleanup_status or str(cleanup.fields["cleanupStatus"])
            result = outcome(
                failure_reason=failure_reason,
                failure_message=failure_message,
                canceled=canceled,
                cleanup_status=status,
            )
            return ending(self.fold, self.digests, before, result, created_at_ms)

        await self.conclude(decision)

    async def conclude(
        self, decision: Callable[[int], list[NewEvent]], claim: Claim | None = None
    ) -> Appended | None:
        """Append what `decision` says of the run at this moment; None when it says nothing.

        It is given the time that the events will have, because an end shows it in its own events, and is
        asked again whenever somebody else appended first.
        """
        for _ in range(self._limits.append_attempts_max):
            created_at_ms = max(self._now_ms(), parse_time(self.fold.last_created_at))
            events = decision(created_at_ms)
            if not events:
                return None
            request = Append(self.run_id, self.last_seq, events, created_at_ms=created_at_ms, claim=claim)
            try:
                done = await self._log.append(request)
            except ExpectedHeadMismatch:
                await self.catch_up()
                continue
            await self.catch_up()
            return done
        raise ExpectedHeadMismatch(self.run_id, self.last_seq, -1)

    def _take(self, event: dict[str, object]) -> None:
        self.fold.apply(event)
        self.digests.update(event)
        if event["type"] == "cancel_requested":
            self.cancel_requested.set()


async def load_session(
    log: EventLog, run_id: str, limits: RunLimits, now_ms: Callable[[], int]
) -> RunSession:
    """The session of an existing run, folded from its whole log."""
    session = RunSession(log, run_id, limits, now_ms)
    await session.catch_up()
    return session
