"""The artifacts of all runs and sandboxes (`/artifacts`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.filters import Filters
from api.dashboard.listings import Listed, Source, paged
from api.dashboard.pages import page
from api.dashboard.visitors import visitor
from api.services import Services, services_of
from eventstore.views import ViewRow
from evidence.canonical import decode
from evidence.record import parse_time
from runs.access import Principal
from runs.artifacts import shown
from runs.plans import Plan, plan_of

router = APIRouter()
PATH = "/artifacts"
GROUPS: Mapping[str, Sequence[str]] = {"": ("stored",), "deleted": ("deleted",)}
TABS = (("", "Kept"), ("deleted", "Deleted"))
DAY_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """One artifact; `gone` says why it cannot be downloaded any more. `run` and `command` may be empty."""

    id: str
    name: str
    path: str
    sha256: str
    size_bytes: int
    created_at: str
    expires_at: str
    days_left: int
    deleted_at: str
    gone: str
    run: str
    command: str
    sandbox: str


@router.get(PATH)
async def get_artifacts_page(request: Request) -> Response:
    """The newest artifacts, or those that the filters in the address ask for."""
    who, services = await visitor(request), services_of(request)
    who.require("artifact:read")
    filters = Filters.of(request, GROUPS)
    source = Source(services, who, "artifacts", searched_fields)
    found = await paged(filters, source.found)
    tabs = await source.tabs(filters, TABS)
    return page(
        request,
        "artifacts.html",
        filters=filters,
        listing=found,
        rows=await _rows(services, who, found, filters.now_ms),
        tabs=tabs,
        shown=next(tab.count for tab in tabs if tab.chosen),
    )


def searched_fields(artifact: Mapping[str, Any]) -> list[str]:
    """What a text filter looks at."""
    names = ("id", "name", "sourcePath", "sha256", "workspaceRunId", "sandboxId")
    return [str(artifact.get(name, "")) for name in names]


def artifact_row(artifact: Mapping[str, Any], run: ViewRow | None, now_ms: int) -> ArtifactRow:
    """The row of an Artifact object (CONTRACT §8) with the run that collected it, if the visitor sees it."""
    expires_at = str(artifact.get("retentionExpiresAt", ""))
    left_ms = parse_time(expires_at) - now_ms if expires_at else 0
    deleted_at = str(artifact.get("deletedAt", ""))
    return ArtifactRow(
        id=artifact["id"],
        name=str(artifact.get("name", "")),
        path=str(artifact.get("sourcePath", "")),
        sha256=str(artifact.get("sha256", "")),
        size_bytes=artifact.get("sizeBytes", 0),
        created_at=str(artifact.get("createdAt", "")),
        expires_at=expires_at,
        days_left=max(0, left_ms // DAY_MS),
        deleted_at=deleted_at,
        gone="deleted" if deleted_at else "its time is over" if left_ms <= 0 else "",
        run=run.id if run else "",
        command=decode(run.doc)["command"] if run else "",
        sandbox=str(artifact.get("sandboxId", "")),
    )


async def _rows(services: Services, who: Principal, found: Listed, now_ms: int) -> list[ArtifactRow]:
    plan: Plan = await plan_of(services.store, who.org_id)
    artifacts = [shown(row, plan) for row in found.rows]
    named = {str(one["workspaceRunId"]) for one in artifacts if "workspaceRunId" in one}
    runs = await asyncio.gather(*(services.store.get_view("runs", run_id) for run_id in sorted(named)))
    may_read = "workspace_run:read" in who.scopes
    seen = {row.id: row for row in runs if row and may_read and who.sees(row.org_id, row.project_id)}
    return [artifact_row(one, seen.get(str(one.get("workspaceRunId"))), now_ms) for one in artifacts]
