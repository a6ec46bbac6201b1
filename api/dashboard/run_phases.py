"""The phases of a run as its events mark them: what is done, goes on, failed, and how long each took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from api.dashboard.run_facts import RunFacts
from api.dashboard.words import SECOND_MS, duration_text
from evidence.record import parse_time
from runs.decide import EXTERNAL

DONE, NOW, FAILED, STOPPED, NEXT, NEVER = "done", "now", "bad", "stop", "next", "never"
SPOKEN: Mapping[str, str] = {
    DONE: "done",
    NOW: "in progress",
    FAILED: "failed",
    STOPPED: "stopped",
    NEXT: "not yet",
    NEVER: "not reached",
}


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase; while it goes on its `duration` is counted from `since` (ISO 8601)."""

    name: str
    state: str
    is_wide: bool
    duration: str = ""
    note: str = ""
    since: str = ""

    @property
    def spoken(self) -> str:
        """The state in words, for those who do not see the bar."""
        return SPOKEN[self.state]


@dataclass(frozen=True, slots=True)
class _Mark:
    """A phase begins with the first event of these, and ends where the next phase begins."""

    name: str
    doing: str
    began: tuple[tuple[str, str | None], ...]


_MARKS = (
    _Mark("Upload", "Waiting for the archive", (("status", "awaiting_archive"),)),
    _Mark("Start", "Starting", (("status", "archive_uploaded"),)),
    _Mark("Unpack", "Unpacking", (("status", "extracting"),)),
    _Mark("Run", "Running", (("status", "running"),)),
    _Mark("Collect", "Collecting", (("status", "collecting"),)),
    _Mark("Seal", "Sealing", (("cleanup", None),)),
)
_RECORDED_MARKS = (
    _Mark("Begin", "Waiting for the first output", (("status", "awaiting_archive"),)),
    _Mark("Record", "Recording", (("status", "running"),)),
    _Mark("Seal", "Sealing", (("status", "collecting"), ("cleanup", None))),
)
_LONGEST = frozenset({"Run", "Record"})
_OF_THE_COMMAND = frozenset({"command_exit", "timeout"})


def phases_of(facts: RunFacts, moment_ms: int) -> Sequence[Phase]:
    """The phases of the run at `facts.seq`, in the order in which they happen, seen at `moment_ms`."""
    marks = _marks(facts)
    began = [_began(facts, mark) for mark in marks]
    last = max(index for index, at in enumerate(began) if at)
    faulty = _faulty(facts, marks, began)
    phases: list[Phase] = []
    for index, mark in enumerate(marks):
        at = began[index]
        ended = next((other for other in began[index + 1 :] if other), "") or _end(facts)
        state = _state(facts, at, is_last=index == last, is_faulty=index == faulty)
        phases.append(
            Phase(
                name=mark.name,
                state=state,
                is_wide=mark.name in _LONGEST,
                duration=_going_on(at, moment_ms) if state == NOW else _duration(facts, mark, at, ended),
                note=_note(facts) if mark.name in _LONGEST and at and state != NOW else "",
                since=at if state == NOW else "",
            )
        )
    return phases


def phase_sentence(facts: RunFacts, phases: Sequence[Phase]) -> str:
    """The one sentence that stands for the phases where there is no room for them, without the clock."""
    marks = _marks(facts)
    for number, (mark, phase) in enumerate(zip(marks, phases, strict=True), 1):
        if phase.since:
            return f"{mark.doing}, step {number} of {len(marks)}"
    longest = next(phase for phase in phases if phase.is_wide)
    ran = f"Ran for {longest.duration}" if longest.duration else "Never ran"
    ending = {
        "succeeded": "then succeeded",
        "canceled": "then was canceled",
        "failed": f"then failed{_with_exit(facts)}",
    }[facts.fold.status]
    return f"{ran}, {ending}"


def _marks(facts: RunFacts) -> Sequence[_Mark]:
    return _RECORDED_MARKS if facts.fold.template["slug"] == EXTERNAL else _MARKS


def _began(facts: RunFacts, mark: _Mark) -> str:
    found = [event for kind, status in mark.began if (event := facts.first(kind, status))]
    return min((str(event["createdAt"]) for event in found), default="")


def _going_on(at: str, moment_ms: int) -> str:
    """In whole seconds, as its clock goes on counting."""
    return duration_text(max(moment_ms - parse_time(at), 0) // SECOND_MS * SECOND_MS)


def _duration(facts: RunFacts, mark: _Mark, at: str, ended: str) -> str:
    """Of the command what the runner measured, of the rest what lies between two events."""
    if mark.name in _LONGEST and facts.fold.duration_ms is not None:
        return duration_text(facts.fold.duration_ms)
    return duration_text(parse_time(ended) - parse_time(at)) if at and ended else ""


def _end(facts: RunFacts) -> str:
    outcome = facts.first("outcome")
    return str(outcome["createdAt"]) if outcome else ""


def _state(facts: RunFacts, at: str, *, is_last: bool, is_faulty: bool) -> str:
    if is_faulty:
        return STOPPED if facts.fold.status == "canceled" else FAILED
    if not at:
        return NEVER if facts.is_over else NEXT
    return NOW if is_last and not facts.is_over else DONE


def _faulty(facts: RunFacts, marks: Sequence[_Mark], began: Sequence[str]) -> int | None:
    """The phase in which the run failed or was stopped, None while it goes well.

    It is the last one that began before the seal; a command's own failure is told by `collecting` and a
    cancel may be followed by it, so for both that phase is the one before.
    """
    fold = facts.fold
    if not facts.is_over:
        return None
    if fold.status == "succeeded":
        return len(marks) - 1 if fold.cleanup_status == "failed" else None
    reason = (fold.outcome or {}).get("failureReason")
    passed = {"Collect", "Seal"} if reason in _OF_THE_COMMAND or fold.status == "canceled" else {"Seal"}
    return max(index for index, mark in enumerate(marks) if began[index] and mark.name not in passed)


def _note(facts: RunFacts) -> str:
    fold = facts.fold
    if fold.timed_out:
        return "time limit"
    return f"exit {fold.exit_code}" if fold.exit_code is not None else ""


def _with_exit(facts: RunFacts) -> str:
    code = facts.run.get("exitCode")
    return f" with exit {code}" if code is not None else ""
