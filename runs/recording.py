"""Owns a recorded run while it goes on: which batch of a producer comes next, and what becomes of it.

All of it follows from the log: output events name their producer and batch, and `extracting` names the
producer that began. So a session can be dropped and folded again, and a producer goes on after a crash.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventstore.log import Append, Appended, EventLog, ExpectedHeadMismatch, NewEvent
from evidence.fold import OUTPUT_TYPES, raw_bytes, raw_size
from evidence.record import format_time
from evidence.wording import counted
from runs import decide
from runs.ids import new_id
from runs.limits import RunLimits
from runs.locks import Turns
from runs.refusal import Refusal
from runs.session import RunSession


@dataclass(slots=True)
class Batch:
    """What a producer sends at once: `stdout` and `stderr` events that carry its id and number.

    `stdout` and `stderr` are the raw bytes of the events of that type, joined. Without events it is a sign
    of life, and the beginning of a run that has not begun. Treat it as read-only, like `Append`.
    """

    producer_id: str
    number: int
    expected_head: int | None
    events: Sequence[NewEvent] = ()
    stdout: bytes = b""
    stderr: bytes = b""


@dataclass(slots=True)
class _Stored:
    """A batch in the log: the stream's size behind it, and what it held."""

    size: int
    events: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0

    def holds(self, batch: Batch) -> bool:
        """Whether it may be the same batch: as many events, as many bytes of each stream."""
        shape = len(batch.events), len(batch.stdout), len(batch.stderr)
        return shape == (self.events, self.stdout_bytes, self.stderr_bytes)


@dataclass(slots=True)
class _Producer:
    """One producer's batches: the number of the last one, and the last few themselves."""

    last: int = 0
    stored: OrderedDict[int, _Stored] = field(default_factory=OrderedDict[int, _Stored])

    def note(self, number: int, kept_max: int) -> _Stored:
        """The record of this batch, made if it is new; old ones are forgotten."""
        found = self.stored.get(number)
        if found is None:
            self.last = number
            found = self.stored[number] = _Stored(0)
            if len(self.stored) > kept_max:
                self.stored.popitem(last=False)
        return found


Answer = Callable[[int | Exception], None]
"""Told of a batch: the stream's size behind it once it is durable, or why it is refused."""
Group = list[tuple[Batch, Answer]]
"""Batches that share an append."""


class RecordingSession(RunSession):
    """A run whose events come from outside. Batches that wait together share one append.

    `ended_early` is set when somebody else ended the run: its producers are to be told at once.
    """

    def __init__(
        self, log: EventLog, run_id: str, limits: RunLimits, now_ms: Callable[[], int], heard: dict[str, int]
    ) -> None:
        """`heard` is where each batch leaves its time, by run: it outlives this session."""
        super().__init__(log, run_id, limits, now_ms)
        self._heard = heard
        self.producers: dict[str, _Producer] = {}
        self.ended_early = asyncio.Event()
        self.busy = Turns()
        """Of whoever appends: the session stands at the stream's head whenever it is free."""
        self._waiting: deque[tuple[Batch, Answer]] = deque()
        self._asked = False
        """Whether what waits has asked for its turn, or has it."""
        self._catching_up: asyncio.Task[None] | None = None

    def last_number(self, producer_id: str) -> int:
        """The number of the producer's last batch in the log, 0 when it has none."""
        producer = self.producers.get(producer_id)
        return producer.last if producer else 0

    def head(self, size: int) -> bytes:
        """How an answer shows a head of this size: `truncated` once no more output is kept."""
        if self.fold.truncated:
            return b'{"size":%d,"truncated":true}' % size
        return b'{"size":%d}' % size

    def submit(self, batch: Batch, answer: Answer) -> None:
        """Hand in a batch. Batches are taken, and answered, in the order in which they were handed in."""
        self._heard[self.run_id] = self._now_ms()
        self._waiting.append((batch, answer))
        if not self._asked:
            self._ask()

    async def record(self, batch: Batch) -> int:
        """Hand in a batch and wait: the stream's size behind it once it is durable, or a `Refusal`."""
        told: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def answer(outcome: int | Exception) -> None:
            if told.done():
                return  # whoever asked is gone
            if isinstance(outcome, Exception):
                told.set_exception(outcome)
            else:
                told.set_result(outcome)

        self.submit(batch, answer)
        return await told

    async def settled(self) -> None:
        """Know what the log holds, also what others appended."""
        async with self.busy:
            await self.catch_up()

    def _ask(self) -> None:
        """Append what waits, as soon as nobody else does, and together what is handed in meanwhile."""
        self._asked = True
        asyncio.get_running_loop().call_soon(self.busy.ask, self._append_next)

    def _append_next(self) -> None:
        group = [self._waiting.popleft()]
        events = len(group[0][0].events)
        while self._waiting:
            events += len(self._waiting[0][0].events)
            if events > self._limits.recorded_append_events_max:
                break
            group.append(self._waiting.popleft())
        self._append_group(group, 1)

    def _append_group(self, group: Group, attempt: int) -> None:
        """One append for all of the group, decided anew while somebody else is first.

        Crash window: stored, and no producer has heard of it. Each sends its batch again, by its number.
        """
        try:
            plan = _Plan(self, self._limits)
            outcomes = [plan.outcome_of(batch) for batch, _ in group]
            appending = (
                self._log.submit(Append(self.run_id, self.last_seq, plan.events)) if plan.events else None
            )
        except Exception as error:  # noqa: BLE001 # told to everyone who waits for it
            self._answer(group, [error] * len(group))
            return
        if appending is None:
            self._answer(group, outcomes)
            return

        def appended(appending: asyncio.Future[Appended]) -> None:
            try:
                self._took(plan, appending.result())
            except ExpectedHeadMismatch:
                again = self._append_behind_others(group, attempt + 1)
                self._catching_up = asyncio.create_task(again, name=f"recording {self.run_id}")
            except Exception as error:  # noqa: BLE001 # as above
                self._answer(group, [error] * len(group))
            else:
                self._answer(group, outcomes)

        appending.add_done_callback(appended)

    async def _append_behind_others(self, group: Group, attempt: int) -> None:
        """Catch up with who was first, and try again as often as a limit allows."""
        try:
            if attempt > self._limits.append_attempts_max:
                raise Refusal("conflict", "This run is changing too quickly. Send the batch again.")
            await self.catch_up()
        except Exception as error:  # noqa: BLE001 # as above
            self._answer(group, [error] * len(group))
        else:
            self._append_group(group, attempt)

    def _answer(self, group: Group, outcomes: Sequence[int | Exception]) -> None:
        """The turn is over; tell everyone of the group."""
        self.busy.end()
        self._asked = False
        if self._waiting:
            self._ask()
        for (_, answer), outcome in zip(group, outcomes, strict=True):
            answer(outcome)

    def _took(self, plan: _Plan, done: Appended) -> None:
        """What `_take` does for each event, for the output of the whole plan at once."""
        created_at = format_time(done.created_at_ms)
        seq = self.last_seq
        for event in plan.events:
            seq += 1
            if event.type not in OUTPUT_TYPES:
                self._take({**event.fields, "type": event.type, "seq": seq, "createdAt": created_at})
        for batch, size in plan.placed:
            stored = self._producer(batch.producer_id).note(batch.number, self._limits.recorded_batches_kept)
            stored.size, stored.events = size, len(batch.events)
            stored.stdout_bytes, stored.stderr_bytes = len(batch.stdout), len(batch.stderr)
        stdout, stderr = b"".join(plan.stdout), b"".join(plan.stderr)
        if stdout:
            self.digests.feed("stdout", stdout)
        if stderr:
            self.digests.feed("stderr", stderr)
        self.fold.apply_output(len(stdout), len(stderr), done.last_seq, created_at)
        self.last_seq = done.last_seq

    def _take(self, event: dict[str, Any]) -> None:
        super()._take(event)
        kind = event["type"]
        if kind in OUTPUT_TYPES:
            mark = event["producer"]
            stored = self._producer(mark["id"]).note(mark["number"], self._limits.recorded_batches_kept)
            stored.size, stored.events = event["seq"], stored.events + 1
            if kind == "stdout":
                stored.stdout_bytes += raw_size(event)
            else:
                stored.stderr_bytes += raw_size(event)
        elif kind == "status" and event["status"] == "extracting":
            began = self._producer(event["runner"]).note(1, self._limits.recorded_batches_kept)
            began.size = event["seq"] + 1  # `running`
        elif kind == "outcome":
            self.ended_early.set()

    def _producer(self, producer_id: str) -> _Producer:
        found = self.producers.get(producer_id)
        if found is None:
            found = self.producers[producer_id] = _Producer()
        return found


class _Plan:
    """What one append will hold, and what each batch of it is answered; nothing is changed yet."""

    def __init__(self, session: RecordingSession, limits: RunLimits) -> None:
        self._session = session
        self._limits = limits
        self._last: dict[str, int] = {}
        self._begun = session.fold.status == "running"
        self._truncated = session.fold.truncated
        self._kept_bytes = session.fold.stdout_bytes + session.fold.stderr_bytes
        self.events: list[NewEvent] = []
        self.stdout: list[bytes] = []
        self.stderr: list[bytes] = []
        self.placed: list[tuple[Batch, int]] = []
        """Batches that are appended whole, each with the stream's size behind it."""

    @property
    def size(self) -> int:
        """Of the stream, with what is planned so far."""
        return self._session.last_seq + len(self.events)

    def outcome_of(self, batch: Batch) -> int | Refusal:
        """The size behind the batch, planned or stored already; or why it is refused."""
        try:
            return self._outcome_of(batch)
        except Refusal as refusal:
            return refusal

    def _outcome_of(self, batch: Batch) -> int:
        if self._session.ended:
            raise run_ended(self._session.fold.status)
        last = self._last.get(batch.producer_id)
        if last is None:
            last = self._session.last_number(batch.producer_id)
        if self._truncated:
            return self.size  # nothing is stored any more, so nothing is counted (see `_truncate`)
        if not batch.events and self._begun:
            return self._sign_of_life(batch)
        if batch.number <= last:
            return self._stored_already(batch, last)
        if batch.number != last + 1:
            raise Refusal(
                "conflict",
                f"The next batch of producer {batch.producer_id} is number {last + 1}, not {batch.number}. "
                "Send what lies in between first.",
                {"reason": "number_gap", "expectedNumber": last + 1},
            )
        if batch.expected_head is not None and batch.expected_head != self.size:
            raise Refusal(
                "conflict",
                f"The run's head is at {self.size}, not at {batch.expected_head}. Look at what was appended "
                "meanwhile, then send the batch again.",
                {"reason": "head_mismatch", "head": self.size},
            )
        self._require_producer(batch.producer_id, last)
        self._begin(batch.producer_id)
        return self._place(batch)

    def _sign_of_life(self, batch: Batch) -> int:
        """Nothing is stored, and no number used up; the beginning, sent again, is answered as it was."""
        producer = self._session.producers.get(batch.producer_id)
        stored = producer.stored.get(batch.number) if producer else None
        return stored.size if stored and not stored.events else self.size

    def _stored_already(self, batch: Batch, last: int) -> int:
        """Answer a repeated number as it was answered first; nothing is appended."""
        for placed, size in self.placed:
            if (placed.producer_id, placed.number) == (batch.producer_id, batch.number):
                stored = _Stored(size, len(placed.events), len(placed.stdout), len(placed.stderr))
                break
        else:
            producer = self._session.producers.get(batch.producer_id)
            found = producer.stored.get(batch.number) if producer else None
            if found is None:
                raise Refusal(
                    "conflict",
                    f"Batch {batch.number} of producer {batch.producer_id} was stored long ago and is not "
                    f"answered again. Go on with number {last + 1}.",
                    {"reason": "number_too_old", "expectedNumber": last + 1},
                )
            stored = found
        if not stored.holds(batch):
            raise Refusal(
                "conflict",
                f"Batch {batch.number} of producer {batch.producer_id} is stored, and it was another one: "
                f"{counted(stored.events, 'event')}, {stored.stdout_bytes} and {stored.stderr_bytes} bytes. "
                "Each producer of a run needs an id of its own.",
                {"reason": "number_reused", "expectedNumber": last + 1},
            )
        return stored.size

    def _require_producer(self, producer_id: str, last: int) -> None:
        most = self._limits.recorded_producers_max
        known = len(self._session.producers.keys() | self._last.keys())
        if last == 0 and producer_id not in self._session.producers and known >= most:
            raise Refusal(
                "conflict",
                f"A run takes events of {most} producers at most. Keep the producer's id across restarts.",
                {"reason": "too_many_producers"},
            )

    def _begin(self, producer_id: str) -> None:
        if not self._begun:
            self.events += decide.began(self._session, producer_id=producer_id, command_id=new_id("cmd"))
            self._begun = True

    def _place(self, batch: Batch) -> int:
        self._last[batch.producer_id] = batch.number
        self._kept_bytes += len(batch.stdout) + len(batch.stderr)
        if self._kept_bytes > self._limits.recorded_output_bytes_max:
            self._truncate(batch)
            return self.size
        self.events += batch.events
        self.stdout.append(batch.stdout)
        self.stderr.append(batch.stderr)
        self.placed.append((batch, self.size))
        return self.size

    def _truncate(self, batch: Batch) -> None:
        """Keep the events that fit, whole, and say once that the rest of the run's output is not kept.

        From here on no batch leaves anything in the log, so their numbers could not be known after a
        restart: they are not looked at any more.
        """
        self._kept_bytes -= len(batch.stdout) + len(batch.stderr)
        for event in batch.events:
            raw = raw_bytes(event.fields)
            if self._kept_bytes + len(raw) > self._limits.recorded_output_bytes_max:
                fields = {"stream": event.type, "keptBytes": self._kept_bytes}
                self.events.append(NewEvent("output_truncated", fields))
                self._truncated = True
                return
            self._kept_bytes += len(raw)
            self.events.append(event)
            (self.stdout if event.type == "stdout" else self.stderr).append(raw)
        raise AssertionError("the events of a batch have the bytes that it says")


def run_ended(status: str) -> Refusal:
    """The run is over: what its producer still has is not recorded."""
    return Refusal(
        "conflict",
        f"This run is {status}: nothing can be appended to it any more. Stop its command.",
        {"reason": "run_ended", "status": status},
    )
