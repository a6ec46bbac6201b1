"""The lifecycle of a run as pure decisions: a state and a command give events, or a refusal.

States and calls are those of CONTRACT §3.3, endings those of EXAMPLE.md ("Other endings"). No I/O, no
clock, no ids made here: whatever a decision needs comes in as a parameter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from eventstore.log import NewEvent
from evidence.canonical import encode
from evidence.fold import RunFold, StreamDigests, seal_fields
from evidence.record import format_time, parse_time
from runs.refusal import Refusal

TERMINAL = frozenset({"succeeded", "failed", "canceled"})
EXECUTING = frozenset({"extracting", "running", "collecting"})
NOT_STARTED = frozenset({"awaiting_archive", "archive_uploaded", "starting"})
EXTERNAL = "external"
"""The template of runs that are executed elsewhere: nothing is uploaded or started here (DESIGN §4)."""
STATUSES = ("awaiting_archive", "archive_uploaded", "starting", "extracting", "running", "collecting",
            "succeeded", "failed", "canceled")  # fmt: skip

FAILURE_CLASS: Mapping[str, str] = {
    "upload_missing": "user_input",
    "archive_invalid": "user_input",
    "archive_too_large": "user_input",
    "extraction_failed": "platform",
    "command_exit": "user_command",
    "timeout": "user_command",
    "sandbox_conflict": "user_input",
    "sandbox_unavailable": "platform",
    "internal_error": "platform",
}
"""failureReason to failureClass (CONTRACT §3.4)."""


class Standing(Protocol):
    """A run at its stream's head, as `runs.session.RunSession` holds it."""

    @property
    def fold(self) -> RunFold:
        """The fold of all its events."""
        ...

    @property
    def digests(self) -> StreamDigests:
        """The digests of all its output."""
        ...


def status_event(status: str, fields: Mapping[str, object]) -> NewEvent:
    """A `status` event; its fields are those of CONTRACT §6.6 for that status."""
    return NewEvent("status", {"status": status, **fields})


def created(
    *, run_id: str, org_id: str, actor: str, request: Mapping[str, object], template: Mapping[str, str],
    env_keys: Sequence[str] = (),
) -> NewEvent:  # fmt: skip
    """Seq 1 of every run. `env_keys` are the names of the secrets that its command will find."""
    return status_event(
        "awaiting_archive",
        {
            "runId": run_id,
            "orgId": org_id,
            "actor": actor,
            "envKeys": sorted(env_keys),
            "schema": "events/v1",
            "request": request,
            "template": template,
        },
    )


def archive_uploaded(run: Mapping[str, Any], *, actor: str, sha256: str, size_bytes: int) -> list[NewEvent]:
    """An archive has arrived whole. The same archive again changes nothing; another is a conflict."""
    _refuse_recorded(run)
    archive = run.get("archive")
    if archive and (archive["sha256"], archive["sizeBytes"]) == (sha256, size_bytes):
        return []
    require_awaiting_archive(run)
    return [
        status_event(
            "archive_uploaded", {"archive": {"sha256": sha256, "sizeBytes": size_bytes}, "actor": actor}
        )
    ]


def require_awaiting_archive(run: Mapping[str, Any]) -> None:
    """Uploads belong to runs that still wait for their archive."""
    _refuse_recorded(run)
    if run["status"] != "awaiting_archive":
        raise Refusal(
            "upload_conflict",
            f"This run is {run['status']} and takes no archive. Create a new run for another archive.",
            {"status": run["status"]},
        )


def start(run: Mapping[str, Any], *, actor: str, sandbox_id: str) -> list[NewEvent]:
    """Queue the run for execution; starting it again changes nothing."""
    _refuse_recorded(run)
    if run["status"] == "archive_uploaded":
        return [status_event("starting", {"sandboxId": sandbox_id, "actor": actor})]
    if run["status"] == "awaiting_archive":
        raise Refusal(
            "upload_incomplete",
            "This run has no archive yet. Upload one, then start it.",
            {"status": run["status"]},
        )
    return []


def _refuse_recorded(run: Mapping[str, Any]) -> None:
    if run["templateSlug"] == EXTERNAL:
        raise Refusal(
            "conflict",
            f"This run is recorded (template {EXTERNAL}): it takes no archive and is not started here. Run "
            "the command where you are and append its output to …/events, or use another template.",
            {"reason": "recorded_run"},
        )


NEVER_STARTED = NewEvent("cleanup", {"cleanupStatus": "not_requested", "reason": "never_started"})
"""The cleanup of a run that never had a sandbox."""


NO_SANDBOX = NewEvent("cleanup", {"cleanupStatus": "not_requested", "reason": "finished"})
"""The cleanup of a recorded run: it was executed elsewhere, so there is nothing here to clean up."""
PRODUCER_LOST = NewEvent("cleanup", {"cleanupStatus": "not_requested", "reason": "recovered"})
"""The same for a run whose producer vanished: the server ended it."""


def outcome(
    *, failure_reason: str | None, failure_message: str | None, canceled: bool, cleanup_status: str
) -> NewEvent:
    """How the run ended. `orchestrationSucceeded` is false only for our faults or a failed cleanup."""
    failure_class = "canceled" if canceled else FAILURE_CLASS.get(failure_reason or "")
    fields: dict[str, object] = {
        "status": "canceled" if canceled else "failed" if failure_reason else "succeeded",
        "orchestrationSucceeded": failure_class != "platform" and cleanup_status != "failed",
    }
    if failure_reason and not canceled:
        fields["failureReason"] = failure_reason
    if failure_class:
        fields["failureClass"] = failure_class
    if failure_message:
        fields["failureMessage"] = failure_message
    return NewEvent("outcome", fields)


def ending(
    fold: RunFold, digests: StreamDigests, before: list[NewEvent], result: NewEvent, created_at_ms: int
) -> list[NewEvent]:
    """`before` (what still belongs in front), then outcome, terminal and seal: one append, one createdAt.

    `fold` and `digests` stand at the stream's head and are not changed. The terminal event and the
    seal carry what the folds give after the outcome, so their time must be known here (P4.1, P12).
    """
    fold = fold.copy()
    created_at = format_time(created_at_ms)
    for event in (*before, result):
        seq = fold.public_size + 1
        fold.apply({**event.fields, "type": event.type, "seq": seq, "createdAt": created_at})
    terminal_seq = fold.public_size + 1
    seal = seal_fields(encode(fold.evidence()), digests, terminal_seq)
    return [*before, result, NewEvent("terminal", {"workspaceRun": fold.run_view()}), NewEvent("seal", seal)]


def cancel(run: Standing, *, actor: str, created_at_ms: int) -> list[NewEvent]:
    """Ask for the end. A run never started ends at once; from `collecting` on nothing changes (§3.4)."""
    status = run.fold.status
    if status in TERMINAL or status == "collecting" or run.fold.cancel_requested:
        return []
    request = NewEvent("cancel_requested", {"actor": actor})
    if is_recorded(run.fold) and status in EXECUTING:
        # Nobody here could stop the command: the run ends now, and its producer hears of it.
        return recorded_end(run, {"canceled": True}, created_at_ms=created_at_ms, request=request)
    if status in EXECUTING:
        return [request]
    # A sandbox that was refused leaves a cleanup behind while the run still is `starting`: one is enough.
    cleanup_status = run.fold.cleanup_status
    before = [request] if cleanup_status else [request, NEVER_STARTED]
    result = outcome(
        failure_reason=None,
        failure_message=None,
        canceled=True,
        cleanup_status=cleanup_status or "not_requested",
    )
    return ending(run.fold, run.digests, before, result, created_at_ms)


def is_recorded(fold: RunFold) -> bool:
    """Whether the run's events come from a producer outside."""
    return bool(fold.template.get("slug") == EXTERNAL)


def began(run: Standing, *, producer_id: str, command_id: str) -> list[NewEvent]:
    """What stands in front of the first batch of a recorded run: where it runs, and that it does.

    `runner` names the producer that began; its first batch is number 1, so that its numbers follow from the
    log even when that batch held no output.
    """
    where = {"provider": EXTERNAL, "isolation": "none", "limits": {}, "template": dict(run.fold.template)}
    return [
        status_event("extracting", {**where, "runner": producer_id}),
        status_event("running", {"commandId": command_id}),
    ]


def recorded_end(
    run: Standing, how: Mapping[str, object], *, created_at_ms: int, request: NewEvent | None = None
) -> list[NewEvent]:
    """The end of a recorded run; `how` is `exitCode`, `timedOut` or `canceled`, as `collecting` has it.

    The duration is the server's: from the append that began the recording to this one.
    """
    fold = run.fold
    assert fold.started_at is not None, "a recording that runs has begun"
    duration_ms = created_at_ms - parse_time(fold.started_at)
    canceled = "canceled" in how
    failure_reason = None if canceled or how.get("exitCode") == 0 else "command_exit"
    result = outcome(
        failure_reason="timeout" if "timedOut" in how else failure_reason,
        failure_message=None,
        canceled=canceled,
        cleanup_status="not_requested",
    )
    collecting = status_event("collecting", {**how, "durationMs": duration_ms})
    before = [collecting, NO_SANDBOX] if request is None else [request, collecting, NO_SANDBOX]
    return ending(fold, run.digests, before, result, created_at_ms)


def producer_lost(run: Standing, *, created_at_ms: int) -> list[NewEvent]:
    """The end of a recorded run whose producer was not heard of for too long."""
    result = outcome(
        failure_reason="internal_error",
        failure_message=(
            "Nothing was heard of this run's producer for too long. What it recorded up to then is kept; "
            "how its command ended is not known."
        ),
        canceled=False,
        cleanup_status="not_requested",
    )
    return ending(run.fold, run.digests, [PRODUCER_LOST], result, created_at_ms)


def overdue(run: Standing, *, created_at_ms: int) -> list[NewEvent]:
    """End a run that waited too long: never uploaded is failed, never started is canceled (§11)."""
    if run.fold.status == "awaiting_archive":
        result = outcome(
            failure_reason="upload_missing",
            failure_message=(
                "Nothing was recorded in time. Create a new run and append to it when its command starts."
                if is_recorded(run.fold)
                else "No archive was uploaded in time. Create a new run and upload one."
            ),
            canceled=False,
            cleanup_status="not_requested",
        )
    elif run.fold.status == "archive_uploaded":
        result = outcome(
            failure_reason=None,
            failure_message="The run was uploaded but never started in time. Create a new run and start it.",
            canceled=True,
            cleanup_status="not_requested",
        )
    else:
        return []
    return ending(run.fold, run.digests, [NEVER_STARTED], result, created_at_ms)
