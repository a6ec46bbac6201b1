"""Judges the log of one run, as read from the server: pure, so that a test can feed it forgeries."""

from __future__ import annotations

import base64
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from evidence.record import parse_time
from tests.simulation.ledger import Crash, Finding, Plan, Run
from tests.simulation.plans import expected_output

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
EXECUTING = frozenset({"extracting", "running", "collecting"})
STATUS_ORDER = ("awaiting_archive", "archive_uploaded", "starting", "extracting", "running", "collecting")
ONCE = ("cleanup", "outcome", "terminal", "cancel_requested")
BY_ITSELF = {"finished", "kept"}

Event = Mapping[str, Any]


def check_delivered(run_id: str, lines: Sequence[bytes], delivered: Mapping[int, bytes]) -> list[Finding]:
    """Every event that was ever shown to a reader stands in the log with the same bytes at the same seq."""
    found: list[Finding] = []
    for seq, payload in delivered.items():
        if seq > len(lines):
            found.append(Finding("lost", f"{run_id}: seq {seq} was delivered and is gone: {payload[:200]!r}"))
        elif lines[seq - 1] != payload:
            text = f"{run_id}: seq {seq} was delivered as {payload[:200]!r} and is {lines[seq - 1][:200]!r}"
            found.append(Finding("changed", text))
    return found


def check_prefix(run_id: str, lines: Sequence[bytes], known: Sequence[bytes]) -> list[Finding]:
    """A log only grows: what was read of it once, it begins with for ever."""
    if len(lines) < len(known):
        return [Finding("lost", f"{run_id}: {len(known)} events were read before, now {len(lines)}")]
    for seq, (now, before) in enumerate(zip(lines, known, strict=False), 1):
        if now != before:
            return [Finding("changed", f"{run_id}: seq {seq} was {before[:200]!r} and is {now[:200]!r}")]
    return []


def check_numbers(run_id: str, events: Sequence[Event]) -> list[Finding]:
    """Seqs are 1, 2, 3 … and times never go back."""
    found: list[Finding] = []
    seen: set[int] = set()
    latest = ""
    for place, event in enumerate(events, 1):
        seq = event["seq"]
        if seq in seen:
            found.append(Finding("duplicated", f"{run_id}: seq {seq} stands there twice"))
        elif seq < place:
            found.append(Finding("reordered", f"{run_id}: seq {seq} stands at place {place}"))
        elif seq > place and place not in seen and not any(later["seq"] == place for later in events[place:]):
            found.append(Finding("lost", f"{run_id}: seq {place} is missing, {seq} follows"))
            break
        elif seq > place:
            found.append(Finding("reordered", f"{run_id}: seq {seq} stands at place {place}"))
        seen.add(seq)
        if event["createdAt"] < latest:
            found.append(Finding("reordered", f"{run_id}: seq {seq} is earlier than the event before it"))
        latest = event["createdAt"]
    return found


def check_lifecycle(run_id: str, events: Sequence[Event]) -> list[Finding]:
    """Each step of the lifecycle is there at most once and in order; the end is the end."""
    found: list[Finding] = []
    statuses = [event["status"] for event in events if event["type"] == "status"]
    places = [STATUS_ORDER.index(status) for status in statuses]
    if places != sorted(places):
        found.append(Finding("reordered", f"{run_id}: statuses {statuses}"))
    counts = Counter(event["type"] for event in events)
    repeated = [f"status {status}" for status, count in Counter(statuses).items() if count > 1]
    repeated += [name for name in ONCE if counts[name] > 1]
    found += [Finding("duplicated", f"{run_id}: {name} is there more than once") for name in repeated]
    if counts["terminal"] and (
        [event["type"] for event in events[-2:]] != ["outcome", "terminal"] or counts["cleanup"] != 1
    ):
        types = [event["type"] for event in events[-4:]]
        found.append(Finding("reordered", f"{run_id}: ends with {types}, cleanup {counts['cleanup']} times"))
    return found


def check_output(run_id: str, plan: Plan, events: Sequence[Event]) -> list[Finding]:
    """Each stream holds the numbered lines from the first on, without a gap; all of them if it ran out."""
    expected = expected_output(plan)
    collecting = _first_status(events, "collecting")
    ran_out = collecting is not None and "exitCode" in collecting and not canceled(events)
    found: list[Finding] = []
    for stream, whole in expected.items():
        printed = b"".join(raw_bytes(event) for event in events if event["type"] == stream)
        if not whole.startswith(printed):
            at = next(i for i, byte in enumerate(printed) if whole[i : i + 1] != bytes([byte]))
            text = f"{run_id}: {stream} differs from what was printed at byte {at}: "
            text += f"{printed[max(0, at - 30) : at + 60]!r}"
            found.append(Finding("changed", text))
        elif ran_out and printed != whole:
            text = (
                f"{run_id}: the command ended by itself, {stream} holds {len(printed)} of {len(whole)} bytes"
            )
            found.append(Finding("lost", text))
    return found


def check_ending(run_id: str, plan: Plan, events: Sequence[Event], crashes: Sequence[Crash]) -> list[Finding]:
    """A run that a crash met while it was executing failed with `internal_error`; no other did."""
    outcome = next((event for event in events if event["type"] == "outcome"), None)
    cleanup = next((event for event in events if event["type"] == "cleanup"), None)
    if outcome is None or cleanup is None:
        return [Finding("unfinished", f"{run_id} has no outcome or no cleanup")]
    met = crash_that_met(events, crashes)
    reason = outcome.get("failureReason")
    if met is not None:
        fair = outcome["status"] == "failed" and reason == "internal_error"
        tidied = cleanup["reason"] == "recovered" or (
            cleanup["reason"] in BY_ITSELF and parse_time(cleanup["createdAt"]) <= met.at_ms
        )
        if fair and tidied:
            return []
        text = f"{run_id} was executing at a {met.kind} and ended {outcome['status']}/{reason}, "
        return [Finding("unfinished", text + f"cleanup {cleanup['reason']}")]
    if reason == "internal_error" or cleanup["reason"] == "recovered":
        text = (
            f"{run_id} ended {reason}, cleanup {cleanup['reason']}, though no crash met it while executing: "
        )
        return [Finding("unfinished", text + str(outcome.get("failureMessage")))]
    return _check_own_ending(run_id, plan, events, outcome)


def _check_own_ending(run_id: str, plan: Plan, events: Sequence[Event], outcome: Event) -> list[Finding]:
    own: tuple[str, str | None] = ("failed", "command_exit") if plan.exit_code else ("succeeded", None)
    wanted = {own}
    if canceled(events):
        collecting = _first_status(events, "collecting")
        wanted = {("canceled", None)} | ({own} if collecting and "exitCode" in collecting else set())
    ended = (outcome["status"], outcome.get("failureReason"))
    if ended not in wanted:
        text = f"{run_id} ended {ended}, not as one of {wanted}: {outcome.get('failureMessage')}"
        return [Finding("lost", text)]
    return []


def crash_that_met(events: Sequence[Event], crashes: Sequence[Crash]) -> Crash | None:
    """The first crash between `extracting` and the outcome, if there was one."""
    extracting = _first_status(events, "extracting")
    outcome = next((event for event in events if event["type"] == "outcome"), None)
    if extracting is None:
        return None
    first = bisect_left(crashes, parse_time(extracting["createdAt"]), key=lambda crash: crash.at_ms)
    if first == len(crashes):
        return None
    crash = crashes[first]
    return crash if outcome is None or crash.at_ms < parse_time(outcome["createdAt"]) else None


def canceled(events: Sequence[Event]) -> bool:
    """Whether a cancel was recorded before the command had ended."""
    return any(event["type"] == "cancel_requested" for event in events)


def status_of(events: Sequence[Event]) -> str:
    """The run's status after these events."""
    status = ""
    for event in events:
        if event["type"] in {"status", "outcome"}:
            status = event["status"]
    return status


def raw_bytes(event: Event) -> bytes:
    """The bytes that the command printed (PROOF P1.3)."""
    if "dataBase64" in event:
        return base64.b64decode(event["dataBase64"], validate=True)
    data: str = event["data"]
    return data.encode()


def parse_events(lines: Sequence[bytes]) -> list[Event]:
    """The payloads as objects."""
    return [orjson.loads(line) for line in lines]


def _first_status(events: Sequence[Event], status: str) -> Event | None:
    return next((event for event in events if event["type"] == "status" and event["status"] == status), None)


@dataclass(frozen=True, slots=True)
class Promise:
    """What an acknowledged call says about the log: one of these events is in it."""

    call: str
    what: str
    holds: Callable[[Event], bool]

    def kept_by(self, events: Sequence[Event]) -> bool:
        """Whether the log keeps it."""
        return any(self.holds(event) for event in events)


def promises(run: Run, sha256: str) -> list[Promise]:
    """The promises of every call of this run that was acknowledged."""
    made: list[Promise] = []
    for call in run.calls.values():
        if call.answer is None:
            continue
        if call.name == "create":
            made.append(Promise("create", f"its seq 1 with op {run.plan.op}", _created(run)))
        elif call.name in {"upload", "finalize"}:
            made.append(Promise(call.name, f"the archive {sha256}", _uploaded(sha256)))
        elif call.name == "start":
            sandbox = orjson.loads(call.answer.body)["workspaceRun"]["sandboxId"]
            made.append(Promise("start", f"the start in {sandbox}", _started(sandbox)))
        elif call.name == "cancel":
            made.append(Promise("cancel", "the cancel (or an earlier end)", _ended_or_canceled))
    return made


def _created(run: Run) -> Callable[[Event], bool]:
    return lambda event: (
        event["seq"] == 1
        and event["runId"] == run.run_id
        and event["request"]["metadata"] == {"op": run.plan.op}
    )


def _uploaded(sha256: str) -> Callable[[Event], bool]:
    return lambda event: event.get("status") == "archive_uploaded" and event["archive"]["sha256"] == sha256


def _started(sandbox_id: str) -> Callable[[Event], bool]:
    return lambda event: event.get("status") == "starting" and event["sandboxId"] == sandbox_id


def _ended_or_canceled(event: Event) -> bool:
    return event["type"] in {"cancel_requested", "outcome"} or event.get("status") == "collecting"
