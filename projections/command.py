"""The command view: what was started in a warm or kept sandbox, outside of runs (CONTRACT §2, §6.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import encode
from projections.documents import known_document

_ENDED = (
    "exitCode", "durationMs", "cancelMode", "canceledAt", "killedReason", "terminationSignal", "message",
    "collectErrors", "collectStatus", "artifactIds", "truncated",
)  # fmt: skip
"""What `command_finished` may say beside its status; an absent fact is an absent key."""


def merge_started(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `command_started`: it stands in one stream, in front of its end."""
    doc: dict[str, Any] = {
        "id": event["commandId"],
        "orgId": org_id,
        "projectId": event["projectId"],
        "sandboxId": event["sandboxId"],
        "command": event["command"],
        "cwd": event["cwd"],
        "env": {},
        "envKeys": event["envKeys"],
        "timeoutMs": event["timeoutMs"],
        "status": "running",
        "createdAt": event["createdAt"],
        "startedAt": event["createdAt"],
    }
    return _put(views, doc)


def merge_finished(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `command_finished`: the first end stands."""
    doc = {"id": event["commandId"], "orgId": org_id, **known_document(views, "commands", event["commandId"])}
    if "finishedAt" not in doc:
        doc |= {"status": event["status"], "finishedAt": event["createdAt"]}
        doc |= {name: event[name] for name in _ENDED if name in event}
    return _put(views, doc)


def _put(views: ViewWriter, doc: Mapping[str, Any]) -> ViewRow:
    row = ViewRow(
        id=doc["id"],
        org_id=doc["orgId"],
        project_id=doc.get("projectId", ""),
        parent=doc.get("sandboxId", ""),
        status=doc["status"],
        sort_key=doc.get("createdAt", ""),
        doc=encode(doc),
    )
    views.put("commands", row)
    return row
