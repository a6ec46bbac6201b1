"""The preview view: made, revoked or expired through its organisation's stream (CONTRACT §6.7).

An end is final whichever fact comes first, so the merge commutes: the status only climbs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import encode
from projections.documents import known_document

STATUS_RANK = {"live": 0, "expired": 1, "revoked": 2}


def merge_preview_created(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `preview_created` into the Preview object of §8, without `url`: that is configuration."""
    known = known_document(views, "previews", event["previewId"])
    facts = {
        "projectId": event["projectId"],
        "sandboxId": event["sandboxId"],
        "port": event["port"],
        "authMode": event["authMode"],
        "slug": event["slug"],
        "createdAt": event["createdAt"],
        "expiresAt": min(event["expiresAt"], known.get("expiresAt", event["expiresAt"])),
    }
    return _put(views, {**known, **facts}, "live", event, org_id)


def merge_preview_revoked(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `preview_revoked`: the earliest revocation stands."""
    known = known_document(views, "previews", event["previewId"])
    revoked_at = min(event["createdAt"], known.get("revokedAt", event["createdAt"]))
    return _put(views, {**known, "revokedAt": revoked_at}, "revoked", event, org_id)


def merge_preview_expired(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `preview_expired`, which comes before the planned time when the sandbox was destroyed."""
    known = known_document(views, "previews", event["previewId"])
    expires_at = min(event["createdAt"], known.get("expiresAt", event["createdAt"]))
    return _put(views, {**known, "expiresAt": expires_at}, "expired", event, org_id)


def _put(
    views: ViewWriter, doc: Mapping[str, Any], status: str, event: Mapping[str, Any], org_id: str
) -> ViewRow:
    row_id = event["previewId"]
    before = views.get("previews", row_id)
    row = ViewRow(
        id=row_id,
        org_id=org_id,
        project_id=doc.get("projectId", ""),
        parent=doc.get("sandboxId", ""),
        status=max(status, before.status if before else status, key=STATUS_RANK.__getitem__),
        sort_key=doc.get("createdAt", ""),
        doc=encode({**doc, "id": row_id, "orgId": org_id}),
    )
    views.put("previews", row)
    return row
