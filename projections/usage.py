"""The usage view: what each project used, counted from events inside the append transaction (CONTRACT §8).

Every step adds whole numbers, so that the streams may be folded in any order, and a row is there exactly
when its amount is not zero. What a rebuild gives is therefore what was counted (decision 0831).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from evidence.fold import RunFold
from projections.documents import known_document
from projections.months import day_of, month_of, split_by_month

SANDBOX_CREATES = "sandbox_creates"
COMMAND_INVOCATIONS = "command_invocations"
COMPUTE_MS = "compute_unit_milliseconds"
"""Shown as `compute_unit_seconds`: seconds would be rounded in every event."""
FILE_BYTES_WRITTEN = "file_bytes_written"
PREVIEW_MS = "preview_milliseconds"
"""Shown as `preview_minutes`."""
ARTIFACT_BYTES_STORED = "artifact_bytes_stored"
"""What is stored now; the others are counted per month."""

RUNS_ENDED = {status: f"runs_{status}" for status in ("succeeded", "failed", "canceled")}
"""Runs by how they ended, recorded ones too; counted per day alone."""

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
    """The id of one counter's row; `period` is a month, a day or `STORED`."""
    return f"{org_id}/{project_id}/{period}/{metric}"


def meter_run_event(views: ViewWriter, fold: RunFold, event: Event) -> None:
    """Count what a run's event used; `fold` has taken the event in. A recorded run uses nothing of ours."""
    owner = fold.org_id, fold.project_id
    if event["type"] == "outcome":
        add_usage(views, owner, day_of(event["createdAt"]), RUNS_ENDED[event["status"]], 1)
    if event["type"] != "status" or (fold.sandbox and fold.sandbox["provider"] == EXTERNAL_PROVIDER):
        return
    month = month_of(event["createdAt"])
    if event["status"] == "extracting" and "sandboxId" not in fold.request:
        add_usage(views, owner, month, SANDBOX_CREATES, 1)
    elif event["status"] == "running":
        add_usage(views, owner, month, COMMAND_INVOCATIONS, 1)
    elif event["status"] == "collecting":
        _computed(views, owner, event["createdAt"], event["durationMs"])


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
    by_day = _stored_by_day(after)
    by_day.subtract(_stored_by_day(before))
    for day, change in by_day.items():
        add_usage(views, owner, day, ARTIFACT_BYTES_STORED, change)


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


def _stored_by_day(artifact: Event) -> Counter[str]:
    """On which day it was added to what is stored, and on which it was taken away; nothing without a size.

    It follows from the whole record alone, so that the order of its facts does not matter.
    """
    size_bytes: int = artifact.get("sizeBytes", 0)
    changes = Counter({day_of(artifact["createdAt"]): size_bytes} if size_bytes else {})
    if size_bytes and "deletedAt" in artifact:
        changes[day_of(artifact["deletedAt"])] -= size_bytes
    return changes


def _computed(views: ViewWriter, owner: Owner, at: str, duration_ms: int) -> None:
    """Count the time of a command that has ended, in its month and on its day."""
    for period in (month_of(at), day_of(at)):
        add_usage(views, owner, period, COMPUTE_MS, duration_ms)


def _sandbox_created(views: ViewWriter, org_id: str, event: Event) -> None:
    add_usage(views, (org_id, _project(event)), month_of(event["createdAt"]), SANDBOX_CREATES, 1)


def _command_started(views: ViewWriter, org_id: str, event: Event) -> None:
    add_usage(views, (org_id, _project(event)), month_of(event["createdAt"]), COMMAND_INVOCATIONS, 1)


def _command_finished(views: ViewWriter, org_id: str, event: Event) -> None:
    """The first end of a command counts, like everywhere: its row still says that it runs."""
    row = views.get("commands", event["commandId"])
    if row is not None and row.status != "running":
        return
    _computed(views, (org_id, _project(event)), event["createdAt"], event.get("durationMs", 0))


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
