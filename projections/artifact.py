"""The artifact view: collected by a run or from a kept sandbox, deleted or expired through the organisation.

A row merges facts of two streams that have no common order, so every step commutes: deletion is final
whichever comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import encode
from projections.documents import known_document
from projections.usage import meter_artifact


def merge_collected(
    views: ViewWriter, event: Mapping[str, Any], *, org_id: str, run: Mapping[str, Any] | None
) -> ViewRow:
    """Fold `artifact_collected` (CONTRACT §6.6, §6.7) into the Artifact object of §8."""
    artifact_id = event["artifactId"]
    known = known_document(views, "artifacts", artifact_id)
    doc: dict[str, Any] = {
        **known,
        "id": artifact_id,
        "orgId": org_id,
        "projectId": run["projectId"] if run else event["projectId"],
        "sandboxId": run["sandboxId"] if run else event["sandboxId"],
        "name": event["name"],
        "objectKey": f"{org_id}/{artifact_id}",
        "sizeBytes": event["sizeBytes"],
        "sha256": event["sha256"],
        "contentType": event["contentType"],
        "sourcePath": event["path"],
        "createdAt": event["createdAt"],
    }
    if run:
        doc["workspaceRunId"] = run["id"]
    meter_artifact(views, known, doc)
    return _put(views, doc)


def merge_removed(views: ViewWriter, event: Mapping[str, Any], org_id: str) -> ViewRow:
    """Fold `artifact_deleted` or `artifact_expired`: the record stays, the earliest removal stands."""
    known = known_document(views, "artifacts", event["artifactId"])
    doc = {"id": event["artifactId"], "orgId": org_id, **known}
    doc["deletedAt"] = min(event["createdAt"], doc.get("deletedAt", event["createdAt"]))
    meter_artifact(views, known, doc)
    return _put(views, doc)


def _put(views: ViewWriter, doc: Mapping[str, Any]) -> ViewRow:
    row = ViewRow(
        id=doc["id"],
        org_id=doc["orgId"],
        project_id=doc.get("projectId", ""),
        parent=doc.get("sandboxId", ""),
        status="deleted" if "deletedAt" in doc else "stored",
        sort_key=doc.get("createdAt", ""),
        labels={"sha256": doc["sha256"]} if "sha256" in doc else {},
        doc=encode(doc),
    )
    views.put("artifacts", row)
    return row
