"""The sandbox view: made by a run or on its own, kept or not, destroyed for good.

Several runs and the organisation's stream write about one sandbox and have no common order, so the
merge commutes: the status only climbs, the first maker names it, the expiry that was set last stands, the
earliest destruction stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eventstore.log import ViewWriter
from eventstore.views import ViewRow
from evidence.canonical import encode
from evidence.record import format_time, parse_time
from projections.documents import known_document

STATUS_RANK = {"creating": 0, "starting": 1, "running": 2, "ready": 3, "destroyed": 4}
"""A kept sandbox stays `ready` while a later run uses it (CONTRACT §8: never `idle`)."""


EXPIRY = ("expirySetAt", "expiresAt", "ttlMs")
"""Set together: what was set last stands, whether it comes earlier or later than what stood before."""


def merge_run_sandbox(
    views: ViewWriter, run: Mapping[str, Any], event: Mapping[str, Any], *, reused: bool
) -> None:
    """Fold what a run's event says about its sandbox (`starting`, `extracting`, `running`, `cleanup`).

    A run that named a sandbox did not make it, and perhaps was not let in: it may only say that it kept
    or ended it. Else any id in a request would become a row that no sandbox stands behind.
    """
    sandbox_id = run.get("sandboxId")
    if sandbox_id is None:
        return
    facts: dict[str, Any] = {"id": sandbox_id, "orgId": run["orgId"]}
    if event["type"] == "cleanup":
        facts |= _cleanup_facts(event, reused=reused)
    elif not reused:
        facts["status"] = "running" if event["status"] == "running" else "starting"
        facts |= _expiry(run["createdAt"], format_time(parse_time(run["createdAt"]) + run["timeoutMs"]))
    if not reused:
        facts |= _maker_facts(run)
    elif "status" not in facts:
        return
    merge_sandbox(views, facts)


def _maker_facts(run: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "projectId": run["projectId"],
        "templateId": run["templateId"],
        "templateSlug": run["templateSlug"],
        "templateVersion": run["templateVersion"],
        "templateVersionId": run["templateVersionId"],
        "metadata": run["metadata"],
        "workspaceRunId": run["id"],
        "createdAt": run["createdAt"],
    }


def _cleanup_facts(event: Mapping[str, Any], *, reused: bool) -> dict[str, Any]:
    if event["reason"] == "kept":
        return {"status": "ready", **_expiry(event["createdAt"], event["expiresAt"])}
    if reused and event["reason"] == "never_started":
        return {}  # it is somebody else's, or nobody's
    return {
        "status": "destroyed",
        "destroyedAt": event["createdAt"],
        "destroyedReason": "platform_cleanup",
    }


def _expiry(set_at: str, expires_at: str, ttl_ms: int | None = None) -> dict[str, Any]:
    ttl_ms = parse_time(expires_at) - parse_time(set_at) if ttl_ms is None else ttl_ms
    return {"expirySetAt": set_at, "expiresAt": expires_at, "ttlMs": ttl_ms}


def merge_created(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `sandbox_created` (CONTRACT §6.7): a warm sandbox that no run made."""
    template = event["template"]
    facts = {
        "id": event["sandboxId"],
        "orgId": org_id,
        "projectId": event["projectId"],
        "status": "ready",
        "templateId": template["id"],
        "templateSlug": template["slug"],
        "templateVersion": template["version"],
        "templateVersionId": template["versionId"],
        "metadata": event["metadata"],
        "createdAt": event["createdAt"],
        **_expiry(event["createdAt"], event["expiresAt"], event["ttlMs"]),
    }
    return merge_sandbox(views, facts)


def merge_extended(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `sandbox_extended`: another expiry, counted from the event."""
    expiry = _expiry(event["createdAt"], event["expiresAt"], event["ttlMs"])
    return merge_sandbox(views, {"id": event["sandboxId"], "orgId": org_id, **expiry})


def merge_destroyed(views: ViewWriter, org_id: str, event: Mapping[str, Any]) -> ViewRow:
    """Fold `sandbox_destroyed`."""
    facts = {
        "id": event["sandboxId"],
        "orgId": org_id,
        "status": "destroyed",
        "destroyedAt": event["createdAt"],
        "destroyedReason": event["destroyedReason"],
    }
    return merge_sandbox(views, facts)


def merge_sandbox(views: ViewWriter, facts: Mapping[str, Any]) -> ViewRow:
    """Merge facts into the sandbox's row; the order of calls does not matter."""
    doc = merged(known_document(views, "sandboxes", facts["id"]), facts)
    row = ViewRow(
        id=doc["id"],
        org_id=doc["orgId"],
        project_id=doc.get("projectId", ""),
        status=doc.get("status", ""),
        sort_key=doc.get("createdAt", ""),
        labels=doc.get("metadata", {}),
        doc=encode(doc),
    )
    views.put("sandboxes", row)
    return row


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The commutative, associative and idempotent union of two sets of facts about one sandbox."""
    first, second = sorted((one, other), key=_maker)
    doc: dict[str, Any] = {**second, **first}
    doc["status"] = max((f.get("status", "creating") for f in (one, other)), key=STATUS_RANK.__getitem__)
    expiries = [tuple(facts[name] for name in EXPIRY) for facts in (one, other) if "expirySetAt" in facts]
    if expiries:
        doc |= dict(zip(EXPIRY, max(expiries), strict=True))
    ends = [(f["destroyedAt"], f["destroyedReason"]) for f in (one, other) if "destroyedAt" in f]
    if ends:
        doc["destroyedAt"], doc["destroyedReason"] = min(ends)
    return doc


def _maker(facts: Mapping[str, Any]) -> tuple[str, str]:
    """Facts of the earliest maker win; facts without a maker (a destruction alone) come last."""
    return facts.get("createdAt", "~"), facts.get("workspaceRunId", "~")
