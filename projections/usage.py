"""The usage view: what each project used, counted from events inside the append transaction (CONTRACT §8).

Every step adds whole numbers, so that the streams may be folded in any order, and a row is there exactly
when its amount is not zero. What a rebuild gives is therefore what was counted (decision 0831).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.fold import RunFold
from projections.documents import known_document
from projections.months import month_of, split_by_month

SANDBOX_CREATES = "sandbox_creates"
COMMAND_INVOCATIONS = "command_invocations"
COMPUTE_MS = "compute_unit_milliseconds"
"""Shown as `compute_unit_seconds`: seconds would be rounded in every event."""
FILE_BYTES_WRITTEN = "file_bytes_written"
PREVIEW_MS = "preview_milliseconds"
"""Shown as `preview_minutes`."""
ARTIFACT_BYTES_STORED = "artifact_bytes_stored"
"""What is stored now; the others are counted per month."""

EXTERNAL_PROVIDER = "external"
"""The provider of runs that were executed elsewhere."""

STORED = "stored"
"""The period of `artifact_bytes_stored`, where the other metrics have their month."""
OPEN = "open"
"""The period of a preview that has not ended: a row that says since when, and no amount yet."""

Event = Mapping[str, Any]

Owner = tuple[str, str]
"""Organisation and project."""


def usage_id(org_id: str, project_id: str, period: str, metric: str) -> str:
    """The id of one counter's row; `period` is a month or `STORED`."""
    return f"{org_id}/{project_id}/{period}/{metric}"


def meter_run_event(views: ViewWriter, fold: RunFold, event: Event) -> None:
    """Count what a run's event used; `fold` has taken the event in. A recorded run uses nothing of ours."""
    if event["type"] != "status" or (fold.sandbox and fold.sandbox["provider"] == EXTERNAL_PROVIDER):
        return
    used: tuple[str, int] | None = None
    if event["status"] == "extracting" and "sandboxId" not in fold.request:
        used = SANDBOX_CREATES, 1
    elif event["status"] == "running":
        used = COMMAND_INVOCATIONS, 1
    elif event["status"] == "collecting":
        used = COMPUTE_MS, event["durationMs"]
    if used:
        add_usage(views, (fold.org_id, fold.project_id), month_of(event["createdAt"]), *used)


def meter_organization_event(views: ViewWriter, org_id: str, event: Event) -> None:
    """Count what an event of the organisation's stream used (CONTRACT §6.7); other types change nothing."""
    if meter := _METERS.get(event["type"]):
        meter(views, org_id, event)


def meter_artifact(views: ViewWriter, before: Event, after: Event) -> None:
    """Count what a step of an artifact's record changes of the bytes stored.

    A deletion that is folded before the collection finds no size, and then the collection adds none: in
    either order the two sum up to nothing, once.
    """
    delta = _stored_bytes(after) - _stored_bytes(before)
    owner = after["orgId"], after.get("projectId", "")
    add_usage(views, owner, STORED, ARTIFACT_BYTES_STORED, delta)


def add_usage(views: ViewWriter, owner: Owner, period: str, metric: str, amount: int) -> None:
    """Add to one counter. One that returns to zero has no row, as if nothing had ever been counted."""
    if amount == 0:
        return
    row_id = usage_id(*owner, period, metric)
    total = known_document(views, "usage", row_id).get("amount", 0) + amount
    if total == 0:
        views.delete("usage", row_id)
        return
    org_id, project_id = owner
    doc = {"orgId": org_id, "projectId": project_id, "period": period, "metric": metric, "amount": total}
    _put(views, row_id, doc)


def _stored_bytes(artifact: Event) -> int:
    """What the artifact takes up; nothing while its size is unknown, and nothing once it is removed."""
    size_bytes: int = artifact.get("sizeBytes", 0)
    return 0 if "deletedAt" in artifact else size_bytes


def _sandbox_created(views: ViewWriter, org_id: str, event: Event) -> None:
    add_usage(views, (org_id, _project(event)), month_of(event["createdAt"]), SANDBOX_CREATES, 1)


def _command_started(views: ViewWriter, org_id: str, event: Event) -> None:
    add_usage(views, (org_id, _project(event)), month_of(event["createdAt"]), COMMAND_INVOCATIONS, 1)


def _command_finished(views: ViewWriter, org_id: str, event: Event) -> None:
    """The first end of a command counts, like everywhere: its row still says that it runs."""
    row = views.get("commands", event["commandId"])
    if row is not None and row.status != "running":
        return
    duration_ms = event.get("durationMs", 0)
    add_usage(views, (org_id, _project(event)), month_of(event["createdAt"]), COMPUTE_MS, duration_ms)


def _file_written(views: ViewWriter, org_id: str, event: Event) -> None:
    size_bytes = event["sizeBytes"]
    add_usage(views, (org_id, _project(event)), month_of(event["createdAt"]), FILE_BYTES_WRITTEN, size_bytes)


def _preview_created(views: ViewWriter, org_id: str, event: Event) -> None:
    known = {key: event[key] for key in ("previewId", "createdAt", "expiresAt") if key in event}
    doc = {**known, "orgId": org_id, "projectId": _project(event), "period": OPEN, "metric": PREVIEW_MS}
    _put(views, _open_preview_id(event), doc)


def _preview_ended(views: ViewWriter, org_id: str, event: Event) -> None:
    """Count its time, each month its own. Its row goes with that, so a second end counts nothing."""
    row = views.get("usage", _open_preview_id(event))
    if row is None:
        return
    views.delete("usage", row.id)
    preview = decode(row.doc)
    end = min(event["createdAt"], preview.get("expiresAt", event["createdAt"]))
    for month, duration_ms in split_by_month(preview["createdAt"], end):
        add_usage(views, (org_id, row.project_id), month, PREVIEW_MS, duration_ms)


def _open_preview_id(event: Event) -> str:
    return f"{OPEN}/{event['previewId']}"


def _project(event: Event) -> str:
    """The project that pays: it stands in the event, since the sandbox's row may be folded only later."""
    project_id: str = event.get("projectId", "")
    return project_id


def _put(views: ViewWriter, row_id: str, doc: Event) -> None:
    row = ViewRow(
        id=row_id,
        org_id=doc["orgId"],
        project_id=doc["projectId"],
        parent=doc["period"],
        status=doc["metric"],
        sort_key=doc["period"],
        doc=encode(doc),
    )
    views.put("usage", row)


_METERS: Mapping[str, Callable[[ViewWriter, str, Event], None]] = {
    "sandbox_created": _sandbox_created,
    "command_started": _command_started,
    "command_finished": _command_finished,
    "file_written": _file_written,
    "preview_created": _preview_created,
    "preview_revoked": _preview_ended,
    "preview_expired": _preview_ended,
}
