"""Reads what the log of one run says beside its output, as it stands now or as it stood at an event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eventstore.log import StoredEvent
from eventstore.views import ViewRow
from evidence.canonical import decode
from evidence.fold import OUTPUT_TYPES, TERMINAL_STATUSES, RunFold
from evidence.record import format_time
from runs.dispatch import Store

BEGINNING_PAGE, BEGINNING_EVENTS_MAX = 100, 10_000
"""What precedes the output: a few states, and one event per MiB of an upload."""
ENDING_EVENTS = 64
"""What follows the output beside one event per artifact: how it ended, and a cancel shortly before."""
INTERNAL_EVENTS_MAX = 500
"""Seal and redactions that are looked at."""

Event = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run at event `seq`: the fold of its facts, and the facts themselves in order.

    `at` is when that event happened (ISO 8601). `now` is the Workspace Run object at this moment, `head` its
    last public event: in the past they lie behind `seq`. `seal` and `redactions` are the internal events,
    known in the present alone.
    """

    fold: RunFold
    events: Sequence[Event]
    seq: int
    at: str
    head: int
    now: Mapping[str, Any]
    seal: Event | None
    redactions: Sequence[Event]

    @property
    def run(self) -> Mapping[str, Any]:
        """The Workspace Run object at `seq`."""
        return self.fold.run_view()

    @property
    def is_past(self) -> bool:
        """Whether events followed `seq`."""
        return self.seq < self.head

    @property
    def is_over(self) -> bool:
        """Whether the run had ended at `seq`."""
        return self.fold.status in TERMINAL_STATUSES

    def first(self, kind: str, status: str | None = None) -> Event | None:
        """The first event of a type, and of a state."""
        return next((e for e in self.events if e["type"] == kind and status in {None, e.get("status")}), None)


async def read_facts(store: Store, row: ViewRow, seq: int | None = None) -> RunFacts:
    """The facts of the run of this row (view `runs`) at event `seq`; None, or past the end: now.

    What a run does before its output and after it stands at the two ends of its log, so this reads a
    bounded number of events however much was printed. What may lie between them, a cap on the output, is
    taken from the row as it is after the events were counted: a run may end while its page is made.
    """
    size = await store.size(row.id)  # first: without evidence afterwards there is no seal among them
    evidence = await store.get_view("evidence", row.id)
    now = decode((await store.get_view("runs", row.id) or row).doc)
    head = int(evidence.labels["lastPublicSeq"]) if evidence else size
    until = head if seq is None else min(max(seq, 1), head)
    events = await _beginning(store, row.id, until)
    window = ENDING_EVENTS + len(now["artifactIds"]) + len(now["artifactErrors"])
    after = max(int(events[-1]["seq"]), until - window)
    events += _facts(await store.read(row.id, after, until - after))
    (last,) = await store.read(row.id, until - 1, 1)
    fold = RunFold()
    for event in events:
        fold.apply(event)
    if until == head or fold.status == "collecting" or fold.status in TERMINAL_STATUSES:
        output = now["output"]
        fold.stdout_bytes, fold.stderr_bytes = output["stdoutBytes"], output["stderrBytes"]
        fold.truncated = output["truncated"]
    internal = await _internal(store, row.id, head) if evidence and until == head else []
    return RunFacts(
        fold=fold,
        events=events,
        seq=until,
        at=format_time(last.created_at_ms),
        head=head,
        now=now,
        seal=next((e for e in internal if e["type"] == "seal"), None),
        redactions=[e for e in internal if e["type"] == "redaction"],
    )


async def _beginning(store: Store, run_id: str, until: int) -> list[Event]:
    """Everything up to the first output: never empty, for a stream begins with its run."""
    events: list[Event] = []
    after = 0
    while after < min(until, BEGINNING_EVENTS_MAX):
        page = await store.read(run_id, after, min(BEGINNING_PAGE, until - after))
        if not page:
            break
        events += _facts(page)
        after = page[-1].seq
        if any(stored.type in OUTPUT_TYPES for stored in page):
            break
    return events


def _facts(page: Sequence[StoredEvent]) -> list[Event]:
    return [
        decode(stored.payload)
        for stored in page
        if stored.type not in OUTPUT_TYPES and stored.payload is not None
    ]


async def _internal(store: Store, run_id: str, head: int) -> list[Event]:
    """What follows `terminal`: the seal, and what was redacted since."""
    page = await store.read(run_id, head, INTERNAL_EVENTS_MAX, public=False)
    return _facts(page)
