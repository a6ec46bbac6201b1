"""The organisation's views: the organisation itself, its users, projects and API keys (CONTRACT §6.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import decode, encode
from projections.artifact import merge_collected, merge_removed
from projections.command import merge_finished, merge_started
from projections.documents import known_document
from projections.preview import merge_preview_created, merge_preview_expired, merge_preview_revoked
from projections.sandbox import merge_created, merge_destroyed, merge_extended
from projections.usage import meter_organization_event

Event = Mapping[str, Any]


def project_organization_event(views: ViewWriter, org_id: str, event: Event) -> ViewRow | None:
    """Advance the views by one event of an organisation's stream; answer the row that it is about.

    Unknown types change nothing.
    """
    meter_organization_event(views, org_id, event)
    handler = _HANDLERS.get(event["type"])
    return handler(views, org_id, event) if handler else None


def _put(views: ViewWriter, view: str, org_id: str, doc: Event, *, status: str = "active") -> ViewRow:
    row_id = doc["id"]
    project_id = row_id if view == "projects" else ""
    row = ViewRow(id=row_id, org_id=org_id, project_id=project_id, status=status,
                  sort_key=doc["createdAt"], doc=encode(doc))  # fmt: skip
    views.put(view, row)
    return row


def _organization_created(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    doc = {"id": org_id, "name": event["name"], "plan": event["plan"], "createdAt": event["createdAt"]}
    return _put(views, "organizations", org_id, doc)


def _organization_updated(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    changed = {key: event[key] for key in ("name", "plan") if key in event}
    return _put(views, "organizations", org_id, {**known_document(views, "organizations", org_id), **changed})


def _user_added(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    known = {"createdAt": event["createdAt"], **known_document(views, "users", event["userId"])}
    facts = {key: event[key] for key in ("name", "role") if key in event}
    return _put(views, "users", org_id, {**known, **facts, "id": event["userId"], "orgId": org_id})


def _user_removed(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    doc = {**known_document(views, "users", event["userId"]), "removedAt": event["createdAt"]}
    return _put(views, "users", org_id, doc, status="removed")


def _project_created(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    doc = {"id": event["projectId"], "orgId": org_id, "name": event["name"], "createdAt": event["createdAt"]}
    if event.get("limits"):
        doc["limits"] = event["limits"]
    return _put(views, "projects", org_id, doc)


def _project_updated(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    changed = {key: event[key] for key in ("name", "limits") if key in event}
    doc = {**known_document(views, "projects", event["projectId"]), **changed}
    if not doc.get("limits"):
        doc.pop("limits", None)
    return _put(views, "projects", org_id, doc)


def _api_key_created(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    return _put(
        views, "api_keys", org_id, {**event["apiKey"], "orgId": org_id, "createdAt": event["createdAt"]}
    )


def _api_key_revoked(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    known = known_document(views, "api_keys", event["apiKeyId"])
    doc = {**known, "revokedAt": known.get("revokedAt", event["createdAt"])}
    return _put(views, "api_keys", org_id, doc, status="revoked")


def _secret_set(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    known = views.get("secrets", secret_row_id(event["projectId"], event["name"]))
    alive = decode(known.doc) if known and known.status == "active" else event
    return _put_secret(views, org_id, event, alive["createdAt"], "active")


def _secret_deleted(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    known = known_document(views, "secrets", secret_row_id(event["projectId"], event["name"]))
    return _put_secret(views, org_id, event, (known or event)["createdAt"], "deleted")


def _put_secret(views: ViewWriter, org_id: str, event: Event, created_at: str, status: str) -> ViewRow:
    project_id, name = event["projectId"], event["name"]
    doc = {"projectId": project_id, "name": name, "createdAt": created_at, "updatedAt": event["createdAt"]}
    row = ViewRow(id=secret_row_id(project_id, name), org_id=org_id, project_id=project_id,
                  parent=project_id, status=status, sort_key=created_at, doc=encode(doc))  # fmt: skip
    views.put("secrets", row)
    return row


def secret_row_id(project_id: str, name: str) -> str:
    """The id of a secret's row, and of the record that holds its encrypted value."""
    return f"{project_id}/{name}"


def _artifact_collected(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    return merge_collected(views, event, org_id=org_id, run=None)


def _artifact_removed(views: ViewWriter, org_id: str, event: Event) -> ViewRow:
    return merge_removed(views, event, org_id)


_HANDLERS: Mapping[str, Callable[[ViewWriter, str, Event], ViewRow]] = {
    "organization_created": _organization_created,
    "organization_updated": _organization_updated,
    "user_added": _user_added,
    "user_updated": _user_added,
    "user_removed": _user_removed,
    "project_created": _project_created,
    "project_updated": _project_updated,
    "api_key_created": _api_key_created,
    "api_key_revoked": _api_key_revoked,
    "secret_set": _secret_set,
    "secret_deleted": _secret_deleted,
    "sandbox_created": merge_created,
    "sandbox_extended": merge_extended,
    "sandbox_destroyed": merge_destroyed,
    "command_started": merge_started,
    "command_finished": merge_finished,
    "artifact_collected": _artifact_collected,
    "artifact_deleted": _artifact_removed,
    "artifact_expired": _artifact_removed,
    "preview_created": merge_preview_created,
    "preview_revoked": merge_preview_revoked,
    "preview_expired": merge_preview_expired,
}
